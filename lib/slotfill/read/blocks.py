"""Blocks that ``console.log('[tag] what', object)`` prints, put together again from a log's lines.

A block opens with a line ``[tag] what {``, goes on in indented lines and ends with a brace in the
first column. Lines of other writers, and other blocks, may stand in between.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from slotfill.read.inspect import Unreadable, parse, parse_flat

_TAG = re.compile(r"(?:\[[A-Za-z@][^\[\]\s]*\])(?:\[[^\[\]\s]+\])*")
_OBJECT = re.compile(r" (?:\{|\[)(?=$| |[}\]])")
_TOP_KEY = re.compile(r"  ([A-Za-z_$][\w$]*|'[^']*'|\[[^\]]*\]): ")
_DEEPER = re.compile(r" {4}| {2}[}\])'\"`{\[<\d-]")
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
    flat: dict[str, Any] | None = None
    """What its object says, where that is known already."""

    @property
    def kind(self) -> str:
        """Blocks of one kind have the same keys in the same order, as a rule."""
        return f"{self.tag} {self.what}"

    def fields(self) -> dict[str, Any]:
        """What the block's object says; of a block that was cut, what came before the cut."""
        if self.flat is not None:
            return self.flat
        written = "\n".join(self.lines)
        if (flat := parse_flat(written)) is not None:
            return flat
        try:
            value = parse(written)
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


def whole_block(number: int, lines: Sequence[bytes]) -> Block | None:
    """The block that these lines are from their first to their last, if its object is one of plain scalars."""
    block = parse_header(number, lines[0].decode())
    if block is None or block.lines != ["{"]:
        return None
    block.flat = parse_flat(b"\n".join((b"{", *lines[1:])).decode())
    if block.flat is None or len(block.flat) != len(lines) - 2:  # a key that comes twice is another block's
        return None
    block.keys = list(block.flat)
    return block


class Assembler:
    """Gives each indented line to the block it belongs to; memory is bounded by the blocks open at once.

    A block that opens inside another one gets the lines that follow, as far as it can take them: it must
    lack their key and, where the order of keys in its kind of block is known, expect that key next.
    """

    def __init__(self) -> None:
        self._open: list[Block] = []
        self._last: Block | None = None
        self._orders: dict[str, list[str]] = {}  # by kind, learned line by line
        self._ends: dict[str, int] = {}

    def open(self, block: Block) -> list[Block]:
        """Take a block whose header was just read; gives back those that are complete now, or given up."""
        if not _is_open(block.lines[-1]):
            return [block]
        self._open.append(block)
        self._last = block
        return self._give_up(self._open[0]) if len(self._open) > _MOST_OPEN else []

    def take_whole(self, block: Block) -> bool:
        """Take a block whose lines stand together, as if added line by line; False where others are open."""
        if self._open or len(self._orders) >= _MOST_ORDERS - 1:
            return False
        order = self._orders.setdefault(block.kind, [])
        if block.keys[: len(order)] == order:
            order[:] = block.keys
        if len(self._ends) < _MOST_ORDERS:
            self._ends.setdefault(block.kind, len(block.keys))
        return True

    def add(self, line: str) -> list[Block] | None:
        """Take a line that may belong to an open block; ``None`` where it belongs to none."""
        if not self._open:
            return None
        if line[0] in "}])":
            return self._close(line)
        match = _TOP_KEY.match(line)
        block = self._taking(match[1]) if match else self._last if _DEEPER.match(line) else None
        if block is None:
            return None
        self._last = block
        block.lines.append(line)
        return self._give_up(block) if len(block.lines) > _MOST_LINES else []

    def rest(self) -> list[Block]:
        """The blocks that never closed: the log was cut, or is still being written."""
        rest, self._open = self._open, []
        return rest

    def _taking(self, key: str) -> Block | None:
        """The block that takes a key, which it then has."""
        lacking = [block for block in self._open if key not in block.keys]
        block = lacking[-1] if lacking else None
        if len(lacking) > 1:
            block = next((each for each in reversed(lacking) if self._expects(each, key)), block)
        if block is not None:
            if len(self._orders) < _MOST_ORDERS:
                order = self._orders.setdefault(block.kind, [])
                if block.keys == order:
                    order.append(key)
            block.keys.append(key)
        return block

    def _expects(self, block: Block, key: str) -> bool:
        order, at = self._orders.get(block.kind, []), len(block.keys)
        return order[at] == key if at < len(order) else key not in order

    def _close(self, line: str) -> list[Block]:
        block = self._closing()
        block.lines.append(line)
        if _is_open(line):
            return []
        if len(self._ends) < _MOST_ORDERS:
            self._ends.setdefault(block.kind, len(block.keys))
        return self._give_up(block)

    def _closing(self) -> Block:
        """The block that ends here: one that has all that its kind has, else the fullest of the innermost kind."""
        for block in reversed(self._open):
            if self._ends.get(block.kind) == len(block.keys):
                return block
        kind = self._open[-1].kind
        return max((block for block in reversed(self._open) if block.kind == kind), key=lambda each: len(each.keys))

    def _give_up(self, block: Block) -> list[Block]:
        self._open.remove(block)
        if block is self._last:
            self._last = self._open[-1] if self._open else None
        return [block]


def _is_open(line: str) -> bool:
    return line.endswith(("{", "["))
