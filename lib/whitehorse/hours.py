"""When a booking may start: the venue's hours, read from the database, against a requested time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DURATION_MIN = {"lunch": 90, "drinks": 60, "dinner": 120}
# Party up to → minutes its table is kept: the turn plus five minutes.
_TABLE_MIN = ((2, 65), (4, 80), (6, 90))
_TABLE_MIN_ABOVE = 95


@dataclass(frozen=True)
class Window:
    """The start times offered on one day for one booking type, both ends bookable; None on a closed day."""

    opens_at: time | None
    closes_at: time | None
    first: time | None
    last: time | None
    interval_min: int
    timezone: str

    def refusal(self, requested: time, booking_type: str) -> dict[str, Any] | None:
        """The details of OPERATING_HOURS_CLOSED, or None when the time can be booked."""
        if self.first and self.last and self.first <= requested <= self.last and self._on_grid(requested):
            return None
        return {
            "reason": "OUTSIDE_WINDOW" if self.opens_at else "CLOSED",
            "requestedTime": _clock(requested),
            "bookingType": booking_type,
            "opensAt": _clock(self.opens_at),
            "closesAt": _clock(self.closes_at),
            "firstAvailableSlot": _clock(self.first),
            "lastAvailableSlot": _clock(self.last),
            "timezone": self.timezone,
        }

    def _on_grid(self, requested: time) -> bool:
        assert self.opens_at
        return (_minutes(requested) - _minutes(self.opens_at)) % self.interval_min == 0


def window(venue: Mapping[str, Any]) -> Window:
    """The window of a venue row (``opens_at``, ``closes_at``, ``is_closed``, ``period_start``, ``period_end``, …)."""
    interval = venue["reservation_interval_minutes"]
    closed = Window(None, None, None, None, interval, venue["timezone"])
    if venue["opens_at"] is None or venue["is_closed"]:
        return closed
    first = _minutes(venue["opens_at"])
    last = _minutes(venue["closes_at"]) - venue["last_seating_buffer_minutes"]
    if venue["period_start"] is not None:
        first = max(first, _minutes(venue["period_start"]))
        last = min(last, _minutes(venue["period_end"]) - interval)
    if first > last:
        return closed
    return Window(venue["opens_at"], venue["closes_at"], _time(first), _time(last), interval, venue["timezone"])


def starts_at(day: date, clock: time, timezone: str) -> datetime:
    """The instant of a wall-clock time at the venue."""
    return datetime.combine(day, clock, ZoneInfo(timezone))


def table_kept_for(party_size: int) -> timedelta:
    """How long a table is taken by a party."""
    minutes = next((minutes for upto, minutes in _TABLE_MIN if party_size <= upto), _TABLE_MIN_ABOVE)
    return timedelta(minutes=minutes)


def _minutes(clock: time) -> int:
    return clock.hour * 60 + clock.minute


def _time(minutes: int) -> time:
    return time(*divmod(minutes, 60))


def _clock(at: time | None) -> str | None:
    return f"{at:%H:%M}" if at else None
