"""When the venue takes bookings, so that a grid the platform would refuse is refused before anything starts."""

from collections.abc import Mapping, Sequence
from datetime import date as Date
from datetime import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill.database import venue
from slotfill.database.connect import reading
from slotfill.errors import BadInput
from slotfill.params import Settings
from slotfill.plan import booking_type, grid

Row = Mapping[str, Any]
_BUFFERS = ("reservation_last_seating_buffer_minutes", "last_seating_buffer_minutes")
_VENUE = "SELECT to_jsonb(r) FROM restaurants r WHERE r.slug = :slug"
_HOURS = "SELECT to_jsonb(h) FROM restaurant_operating_hours h WHERE h.restaurant_id = CAST(:id AS uuid)"


def require_open_at_baseline(settings: Settings) -> None:
    """Raise BadInput where the venue of the seeds takes no booking at a time of the grid."""
    house = venue.restaurant_row(settings.restaurant_slug)
    rows = venue.rows(settings.restaurant_slug, house["id"])
    _require(settings, house, rows["restaurant_operating_hours"], rows["restaurant_service_periods"])


def require_open(engine: Engine, settings: Settings) -> None:
    """The same of a platform's own venue, as far as its tables tell: where they have no hours, nothing is refused.

    Raises what connecting raises, too.
    """
    with reading(engine) as connection:
        if not connection.scalar(sa.text("SELECT to_regclass('restaurants') IS NOT NULL")):
            return
        house = connection.scalar(sa.text(_VENUE), {"slug": settings.restaurant_slug})
        if not house or not connection.scalar(sa.text("SELECT to_regclass('restaurant_operating_hours') IS NOT NULL")):
            return
        hours = list(connection.scalars(sa.text(_HOURS), {"id": house["id"]}))
    _require(settings, house, hours, ())


def _require(settings: Settings, house: Row, hours: Sequence[Row], periods: Sequence[Row]) -> None:
    today = _hours_of(Date.fromisoformat(settings.date), hours)
    if today is None:
        return
    at = f"{settings.restaurant_slug} on {settings.date}"
    if today.get("is_closed"):
        raise BadInput(f"{at} is closed; choose another date")
    opens, closes = _minutes(today.get("opens_at")), _minutes(today.get("closes_at"))
    if opens is None or closes is None:
        return
    interval = int(house.get("reservation_interval_minutes") or 1)
    buffer = next((int(house[name]) for name in _BUFFERS if house.get(name) is not None), 0)
    for slot in grid(settings):
        kind, minute = booking_type(settings, slot), _minutes(slot) or 0
        served = [period for period in periods if period["booking_option"] == kind]
        first = max([opens, min((_minutes(each["start_time"]) or 0 for each in served), default=opens)])
        ends = max((_minutes(each["end_time"]) or 0 for each in served), default=closes + interval)
        last = min(closes - buffer, ends - interval)
        if not first <= minute <= last:
            span = f"from {_clock(first)} to {_clock(last)}"
            raise BadInput(f"{at} takes {kind} bookings {span}, and the grid asks for {slot}: see start and end")
        if (minute - opens) % interval:
            raise BadInput(
                f"{at} takes bookings every {interval} minutes from {_clock(opens)}, and the grid asks for {slot}: "
                "see start and interval_minutes"
            )


def _hours_of(day: Date, hours: Sequence[Row]) -> Row | None:
    """The row of the date itself, else that of its weekday (0 is Sunday)."""
    of_date = [row for row in hours if str(row.get("effective_date")) == day.isoformat()]
    of_weekday = [
        row for row in hours if not row.get("effective_date") and row.get("day_of_week") == day.isoweekday() % 7
    ]
    return next(iter([*of_date, *of_weekday]), None)


def _minutes(clock: time | str | None) -> int | None:
    if clock is None:
        return None
    hours, minutes = str(clock).split(":")[:2]
    return int(hours) * 60 + int(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
