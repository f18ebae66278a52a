"""One attempt, measured: every phase, every outcome, and a summary however it ends."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.drive.conftest import TABLE

from slotfill import events
from slotfill.drive.booking import BookingAttempt
from slotfill.drive.reconcile import Indeterminate
from slotfill.drive.state import EXHAUSTION_REASONS, JobState
from slotfill.drive.summary import Result
from slotfill.drive.watch import LevelContext, Order
from slotfill.events import Event

CONFIRMED = {"status": "confirmed", "assignments": (TABLE,)}


class Attempt:
    """Makes one attempt and keeps its lines."""

    def __init__(self, platform: Any, level: LevelContext, order: Order) -> None:
        self.platform, self.level, self.order = platform, level, order
        self.lines: list[Event] = []

    def write(self, event: Event) -> None:
        parsed = events.parse_event(events.format_event(event))
        assert parsed is not None
        self.lines.append(parsed)

    async def go(self) -> Result:
        async with self.platform.client() as client:
            attempt = BookingAttempt(self.order, self.level, client, self.write)
            return await attempt.decide() or await attempt.complete()

    def make(self) -> Result:
        return self.platform.clock.run(self.go())

    @property
    def summary(self) -> dict[str, Any]:
        [summary] = [line for line in self.lines if line.phase == events.FINAL_SUMMARY]
        assert self.lines[-1] is summary
        return {"message": summary.message, **summary.fields}

    def said(self, message: str) -> dict[str, Any]:
        [line] = [line for line in self.lines if line.message == message]
        return line.fields


@pytest.fixture
def attempt(
    platform: Any,
    first_order: Callable[..., tuple[LevelContext, Order]],
) -> Attempt:
    waits = {"inline_window_ms": 5_000, "poll_interval_ms": 500, "timeout_ms": 12_000}
    return Attempt(platform, *first_order(**waits, min_party_size=7, max_party_size=7))


def test_an_answer_that_is_confirmed_ends_the_attempt_with_its_tables(platform: Any, attempt: Attempt) -> None:
    result = attempt.make()

    summary = attempt.summary
    assert result.outcome == summary["status"] == "confirmed_inline_api"
    assert summary["message"] == events.CONFIRMED_BY_API
    assert summary["submitDurationMs"] == 30
    assert summary["totalDurationMs"] == 30  # the answer decided it; the look at the tables is nobody's time
    assert summary["pollReadMs"] == 0
    assert (summary["tableNumbers"], summary["totalCapacity"], summary["seatWaste"]) == (["MD-09"], 8, 1)
    assert summary["inlineAttempts"] == 0 and summary["backgroundInvoked"] is False


def test_a_booking_confirmed_within_the_window_is_found_by_polling(platform: Any, attempt: Attempt) -> None:
    platform.status, platform.script = "pending", [(1_200, CONFIRMED)]

    assert attempt.make().outcome == "confirmed_inline_poll"

    summary = attempt.summary
    assert summary["message"] == events.CONFIRMED_INLINE
    # Read at once, then every 500 ms and what the reads take: the fourth read is the first after 1,200 ms.
    assert summary["inlineAttempts"] == 4
    assert 1_500 <= summary["inlineDurationMs"] <= 1_520
    changes = [line.fields for line in attempt.lines if line.message == events.STATUS_UPDATE]
    assert [(change["status"], change["assignments"]) for change in changes] == [("pending", 0), ("confirmed", 1)]


def test_a_booking_confirmed_after_the_window_is_the_jobs(platform: Any, attempt: Attempt) -> None:
    platform.status, platform.script = "pending", [(7_000, CONFIRMED)]

    assert attempt.make().outcome == "confirmed_background"

    summary = attempt.summary
    assert summary["message"] == events.CONFIRMED_BY_JOB
    assert summary["backgroundInvoked"] is True
    assert summary["inlineDurationMs"] >= 5_000 and summary["postJobDurationMs"] > 0
    assert attempt.said(events.INLINE_WINDOW_EXPIRED)["attempts"] == summary["inlineAttempts"]
    phases = [line.phase for line in attempt.lines]
    assert phases.index("inline_poll") < phases.index("background_job") < phases.index("post_job_poll")


def test_a_booking_that_stays_pending_ends_at_the_attempts_timeout(platform: Any, attempt: Attempt) -> None:
    platform.status = "pending"

    assert attempt.make().outcome == "failed_background_timeout"

    summary = attempt.summary
    assert summary["message"] == events.FAILED_TO_CONFIRM
    assert summary["state"] == "timeout"
    assert 12_000 <= summary["durationMs"] <= 12_010
    assert attempt.said(events.ASSIGNMENT_DIAGNOSTICS)["bookingStatus"] == "pending"


def test_the_post_job_poll_has_five_seconds_however_late_it_starts(platform: Any, attempt: Attempt) -> None:
    platform.status, platform.answer_ms = "pending", 11_000

    attempt.make()

    assert 5_000 <= attempt.summary["postJobDurationMs"] <= 5_010


@pytest.mark.parametrize(
    ("after_ms", "outcome"), [(1_000, "failed_inline_terminal"), (6_000, "failed_background_terminal")]
)
def test_a_terminal_status_ends_the_attempt(platform: Any, attempt: Attempt, after_ms: int, outcome: str) -> None:
    platform.status, platform.script = "pending", [(after_ms, {"status": "cancelled"})]

    assert attempt.make().outcome == outcome
    assert attempt.summary["state"] == "terminal"
    assert attempt.said(events.TERMINAL_STATUS)["status"] == "cancelled"


@pytest.mark.parametrize("reason", EXHAUSTION_REASONS)
def test_a_job_that_found_no_table_ends_the_attempt_at_once_as_exhausted(
    platform: Any, attempt: Attempt, reason: str
) -> None:
    platform.status, platform.jobs = "pending", [(900, JobState("exhausted", reason))]

    result = attempt.make()

    assert (result.outcome, result.reason) == ("exhausted", reason)
    assert attempt.summary["state"] == "exhausted"
    assert attempt.summary["durationMs"] < 1_100


def test_a_full_slot_does_not_cost_a_whole_polling_interval(platform: Any, attempt: Attempt) -> None:
    found_nothing = {"last_result": {"success": False, "reason": EXHAUSTION_REASONS[0]}}
    platform.status, platform.script = "pending", [(0, found_nothing)]
    platform.jobs = [(120, JobState("exhausted", EXHAUSTION_REASONS[0]))]

    assert attempt.make().outcome == "exhausted"
    # The answer, the job's end, and at most the step between two looks at it; the booking is polled every 500 ms.
    assert 30 + 120 <= attempt.summary["durationMs"] <= 30 + 120 + 75 + 4 * 2


@pytest.mark.parametrize(("state", "reason"), [("exhausted", "HOLD_CONFLICT"), ("error", "boom"), ("cutoff", None)])
def test_a_job_that_failed_for_another_reason_is_a_failure(
    platform: Any, attempt: Attempt, state: str, reason: str | None
) -> None:
    platform.status, platform.jobs = "pending", [(900, JobState(state, reason))]

    assert attempt.make().outcome == "failed_inline_terminal"
    assert attempt.summary["reason"] == reason


def test_a_booking_that_wins_the_race_against_its_failing_job_is_confirmed(platform: Any, attempt: Attempt) -> None:
    # Between the read of the booking (2 ms) and the read of its job (2 ms) both things happen.
    platform.status = "pending"
    platform.jobs = [(3, JobState("exhausted", EXHAUSTION_REASONS[0]))]
    platform.script = [(3, CONFIRMED)]

    assert attempt.make().outcome == "confirmed_inline_poll"


def test_a_job_under_way_does_not_end_the_waiting(platform: Any, attempt: Attempt) -> None:
    platform.status, platform.jobs = "pending", [(0, JobState("running")), (2_000, JobState("succeeded"))]
    platform.script = [(2_000, CONFIRMED)]

    assert attempt.make().outcome == "confirmed_inline_poll"


def test_confirmed_without_a_table_is_not_confirmed(platform: Any, attempt: Attempt) -> None:
    platform.script = [(0, {"assignments": ()})]

    assert attempt.make().outcome == "failed_background_timeout"


@pytest.mark.parametrize(
    ("status", "body", "outcome", "text"),
    [
        (
            400,
            {"error": "Invalid payload", "details": {}},
            "api_rejected",
            "Invalid payload",
        ),
        (
            404,
            {"error": "Restaurant not found", "code": "RESTAURANT_NOT_FOUND"},
            "api_rejected",
            "Restaurant not found [RESTAURANT_NOT_FOUND]",
        ),
        (
            429,
            {"error": "Too many", "code": "RATE_LIMITED"},
            "rate_limited",
            "Too many [RATE_LIMITED]",
        ),
        (
            500,
            {"error": "sorry, too many clients already"},
            "api_error",
            "sorry, too many clients already",
        ),
    ],
)
def test_an_answer_that_is_an_error_ends_the_attempt_in_the_platforms_words(
    platform: Any, attempt: Attempt, status: int, body: dict[str, Any], outcome: str, text: str
) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=body)

    platform.handler = refuse

    assert attempt.make().outcome == outcome
    assert (
        attempt.said(f"Booking request failed ({status}): {text}")["httpStatus"]
        == attempt.summary["httpStatus"]
        == status
    )
    assert attempt.summary["state"] == "error"
    assert len(platform.posts) == 1


@pytest.mark.parametrize(
    ("headers", "body", "expected_ms"),
    [({"Retry-After": "7"}, {}, 7_000), ({}, {"retryAfter": 3}, 3_000), ({"Retry-After": "soon"}, {}, 1_000)],
)
def test_a_429_says_how_long_to_wait(
    platform: Any, attempt: Attempt, headers: dict[str, str], body: dict[str, Any], expected_ms: float
) -> None:
    async def limit(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers=headers, json={"error": "Too many", **body})

    platform.handler = limit

    assert attempt.make().retry_after_ms == expected_ms


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"booking": null}', b'{"booking": {"status": "confirmed"}}'])
def test_a_success_that_holds_no_booking_is_an_error(platform: Any, attempt: Attempt, content: bytes) -> None:
    async def babble(_: httpx.Request) -> httpx.Response:
        return httpx.Response(201, content=content)

    platform.handler = babble

    assert attempt.make().outcome == "api_error"


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (httpx.ReadTimeout("slow"), "api_timeout", events.REQUEST_TIMED_OUT),
        (httpx.ConnectTimeout("slow"), "api_timeout", events.REQUEST_TIMED_OUT),
        (httpx.ConnectError("refused"), "api_unreachable", events.FETCH_FAILED),
        (httpx.RemoteProtocolError("gone"), "api_unreachable", events.FETCH_FAILED),
    ],
)
def test_a_request_without_an_answer_that_booked_nothing_failed_and_is_not_repeated(
    platform: Any, attempt: Attempt, error: Exception, outcome: str, message: str
) -> None:
    async def vanish(_: httpx.Request) -> httpx.Response:
        raise error

    platform.handler = vanish

    assert attempt.make().outcome == outcome
    assert attempt.said(message)
    assert attempt.summary["bookingId"] is None
    assert attempt.summary["durationMs"] == attempt.summary["submitDurationMs"]  # the look-up is not measured
    assert len(platform.posts) == 1


def lose_the_answer(platform: Any, end: Exception | httpx.Response) -> None:
    """The platform books, and something else than its answer arrives."""

    async def lose(request: httpx.Request) -> httpx.Response:
        await platform.accept(request)
        if isinstance(end, Exception):
            raise end
        return end

    platform.handler = lose


@pytest.mark.parametrize(
    ("end", "request_outcome", "http_status", "reason"),
    [
        (httpx.ReadTimeout("slow"), "api_timeout", None, events.REQUEST_TIMED_OUT),
        (httpx.RemoteProtocolError("gone"), "api_unreachable", None, "fetch failed (RemoteProtocolError)"),
        (httpx.Response(502, json={"error": "bad gateway"}), "api_error", 502, "bad gateway"),
    ],
)
def test_the_booking_of_a_lost_answer_decides_the_outcome_and_the_failed_request_stays_visible(
    platform: Any,
    attempt: Attempt,
    end: Exception | httpx.Response,
    request_outcome: str,
    http_status: int | None,
    reason: str,
) -> None:
    lose_the_answer(platform, end)

    result = attempt.make()

    assert (result.outcome, result.request_outcome, result.reason) == ("confirmed_inline_api", request_outcome, reason)
    [told] = [line for line in attempt.lines if line.phase == events.SUBMIT and line.level == "ERROR"]
    assert told.fields["httpStatus"] == http_status
    summary = attempt.summary
    assert (summary["status"], summary["settled"]) == ("confirmed_inline_api", True)
    assert (summary["httpStatus"], summary["reason"], summary["bookingId"]) == (
        http_status,
        reason,
        platform.booked[attempt.order.attempt.idempotency_key][1].id,
    )
    assert (summary["submitDurationMs"], summary["totalDurationMs"]) == (30, None)
    assert summary["tableNumbers"] == ["MD-09"]
    assert len(platform.posts) == 1


@pytest.mark.parametrize(
    ("script", "jobs", "outcome"),
    [
        ([(7_000, CONFIRMED | {"confirmed_by": "auto_assign"})], [], "confirmed_background"),
        ([(2_000, {"status": "cancelled"})], [], "failed_background_terminal"),
        ([], [(900, JobState("exhausted", EXHAUSTION_REASONS[0]))], "exhausted"),
        ([], [], "failed_background_timeout"),
    ],
)
def test_the_booking_of_a_lost_answer_is_followed_until_it_is_decided(
    platform: Any, attempt: Attempt, script: Any, jobs: Any, outcome: str
) -> None:
    platform.status, platform.script, platform.jobs = "pending", script, jobs
    lose_the_answer(platform, httpx.ReadTimeout("slow"))

    assert attempt.make().outcome == outcome
    assert attempt.summary["settled"] is True


@pytest.mark.parametrize("end", [httpx.ReadTimeout("slow"), httpx.ReadError("reset"), httpx.Response(504)])
def test_a_booking_made_just_after_its_request_was_given_up_is_found(
    platform: Any, attempt: Attempt, end: Exception | httpx.Response
) -> None:
    async def book_later(request: httpx.Request) -> httpx.Response:
        platform.answer_ms = 800
        late.append(asyncio.create_task(platform.accept(request)))
        if isinstance(end, Exception):
            raise end
        return end

    late: list[asyncio.Task[httpx.Response]] = []
    platform.handler = book_later

    assert attempt.make().outcome == "confirmed_inline_api"


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
def test_nothing_is_looked_up_for_a_connection_that_was_never_made(
    platform: Any, attempt: Attempt, error: Exception
) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        raise error

    platform.handler, platform.readable = refuse, False

    assert attempt.make().read_errors == ()
    assert platform.clock.ms() == 0


def test_a_read_that_fails_does_not_decide_a_lost_answer(platform: Any, attempt: Attempt) -> None:
    lose_the_answer(platform, httpx.ReadTimeout("slow"))
    platform.readable = False

    async def mend_the_database() -> Result:
        making = asyncio.create_task(attempt.go())
        await platform.clock.sleep(4_000)
        platform.readable = True
        return await making

    assert platform.clock.run(mend_the_database()).outcome == "confirmed_inline_api"


def test_a_lost_answer_that_nobody_can_look_up_is_left_in_flight(platform: Any, attempt: Attempt) -> None:
    lose_the_answer(platform, httpx.ReadTimeout("slow"))
    platform.readable = False

    with pytest.raises(Indeterminate, match="too many clients"):
        attempt.make()

    assert attempt.summary["status"] == "aborted"


def test_a_cancelled_attempt_leaves_a_summary_and_stays_cancelled(platform: Any, attempt: Attempt) -> None:
    async def cancel_in_mid_flight() -> None:
        task = asyncio.create_task(attempt.go())
        await platform.clock.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    platform.clock.run(cancel_in_mid_flight())

    assert attempt.summary["status"] == attempt.summary["state"] == "aborted"
    # How soon it was cut off is no measurement of it.
    assert attempt.summary["durationMs"] is attempt.summary["totalDurationMs"] is None


def test_reads_that_fail_are_tried_again_and_reported(platform: Any, attempt: Attempt) -> None:
    platform.status, platform.readable = "pending", False

    result = attempt.make()

    assert result.outcome == "failed_background_timeout"
    assert set(result.read_errors) == {"sorry, too many clients already"}


def test_the_platforms_word_stands_where_its_tables_cannot_be_read(platform: Any, attempt: Attempt) -> None:
    platform.readable = False

    assert attempt.make().outcome == "confirmed_inline_api"
    assert "seatWaste" not in attempt.summary


def test_the_log_names_no_guest(platform: Any, attempt: Attempt) -> None:
    attempt.make()

    text = "\n".join(events.format_event(line) for line in attempt.lines)
    guest = attempt.order.attempt
    assert not [secret for secret in (guest.email, guest.phone, guest.name) if secret in text]
    created = attempt.said(events.CREATED)
    assert created["maskedEmail"] == f"bo***{guest.email.split('@')[0][-1]}@example.com"
    assert created["maskedPhone"] == f"********{guest.phone[-4:]}"


def test_an_error_that_repeats_the_guest_is_masked_in_the_log(platform: Any, attempt: Attempt) -> None:
    guest = attempt.order.attempt

    async def repeat_the_guest(_: httpx.Request) -> httpx.Response:
        return httpx.Response(409, json={"error": f"{guest.email} has booked already, and so has {guest.phone}"})

    platform.handler = repeat_the_guest
    result = attempt.make()

    text = "\n".join(events.format_event(line) for line in attempt.lines)
    assert "has booked already" in text
    assert guest.email not in text and guest.phone not in text
    assert result.reason == attempt.summary["reason"]


def test_the_request_carries_the_key_and_the_correlation_of_the_plan(platform: Any, attempt: Attempt) -> None:
    attempt.make()

    [request] = platform.posts
    planned, slot = attempt.order.attempt, attempt.order.slot
    assert request.headers["Idempotency-Key"] == planned.idempotency_key
    assert request.headers["X-Booking-Flow-Correlation"] == planned.correlation_id
    assert "slotfill" in request.headers["User-Agent"]
    body = json.loads(request.content)
    assert (body["time"], body["party"], body["email"]) == (slot.time, slot.party_size, planned.email)
    assert body["notes"] is None and body["marketingOptIn"] is False
