"""Blocks that ``console.log('[tag] what', object)`` prints, put together again from a log's lines.

A block opens with a line ``[tag] what {``, goes on in indented lines and ends with a brace in the
first column. Lines of other writers, and other blocks, may stand in between.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from slotfill.read.inspect import Unreadable, parse

_TAG = re.compile(r"(?:\[[A-Za-z@][^\[\]\s]*\])(?:\[[^\[\]\s]+\])*")
_OBJECT = re.compile(r" (?:\{|\[)(?=$| |[}\]])")
_TOP_KEY = re.compile(r"  ([A-Za-z_$][\w$]*|'[^']*'|\[[^\]]*\]): ")
_MOST_OPEN = 32
_MOST_LINES = 2000
_MOST_ORDERS = 500


@dataclass(slots=True)
class Block:
    """One block: ``[auto-assign][job] attempt.start {…}`` has tag ``[auto-assign][job]``, what ``attempt.start``."""

    tag: str
    what: str
    first_line: int
    lines: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """What the block's object says; of a block that was cut, what came before the cut."""
        try:
            value = parse("\n".join(self.lines))
        except Unreadable as error:
            value = error.partial
        return value if isinstance(value, dict) else {}


def parse_header(number: int, line: str) -> Block | None:
    """The block a tagged line opens; it has no lines where the line carries no object."""
    tag = _TAG.match(line)
    if tag is None:
        return None
    opening = _OBJECT.search(line, tag.end())
    end = opening.start() if opening else len(line)
    return Block(tag[0], line[tag.end() : end].strip(), number, [line[end + 1 :]] if opening else [])


class Assembler:
    """Gives each indented line to the block it belongs to; memory is bounded by the blocks open at once.

    A line goes to the block touched last, unless that one already has its key, or another one is
    known, from earlier blocks of its kind, to expect this key next.
    """

    def __init__(self) -> None:
        self._open: list[Block] = []  # the one touched last is last
        self._orders: dict[str, tuple[str, ...]] = {}

    def open(self, block: Block) -> list[Block]:
        """Take a block whose header was just read; gives back those that are complete now, or given up."""
        if not _is_open(block.lines[-1]):
            return [block]
        self._open.append(block)
        return [self._open.pop(0)] if len(self._open) > _MOST_OPEN else []

    def add(self, line: str) -> list[Block] | None:
        """Take a line that may belong to an open block; ``None`` where it belongs to none."""
        if not self._open:
            return None
        if line[0] in "}])":
            return self._close(line)
        if match := _TOP_KEY.match(line):
            block = self._expecting(match[1])
            if block is None:
                return None
            block.keys.append(match[1])
        else:
            block = self._open[-1]
        self._touch(block)
        block.lines.append(line)
        return self._give_up(block) if len(block.lines) > _MOST_LINES else []

    def rest(self) -> list[Block]:
        """The blocks that never closed: the log was cut, or is still being written."""
        rest, self._open = self._open, []
        return rest

    def _close(self, line: str) -> list[Block]:
        block = self._closing()
        block.lines.append(line)
        if _is_open(line):
            return []
        if len(self._orders) < _MOST_ORDERS:
            self._orders.setdefault(block.tag + block.what, tuple(block.keys))
        return self._give_up(block)

    def _closing(self) -> Block:
        """The block that ends here: the last touched, unless only another one has all it usually has."""
        if len(self._open) == 1:
            return self._open[0]
        complete = [block for block in self._open if self._next_key(block) == ""]
        return complete[-1] if complete else self._open[-1]

    def _expecting(self, key: str) -> Block | None:
        if len(self._open) == 1:
            return self._open[0] if key not in self._open[0].keys else None
        lacking = [block for block in self._open if key not in block.keys]
        expecting = [block for block in lacking if self._next_key(block) == key]
        candidates = expecting or lacking
        return candidates[-1] if candidates else None

    def _next_key(self, block: Block) -> str | None:
        """The key that comes next in such a block, ``""`` at its end, ``None`` where that is not known."""
        order = self._orders.get(block.tag + block.what)
        if order is None or tuple(block.keys) != order[: len(block.keys)]:
            return None
        return order[len(block.keys)] if len(block.keys) < len(order) else ""

    def _touch(self, block: Block) -> None:
        if self._open[-1] is not block:
            self._open.remove(block)
            self._open.append(block)

    def _give_up(self, block: Block) -> list[Block]:
        self._open.remove(block)
        return [block]


def _is_open(line: str) -> bool:
    return line.endswith(("{", "["))
