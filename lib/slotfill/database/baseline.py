"""The baseline venue in a database: what it lacks is put in, what differs is replaced in place, and ids stay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, RowMapping, Table
from sqlalchemy.dialects.postgresql import ENUM

from slotfill.database import venue
from slotfill.database.schema import Schema
from slotfill.errors import BadInput

Row = Mapping[str, Any] | RowMapping

# By what a row of the venue is known again, whatever its id. When the house is open is its own to say: opening hours
# and service periods have no key here, and are put in only where there are none at all.
_KEYS = {
    "zones": ("name",),
    "table_inventory": ("table_number",),
    "table_adjacencies": ("table_a", "table_b"),
    "allowed_capacities": ("capacity",),
}
# What decides where a party can sit; nothing else of a row that is there is touched.
_REPLACED = {
    "restaurants": (
        "timezone", "reservation_interval_minutes", "reservation_default_duration_minutes",
        "reservation_last_seating_buffer_minutes", "last_seating_buffer_minutes", "is_active",
    ),
    "zones": ("area_type",),
    "table_inventory": (
        "capacity", "min_party_size", "max_party_size", "zone_id", "category", "seating_type", "mobility", "status",
        "active",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Replacement:
    """Columns of one row to be set to the baseline's values."""

    table: Table
    key: Row
    before: Row
    after: Row

    def __str__(self) -> str:
        name = " ".join(str(value) for column, value in self.key.items() if column != "restaurant_id")
        changes = ", ".join(f"{column} {self.before[column]} -> {value}" for column, value in self.after.items())
        return f"{self.table.name} {name}: {changes}"


@dataclass(frozen=True)
class Differences:
    """What separates a venue from its baseline."""

    restaurant_id: UUID
    missing: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows to put in, in this order of tables."""
    replacements: tuple[Replacement, ...] = ()


def differences(connection: Connection, schema: Schema, slug: str) -> Differences:
    """Compare; writes nothing. Raises BadInput where there is no table of venues."""
    restaurants, wanted = restaurants_table(schema), venue.restaurant_row(slug)
    found = connection.execute(sa.select(restaurants).where(restaurants.c.slug == slug)).one_or_none()
    if found is None:
        return Differences(wanted["id"], {"restaurants": [wanted], **venue.rows(slug, wanted["id"])})
    restaurant_id: UUID = found._mapping["id"]
    replacements = list(_replacement(restaurants, {"slug": slug}, wanted, found._mapping))
    missing: dict[str, list[dict[str, Any]]] = {}
    ids: dict[UUID, UUID] = {}
    for name, baseline in venue.rows(slug, restaurant_id).items():
        if name not in schema.tables:
            continue
        table, rows = schema.tables[name], [_with_ids(row, ids) for row in baseline]
        present = _present(connection, schema, table, restaurant_id)
        if not _has_key(table):
            missing[name] = [] if present else rows
            continue
        missing[name] = [row for row in rows if _key(name, row) not in present]
        for row in rows:
            there = present.get(_key(name, row))
            if there is None:
                continue
            if "id" in row:
                ids[row["id"]] = there["id"]
            key = {"restaurant_id": restaurant_id, **{column: row[column] for column in _KEYS[name]}}
            replacements += _replacement(table, key, row, there)
    return Differences(restaurant_id, missing, tuple(replacements))


def put_venue(connection: Connection, schema: Schema, slug: str) -> UUID:
    """Make the venue its baseline; the id of its row. Raises BadInput where the platform's schema does not let us."""
    found = differences(connection, schema, slug)
    for name, rows in found.missing.items():
        schema.insert(connection, name, rows)
    for change in found.replacements:
        known = [change.table.c[name] == value for name, value in change.key.items()]
        connection.execute(sa.update(change.table).where(*known).values(dict(change.after)))
    return found.restaurant_id


def restaurants_table(schema: Schema) -> Table:
    """The table of venues. Raises BadInput where the database has none."""
    missing = schema.missing("restaurants", ("id", "slug"))
    if missing:
        raise BadInput(f"the database has no {missing}: is it the booking platform's? (slotfill doctor says more)")
    return schema.tables["restaurants"]


def _replacement(table: Table, key: Row, wanted: Row, there: Row) -> Iterator[Replacement]:
    names = [
        name
        for name in _REPLACED.get(table.name, ())
        if name in wanted and name in table.c and there[name] != wanted[name] and _has_label(table, name, wanted[name])
    ]
    if names:
        yield Replacement(table, key, {name: there[name] for name in names}, {name: wanted[name] for name in names})


def _present(connection: Connection, schema: Schema, table: Table, restaurant_id: UUID) -> dict[tuple[Any, ...], Row]:
    """The venue's rows of a table by key; of a table without a key any one."""
    if "restaurant_id" in table.c:
        of_venue = table.c.restaurant_id == restaurant_id
    else:
        floor = schema.tables["table_inventory"]
        of_venue = table.c.table_a.in_(sa.select(floor.c.id).where(floor.c.restaurant_id == restaurant_id))
    wanted = ("id", *_KEYS.get(table.name, ()), *_REPLACED.get(table.name, ()))
    columns: list[ColumnElement[Any]] = [table.c[name] for name in dict.fromkeys(wanted) if name in table.c]
    rows = connection.execute(sa.select(*columns or [sa.literal(1)]).where(of_venue)).mappings()
    return {_key(table.name, row) if _has_key(table) else (): row for row in rows}


def _has_key(table: Table) -> bool:
    return table.name in _KEYS and all(name in table.c for name in _KEYS[table.name])


def _key(name: str, row: Row) -> tuple[Any, ...]:
    return tuple(row[column] for column in _KEYS[name])


def _with_ids(row: dict[str, Any], ids: Mapping[UUID, UUID]) -> dict[str, Any]:
    """The row, pointing at the zones and tables that are there."""
    return {name: ids.get(value, value) if isinstance(value, UUID) else value for name, value in row.items()}


def _has_label(table: Table, name: str, value: Any) -> bool:
    kind = table.c[name].type
    return not isinstance(kind, ENUM) or value in kind.enums
