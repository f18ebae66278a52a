"""The grammar of the client log: one line, one event, for writing and for reading.

The pretty form, which the runner writes, is the booking platform's own::

    [2025-11-15T10:30:21.554Z] [INFO] [submit] Booking created {"correlationId":"…","durationMs":20699}

The plain form is one JSON object a line with ``timestamp, level, phase, message`` and the fields.
"""

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

BOOTSTRAP = "bootstrap"
SUBMIT = "submit"
INLINE_POLL = "inline_poll"
BACKGROUND_JOB = "background_job"
POST_JOB_POLL = "post_job_poll"
FINAL_SUMMARY = "final_summary"
DIAGNOSTICS = "diagnostics"

STARTING = "Starting booking flow"
SUBMITTING = "Submitting booking request"
CREATED = "Booking created"
STATUS_UPDATE = "Status update"
NOT_FOUND_YET = "Booking not found yet"
INLINE_WINDOW_EXPIRED = "Inline window expired without confirmation"
TRIGGERING_JOB = "Triggering autoAssignAndConfirmIfPossible"
JOB_INVOKED = "Background auto-assign invoked"
TERMINAL_STATUS = "Booking reached terminal status before confirmation"
ASSIGNMENT_DIAGNOSTICS = "Assignment diagnostics"
CONFIRMED_BY_API = "Booking confirmed inline (API response)"
CONFIRMED_INLINE = "Booking confirmed via inline flow"
CONFIRMED_BY_JOB = "Booking confirmed after background job"
FAILED_TO_CONFIRM = "Booking failed to confirm"
CONFIRMED_MESSAGES = {
    CONFIRMED_BY_API: "confirmed_inline_api",
    CONFIRMED_INLINE: "confirmed_inline_poll",
    CONFIRMED_BY_JOB: "confirmed_background",
}
"""The summary of a confirmed attempt and the outcome it stands for."""

# What the client says when the request itself failed; `request_failed` makes the one with an answer.
REQUEST_TIMED_OUT = "Booking request timed out"
FETCH_FAILED = "fetch failed"

# Lines the platform's own runner does not have: they make a log complete enough to resume from.
SLOT_PLANNED = "Slot planned"
SLOT_FINISHED = "Slot finished"
SLOT_REOPENED = "Slot reopened"
"""After its end: some of its attempts failed in an outage that stopped the load, and are made again when it goes on."""
RESUMING = "Resuming slot fill"

HEADER = re.compile(r"\[(\d{4}-\d\d-\d\d[T ][^\]\[]{5,24})\] \[([A-Za-z]{3,8})\] \[([A-Za-z][\w.-]{0,39})\]")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_MOST_BRACES_TRIED = 16  # a message may hold braces itself; a hostile line must not cost quadratic time


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a client log. ``at`` is UTC, or ``None`` where the line has no readable time."""

    at: datetime | None
    level: str
    phase: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


def request_failed(status: int, text: str) -> str:
    """The platform's message for a request that was answered with an error."""
    return f"Booking request failed ({status}): {text}"


def format_instant(at: datetime) -> str:
    """An instant as JavaScript prints it: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_exact_instant(at: datetime) -> str:
    """An instant to the microsecond: UTC, ``Z``."""
    return at.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_instant(text: Any) -> datetime | None:
    """A time, or its ISO text, in UTC; without an offset it is taken as UTC. ``None`` where it is not one."""
    try:
        at = text if isinstance(text, datetime) else datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def format_event(event: Event) -> str:
    """The pretty line of an event, without the newline; it holds no other newline and encodes as UTF-8.

    Raises ValueError for a field that JSON does not have (NaN, infinity), TypeError for one it cannot hold.
    """
    return encode_event(event).decode()


def encode_event(event: Event) -> bytes:
    """The same in UTF-8, as it is written to a file."""
    if event.at is None:
        raise ValueError("an event needs a time to be written")
    line = f"[{format_instant(event.at)}] [{event.level}] [{event.phase}] {' '.join(event.message.split())}"
    head = line.encode("utf-8", "replace")
    if event.fields or "{" in event.message:  # the braces of a message are not taken for its fields
        return head + b" " + _encode_fields(event.fields)
    return head


def _encode_fields(fields: dict[str, Any]) -> bytes:
    """Quickly where nothing is odd about them: the driver writes lines between two requests."""
    for value in fields.values():
        if type(value) is float and not math.isfinite(value):  # msgspec would write null
            break
    else:
        with suppress(ValueError, TypeError, OverflowError):  # half of a surrogate pair, say
            return msgspec.json.encode(fields)
    return _ENCODER.encode(fields).encode("utf-8", "replace")


def parse_event(line: str) -> Event | None:
    """The event on a line, pretty or plain; ``None`` where it is not an event, or one that was cut."""
    line = line.strip()
    if line.startswith("["):
        return _parse_pretty(line)
    if line.startswith("{") and line.endswith("}"):
        return _parse_plain(line)
    return None


def _parse_pretty(line: str) -> Event | None:
    header = HEADER.match(line)
    if header is None:
        return None
    at, level, phase = header.groups()
    parts = _split_message(line[header.end() :])
    return Event(parse_instant(at), level.upper(), phase, *parts) if parts else None


def _split_message(text: str) -> tuple[str, dict[str, Any]] | None:
    """Message and fields: the fields are the first brace from which the rest is one whole JSON object."""
    start = text.find(" {")
    if start < 0:
        return text.strip(), {}
    for _ in range(_MOST_BRACES_TRIED):
        fields = _decode_object(text[start + 1 :])
        if fields is not None:
            return text[:start].strip(), fields
        start = text.find(" {", start + 1)
        if start < 0:
            break
    return None


def _parse_plain(line: str) -> Event | None:
    fields = _decode_object(line)
    if fields is None or not isinstance(fields.get("phase"), str) or not isinstance(fields.get("message"), str):
        return None
    at, level = fields.pop("timestamp", None), fields.pop("level", "info")
    return Event(parse_instant(at), str(level).upper(), fields.pop("phase"), fields.pop("message"), fields)


def _decode_object(text: str) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
