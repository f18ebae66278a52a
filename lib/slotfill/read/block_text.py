"""The excerpt that shows a figure: the whole block of a server's log, or a long line cut around what it has to show."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from slotfill.read.text import LONGEST_LINE, excerpt, lines
from slotfill.read.wrapper import Unwrapper

MOST_LINES = 30
_WIDTH = 200
_HEAD = 90
_BESIDE = 60
"""Characters of a cut line that are kept at its beginning, and on each side of what it has to show."""
_REACH = 40
"""How far from a line its block may begin or end; the platform's blocks have some twenty lines."""


def block(file: str | Path, line: int, keys: Sequence[str] = ()) -> tuple[int, str]:
    """The number of the block's first line, and its first ``MOST_LINES`` lines as printed.

    A line that stands in no block is its own excerpt, a long one cut around the ``keys`` that are in it.
    Raises BadInput for a file that cannot be read.
    """
    near = takewhile(lambda row: row.number <= line + _REACH, Unwrapper(lines(Path(file))))
    rows = {row.number: row.text.rstrip() for row in near if row.number >= line - _REACH}
    opening = next((number for number in range(line, line - _REACH, -1) if not _is_inside(rows.get(number, ""))), line)
    ends = (number for number in range(opening + 1, line + _REACH) if rows.get(number, "").startswith("}"))
    closing = next(ends, None)
    if not rows.get(opening, "").endswith("{") or closing is None or closing < line:
        return line, _cut(excerpt(file, line, LONGEST_LINE), keys)
    return opening, "\n".join(_shown(rows, opening, line, closing))


def decisive(text: str, keys: Sequence[str]) -> tuple[str, ...]:
    """What of an excerpt shows the figure: each of ``keys`` with its value, or as the text it is."""
    found = (match[0].strip() for key in keys for match in re.finditer(_assignment(key), text))
    return tuple(dict.fromkeys(found))


def _assignment(key: str) -> str:
    value = r"""("[^"]*"|'[^']*'|[^\s,}"']+)"""
    named = key.isidentifier() and not key.isupper()  # else it is a text of the platform's, which stands alone
    return rf"""["']?\b{key}["']?: ?{value}""" if named else re.escape(key)


def _cut(row: str, keys: Sequence[str]) -> str:
    """A row that is short as it is; of a long one its beginning and the surroundings of ``keys``."""
    if len(row) <= 2 * _WIDTH:
        return row
    places = [match.span() for part in decisive(row, keys) for match in re.finditer(re.escape(part), row)]
    spans = [(0, _HEAD if places else _WIDTH), *((max(0, a - _BESIDE), b + _BESIDE) for a, b in sorted(places))]
    joined: list[list[int]] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, min(end, len(row))])
    return " … ".join(row[begin:end].strip() for begin, end in joined) + ("" if joined[-1][1] >= len(row) else " …")


def _is_inside(row: str) -> bool:
    return row[:1] in (" ", "}")


def _shown(rows: dict[int, str], opening: int, line: int, closing: int) -> Iterator[str]:
    """The first line, and the next ones, or those that lead to ``line``; with a mark where some are left out."""
    start = max(opening + 1, line - MOST_LINES + 2)
    end = min(closing, start + MOST_LINES - 2)
    yield rows[opening]
    if start > opening + 1:
        yield f"  … {start - opening - 1} more lines"
    yield from (_fit(rows.get(number, "")) for number in range(start, end + 1))
    if end < closing:
        yield f"  … {closing - end} more lines"


def _fit(row: str) -> str:
    """Cut to a readable width, without what a terminal would obey."""
    plain = "".join(filter(str.isprintable, row))
    return plain if len(plain) <= _WIDTH else f"{plain[: _WIDTH - 1]}…"
