"""Logs in, a ``Reading`` out: attempts, what the server says of them, and what was not understood."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd

from slotfill.database_errors import SERVER_ONLY
from slotfill.errors import BadInput
from slotfill.read.attempts import attempts
from slotfill.read.client_log import Run
from slotfill.read.file import LogFile
from slotfill.read.files import read_files
from slotfill.read.find import find_logs
from slotfill.read.server_log import ErrorLine, attribute, server_frame
from slotfill.read.source import Unread


@dataclass(frozen=True)
class Reading:
    """All that a set of logs says.

    ``attempts``: one row an attempt (``slotfill.attempt.frame``). ``server``: one row a booking, see
    ``server_frame``. ``runs``: starts of the booking script that died before an attempt (file, line, slot,
    booking_date, party_size, reason). ``error_lines``: lines that speak of database pressure (file, line, kind,
    text, times). ``unread``: lines not understood (file, lines, first_line, what). ``files``: all files read.
    ``wrappers``: what a file's lines were wrapped in. ``barren``: why a file given as a server log yields no booking.
    """

    attempts: pd.DataFrame
    server: pd.DataFrame
    runs: pd.DataFrame
    error_lines: pd.DataFrame
    unread: pd.DataFrame
    files: tuple[str, ...]
    wrappers: dict[str, str] = field(default_factory=dict)
    barren: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str | None:
        """One line on what was not understood; ``None`` where all was."""
        if self.unread.empty:
            return None
        count, first = int(self.unread["lines"].sum()), self.unread.iloc[0]
        lines = "1 line" if count == 1 else f"{count} lines"
        return f"{lines} not read, first at {first['file']}:{first['first_line']} ({first['what']})"

    @property
    def notes(self) -> list[str]:
        """One line on each thing a person has to know of how the logs were read."""
        barren = [f"{file}: NO BOOKING in this server log: {why}" for file, why in self.barren.items()]
        files: dict[str, list[str]] = {}
        for file, wrapper in self.wrappers.items():
            files.setdefault(wrapper, []).append(file)
        wrapped = [f"{_named(each)}: taken off: {wrapper}" for wrapper, each in files.items()]
        return [*barren, *wrapped, *([self.note] if self.note else [])]


def read_logs(paths: Iterable[str | Path], server_logs: Iterable[str | Path] = ()) -> Reading:
    """Read log files and folders, client and server logs in any mix: what a file is, its content says.

    Raises BadInput for a path that is missing or cannot be read, for a binary file given by name, for a
    folder without logs, and where nothing at all was understood. A file of a folder that cannot be read is
    counted as not read.
    """
    servers = [Path(path) for path in server_logs]
    given = [*map(Path, paths), *servers]
    found = find_logs(given)
    by_name = set(map(os.path.realpath, given))
    files: list[LogFile] = []
    unreadable = [Unread(name, 1, 1, problem) for name, problem in found.passed_over]
    for path, file in zip(found.files, read_files(found.files), strict=True):
        if isinstance(file, LogFile):
            files.append(file)
        elif os.path.realpath(path) in by_name:
            raise file
        else:
            unreadable.append(Unread(str(path), 1, 1, str(file).removeprefix(f"{path}: ")))
    reading = _combine(files, unreadable, {os.path.realpath(path) for path in servers})
    if not any(file.understood or file.is_empty for file in files) or (unreadable and not files):
        raise BadInput(f"no booking log: {reading.note or _why_barren(files[0])}")
    return reading


def _named(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} first"


def _why_barren(file: LogFile) -> str:
    """Why a file yields no booking."""
    if file.is_empty:
        return "the file is empty"
    if file.server.refused:
        refused = ", ".join(f"{count} with {status}" for status, count in sorted(file.server.refused.items()))
        return f"the platform answered its booking requests {refused}"
    if file.server.responses:
        return "it has the lines of requests, but none of the platform's own that name a booking"
    if file.client.records or len(file.table):
        return "it is the log of a client"
    if file.unread:
        return f"{file.unread.lines} lines not understood, the first {file.unread.what}"
    return "none of its lines names one"


def _combine(files: Sequence[LogFile], unreadable: Sequence[Unread], server_logs: set[str]) -> Reading:
    servers = [file.server for file in files if file.server.is_server]
    submitted = _submitted(files) if any(server.responses for server in servers) else {}
    for server in servers:
        attribute(server, submitted)
    unread = [*(file.unread for file in files if file.unread), *unreadable]
    return Reading(
        attempts=attempts(files),
        server=server_frame(servers),
        runs=_table(Run, [run for file in files for run in file.died]),
        error_lines=pd.DataFrame([each for file in files for each in _error_lines(file)], columns=ErrorLine._fields),
        unread=_table(Unread, unread),
        files=tuple(str(file.path) for file in files),
        wrappers={str(file.path): file.wrapper for file in files if file.wrapper},
        barren={
            str(file.path): _why_barren(file)
            for file in files
            if server_logs
            and not (file.server.is_server and file.server.facts)
            and os.path.realpath(file.path) in server_logs
        },
    )


def _submitted(files: Sequence[LogFile]) -> dict[str, tuple[datetime, float]]:
    """When the client had the answer of each booking's request, and how long that took."""
    return {
        telling.facts["booking_id"]: (telling.created_at, telling.facts["submit_ms"])
        for file in files
        for telling in file.records()
        if telling.created_at and {"booking_id", "submit_ms"} <= telling.facts.keys()
    }


def _error_lines(file: LogFile) -> list[ErrorLine]:
    """Of one file, by line; in a client's log a failed fetch is a failed booking request."""
    kinds = file.error_lines if file.server.is_server else file.error_lines.keys() - set(SERVER_ONLY)
    return sorted((each for kind in kinds for each in file.error_lines[kind]), key=lambda each: each.line)


def _table(kind: type[Run] | type[Unread], rows: Sequence[Run | Unread]) -> pd.DataFrame:
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(kind.__dataclass_fields__))
    return table.astype({"file": "string"})
