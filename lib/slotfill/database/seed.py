"""Bookings put in by hand: a history, and one day's worth. The same seed gives the same rows and ids."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import Range

from slotfill.database import venue
from slotfill.database.baseline import put_venue
from slotfill.database.connect import write
from slotfill.database.dependent_rows import closure
from slotfill.database.guard import Target, authorise
from slotfill.database.ownership import ownership
from slotfill.database.schema import Schema, discover
from slotfill.errors import BadInput

HISTORY_FIRST_DAY, HISTORY_DAYS, HISTORY_A_DAY = date(2025, 9, 2), 14, 10
"""The history lies on fixed days of the past, so that it is the same on whatever day it is put in."""
GUESTS = 48
TODAY = 20
"""A day's bookings: few enough that the evening still has room for what a run adds."""
SHARES = {"lunch": 0.3, "drinks": 0.1, "dinner": 0.6}
PARTY_SIZES = {2: 40, 4: 35, 3: 10, 6: 10, 8: 5}
STARTS = {"lunch": (time(12), time(15)), "drinks": (time(14), time(18)), "dinner": (time(17), time(20))}
STATUSES = {"completed": 10, "cancelled": 1, "no_show": 1}
PHONES_FROM = date(2000, 1, 1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dev", "Edie", "Finn", "Grace", "Hugo", "Iris", "Jack", "Kit", "Lena")
_LAST_NAMES = ("Archer", "Baker", "Carter", "Draper", "Fletcher", "Mason", "Potter", "Turner", "Wright")

Row = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What a party asks for."""

    day: date
    at: time
    party_size: int
    booking_type: str


@dataclass(frozen=True)
class Seat:
    """A table as the database has it."""

    id: UUID
    capacity: int
    smallest: int
    largest: int
    number: str


def seed_intelligent(database: Engine, seed: int, slug: str = venue.SLUG, *, target: Target) -> dict[str, int]:
    """Venue (where it has no tables yet), guests and a fortnight's history; rows put in, per table.

    What an earlier call with the same seed put in is replaced. Raises Refused where the guard says no.
    """
    draw = random.Random(f"history/{seed}")
    days = [HISTORY_FIRST_DAY + timedelta(day) for day in range(HISTORY_DAYS)]
    wishes = [wish for day in days for wish in plan_day(draw, day, HISTORY_A_DAY)]
    guests = [_guest(slug, draw, "history", None, seed, number) for number in range(GUESTS)]
    hosts = [guests[index % GUESTS] for index in range(len(wishes))]
    statuses = draw.choices(list(STATUSES), list(STATUSES.values()), k=len(wishes))
    return _seed(database, slug, target, ("history", seed), list(zip(wishes, hosts, statuses, strict=True)))


def seed_today(database: Engine, day: date, seed: int, slug: str = venue.SLUG, *, target: Target) -> dict[str, int]:
    """One day's confirmed bookings on tables that are free; rows put in, per table.

    About 30 % lunch, 10 % drinks, 60 % dinner. What an earlier call with the same day and seed put
    in is replaced. Raises Refused where the guard says no, BadInput where the venue is not there.
    """
    draw = random.Random(f"today/{seed}")  # not the day: what a day has room for must not change with the calendar
    wishes = plan_day(draw, day, TODAY)
    guests = [_guest(slug, draw, "today", day, seed, number) for number in range(len(wishes))]
    parties = [(wish, guest, "confirmed") for wish, guest in zip(wishes, guests, strict=True)]
    return _seed(database, slug, target, ("today", day.isoformat(), seed), parties)


def plan_day(draw: random.Random, day: date, count: int) -> list[Wish]:
    """``count`` parties in order of arrival, split by ``SHARES``."""
    wishes = []
    for booking_type, share in SHARES.items():
        first, last = (at.hour * 60 + at.minute for at in STARTS[booking_type])
        for _ in range(round(share * count)):
            minute = draw.randrange(first, last + 1, venue.INTERVAL_MINUTES)
            party_size = draw.choices(list(PARTY_SIZES), list(PARTY_SIZES.values()))[0]
            wishes.append(Wish(day, time(*divmod(minute, 60)), party_size, booking_type))
    return sorted(wishes, key=lambda wish: (wish.at, wish.party_size, wish.booking_type))


def _seed(
    database: Engine, slug: str, target: Target, words: Sequence[object], parties: Sequence[tuple[Wish, Row, str]]
) -> dict[str, int]:
    authorise(database, target)

    def work(connection: Connection) -> dict[str, int]:
        schema = discover(connection)
        for table, columns in {
            "customers": ("id",),
            "bookings": ("id",),
            "table_inventory": ("id", "capacity"),
        }.items():
            if missing := schema.missing(table, columns):
                raise BadInput(f"the database has no {missing}, so nothing can be seeded")
        _forget(connection, schema, [guest["id"] for _, guest, _ in parties])
        restaurant_id = _venue(connection, schema, slug, may_make=words[0] == "history")
        seats = _seats(connection, schema, restaurant_id)
        taken = _taken(connection, schema, seats, min(wish.day for wish, _, _ in parties))
        rows = _rows(slug, restaurant_id, words, parties, seats, taken)
        for table, content in rows.items():
            schema.insert(connection, table, content)
        return {table: len(content) for table, content in rows.items() if table in schema.tables}

    return write(database, work)


def _forget(connection: Connection, schema: Schema, guests: Iterable[UUID]) -> None:
    customers = schema.tables["customers"]
    owned = ownership(schema)
    theirs = [link for link in owned.belonging if link.child in owned.going and link.parent in owned.going]
    closure(theirs, customers, customers.c.id.in_(set(guests))).delete(connection, owned.going)


def _venue(connection: Connection, schema: Schema, slug: str, *, may_make: bool) -> UUID:
    restaurants, tables = schema.tables["restaurants"], schema.tables["table_inventory"]
    found: UUID | None = connection.scalar(sa.select(restaurants.c.id).where(restaurants.c.slug == slug))
    has_tables = sa.select(sa.exists().where(tables.c.restaurant_id == found))
    if found is not None and connection.scalar(has_tables):
        return found
    if not may_make:
        raise BadInput(f"there is no venue {slug} with tables to seed; first: slotfill db reset")
    return put_venue(connection, schema, slug)


def _seats(connection: Connection, schema: Schema, restaurant_id: UUID) -> list[Seat]:
    """The venue's usable tables, smallest first."""
    table = schema.tables["table_inventory"]
    query = sa.select(
        table.c.id,
        table.c.capacity,
        sa.func.coalesce(table.c.min_party_size, 1),
        sa.func.coalesce(table.c.max_party_size, table.c.capacity),
        table.c.table_number,
    ).where(table.c.restaurant_id == restaurant_id, table.c.active)
    return sorted((Seat(*row) for row in connection.execute(query)), key=lambda seat: (seat.capacity, seat.number))


Taken = dict[UUID, list[tuple[datetime, datetime]]]


def _taken(connection: Connection, schema: Schema, seats: Sequence[Seat], since: date) -> Taken:
    """When the tables are already given away, from a day on."""
    taken: Taken = {seat.id: [] for seat in seats}
    table = schema.tables["booking_table_assignments"]
    midnight = venue.local_instant(since, time(0))
    # A platform may write "for good" as infinity, which no datetime holds.
    start = sa.func.greatest(table.c.start_at, sa.cast(EARLIEST, sa.TIMESTAMP(timezone=True)))
    end = sa.func.least(table.c.end_at, sa.cast(LATEST, sa.TIMESTAMP(timezone=True)))
    query = sa.select(table.c.table_id, start, end).where(table.c.end_at > midnight, start < end)
    for table_id, start_at, end_at in connection.execute(query):
        if table_id in taken:
            taken[table_id].append((start_at, end_at))
    return taken


def _rows(
    slug: str,
    restaurant_id: UUID,
    words: Sequence[object],
    parties: Sequence[tuple[Wish, Row, str]],
    seats: Sequence[Seat],
    taken: Taken,
) -> dict[str, list[Row]]:
    """The rows of all parties that find a table, each table's windows free of overlap."""
    guests: dict[UUID, Row] = {}
    bookings, assignments, allocations = [], [], []
    for number, (wish, guest, status) in enumerate(parties):
        booking = _booking(slug, restaurant_id, words, number, wish, guest, status)
        if status != "cancelled":
            held = timedelta(minutes=venue.held_minutes(wish.party_size))
            window = (booking["start_at"], booking["start_at"] + held)
            seat = _free_seat(seats, taken, wish.party_size, window)
            if seat is None:
                continue
            taken[seat.id].append(window)
            assignments.append(_assignment(slug, booking, seat, window))
            allocations.append(_allocation(slug, booking, seat, window))
        guests[guest["id"]] = {"restaurant_id": restaurant_id, **guest}
        bookings.append(booking)
    return {
        "customers": list(guests.values()),
        "bookings": bookings,
        "booking_table_assignments": assignments,
        "allocations": allocations,
    }


def _free_seat(seats: Sequence[Seat], taken: Taken, party_size: int, window: tuple[datetime, datetime]) -> Seat | None:
    """The smallest table that suits the party and is free all the time."""
    start_at, end_at = window
    for seat in seats:
        suits = seat.smallest <= party_size <= min(seat.largest, seat.capacity)
        if suits and all(end_at <= start or end <= start_at for start, end in taken[seat.id]):
            return seat
    return None


def _guest(slug: str, draw: random.Random, kind: str, day: date | None, seed: int, number: int) -> Row:
    """A guest with addresses of their own: the platform lets no two of a venue share a phone or an e-mail address."""
    words = (kind, *([day.isoformat()] if day else []), seed, number)
    days = (day - PHONES_FROM).days % 100_000 if day else 0
    return {
        "id": venue.row_id(slug, "guest", *words),
        "full_name": f"{draw.choice(_FIRST_NAMES)} {draw.choice(_LAST_NAMES)}",
        "email": f"guest-{'-'.join(map(str, words))}@seed.example",
        # 07700 900000-900999 is set aside for fiction; a run's own guests have no 9 after it.
        "phone": f"+4477009009{days:05}{number % 1000:03}{seed % 10_000:04}",
        "marketing_opt_in": False,
        "created_at": venue.MADE_AT,
        "updated_at": venue.MADE_AT,
    }


def _booking(
    slug: str, restaurant_id: UUID, words: Sequence[object], number: int, wish: Wish, guest: Row, status: str
) -> Row:
    id = venue.row_id(slug, "booking", *words, number)
    start_at = venue.local_instant(wish.day, wish.at)
    end_at = start_at + timedelta(minutes=venue.DURATION_MINUTES[wish.booking_type])
    local_end = datetime.combine(wish.day, wish.at) + (end_at - start_at)
    came = status == "completed"
    return {
        "id": id,
        "restaurant_id": restaurant_id,
        "customer_id": guest["id"],
        "booking_date": wish.day,
        "start_time": wish.at,
        "end_time": local_end.time(),
        "start_at": start_at,
        "end_at": end_at,
        "party_size": wish.party_size,
        "seating_preference": "any",
        "status": status,
        "booking_type": wish.booking_type,
        "reference": f"SEED{id.hex[:8].upper()}",
        "idempotency_key": str(venue.row_id(slug, "key", *words, number)),
        "source": "seed",
        "notes": None,
        "customer_name": guest["full_name"],
        "customer_email": guest["email"],
        "customer_phone": guest["phone"],
        "checked_in_at": start_at if came else None,
        "checked_out_at": end_at if came else None,
        "cancelled_at": venue.MADE_AT if status == "cancelled" else None,
        "created_at": venue.MADE_AT,
        "updated_at": max(venue.MADE_AT, end_at) if came else venue.MADE_AT,
    }


def _assignment(slug: str, booking: Row, seat: Seat, window: tuple[datetime, datetime]) -> Row:
    return {
        "id": venue.row_id(slug, "assignment", booking["id"]),
        "booking_id": booking["id"],
        "table_id": seat.id,
        "start_at": window[0],
        "end_at": window[1],
        "assignment_window": Range(*window),
        "idempotency_key": booking["idempotency_key"],
        "created_at": venue.MADE_AT,
        "updated_at": venue.MADE_AT,
    }


def _allocation(slug: str, booking: Row, seat: Seat, window: tuple[datetime, datetime]) -> Row:
    return {
        "id": venue.row_id(slug, "allocation", booking["id"]),
        "booking_id": booking["id"],
        "restaurant_id": booking["restaurant_id"],
        "resource_type": "table",
        "resource_id": seat.id,
        "window": Range(*window),
        "created_at": venue.MADE_AT,
        "updated_at": venue.MADE_AT,
    }
