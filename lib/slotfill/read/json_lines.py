"""JSON objects, one a line, decoded straight into columns."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from numpy.typing import NDArray

Places = NDArray[np.int64]
_MOST_REFUSED = 100
"""A dozen of them find one odd line among thousands; lines that are all odd would take longer than any reader needs."""
_WORTH_IT = 1 << 16
"""Bytes from which on it pays to look which fields there are."""


class Decoder:
    """Decodes the lines of one kind, many at once.

    It remembers which fields lines had: what it gives does not depend on that, how long it takes does.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._seen: set[str] = set()

    def __call__(self, lines: pa.Array) -> tuple[pa.Table, Places]:
        """The fields of the schema that there are, one row a line; and which of the lines these are.

        Each line ends with a line end. One that is no JSON object, or has a field twice or of another type than the
        schema's, is left out; where there are many of them, so are others. Fields that the schema does not name are
        read over.
        """
        text = _text(lines, 0, len(lines))
        schema = self._schema_of(text) if text.size > _WORTH_IT else self._schema
        decoded = list(_halves(lines, schema))
        if not decoded:
            return schema.empty_table(), np.empty(0, np.int64)
        return pa.concat_tables([table for table, _ in decoded]), np.concatenate([places for _, places in decoded])

    def _schema_of(self, text: pa.Buffer) -> pa.Schema:
        """Without the fields that no line had so far: a line takes time for each of them."""
        offsets = pa.py_buffer(np.array([0, text.size], np.int32))
        whole = pa.Array.from_buffers(pa.string(), 1, [None, offsets, text])
        while new := pc.extract_regex(whole, self._new())[0].as_py():
            if not new["name"]:
                return self._schema
            self._seen.add(new["name"])
        return pa.schema([field for field in self._schema if field.name in self._seen])

    def _new(self) -> str:
        """The name of a field that no line had so far; or an escape, with which one may be spelt otherwise."""
        unseen = (re.escape(name) for name in self._schema.names if name not in self._seen)
        return rf'\\u|"(?P<name>{"|".join(unseen)})"'


def _halves(lines: pa.Array, schema: pa.Schema) -> Iterator[tuple[pa.Table, Places]]:
    """All at once where that goes; else by halves, until what does not go is alone, or ``_MOST_REFUSED`` did not go."""
    todo, refused = [(0, len(lines))], 0
    while todo:
        start, end = todo.pop()
        if (table := _decoded(_text(lines, start, end), end - start, schema)) is not None:
            yield table, np.arange(start, end)
        elif end - start > 1 and refused < _MOST_REFUSED:
            middle, refused = (start + end) // 2, refused + 1
            todo += [(middle, end), (start, middle)]


def _text(lines: pa.Array, start: int, end: int) -> pa.Buffer:
    """Some lines, as they stand one behind the other in memory."""
    _, offsets, text = lines.buffers()
    first, last = np.frombuffer(offsets, np.int32)[[lines.offset + start, lines.offset + end]].tolist()
    return text.slice(first, last - first)


def _decoded(text: pa.Buffer, count: int, schema: pa.Schema) -> pa.Table | None:
    """So many objects; ``None`` where it is anything else."""
    options = pa.json.ReadOptions(use_threads=False, block_size=text.size + 1)
    wanted = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        table = pa.json.read_json(pa.BufferReader(text), options, wanted)
    except pa.ArrowInvalid:
        return None
    return table if len(table) == count else None
