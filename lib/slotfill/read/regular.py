"""The attempts of a client log that went as most do, from its lines straight into columns.

An attempt is regular when its lines come in their order (started, submitted, created, polled, confirmed), each once
and each with the fields and types that the platform prints. A block of lines is looked at as a whole: what its lines
begin with tells their kind, the fields of a kind are decoded at once, and the attempts that were confirmed are added to
the table. Any other line, and any attempt with such a line, is left to ``ClientLog``, the reader of everything; what
both say of an attempt is the same, and tests hold them against each other.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from slotfill.read.block_lines import BlockLines
from slotfill.read.json_lines import Decoder, Places
from slotfill.read.line_kinds import CONFIRMED, FIELDS, INSTANTS, KINDS, POLLED, RULES, STARTED
from slotfill.read.table import SCHEMA, facts, latest, only
from slotfill.read.text import Irregular

_IDENTITY = re.compile(rb'"correlationId": ?"([^"\\]+)"')
_DECODERS = {rank: Decoder(schema) for rank, schema in FIELDS.items()}
"""Of all files: most have the same fields, and a decoder learns which these are."""
MOST_OPEN = 1 << 20
"""Bytes of lines of attempts that are under way: what a log leaves open is looked at again with each block."""


class Left(NamedTuple):
    """Lines that are of no regular attempt; ``errors``: which of them may speak of one, see ``error_places``."""

    numbers: Sequence[int]
    contents: Sequence[bytes]
    errors: Sequence[int]


class RegularAttempts:
    """Takes the lines of a log in their order, many at once; ``table`` has the regular attempts.

    Of a ``part`` of a log only those that begin in it are taken.
    """

    def __init__(self, part: bool = False) -> None:
        self._part = part
        self._open: list[tuple[int, bytes]] = []
        self._left: set[str] = set()
        self._tables: list[pa.Table] = []

    def take(self, block: bytes, numbers: Sequence[int]) -> Left:
        """Take lines, each with its line end and its number; gives back those that are of no regular attempt."""
        if self._open:
            numbers = [*(number for number, _ in self._open), *numbers]
            block = b"".join(content + b"\n" for _, content in self._open) + block
        lines = BlockLines(block, _DECODERS)
        if not lines.rows:
            self._note(block)
            return Left(numbers, block.split(b"\n")[:-1], lines.errors)
        self._note(b"\n".join(lines.contents(np.flatnonzero(lines.rank < 0))))
        attempts = _Attempts(lines)
        is_left = attempts.is_odd | _is_in(attempts.names, self._left)
        if self._part:
            is_left |= lines.rank[attempts.first] != STARTED
        is_done = ~is_left & (lines.rank[attempts.last] == CONFIRMED)
        is_open = ~is_left & ~is_done
        if lines.size(attempts.places(is_open)) > MOST_OPEN:
            is_left, is_open = ~is_done, np.zeros_like(is_open)
        self._left.update(attempts.names.filter(pa.array(is_left)).to_pylist())
        number_of = np.asarray(numbers)
        if is_done.any():
            self._tables.append(attempts.table(is_done, number_of))
        lines.rank[attempts.places(is_left)] = -1
        left, still_open = np.flatnonzero(lines.rank < 0), attempts.places(is_open)
        self._open = list(zip(number_of[still_open].tolist(), lines.contents(still_open), strict=True))
        errors = np.searchsorted(left, lines.errors).tolist()
        return Left(number_of[left].tolist(), lines.contents(left), errors)

    def _note(self, text: bytes) -> None:
        """Leave the attempts that odd lines speak of."""
        if b'"correlationId"' in text:
            self._left.update(identity.decode() for identity in _IDENTITY.findall(text))

    def has_left(self, identity: str) -> bool:
        """Whether an attempt is no regular one, so that all its lines were given back."""
        return identity in self._left

    def adopt(self, table: pa.Table, lines_before: int) -> None:
        """Take the attempts that a part of the log told of."""
        for name in ("first_line", "last_line", "summary_line"):
            moved = pc.add(table[name], lines_before)
            table = table.set_column(table.column_names.index(name), name, moved)
        self._tables.append(table)

    def rest(self) -> list[tuple[int, bytes]]:
        """The lines of the attempts that were not confirmed, in the order of the log."""
        rest, self._open = self._open, []
        return rest

    def settled(self, others: Iterable[str]) -> pa.Table:
        """The regular attempts. Raises Irregular where one is told of twice, or is among the ``others``, by id."""
        table = pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()
        ids = table["correlation_id"]
        if pc.count_distinct(ids).as_py() < len(table) or pc.any(pc.is_in(ids, pa.array(others, pa.string()))).as_py():
            raise Irregular
        return table


class _Attempts:
    """The attempts that the lines of a block are of, in the order of their first lines there.

    ``names`` are their ids, ``first`` and ``last`` the places of their lines, ``is_odd`` tells those whose lines do not
    come in their order.
    """

    def __init__(self, lines: BlockLines) -> None:
        self._lines = lines
        places = np.concatenate([places for places, _ in lines.rows.values()])
        ids = pa.chunked_array([fields["correlationId"].combine_chunks() for _, fields in lines.rows.values()])
        order = np.argsort(places)
        encoded = ids.combine_chunks().take(pa.array(order)).dictionary_encode()
        self.names = encoded.dictionary
        of_line = encoded.indices.to_numpy()
        by_attempt = np.argsort(of_line, kind="stable")
        self._of, self._places = of_line[by_attempt], places[order][by_attempt]
        is_next = self._of[1:] == self._of[:-1]
        rank = lines.rank[self._places]
        is_wrong = is_next & ((rank[1:] < rank[:-1]) | ((rank[1:] == rank[:-1]) & (rank[1:] != POLLED)))
        self.is_odd = np.bincount(self._of[1:], is_wrong, len(self.names)) > 0
        self.first = self._places[np.flatnonzero(np.append(True, ~is_next))]
        self.last = self._places[np.flatnonzero(np.append(~is_next, True))]

    def places(self, which: NDArray[np.bool_]) -> Places:
        """Where the lines of some attempts are."""
        return np.sort(self._places[which[self._of]])

    def table(self, which: NDArray[np.bool_], numbers: NDArray[np.int64]) -> pa.Table:
        """A row for each of some attempts, whose lines have these numbers."""
        lines, count = self._lines, int(which.sum())
        row_of = np.where(which, np.cumsum(which) - 1, -1)
        row = np.full(len(lines.rank), -1)
        row[self._places] = row_of[self._of]
        last = self.last[which]
        columns = {
            "first_line": numbers[self.first[which]],
            "last_line": numbers[last],
            "summary_line": numbers[last],
            "events": np.bincount(self._of, minlength=len(which))[which],
            "seams": np.zeros(count, np.int64),
            "outcome": pa.array([KINDS[kind].outcome for kind in lines.kind[last]], pa.string()),
        }
        for rank, (every_place, every_field) in lines.rows.items():
            is_wanted = row[every_place] >= 0
            places, fields = every_place[is_wanted], only(is_wanted, every_field)
            rows = row[places]
            if rank in INSTANTS:
                columns[INSTANTS[rank]] = latest(lines.at.take(pa.array(places)), rows, count)
            for fact, column in facts(RULES[rank], fields, rows, count):
                columns[fact] = pc.coalesce(column, columns[fact]) if fact in columns else column
        return pa.table({kind.name: columns.get(kind.name, pa.nulls(count, kind.type)) for kind in SCHEMA}, SCHEMA)


def _is_in(names: pa.Array, known: Iterable[str]) -> NDArray[np.bool_]:
    is_known = pc.is_in(names, pa.array(known, pa.string()))
    return np.array(is_known.to_numpy(zero_copy_only=False), bool)
