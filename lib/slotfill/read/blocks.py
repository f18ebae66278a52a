"""Blocks that ``console.log('[tag] what', object)`` prints, put together again from a log's lines.

A block opens with a line ``[tag] what {``, goes on in indented lines and ends with a brace in the
first column. Lines of other writers, and other blocks, may stand in between.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from slotfill.read.inspect import Unreadable, flat_pattern, flat_value, parse, parse_flat

_TAG = re.compile(r"(?:\[[A-Za-z@][^\[\]\s]*\])(?:\[[^\[\]\s]+\])*")
_OBJECT = re.compile(r" (?:\{|\[)(?=$| |[}\]])")
_TOP_KEY = re.compile(r"  ([A-Za-z_$][\w$]*|'[^']*'|\[[^\]]*\]): ")
_DEEPER = re.compile(r" {4}| {2}[}\])'\"`{\[<\d-]")
_MOST_OPEN = 32
_MOST_LINES = 2000
_MOST_ORDERS = 500
_HIGHEST = 40  # lines of a block that is looked for as a whole
_MOST_SHAPES = 200


@dataclass(slots=True)
class Block:
    """One block: ``[auto-assign][job] attempt.start {…}`` has tag ``[auto-assign][job]``, what ``attempt.start``."""

    tag: str
    what: str
    first_line: int
    lines: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Blocks of one kind have the same keys in the same order, as a rule."""
        return f"{self.tag} {self.what}"

    def fields(self) -> dict[str, Any]:
        """What the block's object says; of a block that was cut, what came before the cut."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Blocks that differ in their values only: header, keys and their order are the same."""

    tag: str
    what: str
    keys: tuple[str, ...]
    wanted: tuple[str, ...]
    """The keys whose values are read, in their order."""
    height: int
    """Lines."""
    match: Callable[[bytes], re.Match[bytes] | None]
    """Of the lines below the header."""


class WholeBlocks:
    """Reads blocks of plain scalars whose lines stand together, which most do, by the shapes of those before.

    Of their objects only what is ``wanted``.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._shapes: dict[bytes, list[Shape]] = {}
        self._seen: set[tuple[bytes, tuple[str, ...]]] = set()

    def read(self, lines: Sequence[bytes], at: int) -> tuple[Shape, dict[str, Any]] | None:
        """The block that begins at a line: its shape and what its object says; ``None`` for anything else."""
        header = lines[at]
        for shape in self._shapes.get(header, ()):
            if match := shape.match(b"\n".join(lines[at + 1 : at + shape.height])):
                return shape, dict(zip(shape.wanted, map(flat_value, match.groups()), strict=True))
        if not (header.startswith(b"[") and header.endswith(b" {")):
            return None
        end = next((each for each in range(at + 1, min(at + _HIGHEST, len(lines))) if lines[each] == b"}"), at)
        return self._learn(header, lines[at + 1 : end + 1]) if end > at + 1 else None

    def _learn(self, header: bytes, body: Sequence[bytes]) -> tuple[Shape, dict[str, Any]] | None:
        """The same without a shape; what comes a second time is remembered."""
        block = parse_header(0, header.decode())
        if block is None or block.lines != ["{"]:
            return None
        fields = parse_flat(b"\n".join((b"{", *body)).decode())
        if fields is None or len(fields) != len(body) - 1:  # a key that comes twice is another block's
            return None
        keys, is_known = tuple(fields), (header, tuple(fields)) in self._seen
        wanted = tuple(key for key in keys if key in self._wanted)
        match = flat_pattern(keys, wanted).fullmatch if is_known else lambda _: None
        shape = Shape(block.tag, block.what, keys, wanted, len(keys) + 2, match)
        if is_known:
            self._shapes.setdefault(header, []).append(shape)
        elif len(self._seen) < _MOST_SHAPES:
            self._seen.add((header, keys))
        return shape, fields


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
        self._whole: set[Shape] = set()

    def open(self, block: Block) -> list[Block]:
        """Take a block whose header was just read; gives back those that are complete now, or given up."""
        if not _is_open(block.lines[-1]):
            return [block]
        self._open.append(block)
        self._last = block
        return self._give_up(self._open[0]) if len(self._open) > _MOST_OPEN else []

    def take_whole(self, shape: Shape) -> bool:
        """Take a block whose lines stand together, as if added line by line; False where others are open."""
        if self._open:
            return False
        if shape in self._whole:  # a second time teaches nothing
            return True
        if len(self._orders) >= _MOST_ORDERS - 1:
            return False
        kind, keys = f"{shape.tag} {shape.what}", list(shape.keys)
        order = self._orders.setdefault(kind, [])
        if keys[: len(order)] == order:
            order[:] = keys
        if len(self._ends) < _MOST_ORDERS:
            self._ends.setdefault(kind, len(keys))
        if len(self._whole) < _MOST_SHAPES:
            self._whole.add(shape)
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
