"""One log file: what a line is, and who takes it."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from slotfill import events
from slotfill.database_errors import error_kind
from slotfill.events import HEADER, Event, parse_event
from slotfill.masking import mask
from slotfill.read.attempt_record import AttemptRecord
from slotfill.read.blocks import Assembler, Block, WholeBlocks, parse_header
from slotfill.read.client_log import ClientLog, Run
from slotfill.read.noise import NoiseFilter
from slotfill.read.part import Part
from slotfill.read.regular import Left, RegularAttempts
from slotfill.read.rules import text
from slotfill.read.server_log import FIELDS, ErrorLine, ServerLog
from slotfill.read.source import Source, Unread
from slotfill.read.table import SCHEMA, records_of, stand_ins
from slotfill.read.text import Irregular, lines, plain_blocks
from slotfill.read.wrapper import Unwrapper, is_bare

_MOST_ERROR_LINES = 200  # of one kind in one file; the rest is counted
_LONGEST_ERROR_LINE = 300
_NO_ATTEMPTS = SCHEMA.empty_table()
_LARGE = 1 << 18
"""Bytes. Below it the fast way saves nothing, even over a folder of many such files."""


def read_file(path: Path, large: int = _LARGE) -> "LogFile":
    """A file, read; one of more than ``large`` bytes, with nothing about it that needs care, the fast way."""
    with uncollected():
        return _read_file(path, large)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for cycles: nothing here makes any, and going through all that was read takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_file(path: Path, large: int) -> "LogFile":
    file = LogFile(path)
    if size_of(path) > large and is_bare(lines(path)):
        try:
            file.read_plain()
        except Irregular:
            file = LogFile(path)
        else:
            return file
    file.read()
    return file


def size_of(path: Path) -> int:
    """Bytes; 0 for what is no file or cannot be looked at: to open it will say why."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


