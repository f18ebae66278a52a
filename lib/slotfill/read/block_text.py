"""The whole block of a server's log that a line belongs to: what ``util.inspect`` printed, not its first line only."""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from slotfill.read.text import excerpt, lines
from slotfill.read.wrapper import Unwrapper

MOST_LINES = 12
_WIDTH = 200
_REACH = 40
"""How far from a line its block may begin or end; the platform's blocks have some twenty lines."""


def block(file: str | Path, line: int) -> tuple[int, str]:
    """The number of the block's first line, and its first ``MOST_LINES`` lines as printed.

    A line that stands in no block is its own excerpt. Raises BadInput for a file that cannot be read.
    """
    near = takewhile(lambda row: row.number <= line + _REACH, Unwrapper(lines(Path(file))))
    rows = {row.number: row.text.rstrip() for row in near if row.number >= line - _REACH}
    opening = next((number for number in range(line, line - _REACH, -1) if not _is_inside(rows.get(number, ""))), line)
    ends = (number for number in range(opening + 1, line + _REACH) if rows.get(number, "").startswith("}"))
    closing = next(ends, None)
    if not rows.get(opening, "").endswith("{") or closing is None or closing < line:
        return line, excerpt(file, line, _WIDTH)
    return opening, "\n".join(_shown(rows, opening, line, closing))


def _is_inside(row: str) -> bool:
    return row[:1] in (" ", "}")


def _shown(rows: dict[int, str], opening: int, line: int, closing: int) -> Iterator[str]:
    """The first line, and the next ones, or those that lead to ``line``; with a mark where some are left out."""
    start = max(opening + 1, line - MOST_LINES + 2)
    end = min(closing, start + MOST_LINES - 2)
    yield rows[opening]
    if start > opening + 1:
        yield f"  … {start - opening - 1} more lines"
    yield from (_fit(rows[number]) for number in range(start, end + 1))
    if end < closing:
        yield f"  … {closing - end} more lines"


def _fit(row: str) -> str:
    """Cut to a readable width, without what a terminal would obey."""
    plain = "".join(filter(str.isprintable, row))
    return plain if len(plain) <= _WIDTH else f"{plain[: _WIDTH - 1]}…"
