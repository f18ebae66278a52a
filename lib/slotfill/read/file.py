"""One log file, read line by line: what a line is, and who takes it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from slotfill.events import HEADER, Event, parse_event
from slotfill.read.blocks import Assembler, Block, parse_header
from slotfill.read.client_log import ClientLog, Run
from slotfill.read.noise import NoiseFilter
from slotfill.read.server_log import ServerLog, Sign, sign_of
from slotfill.read.text import lines

_MOST_SIGNS = 200  # of one kind in one file; the rest is counted


@dataclass(frozen=True)
class Unread:
    """The lines of a file that were not understood: how many, the first, and what is wrong with that one."""

    file: str
    lines: int
    first_line: int
    what: str


class LogFile:
    """One file, read line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = ClientLog(path)
        self.server = ServerLog(path)
        self.unread: Unread | None = None
        self.signs: dict[str, list[Sign]] = {}
        self.understood = False
        self.died: list[Run] = []
        self._noise = NoiseFilter()
        self._blocks = Assembler()

    def read(self) -> None:
        """Take all lines."""
        for number, content, problem in lines(self.path):
            if problem or not self._take(number, content):
                self._count(number, problem or f"it begins {content.strip()[:40]!r}")
        self._close(self._blocks.rest())
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
        first = content[0]
        if (first == "{" or content[1:2] == "2") and (event := parse_event(content)):
            return self._event(number, event)
        if first in " }])" and (closed := self._blocks.add(content)) is not None:
            self._close(closed)
            return True
        if first == " " and self.server.response(number, content):
            return True
        if self._noise.is_noise(content):
            self.client.plain(number, content)
            return True
        if first == "[" and (block := parse_header(number, content)):
            self._header(block)
            return True
        return self._event_inside(number, content)

    def _event(self, number: int, event: Event) -> bool:
        understood = self.client.event(number, event)
        self.understood |= understood
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

    def _header(self, block: Block) -> None:
        self.understood = True
        if block.lines:
            self._close(self._blocks.open(block))

    def _close(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if block.tag == "[stress]":
                self.client.block(block)
            else:
                self.server.block(block)

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
            known.append(Sign(str(self.path), number, kind, content.strip()[:300]))
        else:
            known[-1] = known[-1]._replace(times=known[-1].times + 1)

    def _count(self, number: int, what: str) -> None:
        if self.unread is None:
            self.unread = Unread(str(self.path), 0, number, what)
        self.unread = replace(self.unread, lines=self.unread.lines + 1)
