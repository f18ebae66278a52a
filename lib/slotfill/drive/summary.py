"""The record of one attempt while it is under way, and the final summary it ends with."""

from dataclasses import dataclass, field
from typing import Any

from slotfill import events
from slotfill.drive.answer import Answer
from slotfill.drive.state import BookingState
from slotfill.drive.watch import Decision, LevelContext, Order, Sink, Watch
from slotfill.drive.wire import rounded
from slotfill.events import Event
from slotfill.outcomes import CONFIRMED_OUTCOMES, EXHAUSTED

_MESSAGES = {outcome: message for message, outcome in events.CONFIRMED_MESSAGES.items()}


@dataclass(frozen=True, slots=True)
class Result:
    """What the fill and its brakes need to know of a finished attempt."""

    outcome: str
    total_ms: float | None = None
    submit_ms: float | None = None
    reason: str | None = None
    retry_after_ms: float | None = None
    request_outcome: str | None = None
    """How the request itself failed, which stays a failure where its booking was found and confirmed afterwards."""
    read_errors: tuple[str, ...] = ()
    """Why our own reads of the platform's state failed."""

    @property
    def confirmed(self) -> bool:
        return self.outcome in CONFIRMED_OUTCOMES


@dataclass
class Record:
    """What is known of an attempt so far; ``None`` is not known, or not measured in one go."""

    order: Order
    level: LevelContext
    write: Sink
    watch: Watch = field(init=False)
    outcome: str = "aborted"
    settled: bool = False
    """Decided by what became of the booking, after a stop, a crash or an answer that was lost; not measured."""
    answer: Answer | None = None
    booking_id: str | None = None
    initial_status: str | None = None
    problem: str | None = None
    """What kept us from finding out the outcome."""
    submit_ms: float | None = None
    trace_id: str | None = None
    wire: dict[str, float | str | None] = field(default_factory=dict)
    inline_polls: int | None = 0
    inline_ms: float | None = 0.0
    post_job_polls: int | None = 0
    post_job_ms: float | None = 0.0
    background_invoked: bool | None = False
    background_ms: float | None = None
    total_ms: float | None = None

    def reconcile(self, outcome: str) -> None:
        """End with what became of a booking that was found by its key."""
        self.outcome, self.settled = outcome, True
        self._forget_durations()
        self.background_invoked = True if "background" in outcome else None

    def take_answer(self, answer: Answer) -> None:
        """Keep what the request brought."""
        self.answer, self.submit_ms = answer, answer.duration_ms
        self.booking_id, self.initial_status = answer.booking_id, answer.initial_status

    def restore(self, created: dict[str, Any]) -> None:
        """Take from the log what an attempt's answer brought before its driver stopped."""
        self.submit_ms, self.initial_status = created.get("durationMs"), created.get("initialStatus")
        if self.submit_ms is not None:
            self.answer = Answer(
                None,
                self.submit_ms,
                http_status=created.get("httpStatus"),
                duplicate=created.get("duplicate") is True,
            )

    @property
    def reason(self) -> str | None:
        """Why its request failed, or why it was not confirmed, in the platform's words."""
        if self.answer is not None and self.answer.outcome is not None:
            return self.answer.reason
        return None if self.outcome in CONFIRMED_OUTCOMES else self.problem or self.watch.reason

    def result(self) -> Result:
        return Result(
            outcome=self.outcome,
            total_ms=self.total_ms,
            submit_ms=self.submit_ms,
            reason=self.reason,
            retry_after_ms=self.answer.retry_after_ms if self.answer else None,
            request_outcome=self.answer.outcome if self.answer else None,
            read_errors=tuple(self.watch.errors),
        )

    def tell(self, level: str, phase: str, message: str, fields: dict[str, Any]) -> None:
        """Write one line of the attempt's log."""
        ids = {"correlationId": self.order.attempt.correlation_id, "bookingId": self.booking_id}
        self.write(Event(self.level.clock.now(), level, phase, message, ids | fields))

    def tell_end(self, phase: str, decision: Decision) -> None:
        """Write why a phase ended the attempt for good, where it did."""
        watch = self.watch
        if decision not in ("terminal", "exhausted"):
            return
        if watch.booking is not None and watch.booking.terminal:
            self.tell("ERROR", phase, events.TERMINAL_STATUS, {"status": watch.booking.status})
        elif watch.job is not None:
            self.tell("ERROR", phase, "Auto-assign job gave up", {"state": watch.job.state, "reason": watch.reason})

    def summarise(self) -> None:
        """Write the final summary of whatever is known by now."""
        if self.outcome == "aborted":
            self._forget_durations()
        booking = self.watch.booking
        if self.outcome in CONFIRMED_OUTCOMES:
            tables = _tables(booking, self.order.slot.party_size) if booking else {}
            self.tell("INFO", events.FINAL_SUMMARY, _MESSAGES[self.outcome], self._figures() | tables)
            return
        if booking is not None:
            tables = _tables(booking, self.order.slot.party_size)
            last = {"bookingStatus": booking.status, "lastAutoAssignResult": booking.last_result}
            self.tell("ERROR", events.DIAGNOSTICS, events.ASSIGNMENT_DIAGNOSTICS, last | tables)
        state = {"state": _state(self.outcome), "durationMs": rounded(self.total_ms)}
        self.tell("ERROR", events.FINAL_SUMMARY, events.FAILED_TO_CONFIRM, state | self._figures())

    def _forget_durations(self) -> None:
        """How soon an attempt was cut off, or how late it was settled, is no measurement of it."""
        self.total_ms = self.inline_ms = self.post_job_ms = self.background_ms = None
        self.inline_polls = self.post_job_polls = self.background_invoked = None
        if self.submit_ms is None:
            self.wire = {}

    def _figures(self) -> dict[str, Any]:
        booking, attempt = self.watch.booking, self.order.attempt
        confirmed_at = booking.confirmed_at if booking else None
        return {
            **(_identity(booking) if booking else {}),
            "iteration": attempt.iteration,
            "submitDurationMs": rounded(self.submit_ms),
            "inlineAttempts": self.inline_polls,
            "inlineDurationMs": rounded(self.inline_ms),
            "postJobAttempts": self.post_job_polls,
            "postJobDurationMs": rounded(self.post_job_ms),
            "backgroundInvoked": self.background_invoked,
            "backgroundDurationMs": rounded(self.background_ms),
            "totalDurationMs": rounded(self.total_ms),
            "partySize": self.order.slot.party_size,
            "duplicateRequest": self.answer.duplicate if self.answer else None,
            "status": self.outcome,
            "httpStatus": self.answer.http_status if self.answer else None,
            **self.wire,
            "traceId": self.trace_id,
            "pollReadMs": rounded(self.watch.read_ms),
            "confirmedAt": None if confirmed_at is None else events.format_instant(confirmed_at),
            "reason": self.reason,
            "idempotencyKey": attempt.idempotency_key,
            "worker": self.order.worker,
            "slot": self.order.slot.time,
            **({"settled": True} if self.settled else {}),
        }


def _state(outcome: str) -> str:
    if outcome in (EXHAUSTED, "aborted"):
        return outcome
    return next((end for end in ("timeout", "terminal") if outcome.endswith(end)), "error")


def _identity(booking: BookingState) -> dict[str, Any]:
    return {
        "reference": booking.reference,
        "bookingDate": booking.booking_date,
        "startTime": booking.start_time,
        "endTime": booking.end_time,
        "autoAssignLastResult": booking.last_result,
    }


def _tables(booking: BookingState, party_size: int) -> dict[str, Any]:
    """Which tables a booking holds, and the seats left empty at them."""
    capacity = sum(table["capacity"] for table in booking.assignments)
    return {
        "tablesAssigned": len(booking.assignments),
        "totalCapacity": capacity,
        "seatWaste": max(0, capacity - party_size),
        "tableNumbers": [table["tableNumber"] for table in booking.assignments],
        "assignments": list(booking.assignments),
    }
