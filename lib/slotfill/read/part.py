"""A part of a large log, read by itself: its regular attempts, and the lines of all others for who reads the whole.

So what is read of a log is the same with parts and without; where parts do not fit together it is read in one go.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from slotfill.read.regular import RegularAttempts
from slotfill.read.text import Irregular, plain_blocks

_MOST_LEFT = 1 << 22
"""Bytes of lines that a part may leave: handing on many takes longer than reading them."""


@dataclass(frozen=True)
class Part:
    """``left`` are the lines that are no regular attempt's, with their numbers, which count from the part's begin."""

    lines: int
    table: pa.Table
    left: list[tuple[int, bytes]]


def read_part(path: Path, start: int, end: int | None) -> Part | None:
    """From and to a byte where a line begins; ``None`` where it is not mostly regular attempts."""
    regular, number, size = RegularAttempts(part=True), 1, 0
    left: list[tuple[int, bytes]] = []
    try:
        for block in plain_blocks(path, start, end):
            numbers = range(number, number + block.count(b"\n"))
            others = regular.take(block, numbers)
            left += zip(others.numbers, others.contents, strict=True)
            size += sum(map(len, others.contents))
            if size > _MOST_LEFT:
                return None
            number = numbers.stop
        table = regular.settled(())
    except Irregular:
        return None
    return Part(number - 1, table, sorted([*left, *regular.rest()]))
