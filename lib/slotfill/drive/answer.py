"""What came of a booking request: every answer a server can give has an outcome."""

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from slotfill import events
from slotfill.drive.client import Received
from slotfill.drive.noop import SERVER_MS
from slotfill.masking import mask

LOST_OUTCOMES = ("api_timeout", "api_unreachable", "api_error")
"""Of requests that may have booked all the same."""
DEFAULT_RETRY_AFTER_MS = 1_000.0
LONGEST_REASON, LONGEST_STATUS = 300, 60
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KEPT = ("id", "status", SERVER_MS)
_LONGEST_MASKED = 4_000
"""Masked before it is cut, so that no half of a secret is left; but no more than this of a text is looked at."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the request. ``outcome`` is ``None`` where the platform made (or had) a booking."""

    outcome: str | None
    duration_ms: float
    message: str = ""
    """The platform's own text for the failure."""
    http_status: int | None = None
    reason: str | None = None
    booking: dict[str, Any] = field(default_factory=dict)
    """Its few values that are used: a hostile answer's others can take a hundred times their size on the wire."""
    duplicate: bool = False
    retry_after_ms: float | None = None
    sent: bool = True
    """False where no connection was made, so that nothing can have been booked."""

    @property
    def lost(self) -> bool:
        """Whether there may be a booking all the same, of which the answer did not tell."""
        return self.sent and self.outcome in LOST_OUTCOMES

    @property
    def server_may_go_on(self) -> bool:
        """Whether the request can still be running; 502 to 504 are the words of a gateway in front of the server."""
        return self.http_status is None or self.http_status in (502, 503, 504)

    @property
    def booking_id(self) -> str | None:
        return self.booking.get("id")

    @property
    def initial_status(self) -> str | None:
        """The booking's status in the answer; ``None`` where that is no text, and only the database can say."""
        status = self.booking.get("status")
        return status if isinstance(status, str) else None


def read_answer(received: Received, duration_ms: float, now: datetime) -> Answer:
    """The outcome of an answer, whatever it is; ``now`` is for one that names a date to come back at."""
    status, content = received.status, json_object(received.content)
    booking = content.get("booking")
    if status in (200, 201) and isinstance(booking, dict) and _is_uuid(booking.get("id")):
        duplicate = content.get("duplicate") is True
        kept = {name: _short(booking[name]) for name in _KEPT if name in booking}
        return Answer(None, duration_ms, http_status=status, booking=kept, duplicate=duplicate)
    reason = _reason(received, content)
    outcome = {429: "rate_limited"}.get(status) or ("api_rejected" if 400 <= status < 500 else "api_error")
    return Answer(
        outcome,
        duration_ms,
        message=events.request_failed(status, reason),
        http_status=status,
        reason=reason,
        retry_after_ms=_retry_after_ms(received, content, now) if status == 429 else None,
    )


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty where it holds none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):  # the latter for thousands of brackets in each other
        return {}
    return content if isinstance(content, dict) else {}


def clean(text: str) -> str:
    """A platform's words as one short line without secrets."""
    return mask(" ".join(text[:_LONGEST_MASKED].split()))[:LONGEST_REASON]


def _short(value: Any) -> str | float | None:
    return value[:LONGEST_STATUS] if isinstance(value, str) else value if isinstance(value, int | float) else None


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _reason(received: Received, content: dict[str, Any]) -> str:
    """The platform's error and code. Never the details, and the error masked: both can repeat what the guest typed."""
    if received.problem:
        return received.problem
    if "error" not in content:
        return clean(f"an answer that is no booking ({received.content_type})")
    error, code = content["error"], content.get("code")
    return clean(f"{_text(error)}{f' [{_text(code)}]' if code else ''}")


def _text(value: Any) -> str:
    """A value as text, at most so much of it that masking stays cheap; what is no text is told by its type."""
    return value[:_LONGEST_MASKED] if isinstance(value, str) else f"a JSON {type(value).__name__}"


def _retry_after_ms(received: Received, content: dict[str, Any], now: datetime) -> float:
    """How long to wait, from the header (seconds or a date) or the body; a moment where neither is of any use."""
    for value in (received.headers.get("Retry-After"), content.get("retryAfter")):
        seconds = _seconds(value, now)
        if seconds is not None:
            return seconds * 1e3
    return DEFAULT_RETRY_AFTER_MS


def _seconds(value: Any, now: datetime) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = _seconds_until(str(value), now)
    return None if math.isnan(seconds) or seconds < 0 else seconds


def _seconds_until(date: str, now: datetime) -> float:
    """Seconds to an HTTP date; NaN where it is none."""
    at = http_date(date)
    return math.nan if at is None else max((at - now).total_seconds(), 0.0)


def http_date(text: str) -> datetime | None:
    """The instant of an HTTP date, in whatever zone it names; ``None`` where it is none."""
    try:
        at = parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)
