"""What the platform says about a booking and its job, and the reader the driver is given to ask it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

LIVE_STATUSES = ("pending", "pending_allocation", "confirmed")
"""Any other status is terminal: the booking will not be confirmed any more."""

FAILED_JOB_STATES = ("exhausted", "cutoff", "error")
"""End markers of a job that gave the booking no table and will not try again."""

EXHAUSTION_REASONS = (
    "No tables available for requested window",
    "Insufficient filtered capacity",
    "No tables meet the capacity requirements for this party size.",
)


@dataclass(frozen=True, slots=True)
class BookingState:
    """A booking as the database has it; dates and times are text, as the log prints them."""

    id: str
    status: str
    reference: str | None = None
    booking_date: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    assignments: tuple[dict[str, Any], ...] = ()
    """``id, tableId, tableNumber, zoneId, capacity, startAt, endAt`` each."""
    last_result: dict[str, Any] | None = None
    """The allocator's last word, ``auto_assign_last_result``."""
    confirmed_at: datetime | None = None
    confirmed_by: str | None = None
    """The reason in the booking's history: ``api_inline_auto_assign`` or ``auto_assign``."""

    @property
    def confirmed(self) -> bool:
        """A status alone is not enough: the platform can say confirmed and hold no table."""
        return self.status == "confirmed" and bool(self.assignments)

    @property
    def terminal(self) -> bool:
        return self.status not in LIVE_STATUSES


@dataclass(frozen=True, slots=True)
class JobState:
    """The background job of a booking."""

    state: str
    reason: str | None = None

    @property
    def failed(self) -> bool:
        return self.state in FAILED_JOB_STATES


class ReadFailed(Exception):
    """The platform's state could not be read; the text says why and holds no secret."""


class Bookings(Protocol):
    """Reads bookings from the database. Every method raises ReadFailed where the database does not answer."""

    async def read(self, booking_id: str) -> BookingState | None:
        """The booking, or ``None`` where there is none."""

    async def read_many(self, booking_ids: Sequence[str]) -> dict[str, BookingState]:
        """Those of the bookings that there are, by id, in one round trip."""

    async def find(self, idempotency_key: str) -> BookingState | None:
        """The first booking made with a key."""

    async def job(self, booking_id: str) -> JobState | None:
        """The end marker of the booking's job; ``None`` while the job has not ended."""


def is_exhaustion(reason: str | None) -> bool:
    """Whether a reason says that the tables ran out, which is an answer and not an error."""
    return reason is not None and reason.strip().rstrip(".") in {text.rstrip(".") for text in EXHAUSTION_REASONS}
