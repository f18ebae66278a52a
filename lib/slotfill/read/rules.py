"""What is read of the fields of a client's events: which fact each tells, and what it has to be."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from slotfill import events
from slotfill.events import parse_instant
from slotfill.masking import mask
from slotfill.outcomes import OUTCOMES

LONGEST_WORDS = 1000
LARGEST = 2**53


def number(value: Any) -> float | None:
    """A finite number, or nothing."""
    if type(value) not in (int, float):  # a boolean is no number
        return None
    return float(value) if abs(value) < LARGEST else None  # NaN and infinity are not below it


def integer(value: Any) -> int | None:
    """A whole number, or nothing."""
    value = number(value)
    return int(value) if value is not None and value == int(value) else None


def text(value: Any) -> str | None:
    """A string that can be shown and stored, or nothing."""
    if not isinstance(value, str) or not value:
        return None
    return value if type(value) is str and value.isascii() else value.encode("utf-8", "replace").decode()


def words(value: Any) -> str | None:
    """What somebody wrote, an error or a reason: masked and cut here, where it enters, or nothing."""
    written = text(value)
    return _masked(written) if written else None


@lru_cache(1024)  # of many bookings few fail, and those for the same few reasons
def _masked(written: str) -> str:
    return mask(written, LONGEST_WORDS)


def truth(value: Any) -> bool | None:
    """A boolean, or nothing."""
    return value if isinstance(value, bool) else None


def slot_of(value: Any) -> str | None:
    return value[:5] if isinstance(value, str) and re.match(r"\d\d:\d\d", value) else None


def tables_of(value: Any) -> str | None:
    return ",".join(map(str, value)) or None if isinstance(value, list) else text(value)


def outcome_named(value: Any) -> str | None:
    return value if value in OUTCOMES else None


Rule = tuple[str, str, Callable[[Any], Any]]
EVERYWHERE: tuple[Rule, ...] = (
    ("correlationId", "correlation_id", text),
    ("bookingId", "booking_id", text),
    ("idempotencyKey", "idempotency_key", text),
    ("iteration", "iteration", integer),
    ("worker", "worker", integer),
    ("slot", "slot", slot_of),
    ("partySize", "party_size", integer),
    ("httpStatus", "http_status", integer),
    ("connectMs", "connect_ms", number),
    ("sendMs", "send_ms", number),
    ("waitMs", "wait_ms", number),
    ("receiveMs", "receive_ms", number),
    ("lagMs", "lag_ms", number),
    ("sentAt", "sent_at", parse_instant),
    ("answeredAt", "answered_at", parse_instant),
    ("traceId", "trace_id", text),
    ("pollReadMs", "poll_read_ms", number),
    ("confirmedAt", "confirmed_at", parse_instant),
    ("tablesAssigned", "tables_assigned", integer),
    ("totalCapacity", "total_capacity", integer),
    ("seatWaste", "seat_waste", integer),
    ("tableNumbers", "table_numbers", tables_of),
)
_BY_PHASE: dict[str, tuple[Rule, ...]] = {
    events.BOOTSTRAP: (
        ("level", "label", text),
        ("concurrency", "concurrency", integer),
        ("round", "round_number", integer),
    ),
    events.SUBMIT: (
        ("date", "booking_date", text),
        ("time", "slot", slot_of),
        ("party", "party_size", integer),
        ("duplicate", "duplicate", truth),
        ("initialStatus", "initial_status", text),
        ("durationMs", "submit_ms", number),
    ),
    events.FINAL_SUMMARY: (
        ("reference", "reference", text),
        ("bookingDate", "booking_date", text),
        ("startTime", "slot", slot_of),
        ("submitDurationMs", "submit_ms", number),
        ("inlineAttempts", "inline_polls", integer),
        ("inlineDurationMs", "inline_ms", number),
        ("postJobAttempts", "post_job_polls", integer),
        ("postJobDurationMs", "post_job_ms", number),
        ("backgroundInvoked", "background_invoked", truth),
        ("backgroundDurationMs", "background_ms", number),
        ("durationMs", "total_ms", number),
        ("totalDurationMs", "total_ms", number),
        ("duplicateRequest", "duplicate", truth),
        ("status", "outcome", outcome_named),
        ("reason", "reason", words),
    ),
}
ALLOCATOR: tuple[Rule, ...] = (
    ("source", "allocator_source", text),
    ("success", "allocator_success", truth),
    ("reason", "allocator_reason", words),
    ("durationMs", "allocator_ms", number),
    ("attemptId", "allocator_attempt_id", text),
)


def rules_of(phase: str) -> tuple[Rule, ...]:
    """The rules for an event of a phase, in their order: of two for one fact the later counts."""
    return (*EVERYWHERE, *_BY_PHASE.get(phase, ()))
