"""The inline allocation: part of the booking request until its budget ends; the work may outlast the waiting."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from whitehorse.allocator import Allocator, AlreadyConfirmed, Budget, OutOfBudget
from whitehorse.database import Row, why
from whitehorse.profile import Stopwatch
from whitehorse.server_log import INLINE, PROFILE, ServerLog, instant
from whitehorse.settings import Settings

INLINE_TIMEOUT = "INLINE_TIMEOUT"
MAX_THREADS = 256


@dataclass
class Attempt:
    """One inline allocation of one booking."""

    booking: Row
    id: str = field(default_factory=lambda: str(uuid4()))
    budget: Budget = field(default_factory=Budget)
    started: float = field(default_factory=time.perf_counter)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    continues: bool = False
    """The budget ended first: the work goes on after the request has stopped waiting."""

    @property
    def keys(self) -> dict[str, str]:
        return {"bookingId": str(self.booking["id"]), "attemptId": self.id}

    def result(self, *, success: bool, reason: str | None, alternates: int = 0) -> dict[str, Any]:
        """What the booking keeps as auto_assign_last_result."""
        return {
            "source": "inline",
            "lastAttemptAt": instant(datetime.now(UTC)),
            "success": success,
            "reason": reason,
            "strategy": {"maxTables": None, "requireAdjacency": None},
            "trigger": "inline_creation",
            "alternates": alternates,
            "durationMs": elapsed_ms(self.started),
            "attemptId": self.id,
            "emailSent": success,
            "emailVariant": "standard",
        }


class InlineAllocations:
    """Runs inline allocations beside their requests."""

    def __init__(self, allocator: Allocator, settings: Settings, log: ServerLog) -> None:
        self._allocator = allocator
        self._settings = settings
        self._log = log
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="inline")

    def close(self) -> None:
        self._threads.shutdown()

    def run(self, attempt: Attempt, watch: Stopwatch) -> dict[str, Any] | None:
        """Allocate within the budget. None when the booking is confirmed, else the result it should keep."""
        budget_ms = self._settings.inline_budget_ms
        self._log.write(f"{INLINE} start", {**attempt.keys, "timeoutMs": budget_ms})
        lent = watch.lend("allocator")
        future = self._threads.submit(self._allocate, attempt, lent)
        finished, _ = wait([future], timeout=budget_ms / 1000)
        watch.take_back(lent)
        if finished:
            return future.result()
        attempt.continues = True
        attempt.budget.end()
        waited = {"durationMs": elapsed_ms(attempt.started), "timeoutMs": budget_ms}
        self._log.write(
            f"{INLINE} aborted", {"bookingId": attempt.keys["bookingId"], **waited, "attemptId": attempt.id}
        )
        stopped_waiting_at = datetime.now(UTC)
        future.add_done_callback(lambda rest: self._tell_rest(attempt, lent, stopped_waiting_at, rest))
        return attempt.result(success=False, reason=INLINE_TIMEOUT)

    def _allocate(self, attempt: Attempt, watch: Stopwatch) -> dict[str, Any] | None:
        try:
            with self._allocator.turn():
                return self._quote_and_confirm(attempt, watch)
        except OutOfBudget:
            return attempt.result(success=False, reason=INLINE_TIMEOUT)
        except AlreadyConfirmed:
            return None
        except Exception as error:
            self._log.write(f"{INLINE} failed", {"error": why(error)})
            return attempt.result(success=False, reason=why(error))

    def _quote_and_confirm(self, attempt: Attempt, watch: Stopwatch) -> dict[str, Any] | None:
        with self._telling_errors("quote", attempt) as since:
            quote = self._allocator.quote(attempt.booking, watch, attempt.budget)
        told = {"durationMs": elapsed_ms(since), "hasHold": quote.hold is not None, "reason": quote.reason}
        self._log.write(f"{INLINE} quote result", {**attempt.keys, **told, "alternates": quote.alternates})
        if quote.hold is None:
            missing = {"reason": quote.reason, "durationMs": elapsed_ms(attempt.started)}
            self._log.write(f"{INLINE} hold not available", {**attempt.keys, **missing})
            return attempt.result(success=False, reason=quote.reason)
        with self._telling_errors("confirm", attempt, holdId=str(quote.hold.id)) as since:
            self._allocator.confirm(
                attempt.booking,
                quote.hold,
                watch,
                attempt_id=attempt.id,
                reason="api_inline_auto_assign",
                result=attempt.result(success=True, reason=None, alternates=quote.alternates),
            )
        confirmed = {"holdId": quote.hold.id, "durationMs": elapsed_ms(since)}
        self._log.write(f"{INLINE} confirm completed", {**attempt.keys, **confirmed})
        return None

    @contextmanager
    def _telling_errors(self, step: str, attempt: Attempt, **more: str) -> Iterator[float]:
        since = time.perf_counter()
        try:
            yield since
        except OutOfBudget:
            raise
        except Exception as error:
            told = {**attempt.keys, **more, "durationMs": elapsed_ms(since), "error": why(error)}
            self._log.write(f"{INLINE} {step} error", told)
            raise

    def _tell_rest(
        self, attempt: Attempt, watch: Stopwatch, since: datetime, rest: "Future[dict[str, Any] | None]"
    ) -> None:
        """Profile the work that went on after the request had stopped waiting."""
        spent = watch.cut(time.perf_counter())
        left = rest.result()
        if self._settings.profiling:
            self._log.write(
                f"{PROFILE} inline",
                {
                    **attempt.keys,
                    "startedAt": since,
                    "finishedAt": datetime.now(UTC),
                    **spent.of_allocation(),
                    "result": left["reason"] if left else "confirmed",
                },
            )


def elapsed_ms(since: float) -> int:
    """Whole milliseconds since a perf_counter reading."""
    return round((time.perf_counter() - since) * 1000)
