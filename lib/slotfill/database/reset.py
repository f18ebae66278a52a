"""Put one venue back to its baseline, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine

from slotfill.database import venue
from slotfill.database.baseline import differences, put_venue, restaurants_table
from slotfill.database.connect import address, reading, write
from slotfill.database.dependent_rows import Closure, closure
from slotfill.database.guard import Target, authorise
from slotfill.database.ownership import Ownership, hidden, keys_from_outside, ownership, triggers, ways_beyond
from slotfill.database.schema import Schema, discover
from slotfill.errors import Refused

_JOBS = """
DELETE FROM {queue} WHERE status <> 'doing' AND EXISTS (
    SELECT FROM jsonb_each_text(args) AS argument WHERE argument.value = ANY(:bookings))"""


@dataclass(frozen=True)
class ResetPlan:
    """What a reset would do, row by row of the venue; it writes nothing."""

    deletes: Mapping[str, int]
    """Rows that go, per table."""
    adds: Mapping[str, int]
    """Rows of the baseline that the venue lacks, per table."""
    replaces: Sequence[str]
    """What differs from the baseline and is replaced in place."""
    lose_reference: Mapping[str, int]
    """Rows that stay and lose what they point at (``table.column``), as their keys say (ON DELETE SET NULL)."""
    triggers: Sequence[str]
    """What runs on the platform's own account while rows go and come."""
    obstacles: Sequence[str]
    """Why it is refused; empty where it is not."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """For a person, before anything is done."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"{count:6d}  {table}" for table, count in self.deletes.items())
        yield f"{sum(self.deletes.values()):6d}  rows would go"
        yield from (f"{count:6d}  {table} would be put in" for table, count in self.adds.items())
        yield from (f"{count:6d}  {column} would be set to NULL" for column, count in self.lose_reference.items())
        yield from (f"would be replaced: {each}" for each in self.replaces)
        yield from (f"would run: trigger {each}" for each in self.triggers)
        yield from (f"IN THE WAY: {each}" for each in self.obstacles)


def reset(database: Engine, slug: str = venue.SLUG, *, target: Target) -> dict[str, int]:
    """Put the venue back to its baseline in one transaction; the number of rows that went, per table.

    What bookings made goes: bookings, guests, holds, and what hangs from them by foreign keys. The venue itself stays,
    with its ids and with what others hung onto it; of the baseline, what is missing comes in and what differs is
    replaced in place (see ``plan_reset``).

    Raises Refused where the guard says no or where rows of others would be touched, BadInput where the platform's
    schema stands in the way.
    """
    authorise(database, target)

    def work(connection: Connection) -> dict[str, int]:
        schema = discover(connection)
        _lock(connection, schema, slug)
        owned = ownership(schema)
        rows = _venue_rows(schema, owned, slug)
        if obstacles := _obstacles(connection, schema, owned, rows):
            raise Refused(f"{address(database.url)}: {'; '.join(obstacles)}; nothing was written")
        if target.layout is not None:
            _forget_jobs(connection, schema, slug, target.layout.queue)
        gone = rows.delete(connection, owned.going, owned.cut)
        put_venue(connection, schema, slug)
        return gone

    return write(database, work)


def plan_reset(database: Engine, slug: str = venue.SLUG) -> ResetPlan:
    """The dry run of a reset. Writes nothing."""
    with reading(database) as connection:
        schema = discover(connection)
        owned = ownership(schema)
        rows = _venue_rows(schema, owned, slug)
        obstacles = _obstacles(connection, schema, owned, rows)
        unseen = hidden(schema, owned.tables | {link.child for link in owned.loose})
        going = {table.name for table in owned.going} - set(unseen)
        changes = None if unseen else differences(connection, schema, slug)
        return ResetPlan(
            deletes={} if unseen else {name: n for name, n in rows.count(connection).items() if name in going},
            adds={name: len(added) for name, added in changes.missing.items() if added} if changes else {},
            replaces=[str(change) for change in changes.replacements] if changes else (),
            lose_reference={} if unseen else rows.pointing(connection, owned.loose),
            triggers=list(triggers(connection, owned.tables)),
            obstacles=obstacles,
        )


def checksum(database: Engine, slug: str = venue.SLUG) -> dict[str, str]:
    """``count:md5`` of the venue's rows, per table: equal for equal rows.

    Left out are columns that the database fills by itself and this project does not set, such as
    a serial number: they differ between rows that are otherwise the same.
    """
    with reading(database) as connection:
        schema = discover(connection)
        known = {"restaurants": venue.restaurant_row(slug), **_first_rows(slug)}
        unstable = [
            f"{table.name}.{column.name}"
            for table in schema.tables.values()
            for column in table.c
            if _fills_itself(column) and column.name not in known.get(table.name, {column.name: None})
        ]
        return _venue_rows(schema, ownership(schema), slug).checksums(connection, unstable)


def _venue_rows(schema: Schema, owned: Ownership, slug: str) -> Closure:
    restaurants = restaurants_table(schema)
    return closure(owned.belonging, restaurants, restaurants.c.slug == slug)


def _obstacles(connection: Connection, schema: Schema, owned: Ownership, rows: Closure) -> list[str]:
    """Where deleting would reach what we do not see or what is not the platform's."""
    unseen = hidden(schema, owned.tables | {link.child for link in owned.loose})
    found = [f"{why} {name}, and a reset would delete what it does not see" for name, why in sorted(unseen.items())]
    if unseen:
        return found
    found += [
        f"{way}, and a reset touches the platform's tables alone" for way in ways_beyond(connection, owned.tables)
    ]
    for key in keys_from_outside(connection, owned.going):
        count = rows.pointing_from(connection, key) if key.readable else None
        if count is None:
            found.append(f"{key.table} points at {key.parent}, and the role may not read it")
        elif count:
            found.append(
                f"{count} rows of {key.table}, which is not the platform's, point at rows of {key.parent} that go"
            )
    return found


def _lock(connection: Connection, schema: Schema, slug: str) -> None:
    """Keep the platform from hanging new rows onto the venue while its rows go."""
    restaurants = restaurants_table(schema)
    connection.execute(sa.select(restaurants.c.id).where(restaurants.c.slug == slug).with_for_update())
    bookings = schema.tables.get("bookings")
    if bookings is not None:
        ours = sa.select(restaurants.c.id).where(restaurants.c.slug == slug).scalar_subquery()
        query = sa.select(bookings.c.id).where(bookings.c.restaurant_id == ours)
        connection.execute(query.order_by(bookings.c.id).with_for_update())


def _forget_jobs(connection: Connection, schema: Schema, slug: str, queue: str) -> None:
    """Take the queue's jobs for the venue's bookings away, so that none runs for a booking that is gone."""
    if schema.missing(queue, ("args", "status")) or schema.missing("bookings", ("id", "restaurant_id")):
        return
    restaurants, bookings = restaurants_table(schema), schema.tables["bookings"]
    query = sa.select(sa.cast(bookings.c.id, sa.Text)).join(restaurants, restaurants.c.id == bookings.c.restaurant_id)
    ids = connection.scalars(query.where(restaurants.c.slug == slug)).all()
    connection.execute(sa.text(_JOBS.format(queue=queue)), {"bookings": list(ids)})


def _first_rows(slug: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: rows[0] for name, rows in venue.rows(slug, venue.row_id(slug, "restaurant")).items()}


def _fills_itself(column: Column[Any]) -> bool:
    default = str(getattr(column.server_default, "arg", ""))
    words = ("nextval", "random", "uuid", "now(", "timestamp", "CURRENT_")
    return column.identity is not None or any(word in default for word in words)
