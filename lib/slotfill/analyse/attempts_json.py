"""The attempts in JSON, an object a line, written by the column: a million of them take seconds."""

from collections.abc import Iterator

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slotfill.escape import for_json

_BLOCK = 5000
"""Attempts that are written at once."""
_SPECIAL = r'[^\x20-\x7e]|["\\]'
"""What a string of JSON may not hold as it is, and what an attempt seldom has."""


def attempts_json(attempts: pd.DataFrame, between: str) -> Iterator[str]:
    """One flat object an attempt, with the columns as its fields and ``between`` before each but the first.

    Instants are ISO text in UTC to the millisecond, what is missing is ``null``.
    """
    for at in range(0, len(attempts), _BLOCK):
        text = _objects(attempts[at : at + _BLOCK], "," + between)
        yield for_json(text if at else text[1:])


def _objects(attempts: pd.DataFrame, before: str) -> str:
    pieces: list[str | pa.Array] = []
    written = before + "{"
    for number, name in enumerate(attempts.columns):
        column = _array(attempts[name])
        written += f'{"," if number else ""}"{name}":'
        if column.null_count == len(column):
            written += "null"
        else:
            pieces += [written, pc.fill_null(_texts(column), "null")]
            written = ""
    rows = pc.binary_join_element_wise(*pieces, written + "}", "")
    return str(rows.buffers()[2], "utf-8")  # one row stands behind the other


def _array(column: pd.Series) -> pa.Array:
    array = pa.array(column, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _texts(column: pa.Array) -> pa.Array:
    """Each value in JSON; nothing for one that is missing."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        instants = pc.floor_temporal(column, unit="millisecond").cast(pa.timestamp("ms")).cast(pa.string())
        return pc.binary_join_element_wise('"', pc.binary_replace_slice(instants, 10, 11, "T"), 'Z"', "")
    if pa.types.is_floating(kind):
        return pa.array(msgspec.json.encode(column.to_pylist())[1:-1].decode().split(","))
    if not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pc.any(pc.match_substring_regex(column, _SPECIAL)).as_py():
        known = column.dictionary_encode()
        return pa.array(msgspec.json.encode(each).decode() for each in known.dictionary.to_pylist()).take(known.indices)
    return pc.binary_join_element_wise('"', column.cast(pa.string()), '"', "")
