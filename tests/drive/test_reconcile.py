"""An attempt in flight at a crash: settled by what the database says, repeated only when that is safe."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.drive.conftest import TABLE

from slotfill import events
from slotfill.drive.reconcile import Indeterminate, InFlight, reconcile
from slotfill.drive.state import BookingState, JobState
from slotfill.drive.summary import Result
from slotfill.drive.watch import LevelContext, Order
from slotfill.events import Event

SUBMIT_TIMEOUT_MS, TIMEOUT_MS = 10_000, 20_000


class Settling:
    """Settles the first attempt of a plan, sent ``age_ms`` before now."""

    def __init__(self, platform: Any, level: LevelContext, order: Order) -> None:
        self.platform, self.level, self.order = platform, level, order
        self.lines: list[Event] = []

    def book(self, after_ms: float = 0, **state: Any) -> None:
        key = self.order.attempt.idempotency_key
        booking = BookingState(id="b1", status=state.pop("status", "pending"), **state)
        self.platform.booked[key] = (after_ms, booking)
        if after_ms:
            self.platform.find = self._hide_until(after_ms, self.platform.find)

    def _hide_until(self, after_ms: float, find: Callable[..., Any]) -> Callable[..., Any]:
        async def hidden(key: str) -> BookingState | None:
            booking: BookingState | None = await find(key)
            return booking if self.platform.clock.ms() >= after_ms else None

        return hidden

    def run(
        self, age_ms: float, platform_started_ago_ms: float | None = None, **known: Any
    ) -> tuple[Result | None, float]:
        """The result, and how long it took."""
        now = self.platform.clock.now()
        flight = InFlight(iteration=1, sent_at=now - timedelta(milliseconds=age_ms), **known)
        started: datetime | None = None
        if platform_started_ago_ms is not None:
            started = now - timedelta(milliseconds=platform_started_ago_ms)
        return self.reconcile(flight, started)

    def reconcile(self, flight: InFlight, started: datetime | None = None) -> tuple[Result | None, float]:
        async def work() -> Result | None:
            async with self.platform.client() as client:
                return await reconcile(self.order, self.level, client, self.lines.append, flight, started)

        before = self.platform.clock.ms()
        return self.platform.clock.run(work()), self.platform.clock.ms() - before

    @property
    def summary(self) -> dict[str, Any]:
        [summary] = [line for line in self.lines if line.phase == events.FINAL_SUMMARY]
        return summary.fields


@pytest.fixture
def settling(
    platform: Any,
    first_order: Callable[..., tuple[LevelContext, Order]],
) -> Settling:
    return Settling(platform, *first_order(submit_timeout_ms=SUBMIT_TIMEOUT_MS, timeout_ms=TIMEOUT_MS))


def test_a_request_that_never_left_is_simply_made(settling: Settling) -> None:
    result, took_ms = settling.reconcile(InFlight(iteration=1))

    assert result is None and took_ms == 0


def test_a_request_that_may_still_run_is_waited_out_before_it_is_repeated(settling: Settling) -> None:
    result, took_ms = settling.run(age_ms=1_000)

    assert result is None
    assert took_ms >= SUBMIT_TIMEOUT_MS - 1_000
    assert settling.lines == []


@pytest.mark.parametrize(("age_ms", "restarted_ago_ms"), [(60_000, None), (1_000, 500)], ids=["old", "restarted"])
def test_a_request_that_cannot_run_any_more_is_repeated_at_once(
    settling: Settling, age_ms: float, restarted_ago_ms: float | None
) -> None:
    result, took_ms = settling.run(age_ms, restarted_ago_ms)

    assert result is None and took_ms < 100


def test_a_platform_that_started_before_the_request_proves_nothing(settling: Settling) -> None:
    _, took_ms = settling.run(age_ms=1_000, platform_started_ago_ms=2_000)

    assert took_ms >= SUBMIT_TIMEOUT_MS - 1_000


def test_a_booking_that_appears_while_waiting_is_settled_and_not_repeated(settling: Settling) -> None:
    settling.book(after_ms=3_000, status="confirmed", assignments=(TABLE,))

    result, _ = settling.run(age_ms=1_000)

    assert result is not None and result.outcome == "confirmed_inline_api"


@pytest.mark.parametrize(
    ("initial_status", "confirmed_by", "outcome"),
    [
        (None, "api_inline_auto_assign", "confirmed_inline_api"),
        ("pending", "api_inline_auto_assign", "confirmed_inline_poll"),
        ("pending", "auto_assign", "confirmed_background"),
        (None, "auto_assign", "confirmed_background"),
    ],
)
def test_a_confirmed_booking_is_named_by_what_confirmed_it(
    settling: Settling, initial_status: str | None, confirmed_by: str, outcome: str
) -> None:
    settling.book(status="confirmed", assignments=(TABLE,), confirmed_by=confirmed_by)

    result, _ = settling.run(age_ms=1_000, created={"initialStatus": initial_status, "durationMs": 31.0})

    assert result is not None and result.outcome == outcome
    summary = settling.summary
    assert summary["settled"] is True and summary["status"] == outcome
    # What nobody measured stays empty; what the log already had is kept.
    assert summary["totalDurationMs"] is None and summary["inlineDurationMs"] is None
    assert summary["submitDurationMs"] == 31
    assert summary["bookingId"] == "b1"


def test_a_booking_that_its_answer_had_confirmed_stays_measured(settling: Settling) -> None:
    """Only the look at its tables was missing when the driver stopped."""
    settling.book(status="confirmed", assignments=(TABLE,), confirmed_by="api_inline_auto_assign")

    result, _ = settling.run(
        age_ms=1_000, created={"initialStatus": "confirmed", "durationMs": 31.0, "httpStatus": 201}
    )

    assert result is not None and result.outcome == "confirmed_inline_api"
    summary = settling.summary
    assert "settled" not in summary
    assert (summary["submitDurationMs"], summary["totalDurationMs"], summary["httpStatus"]) == (31, 31, 201)
    assert summary["tableNumbers"] == ["MD-09"]


def test_a_pending_booking_is_watched_until_its_job_is_through(settling: Settling) -> None:
    settling.book()
    settling.platform.jobs = [(4_000, JobState("exhausted", "Insufficient filtered capacity"))]

    result, took_ms = settling.run(age_ms=1_000)

    assert result is not None and result.outcome == "exhausted"
    assert took_ms >= 4_000


def test_a_booking_that_stays_pending_ends_at_the_attempts_own_timeout(settling: Settling) -> None:
    settling.book()

    result, took_ms = settling.run(age_ms=5_000)

    assert result is not None and result.outcome == "failed_background_timeout"
    assert TIMEOUT_MS - 5_000 <= took_ms <= TIMEOUT_MS - 4_900


def test_a_terminal_booking_is_a_failure(settling: Settling) -> None:
    settling.book(status="cancelled")

    result, _ = settling.run(age_ms=1_000)

    assert result is not None and result.outcome == "failed_background_terminal"


@pytest.mark.parametrize("read_ms", [0, 9_000], ids=["refuses", "hangs"])
def test_nothing_is_repeated_while_the_database_cannot_be_asked(settling: Settling, read_ms: float) -> None:
    settling.platform.readable, settling.platform.read_ms = False, read_ms

    with pytest.raises(Indeterminate, match="too many clients"):
        settling.run(age_ms=60_000)

    assert settling.platform.clock.ms() <= TIMEOUT_MS + read_ms
    assert settling.platform.posts == [] and settling.lines == []
