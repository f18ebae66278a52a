"""Logs in, a ``Reading`` out: attempts, what the server says of them, and what was not understood."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from slotfill.attempt import frame
from slotfill.errors import BadInput
from slotfill.read.attempts import attempts, level_of
from slotfill.read.client_log import Run
from slotfill.read.file import LogFile, Unread
from slotfill.read.server_log import SERVER_ONLY, Sign, attribute, server_frame
from slotfill.read.text import NotText, find_logs


@dataclass(frozen=True)
class Reading:
    """All that a set of logs says.

    ``attempts``: one row an attempt (``slotfill.attempt.frame``). ``server``: one row a booking, see
    ``server_frame``. ``runs``: starts of the booking script that died before an attempt (file, line, slot,
    booking_date, party_size, reason). ``signs``: lines that speak of database pressure (file, line, kind,
    text, times). ``unread``: lines not understood (file, lines, first_line, what). ``files``: all files read.
    """

    attempts: pd.DataFrame
    server: pd.DataFrame
    runs: pd.DataFrame
    signs: pd.DataFrame
    unread: pd.DataFrame
    files: tuple[str, ...]

    @property
    def note(self) -> str | None:
        """One line on what was not understood; ``None`` where all was."""
        if self.unread.empty:
            return None
        count, first = int(self.unread["lines"].sum()), self.unread.iloc[0]
        lines = "1 line" if count == 1 else f"{count} lines"
        return f"{lines} not read, first at {first['file']}:{first['first_line']} ({first['what']})"


def read_logs(paths: Iterable[str | Path], server_logs: Iterable[str | Path] = ()) -> Reading:
    """Read log files and folders, client and server logs in any mix: what a file is, its content says.

    Raises BadInput for a path that is missing or cannot be read, for a binary file given by name, for a
    folder without logs, and where nothing at all was understood. A binary file in a folder is counted
    as not read.
    """
    given = [Path(path) for path in (*paths, *server_logs)]
    by_name = {path.resolve() for path in given}
    files: list[LogFile] = []
    binaries: list[Unread] = []
    for path in find_logs(given):
        file = LogFile(path)
        try:
            file.read()
        except NotText as error:
            if path.resolve() in by_name:
                raise
            binaries.append(Unread(str(path), 1, 1, str(error).removeprefix(f"{path}: ")))
        else:
            files.append(file)
    reading = _combine(files, binaries)
    if reading.note and not any(file.understood for file in files):
        raise BadInput(f"no booking log: {reading.note}")
    return reading


def _combine(files: Sequence[LogFile], binaries: Sequence[Unread]) -> Reading:
    records = [telling for file in files for telling in file.client.records]
    levels = {file.path: level_of(file.path, file.client.label, file.client.concurrency) for file in files}
    submitted = {
        telling.facts["booking_id"]: (telling.created_at, telling.facts["submit_ms"])
        for telling in records
        if telling.created_at and {"booking_id", "submit_ms"} <= telling.facts.keys()
    }
    servers = [file.server for file in files if file.server.is_server]
    for server in servers:
        attribute(server, submitted)
    unread = [*(file.unread for file in files if file.unread), *binaries]
    return Reading(
        attempts=frame(attempts(records, levels)),
        server=server_frame(servers),
        runs=_table(Run, [run for file in files for run in file.died]),
        signs=pd.DataFrame([sign for file in files for sign in _signs(file)], columns=list(Sign._fields)),
        unread=_table(Unread, unread),
        files=tuple(str(file.path) for file in files),
    )


def _signs(file: LogFile) -> list[Sign]:
    """The signs of a file; in a client's log a failed fetch is a failed booking request."""
    kinds = file.signs if file.server.is_server else file.signs.keys() - set(SERVER_ONLY)
    return sorted((sign for kind in kinds for sign in file.signs[kind]), key=lambda sign: sign.line)


def _table(kind: type[Run] | type[Unread], rows: Sequence[Run | Unread]) -> pd.DataFrame:
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(kind.__dataclass_fields__))
    return table.astype({"file": "string"})
