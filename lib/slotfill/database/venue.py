"""The White Horse Pub as plain data: its zones, tables, hours and periods, and the rows they make.

Every id is a UUID computed from the venue's slug, so that the baseline is the same rows each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from itertools import combinations
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

SLUG = "white-horse-pub-waterbeach"
NAME = "White Horse Pub (Waterbeach)"
TIMEZONE = "Europe/London"
INTERVAL_MINUTES = 15
OPENS, CLOSES = time(12), time(22)
LAST_SEATING_MINUTES = 120
"""The last booking starts this long before closing time."""
PERIODS = (("Lunch", time(12), time(17), "lunch"), ("Dinner", time(17), time(22), "dinner"))
DRINKS = ("Drinks", time(12), time(22), "drinks")
ZONES = ("Main Dining", "Bar Area", "Patio", "Private Room", "Outdoor Garden")
OUTDOOR_ZONES = ("Patio", "Outdoor Garden")
ALLOWED_CAPACITIES = (2, 4, 6, 8, 10)
DURATION_MINUTES = {"lunch": 90, "drinks": 60, "dinner": 120}
"""How long the booking row lasts; the table is held for ``held_minutes``."""

MADE_AT = datetime(2025, 9, 1, tzinfo=UTC)
"""The creation instant of every baseline and seed row: fixed, for equal rows, and before any run."""

_NAMESPACE = UUID("6d1b6f0e-2a3c-5d56-9c0f-8a3f0c2f7b11")
_PARTY_RANGE = {2: (1, 2), 4: (2, 4), 6: (3, 6), 8: (4, 8), 10: (5, 10)}
_PRIVATE_RANGE = {4: (2, 6), 6: (3, 8), 10: (5, 10)}


@dataclass(frozen=True)
class Table:
    """One table of the floor plan."""

    number: str
    capacity: int
    min_party: int
    max_party: int
    zone: str
    category: str
    seating_type: str = "standard"
    mobility: str = "movable"


_BOOTHS = ("MD-04", "MD-06", "MD-10")
_SOFAS = ("BA-05", "BA-06")
_PLAN = (
    ("MD", "Main Dining", "dining", (2, 2, 4, 4, 4, 4, 6, 6, 8, 8, 10, 10)),
    ("BA", "Bar Area", "bar", (2, 2, 4, 4, 4, 4, 6, 6)),
    ("PT", "Patio", "patio", (2, 2, 4, 4, 6, 6, 8, 8)),
    ("PR", "Private Room", "private", (4, 4, 6, 6, 10, 10)),
    ("OG", "Outdoor Garden", "patio", (2, 4, 4, 6, 6, 8)),
)


def _tables() -> Iterator[Table]:
    for prefix, zone, category, capacities in _PLAN:
        ranges = _PRIVATE_RANGE if category == "private" else _PARTY_RANGE
        for position, capacity in enumerate(capacities, start=1):
            table = Table(f"{prefix}-{position:02}", capacity, *ranges[capacity], zone, category)
            if table.number in _BOOTHS:
                table = replace(table, seating_type="booth", mobility="fixed")
            if table.number in _SOFAS:
                table = replace(table, category="lounge", seating_type="sofa", mobility="fixed")
            yield table


TABLES = tuple(_tables())


def are_adjacent(one: Table, other: Table) -> bool:
    """Two tables can be joined when they share zone and category and differ by at most two seats."""
    return (
        one is not other
        and (one.zone, one.category) == (other.zone, other.category)
        and abs(one.capacity - other.capacity) <= 2
    )


def held_minutes(party_size: int) -> int:
    """How long a party keeps its table: the turn plus five minutes to clear it."""
    return next(minutes for largest, minutes in ((2, 65), (4, 80), (6, 90), (10**6, 95)) if party_size <= largest)


def row_id(slug: str, *words: object) -> UUID:
    """The id of a row that this project makes: the same for the same venue and words."""
    return uuid5(_NAMESPACE, "/".join((slug, *map(str, words))))


def restaurant_row(slug: str) -> dict[str, Any]:
    """The venue's own row, under the names of the columns a platform may have."""
    return {
        "id": row_id(slug, "restaurant"),
        "slug": slug,
        "name": NAME if slug == SLUG else slug,
        "timezone": TIMEZONE,
        "capacity": sum(table.capacity for table in TABLES),
        "reservation_interval_minutes": INTERVAL_MINUTES,
        "reservation_default_duration_minutes": DURATION_MINUTES["lunch"],
        "reservation_last_seating_buffer_minutes": LAST_SEATING_MINUTES,
        "last_seating_buffer_minutes": LAST_SEATING_MINUTES,
        "is_active": True,
        **_made(),
    }


def rows(slug: str, restaurant_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """The baseline rows hanging from the venue's row: table name → rows, in the order to insert them."""
    zone_ids = {name: row_id(slug, "zone", name) for name in ZONES}
    own = {"restaurant_id": restaurant_id, **_made()}
    return {
        "restaurant_operating_hours": [
            {
                "id": row_id(slug, "hours", day), "day_of_week": day, "opens_at": OPENS, "closes_at": CLOSES,
                "is_closed": False, **own,
            }
            for day in range(7)
        ],
        "restaurant_service_periods": [
            {
                "id": row_id(slug, "period", name), "name": name, "start_time": start, "end_time": end,
                "booking_option": option, "booking_type": option, **own,
            }
            for name, start, end, option in (*PERIODS, DRINKS)
        ],
        "allowed_capacities": [{"capacity": capacity, **own} for capacity in ALLOWED_CAPACITIES],
        "zones": [
            {
                "id": zone_ids[name], "name": name, "sort_order": order,
                "area_type": "outdoor" if name in OUTDOOR_ZONES else "indoor", **own,
            }
            for order, name in enumerate(ZONES, start=1)
        ],
        "table_inventory": [
            {
                "id": table_id(slug, table), "table_number": table.number, "capacity": table.capacity,
                "min_party_size": table.min_party, "max_party_size": table.max_party, "zone_id": zone_ids[table.zone],
                "section": table.zone, "category": table.category, "seating_type": table.seating_type,
                "mobility": table.mobility, "status": "available", "active": True, **own,
            }
            for table in TABLES
        ],
        "table_adjacencies": [
            {"table_a": table_id(slug, one), "table_b": table_id(slug, other), **_made()}
            for pair in combinations(TABLES, 2) if are_adjacent(*pair) for one, other in (pair, pair[::-1])
        ],
    }  # fmt: skip


def table_id(slug: str, table: Table) -> UUID:
    return row_id(slug, "table", table.number)


def local_instant(day: date, at: time) -> datetime:
    """A wall-clock time at the venue as a UTC instant."""
    return datetime.combine(day, at, ZoneInfo(TIMEZONE)).astimezone(UTC)


def _made() -> dict[str, Any]:
    return {"created_at": MADE_AT, "updated_at": MADE_AT}
