"""One log file, read line by line: what a line is, and who takes it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from slotfill.events import HEADER, Event, parse_event
from slotfill.masking import mask
from slotfill.read.blocks import Assembler, Block, parse_header
from slotfill.read.client_log import ClientLog, Run
from slotfill.read.noise import NoiseFilter
from slotfill.read.server_log import ServerLog, Sign, sign_of
from slotfill.read.text import lines
from slotfill.read.wrapper import Unwrapper

_MOST_SIGNS = 200  # of one kind in one file; the rest is counted
_LONGEST_SIGN = 300
_SHOWN = 40


@dataclass(frozen=True)
class Unread:
    """The lines of a file that were not understood: how many, the first, and what is wrong with that one."""

    file: str
    lines: int
    first_line: int
    what: str


class _Source:
    """One printer's lines: a wrapper may mix several, and a block goes on in the lines of its own printer only."""

    def __init__(self, noise: NoiseFilter) -> None:
        self.blocks = Assembler()
        self.noise = noise
        self.unread: Unread | None = None
        self.speaks_of_bookings = False

    def count(self, unread: Unread) -> None:
        """Count a line that was not understood."""
        self.unread = replace(self.unread, lines=self.unread.lines + 1) if self.unread else unread


class LogFile:
    """One file, read line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = ClientLog(path)
        self.server = ServerLog(path)
        self.wrapper: str | None = None
        self.is_empty = True
        self.signs: dict[str, list[Sign]] = {}
        self.understood = False
        """Whether any line speaks of a booking."""
        self.died: list[Run] = []
        self._sources: dict[str, _Source] = {}
        self._source = _Source(NoiseFilter())

    @property
    def unread(self) -> Unread | None:
        """The lines not understood; of several printers, those of the ones that speak of bookings."""
        sources = list(self._sources.values())
        counted = [each.unread for each in sources if each.speaks_of_bookings] or [each.unread for each in sources]
        known = [each for each in counted if each]
        if not known:
            return None
        return replace(min(known, key=lambda each: each.first_line), lines=sum(each.lines for each in known))

    def read(self) -> None:
        """Take all lines."""
        unwrapper = Unwrapper(lines(self.path))
        for number, content, problem, name in unwrapper:
            self.is_empty &= not content and not problem
            self._source = self._sources.get(name) or self._sources.setdefault(name, _Source(NoiseFilter()))
            if problem or not self._take(number, content):
                what = problem or f"it begins {mask(content.strip(), _SHOWN)!r}"
                self._source.count(Unread(str(self.path), 1, number, what))
        for source in self._sources.values():
            self._close(source.blocks.rest())
        self.wrapper = unwrapper.wrapper
        runs = self.client.finish()
        if not self.server.is_server:
            self.died = runs
            self._job_in_the_client()
        self.understood |= bool(runs or self.server.responses)

    def _take(self, number: int, content: str) -> bool:
        """Find out what a line is, and pass it on; False where nothing knows it."""
        if not content:
            return True
        self._look_for_signs(number, content)
        source, first = self._source, content[0]
        if (first == "{" or content[1:2] == "2") and (event := parse_event(content)):
            return self._event(number, event)
        if first in " }])" and (closed := source.blocks.add(content)) is not None:
            self._close(closed)
            return True
        if first in " P-" and self.server.response(number, content):
            source.speaks_of_bookings = True
            return True
        if source.noise.is_noise(content):
            self.client.plain(number, content)
            return True
        if first == "[" and (block := parse_header(number, content)):
            self._close(source.blocks.open(block) if block.lines else ())
            return True
        return self._event_inside(number, content)

    def _event(self, number: int, event: Event) -> bool:
        understood = self.client.event(number, event)
        self.understood |= understood
        self._source.speaks_of_bookings |= understood
        return understood

    def _event_inside(self, number: int, content: str) -> bool:
        """An event behind the rest of a line that was cut: the event counts, the line is not fully read."""
        header = HEADER.search(content, 1)
        while header:
            if event := parse_event(content[header.start() :]):
                self._event(number, event)
                break
            header = HEADER.search(content, header.end())
        return False

    def _close(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if block.tag == "[stress]":
                self.client.block(block)
                known = True
            else:
                known = self.server.block(block)
            self.understood |= known
            self._source.speaks_of_bookings |= known

    def _job_in_the_client(self) -> None:
        """The original client runs the job in its own process: there its blocks tell why an attempt failed."""
        for telling in self.client.records:
            facts = self.server.facts.get(telling.facts.get("booking_id", ""))
            telling.job_reason = facts.get("job_error") if facts else None

    def _look_for_signs(self, number: int, content: str) -> None:
        kind = sign_of(content)
        if kind is None:
            return
        known = self.signs.setdefault(kind, [])
        if len(known) < _MOST_SIGNS:
            known.append(Sign(str(self.path), number, kind, mask(content.strip(), _LONGEST_SIGN)))
        else:
            known[-1] = known[-1]._replace(times=known[-1].times + 1)
