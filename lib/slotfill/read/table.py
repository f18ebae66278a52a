"""The attempts of a log as a table: the columns of ``Attempt`` that a log tells, ``created_at`` and ``events``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from slotfill import events
from slotfill.attempt import DTYPES
from slotfill.events import parse_instant
from slotfill.read.attempt_record import AttemptRecord
from slotfill.read.columns import ARROW_TYPES
from slotfill.read.rules import Rule, integer, number, tables_of, text, truth

_INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        *((name, ARROW_TYPES[dtype]) for name, dtype in DTYPES.items() if name != "file"),
        ("created_at", _INSTANT),
        ("events", pa.int64()),
    ]
)
_OWN = ("first_line", "last_line", "created_at", "events")
_PLACE = ("slot", "party_size", "worker")
_FIRST_INSTANT = -62135596800_000_000
"""The begin of the year 1 in µs; Arrow knows earlier ones, Python and we do not."""


def instants(texts: pa.Array) -> pa.Array:
    """Texts, read as ``parse_instant`` reads them."""
    try:
        read = pc.cast(texts, _INSTANT)
        earliest = pc.min(pc.cast(read, pa.int64())).as_py()
        if earliest is None or earliest >= _FIRST_INSTANT:
            return read
    except pa.ArrowInvalid:
        pass
    return pa.array(map(parse_instant, texts.to_pylist()), _INSTANT)


def facts(rules: tuple[Rule, ...], lines: pa.Table, attempts: NDArray[np.int64], count: int) -> Iterator[Any]:
    """What lines of one kind say of ``count`` attempts: each fact with its column, of two for one the later counts.

    ``attempts``: which of them a line is of; a later line of an attempt counts more than one before it.
    """
    for source, fact, read in rules:
        column = lines[source] if source in lines.column_names else None
        if column is not None and column.null_count < len(column):
            yield fact, latest(_read(column.combine_chunks(), read), attempts, count)


def latest(column: pa.Array, attempts: NDArray[np.int64], count: int) -> pa.Array:
    """For each attempt the last value that a line of it has."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    row_of = np.full(count, -1)
    row_of[attempts[rows]] = rows  # of equal ones the last stays
    return column.take(pa.array(row_of, mask=row_of < 0))


def _read(column: pa.Array, read: Any) -> pa.Array:
    """A column of a line's fields, read by a rule's reader."""
    if read in (number, integer, truth):
        return column
    if read is parse_instant:
        return instants(column)
    if read in (text, tables_of):
        texts = pc.binary_join(column, ",") if read is tables_of else column
        is_empty = pc.equal(texts, "")
        return pc.if_else(is_empty, None, texts) if pc.any(is_empty).as_py() else texts
    known = column.dictionary_encode()
    return pa.array(map(read, known.dictionary.to_pylist()), pa.string()).take(known.indices)


def only(which: NDArray[np.bool_], rows: pa.Table) -> pa.Table:
    """Some rows; all of them without a copy."""
    return rows if which.all() else rows.filter(pa.array(which))


def records_of(table: pa.Table, file: Path) -> list[AttemptRecord]:
    """The rows of a table as the records that ``ClientLog`` would have made of their lines."""
    names = [name for name in table.column_names if name not in _OWN]
    told = zip(*(table[name].to_pylist() for name in names), strict=True)
    own = zip(*(table[name].to_pylist() for name in _OWN), strict=True)
    return [
        AttemptRecord(
            file,
            first_line,
            {name: value for name, value in zip(names, row, strict=True) if value is not None},
            count,
            last_line,
            {events.FINAL_SUMMARY},
            created_at,
        )
        for row, (first_line, last_line, created_at, count) in zip(told, own, strict=True)
    ]


def stand_ins(table: pa.Table, file: Path) -> list[AttemptRecord]:
    """Records with only what tells the place of an attempt: for what has to look at all attempts of a file."""
    places = zip(*(table[name].to_pylist() for name in ("first_line", *_PLACE)), strict=True)
    return [
        AttemptRecord(
            file,
            line,
            {name: value for name, value in zip(_PLACE, place, strict=True) if value is not None},
            steps={events.FINAL_SUMMARY},
        )
        for line, *place in places
    ]
