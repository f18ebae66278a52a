"""Put one venue back to its baseline, and nothing else."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, Table

from slotfill.database import venue
from slotfill.database.connect import reading, write
from slotfill.database.dependent_rows import Closure, closure
from slotfill.database.guard import Target, authorise
from slotfill.database.schema import CONTRACT, Schema, discover
from slotfill.errors import BadInput

ACCOUNTS = "auth"
"""The schema of the users' accounts, on a platform that has them in the database (Supabase)."""

_JOBS = """
DELETE FROM procrastinate_jobs WHERE status <> 'doing' AND EXISTS (
    SELECT FROM jsonb_each_text(args) AS argument WHERE argument.value = ANY(:bookings))"""


def reset(database: Engine, slug: str = venue.SLUG, *, target: Target) -> dict[str, int]:
    """Put the venue back to its baseline in one transaction; the number of rows that went, per table.

    The venue's own row stays, with its id and the columns this project does not know. Every row
    that hangs from it by foreign keys goes, then the baseline comes in. What merely mentions the venue
    stays too: rows that would outlive it (ON DELETE SET NULL), and who of the users may work there.

    Raises Refused where the guard says no, BadInput where the platform's schema stands in the way.
    """
    authorise(database, target)

    def work(connection: Connection) -> dict[str, int]:
        schema = discover(connection)
        _lock(connection, schema, slug)
        rows = _venue_rows(schema, slug)
        if target.embedded:
            _forget_jobs(connection, schema, slug)
        gone = rows.delete(connection, keep_root=True)
        put_venue(connection, schema, slug)
        return gone

    return write(database, work)


def rows_to_go(database: Engine, slug: str = venue.SLUG) -> dict[str, int]:
    """The dry run of a reset: how many rows it would delete, per table. Writes nothing."""
    with reading(database) as connection:
        counts = _venue_rows(discover(connection), slug).count(connection)
    return {name: count for name, count in counts.items() if name != "restaurants"}


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
        return _venue_rows(schema, slug).checksums(connection, unstable)


def put_venue(connection: Connection, schema: Schema, slug: str) -> UUID:
    """Put the baseline venue in, where its rows are not there yet; the id of the venue's row."""
    restaurants = _restaurants(schema)
    wanted = venue.restaurant_row(slug)
    found = connection.execute(sa.select(restaurants).where(restaurants.c.slug == slug)).one_or_none()
    if found is None:
        schema.insert(connection, "restaurants", [wanted])
    else:
        fixed = {"id", "created_at", "updated_at"} | (set() if slug == venue.SLUG else {"name"})
        changes = {
            name: value
            for name, value in wanted.items()
            if name in restaurants.c and name not in fixed and found._mapping[name] != value
        }
        if changes:
            connection.execute(sa.update(restaurants).where(restaurants.c.slug == slug).values(changes))
    restaurant_id: UUID = wanted["id"] if found is None else found._mapping["id"]
    for table, rows in venue.rows(slug, restaurant_id).items():
        schema.insert(connection, table, rows)
    return restaurant_id


def _venue_rows(schema: Schema, slug: str) -> Closure:
    restaurants = _restaurants(schema)
    staff = {link.child for link in schema.references if link.parent.schema == ACCOUNTS} - _contract_tables(schema)
    belonging = [
        link
        for link in schema.references
        if link.parent is not restaurants or not (link.child in staff or link.on_delete.startswith("SET"))
    ]
    return closure(belonging, restaurants, restaurants.c.slug == slug)


def _contract_tables(schema: Schema) -> set[Table]:
    return {schema.tables[name] for name in CONTRACT if name in schema.tables}


def _restaurants(schema: Schema) -> Table:
    missing = schema.missing("restaurants", ("id", "slug"))
    if missing:
        raise BadInput(f"the database has no {missing}: is it the booking platform's? (slotfill doctor says more)")
    return schema.tables["restaurants"]


def _lock(connection: Connection, schema: Schema, slug: str) -> None:
    """Keep the platform from hanging new rows onto the venue while its rows go."""
    restaurants = _restaurants(schema)
    connection.execute(sa.select(restaurants.c.id).where(restaurants.c.slug == slug).with_for_update())
    bookings = schema.tables.get("bookings")
    if bookings is not None:
        ours = sa.select(restaurants.c.id).where(restaurants.c.slug == slug).scalar_subquery()
        query = sa.select(bookings.c.id).where(bookings.c.restaurant_id == ours)
        connection.execute(query.order_by(bookings.c.id).with_for_update())


def _forget_jobs(connection: Connection, schema: Schema, slug: str) -> None:
    """Take the queue's jobs for the venue's bookings away, so that none runs for a booking that is gone."""
    if schema.missing("procrastinate_jobs", ("args", "status")) or schema.missing("bookings", ("id", "restaurant_id")):
        return
    restaurants, bookings = _restaurants(schema), schema.tables["bookings"]
    query = sa.select(sa.cast(bookings.c.id, sa.Text)).join(restaurants, restaurants.c.id == bookings.c.restaurant_id)
    ids = connection.scalars(query.where(restaurants.c.slug == slug)).all()
    connection.execute(sa.text(_JOBS), {"bookings": list(ids)})


def _first_rows(slug: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: rows[0] for name, rows in venue.rows(slug, venue.row_id(slug, "restaurant")).items()}


def _fills_itself(column: Column[Any]) -> bool:
    default = str(getattr(column.server_default, "arg", ""))
    words = ("nextval", "random", "uuid", "now(", "timestamp", "CURRENT_")
    return column.identity is not None or any(word in default for word in words)
