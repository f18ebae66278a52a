"""The platform's schema as it is: which tables, columns and references are there, and what is missing."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.exc import SAWarning

from slotfill.errors import BadInput


@dataclass(frozen=True)
class Expected:
    """What the platform's description promises of one table, and what cannot work without it."""

    columns: tuple[str, ...]
    disables: str


def _expected(columns: str, disables: str) -> Expected:
    return Expected(tuple(columns.split()), disables)


CONTRACT: Mapping[str, Expected] = {
    "restaurants": _expected("id slug timezone", "everything: the venue is not found"),
    "restaurant_operating_hours": _expected("restaurant_id", "the venue's hours"),
    "restaurant_service_periods": _expected("restaurant_id", "the venue's lunch and dinner periods"),
    "zones": _expected("id restaurant_id name sort_order", "zones of the floor plan"),
    "table_inventory": _expected(
        "id restaurant_id table_number capacity min_party_size max_party_size zone_id category seating_type mobility "
        "status active",
        "tables, seat waste, and the checks of overlaps and capacity",
    ),
    "table_adjacencies": _expected("table_a table_b", "combinations of tables"),
    "allowed_capacities": _expected("restaurant_id capacity", "the capacities tables may have"),
    "customers": _expected("id restaurant_id full_name email phone", "seeding guests"),
    "bookings": _expected(
        "id restaurant_id customer_id booking_date start_time end_time start_at end_at party_size seating_preference "
        "status booking_type reference idempotency_key source notes customer_name customer_email customer_phone "
        "auto_assign_last_result created_at updated_at",
        "polling, settling attempts after a crash, and most integrity checks",
    ),
    "booking_table_assignments": _expected(
        "id booking_id table_id start_at end_at assignment_window idempotency_key created_at",
        "knowing which tables a booking got, and the checks of overlaps",
    ),
    "allocations": _expected("id", "the platform's own record of allocations"),
    "table_holds": _expected("id booking_id start_at end_at expires_at", "the checks of holds"),
    "table_hold_members": _expected("hold_id table_id", "which tables a hold keeps"),
    "table_hold_windows": _expected("hold_id table_id hold_window", "the check of overlapping holds"),
    "booking_state_history": _expected(
        "booking_id from_status to_status changed_at reason metadata", "the instant of confirmation (poll lag)"
    ),
    "observability_events": _expected(
        "source event_type booking_id context created_at", "seeing the background job from outside"
    ),
}

# References the contract implies by a column's name, for platforms that declare no foreign key there.
_IMPLIED = {
    "restaurant_id": "restaurants",
    "booking_id": "bookings",
    "customer_id": "customers",
    "zone_id": "zones",
    "table_id": "table_inventory",
    "table_a": "table_inventory",
    "table_b": "table_inventory",
    "hold_id": "table_holds",
}

# A foreign key may point into another schema, so tables that are not on the search path count as well.
_HIDDEN = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
       CASE WHEN row_security_active(c.oid) THEN 'row level security hides rows of'
            ELSE 'the role may not read' END AS why
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (row_security_active(c.oid)
       OR NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT'))
"""


# A partition's rows, and its keys, are those of the table it is a part of.
_PARTITIONS = "SELECT relname FROM pg_class WHERE relispartition AND relnamespace = current_schema()::regnamespace"


@dataclass(frozen=True)
class Reference:
    """Columns of one table that point at columns of another; ``declared`` by a foreign key or implied by name."""

    child: Table
    columns: tuple[Column[Any], ...]
    parent: Table
    parent_columns: tuple[Column[Any], ...]
    declared: bool
    on_delete: str = "NO ACTION"

    @property
    def is_self(self) -> bool:
        """It points at rows of its own table."""
        return self.child is self.parent

    @property
    def nullable(self) -> bool:
        """It can be cut by setting its columns to NULL."""
        return all(column.nullable for column in self.columns)

    def __str__(self) -> str:
        return f"{self.child.name}({', '.join(column.name for column in self.columns)}) -> {self.parent.name}"


@dataclass(frozen=True)
class Schema:
    """The tables found on the connection's search path, by name, and the references between them."""

    tables: Mapping[str, Table]
    references: Sequence[Reference]
    hidden: Mapping[str, str] = field(default_factory=dict)
    """Tables of which the role does not see every row, and why."""

    def missing(self, table: str, columns: Sequence[str] = ()) -> str | None:
        """What is not there of a table and its columns, as ``table`` or ``table.column, …``; None if all is there."""
        if table not in self.tables:
            return table
        absent = [f"{table}.{column}" for column in columns if column not in self.tables[table].c]
        return ", ".join(absent) or None

    def insert(self, connection: Connection, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, leaving out the columns this version of the platform does not have.

        Raises BadInput where the platform demands a column that the rows do not bring.
        """
        if name not in self.tables or not rows:
            return
        table = self.tables[name]
        known = [column for column in table.c if column.name in rows[0] and column.computed is None]
        unmet = [column.name for column in table.c if _demanded(column) and column.name not in rows[0]]
        if unmet:
            raise BadInput(f"table {name} demands {', '.join(unmet)}, which this project does not know how to fill")
        for column in known:
            _check_labels(column, rows)
        connection.execute(table.insert().values([{column.name: row[column.name] for column in known} for row in rows]))


def discover(connection: Connection) -> Schema:
    """Read the schema from the catalog; needs no rights on the tables themselves."""
    metadata = MetaData()
    with warnings.catch_warnings():
        # Column types and indexes of extensions that SQLAlchemy does not know are none of our business.
        warnings.simplefilter("ignore", SAWarning)
        metadata.reflect(connection)
    partitions = set(connection.scalars(sa.text(_PARTITIONS)))
    tables = {
        table.name: table for table in metadata.tables.values() if table.schema is None and table.name not in partitions
    }
    hidden = {row.name: row.why for row in connection.execute(sa.text(_HIDDEN))}
    return Schema(tables, [*_declared(tables), *_implied(tables)], hidden)


def _declared(tables: Mapping[str, Table]) -> Iterator[Reference]:
    for table in tables.values():
        for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
            if constraint.referred_table.schema is None and constraint.referred_table.name not in tables:
                continue  # a partition's share of a key that points at the whole table
            pairs = [(element.parent, element.column) for element in constraint.elements]
            children, parents = zip(*pairs, strict=True)
            on_delete = (constraint.ondelete or "NO ACTION").upper()
            yield Reference(table, children, constraint.referred_table, parents, declared=True, on_delete=on_delete)


def _implied(tables: Mapping[str, Table]) -> Iterator[Reference]:
    for table in tables.values():
        for name, target in _IMPLIED.items():
            if name not in table.c or target not in tables or "id" not in tables[target].c:
                continue
            column, key = table.c[name], tables[target].c["id"]
            if not column.foreign_keys and type(column.type) is type(key.type):
                yield Reference(table, (column,), tables[target], (key,), declared=False)


def _demanded(column: Column[Any]) -> bool:
    """Whether an insert must bring the column: no NULL, no default, nothing that fills it."""
    filled = column.server_default is not None or column.identity is not None or column.computed is not None
    return not column.nullable and not filled


def _check_labels(column: Column[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if not isinstance(column.type, ENUM):
        return
    strange = {row[column.name] for row in rows} - {None, *column.type.enums}
    if strange:
        labels = ", ".join(column.type.enums)
        raise BadInput(f"{column.table.name}.{column.name} allows {labels}, not {', '.join(sorted(strange))}")
