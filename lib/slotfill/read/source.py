"""The printers of a file's lines: what is going on in the lines of each, and which of them were not understood."""

from dataclasses import dataclass, replace
from pathlib import Path

from slotfill.masking import mask
from slotfill.read.blocks import Assembler
from slotfill.read.noise import NoiseFilter

_SHOWN = 40


@dataclass(frozen=True)
class Unread:
    """The lines of a file that were not understood: how many, the first, and what is wrong with that one."""

    file: str
    lines: int
    first_line: int
    what: str


class Source:
    """One printer's lines: a wrapper may mix several, and a block goes on in the lines of its own printer only."""

    def __init__(self, noise: NoiseFilter) -> None:
        self.blocks = Assembler()
        self.noise = noise
        self._first: Unread | None = None
        self._unread_lines = 0
        self.speaks_of_bookings = False

    def count(self, path: Path, number: int, content: str, problem: str | None) -> None:
        """Count a line that was not understood; only the first is looked at."""
        if self._first is None:
            what = problem or f"it begins {mask(content.strip(), _SHOWN)!r}"
            self._first = Unread(str(path), 1, number, what)
        self._unread_lines += 1

    @property
    def unread(self) -> Unread | None:
        """The lines that were not understood; ``None`` where all were."""
        return replace(self._first, lines=self._unread_lines) if self._first else None
