"""The rows that hang from a root row by foreign keys, table by table, whatever tables the platform has.

A row belongs to the venue when one of its references leads there. A row that belongs to the venue
*and* to another one is never taken: whoever deletes must stop there instead.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CTE, Column, ColumnElement, Connection, Table
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from slotfill.database.ownership import OutsideKey
from slotfill.database.schema import Reference
from slotfill.errors import BadInput


@dataclass(frozen=True)
class Owned:
    """The rows of one table that belong to the root; ``rows`` is a SELECT of them as a CTE."""

    table: Table
    mine: ColumnElement[bool]
    shared: ColumnElement[bool]
    """True for a row that belongs to another root as well."""
    rows: CTE


@dataclass(frozen=True)
class Closure:
    """The root's rows and all that hangs from them, parents before children.

    ``loops`` are the references against that order (a cycle of foreign keys), to be cut before deleting.
    """

    tables: Sequence[Owned]
    loops: Sequence[Reference]

    def count(self, connection: Connection) -> dict[str, int]:
        """How many rows each table holds, the root's own table included."""
        parts = [
            sa.select(sa.literal(owned.table.name), sa.func.count()).select_from(owned.rows) for owned in self.tables
        ]
        return dict(connection.execute(sa.union_all(*parts)).all())

    def checksums(self, connection: Connection, unstable: Sequence[str] = ()) -> dict[str, str]:
        """``count:md5`` of each table's rows as JSON, columns named in ``unstable`` (``table.column``) left out."""
        parts = []
        for owned in self.tables:
            left_out = [name.partition(".")[2] for name in unstable if name.startswith(f"{owned.table.name}.")]
            row = sa.func.to_jsonb(owned.rows.table_valued())
            text = sa.cast(row.op("-")(sa.cast(left_out, ARRAY(sa.Text))), sa.Text)
            all_rows = sa.func.string_agg(text, aggregate_order_by(sa.literal("|"), text))
            digest = sa.func.md5(sa.func.coalesce(all_rows, ""))
            parts.append(sa.select(sa.literal(owned.table.name), sa.func.count(), digest).select_from(owned.rows))
        return {name: f"{count}:{digest}" for name, count, digest in connection.execute(sa.union_all(*parts))}

    def delete(self, connection: Connection, going: Collection[Table], cut: Sequence[Reference] = ()) -> dict[str, int]:
        """Delete the rows of the tables ``going``, children before parents; the number of rows that went, per table.

        References against that order, and those of ``cut`` (from rows that stay), are set to NULL before. Raises
        BadInput, before anything is deleted, where a row belongs to another root too.
        """
        tables = [owned for owned in self.tables if owned.table in going]
        self._refuse_shared(connection, tables)
        for link in (*(loop for loop in self.loops if loop.child in going and loop.parent in going), *cut):
            self._cut(connection, link)
        return {
            owned.table.name: connection.execute(sa.delete(owned.table).where(owned.mine)).rowcount
            for owned in reversed(tables)
        }

    def pointing(self, connection: Connection, links: Sequence[Reference]) -> dict[str, int]:
        """How many rows point at the root's by each of the links, as ``table.column``; none where none do."""
        counts = {}
        for link in links:
            owned = self._owned(link.parent)
            where = _leads_to(link.columns, link.parent_columns, owned.rows)
            count = connection.scalar(sa.select(sa.func.count()).select_from(link.child).where(where))
            if count:
                counts[f"{link.child.name}.{link.columns[0].name}"] = count
        return counts

    def pointing_from(self, connection: Connection, key: OutsideKey) -> int:
        """How many rows of another schema's table point at the root's."""
        schema, _, name = key.table.partition(".")
        child = sa.table(name, *(sa.column(column) for column in key.columns), schema=schema)
        owned = next(owned for owned in self.tables if owned.table.name == key.parent)
        parents = [owned.table.c[name] for name in key.parent_columns]
        where = _leads_to(tuple(child.c), parents, owned.rows)
        return connection.scalar(sa.select(sa.func.count()).select_from(child).where(where)) or 0

    def _owned(self, table: Table) -> Owned:
        return next(owned for owned in self.tables if owned.table is table)

    def _refuse_shared(self, connection: Connection, tables: Sequence[Owned]) -> None:
        parts = [
            sa.select(sa.literal(owned.table.name), sa.func.count()).where(owned.mine, owned.shared)
            .select_from(owned.table)
            for owned in tables
        ]  # fmt: skip
        counts = connection.execute(sa.union_all(*parts)).all() if parts else []
        shared = [f"{name} ({count})" for name, count in counts if count]
        if shared:
            raise BadInput(
                f"rows of {', '.join(shared)} belong to this venue and to another one; "
                "deleting them would touch the other, so nothing was changed"
            )

    def _cut(self, connection: Connection, loop: Reference) -> None:
        if loop.is_self:
            return  # a row may go together with those it points at in its own table
        if not loop.nullable:
            raise BadInput(f"the foreign keys form a ring that cannot be cut: {loop} may not be NULL")
        points_here = _leads_to(loop.columns, loop.parent_columns, self._owned(loop.parent).rows)
        values: dict[Any, Any] = dict.fromkeys(loop.columns)
        connection.execute(sa.update(loop.child).where(points_here).values(values))


