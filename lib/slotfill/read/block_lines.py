"""The lines of a block of a log: what each is, and what is decoded of those that a regular attempt may have."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from slotfill.database_errors import error_places
from slotfill.outcomes import CONFIRMED_OUTCOMES, OUTCOMES
from slotfill.read.json_lines import Decoder, Places
from slotfill.read.line_kinds import CONFIRMED, KINDS, UNUSUAL
from slotfill.read.rules import LARGEST
from slotfill.read.table import instants, only

_STAMP = 25
"""Bytes of a line before its kind: a bracket and an instant."""
_BEGINS = pa.array([kind.begin for kind in KINDS], pa.binary())
_LONGEST = _STAMP + max(len(kind.begin) for kind in KINDS) + 1
_RANK_OF = np.array([kind.rank for kind in KINDS])
_NOT_CONFIRMED = pa.array([each for each in OUTCOMES if each not in CONFIRMED_OUTCOMES])
_NO_WORD = b"Inf"
"""Arrow takes it for a number; JSON has none of that name."""
_TEXT, _BYTES = pa.string(), pa.binary()


class BlockLines:
    """``rank`` of each line, -1 of one that is no regular attempt's; of the others ``kind`` and ``at``, its instant.

    ``rows``: the fields of the lines of a rank, and their places. ``errors``: the places of lines that may tell one.
    """

    def __init__(self, block: bytes, decoders: Mapping[int, Decoder]) -> None:
        """The lines are of UTF-8, each with its line end; ``decoders`` are those of the ranks."""
        self._block = block
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
        self._offsets = np.concatenate(([0], ends)).astype(np.int32)
        lines = self._cut(_TEXT, self._offsets)
        self.errors = error_places(lines)
        self.rank = np.full(len(lines), -1)
        self.rows: dict[int, tuple[Places, pa.Table]] = {}
        if b"Z] [INFO] [" in block:
            self._decode(lines, _NO_WORD in block, decoders)

    def contents(self, places: Places) -> list[bytes]:
        """Lines without their line ends."""
        starts, ends = self._offsets[places].tolist(), (self._offsets[places + 1] - 1).tolist()
        return [self._block[start:end] for start, end in zip(starts, ends, strict=True)]

    def size(self, places: Places) -> int:
        """The bytes of lines."""
        return int(np.diff(self._offsets)[places].sum())

    def _cut(self, kind: pa.DataType, offsets: NDArray[np.int32]) -> pa.Array:
        return pa.Array.from_buffers(kind, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(self._block)])

    def _decode(self, lines: pa.Array, may_have_no_word: bool, decoders: Mapping[int, Decoder]) -> None:
        braces = pc.find_substring(lines, ' {"').to_numpy()
        starts, ends = self._offsets[:-1], self._offsets[1:]
        middles = np.where(braces < 0, ends, starts + braces + 1)
        halves = self._cut(_BYTES, np.append(np.column_stack((starts, middles)).ravel(), ends[-1:]))
        heads = halves.take(pa.array(np.arange(0, len(halves), 2)))
        kind = pc.fill_null(pc.index_in(pc.binary_slice(heads, _STAMP, _LONGEST), _BEGINS), -1).to_numpy()
        is_known = (kind >= 0) & _truth(pc.starts_with(heads, "[")) & _truth(pc.ends_with(lines, "}\n"))
        is_known[self.errors] = False
        if may_have_no_word:
            is_known &= ~_truth(pc.match_substring(lines, _NO_WORD.decode()))
        known = np.flatnonzero(is_known)
        at = instants(pc.binary_slice(heads.take(pa.array(known)), 1, _STAMP).view(_TEXT))
        known = known[_truth(at.is_valid())]
        place_of = np.full(len(lines), -1)
        place_of[known] = np.arange(len(known))
        self.kind, self.at = kind, at.drop_null().take(pa.array(place_of, mask=place_of < 0))
        for rank, decode in decoders.items():
            places = known[_RANK_OF[kind[known]] == rank]
            if len(places):
                fields, decoded = decode(halves.take(pa.array(2 * places + 1)))
                fields = fields.flatten()
                is_regular = _is_regular(rank, fields)
                if is_regular.any():
                    places = places[decoded][is_regular]
                    self.rank[places] = rank
                    self.rows[rank] = places, only(is_regular, fields).combine_chunks()


def _is_regular(rank: int, fields: pa.Table) -> NDArray[np.bool_]:
    """Which lines say nothing but what a column holds."""
    if "correlationId" not in fields.column_names:
        return np.zeros(len(fields), bool)
    is_regular = _truth(pc.fill_null(pc.not_equal(fields["correlationId"], ""), False))
    for name, column in zip(fields.column_names, fields.columns, strict=True):
        if column.null_count == len(column):
            continue
        if name.partition(".")[0] in UNUSUAL:
            is_regular &= _truth(column.is_null())
        elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            is_small = pc.and_(pc.greater(column, -LARGEST), pc.less(column, LARGEST))  # and NaN is neither
            is_regular &= _truth(pc.fill_null(is_small, True))
        elif pa.types.is_list(column.type):
            within = pc.list_parent_indices(column).filter(pc.list_flatten(column).is_null())
            is_regular[within.to_numpy()] = False
    if rank == CONFIRMED and "status" in fields.column_names:
        is_regular &= ~_truth(pc.is_in(fields["status"], _NOT_CONFIRMED))
    return is_regular


def _truth(values: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.array(array.to_numpy(zero_copy_only=False), bool)
