"""Which tables hold what bookings made, and which hold the venue itself: the first go with a reset, the second stay.

Tables that this project has never heard of go along where they hang from a booking, a guest or a hold. Where they hang
from the venue, its tables or its zones alone (staff, invites, loyalty programmes, demand profiles), they are no
booking's, and stay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from slotfill.database.schema import Reference, Schema

VENUE = (
    "restaurants",
    "restaurant_operating_hours",
    "restaurant_service_periods",
    "allowed_capacities",
    "zones",
    "table_inventory",
    "table_adjacencies",
)
MADE_BY_BOOKINGS = (
    "customers",
    "bookings",
    "booking_table_assignments",
    "allocations",
    "table_holds",
    "table_hold_members",
    "table_hold_windows",
    "booking_state_history",
    "observability_events",
)

# Keys of tables that are not on the search path; those of partitions are their parent's.
_FROM_OUTSIDE = """
SELECT n.nspname AS schema, c.relname AS child, p.relname AS parent,
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
        AS readable,
    ARRAY(SELECT attname::text FROM unnest(con.conkey) WITH ORDINALITY AS key(number, at)
          JOIN pg_attribute ON attrelid = c.oid AND attnum = number ORDER BY at) AS columns,
    ARRAY(SELECT attname::text FROM unnest(con.confkey) WITH ORDINALITY AS key(number, at)
          JOIN pg_attribute ON attrelid = p.oid AND attnum = number ORDER BY at) AS parent_columns
FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = con.confrelid
WHERE con.contype = 'f' AND con.conparentid = 0 AND n.nspname <> current_schema()
  AND p.relnamespace = current_schema()::regnamespace AND p.relname = ANY(:tables) ORDER BY 1, 2, con.conname"""

_TRIGGERS = """
SELECT c.relname, t.tgname, p.proname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgparentid = 0
  AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:tables) ORDER BY 1, 2"""

# What a statement on a table reaches besides its own rows: a rule rewrites it, and it goes on to tables that inherit
# and to partitions on another server. Other partitions are the table itself.
_BEYOND = """
WITH RECURSIVE tree AS (
    SELECT c.oid, c.relname, c.oid AS child FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:tables)
    UNION SELECT tree.oid, tree.relname, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.child
)
SELECT tree.relname || ' has the rule ' || r.rulename AS way FROM tree JOIN pg_rewrite r ON r.ev_class = tree.child
WHERE r.ev_type <> '1' AND r.ev_enabled <> 'D'
UNION ALL SELECT 'rows of ' || tree.relname || ' may lie in ' || n.nspname || '.' || c.relname
    || CASE c.relkind WHEN 'f' THEN ', on another server' ELSE ', which inherits from it' END
FROM tree JOIN pg_class c ON c.oid = tree.child JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' OR (tree.child <> tree.oid AND NOT c.relispartition) ORDER BY 1"""


@dataclass(frozen=True)
class OutsideKey:
    """A foreign key of a table in another schema that points at one of ours."""

    table: str
    parent: str
    readable: bool
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Ownership:
    """The platform's tables and references, sorted by whose they are."""

    going: frozenset[Table]
    """What bookings made."""
    staying: frozenset[Table]
    """The venue itself."""
    belonging: tuple[Reference, ...]
    """References by which a row of either kind belongs to a venue."""
    cut: tuple[Reference, ...]
    """References from rows that stay to rows that go: set to NULL first, so that no cascade follows them."""
    loose: tuple[Reference, ...]
    """References of others that the database itself sets to NULL (ON DELETE SET NULL) when their row goes."""

    @property
    def tables(self) -> frozenset[Table]:
        return self.going | self.staying


def ownership(schema: Schema) -> Ownership:
    """Sort what the schema has; see ``Ownership``."""
    staying = frozenset(schema.tables[name] for name in VENUE if name in schema.tables)
    made = {schema.tables[name] for name in MADE_BY_BOOKINGS if name in schema.tables}
    going = frozenset(_with_dependents(schema, made, staying))
    known = staying | made
    return Ownership(
        going,
        staying,
        belonging=tuple(
            link
            for link in schema.references
            if (link.child in known and link.parent in staying | going)
            or (link.child in going and link.parent in going and not _is_loose(link, known))
        ),
        cut=tuple(link for link in schema.references if link.child in staying and link.parent in going),
        loose=tuple(
            link
            for link in schema.references
            if link.parent in going and link.child not in staying and _is_loose(link, known)
        ),
    )


def keys_from_outside(connection: Connection, going: frozenset[Table]) -> list[OutsideKey]:
    """Foreign keys of other schemas' tables to tables that go."""
    found = connection.execute(sa.text(_FROM_OUTSIDE), {"tables": [table.name for table in going]})
    return [
        OutsideKey(f"{row.schema}.{row.child}", row.parent, row.readable, tuple(row.columns), tuple(row.parent_columns))
        for row in found
    ]


def ways_beyond(connection: Connection, tables: frozenset[Table]) -> list[str]:
    """Where a statement on these tables reaches others, a sentence each."""
    return list(connection.scalars(sa.text(_BEYOND), {"tables": [table.name for table in tables]}))


def triggers(connection: Connection, tables: frozenset[Table]) -> Iterator[str]:
    """``trigger on table runs function()`` for each trigger that a person put there."""
    for table, trigger, function in connection.execute(
        sa.text(_TRIGGERS), {"tables": [table.name for table in tables]}
    ):
        yield f"{trigger} on {table} runs {function}()"


def hidden(schema: Schema, tables: frozenset[Table]) -> Mapping[str, str]:
    """Those of the tables of which the role does not see every row, and why."""
    return {table.name: schema.hidden[table.name] for table in tables if table.name in schema.hidden}


def _with_dependents(schema: Schema, made: set[Table], staying: frozenset[Table]) -> list[Table]:
    going = sorted(made, key=lambda table: table.name)
    for table in going:  # grows while it is walked
        going += [
            child
            for child in dict.fromkeys(link.child for link in schema.references if link.parent is table)
            if child not in going
            and child not in staying
            and any(
                not _is_loose(link, made) for link in schema.references if link.child is child and link.parent is table
            )
        ]
    return going


def _is_loose(link: Reference, known: frozenset[Table] | set[Table]) -> bool:
    """A row of another's table that outlives what it points at; in tables we know, the row is a booking's anyway."""
    return link.on_delete.startswith("SET") and link.child not in known
