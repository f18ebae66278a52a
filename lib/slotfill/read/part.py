"""A part of a large log, read by itself: its regular attempts, and the lines of all others for who reads the whole.

So what is read of a log is the same with parts and without; where parts do not fit together it is read in one go.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from slotfill.database_errors import error_places
from slotfill.read.regular import RegularAttempts
from slotfill.read.text import Irregular, plain_blocks

_MOST_LEFT = 1 << 22
"""Bytes of lines that a part may leave: handing on many takes longer than reading them."""
_IDENTITY = re.compile(rb'"correlationId":"([^"]+)"')


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
            contents = block.split(b"\n")
            errors = set(error_places(block, contents))
            for at, content in enumerate(contents):
                if content and (at in errors or not regular.take(number + at, content)):
                    left.append((number + at, content))
                    size += len(content)
                    if match := _IDENTITY.search(content):
                        left += regular.leave(match[1].decode(), False)
            if size > _MOST_LEFT:
                return None
            number += len(contents)
            regular.settle()
    except Irregular:
        return None
    left += regular.rest()
    return Part(number - 1, regular.table, sorted(left))