def closure(references: Sequence[Reference], root: Table, of_root: ColumnElement[bool]) -> Closure:
    """The closure of the rows of ``root`` that fulfil ``of_root``, along the references that mean belonging."""
    order, loops = _order(references, root)
    ours, others = {root: _rows("own", root, of_root)}, {root: _rows("other", root, sa.not_(of_root))}
    owned = [Owned(root, of_root, sa.false(), ours[root])]
    for table in order[1:]:
        links = [link for link in references if link.child is table and link.parent in ours]
        mine = _any_leads_to(links, ours)
        elsewhere = _any_leads_to(links, others)
        ours[table], others[table] = _rows("own", table, mine), _rows("other", table, elsewhere)
        owned.append(Owned(table, mine, elsewhere, ours[table]))
    return Closure(owned, loops)


def _rows(whose: str, table: Table, condition: ColumnElement[bool]) -> CTE:
    return sa.select(table).where(condition).cte(f"{whose}_{table.name}")


def _any_leads_to(links: Sequence[Reference], rows: Mapping[Table, CTE]) -> ColumnElement[bool]:
    return sa.or_(*(_leads_to(link.columns, link.parent_columns, rows[link.parent]) for link in links))


def _leads_to(
    columns: Sequence[ColumnElement[Any]], parent_columns: Sequence[Column[Any]], rows: CTE
) -> ColumnElement[bool]:
    keys = sa.select(*(rows.c[column.name] for column in parent_columns))
    return sa.tuple_(*columns).in_(keys) if len(columns) > 1 else columns[0].in_(keys)


def _order(references: Sequence[Reference], root: Table) -> tuple[list[Table], list[Reference]]:
    """All tables reachable from the root, parents first, and the references that a cycle leaves pointing backwards."""
    reachable = [root]
    for table in reachable:  # grows while it is walked: breadth first
        children = dict.fromkeys(link.child for link in references if link.parent is table)
        reachable += [child for child in children if child not in reachable]
    links = [link for link in references if link.parent in reachable and link.child in reachable]
    order, waiting = [root], reachable[1:]
    while waiting:
        pending = [link for link in links if link.child in waiting and link.parent in waiting and not link.is_self]
        ready = [table for table in waiting if all(link.child is not table for link in pending)]
        order.append((ready or _cuttable(waiting, pending))[0])
        waiting.remove(order[-1])
    position = {table: index for index, table in enumerate(order)}
    return order, [link for link in links if position[link.parent] >= position[link.child]]


def _cuttable(waiting: Sequence[Table], pending: Sequence[Reference]) -> list[Table]:
    """The tables of a ring to go first, best ones first: those whose references in it may be NULL."""
    ring = [table for table in waiting if table in _ancestors(table, pending)]
    return sorted(ring, key=lambda table: not all(link.nullable for link in pending if link.child is table))


def _ancestors(table: Table, links: Sequence[Reference]) -> list[Table]:
    found = [table]
    for child in found:  # grows while it is walked
        found += [link.parent for link in links if link.child is child and link.parent not in found[1:]]
    return found[1:]