class LogFile:
    """One file and all that its lines say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = ClientLog(path)
        self.server = ServerLog(path)
        self.wrapper: str | None = None
        self.is_empty = True
        self.error_lines: dict[str, list[ErrorLine]] = {}
        self.understood = False
        """Whether any line speaks of a booking."""
        self.died: list[Run] = []
        self.table = _NO_ATTEMPTS
        """The regular attempts of a plain file, which then are not among ``client.records``."""
        self._sources: dict[str, Source] = {}
        self._source = Source(NoiseFilter())
        self._regular = RegularAttempts()
        self._whole = WholeBlocks(FIELDS)
        self._is_plain = False

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
        """Take all lines, whatever they are."""
        unwrapper = Unwrapper(lines(self.path))
        for number, content, problem, name in unwrapper:
            self._source = self._sources.get(name) or self._sources.setdefault(name, Source(NoiseFilter()))
            if not problem:
                self._look_for_errors(number, content)
            self._line(number, content, problem)
        self.wrapper = unwrapper.wrapper
        self._finish(self.client.finish)

    def read_plain(self) -> None:
        """Take all lines of a plain file, those of regular attempts into ``table``; raises Irregular where it fails."""
        self._is_plain, number = True, 1
        self._source = self._sources.setdefault("", Source(NoiseFilter()))
        for block in plain_blocks(self.path):
            numbers = range(number, number + block.count(b"\n"))
            self._take_left(self._regular.take(block, numbers))
            number = numbers.stop
        self._end_plain()

    def read_parts(self, parts: Iterable[Part | None]) -> None:
        """The same of a file that was read in parts. Raises Irregular."""
        self._is_plain, lines_before = True, 0
        self._source = self._sources.setdefault("", Source(NoiseFilter()))
        left: list[tuple[int, bytes]] = []
        for part in parts:
            if part is None:
                raise Irregular
            self._regular.adopt(part.table, lines_before)
            left += [(lines_before + number, content) for number, content in part.left]
            lines_before += part.lines
        block = b"".join(content + b"\n" for _, content in left)
        self._take_left(self._regular.take(block, [number for number, _ in left]))
        self._end_plain()

    def _take_left(self, left: Left) -> None:
        """Take the lines of a plain file that are no regular attempt's."""
        numbers, contents, at = left.numbers, left.contents, 0
        errors = iter([*left.errors, len(contents)])
        error = next(errors)
        while at < len(contents):
            content, taken = contents[at], 1
            while error < at:
                error = next(errors)
            if content:
                taken = self._whole_block(numbers[at], contents, at, error)
                if at == error:
                    self._look_for_errors(numbers[at], content.decode())
                if not taken:
                    self._line(numbers[at], content.decode(), None)
            at += taken or 1

    def _end_plain(self) -> None:
        regular, self._regular, self._whole = self._regular, RegularAttempts(), WholeBlocks(FIELDS)
        self._replay(regular.rest())
        self.table = regular.settled(self.client.identities)
        if len(self.table):
            self.is_empty = False
            self.understood = self._source.speaks_of_bookings = True
        self._finish(self._runs_beside_the_table)

    def _whole_block(self, number: int, contents: Sequence[bytes], at: int, error: int) -> int:
        """Take a block of plain scalars that stands together; how many lines that are, 0 for anything else.

        ``error``: the next line that may speak of one, which is looked at by itself.
        """
        source = self._source
        if (read := self._whole.read(contents, at)) is None:
            return 0
        shape, fields = read
        if at + shape.height > error or shape.tag == "[stress]" or not source.noise.is_quiet:
            return 0
        if not source.blocks.take_whole(shape):
            return 0
        self.is_empty = False
        known = self.server.block(number, shape.tag, shape.what, lambda: fields)
        self.understood |= known
        source.speaks_of_bookings |= known
        return shape.height

    def records(self) -> list[AttemptRecord]:
        """What is told of each attempt, also of those in ``table``."""
        records = [*self.client.records, *records_of(self.table, self.path)]
        records.sort(key=lambda each: each.first_line)
        if not self.server.is_server:
            self._job_in_the_client(records)
        return records

    def _runs_beside_the_table(self) -> list[Run]:
        """What ``ClientLog.finish`` says, which may have to look at the attempts in the table too."""
        client = self.client
        places = stand_ins(self.table, self.path) if client.looks_back else []
        records, client.records = client.records, sorted([*client.records, *places], key=lambda each: each.first_line)
        runs = client.finish()
        client.records = records
        if places:
            workers = pa.array([each.facts.get("worker") for each in places], pa.int64())
            self.table = self.table.set_column(self.table.column_names.index("worker"), "worker", workers)
        return runs

    def _line(self, number: int, content: str, problem: str | None) -> None:
        self.is_empty &= not content and not problem
        if problem or not self._take(number, content):
            self._source.count(self.path, number, content, problem)

    def _replay(self, told: Iterable[tuple[int, bytes]]) -> None:
        for number, content in told:
            self.is_empty = False
            event = parse_event(content.decode())
            if event and self.client.event(number, event):
                self.understood = self._source.speaks_of_bookings = True

    def _finish(self, finish: Callable[[], list[Run]]) -> None:
        for source in self._sources.values():
            self._close(source.blocks.rest())
            source.blocks = Assembler()  # a file is handed over between processes without what reading it needed
        runs = finish()
        if not self.server.is_server:
            self.died = runs
            self._job_in_the_client(self.client.records)
        self.understood |= bool(runs or self.server.responses)

    def _take(self, number: int, content: str) -> bool:
        """Find out what a line is, and pass it on; False where nothing knows it."""
        if not content:
            return True
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
        identity = text(event.fields.get("correlationId"))
        if self._is_plain and identity:
            is_made_again = event.message == events.STARTING and identity in self.client.identities
            if is_made_again or not self._regular.has_left(identity):
                raise Irregular
        understood = self.client.event(number, event)
        self.understood |= understood
        self._source.speaks_of_bookings |= understood
        if self._is_plain and self.client.has_unnamed:
            raise Irregular
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
                if self._is_plain and "  failures: 0," not in block.lines:
                    raise Irregular  # it is about an attempt that may be in the table
                self.client.block(block)
                known = True
            else:
                known = self.server.block(block.first_line, block.tag, block.what, block.fields)
            self.understood |= known
            self._source.speaks_of_bookings |= known

    def _job_in_the_client(self, records: Iterable[AttemptRecord]) -> None:
        """The original client runs the job in its own process: there its blocks tell why an attempt failed."""
        for telling in records:
            facts = self.server.facts.get(telling.facts.get("booking_id", ""))
            telling.job_reason = facts.get("job_error") if facts else None

    def _look_for_errors(self, number: int, content: str) -> bool:
        kind = error_kind(content)
        if kind is None:
            return False
        known = self.error_lines.setdefault(kind, [])
        if len(known) < _MOST_ERROR_LINES:
            known.append(ErrorLine(str(self.path), number, kind, mask(content.strip(), _LONGEST_ERROR_LINE)))
        else:
            known[-1] = known[-1]._replace(times=known[-1].times + 1)
        return True
