"""Files and folders in, the log files they stand for out; what cannot be looked at is named."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slotfill.errors import BadInput

_LOG_NAME = re.compile(
    r"""(?ix) \.(log|txt|out|err|jsonl|ndjson)
    ([-._]?(\d[-\d_.:T]*Z?|old|prev|bak))*   # rotated: server.log.1, server.log-20270209, app.log.2027-02-09.3
    (\.(gz|bz2|xz|zst))? $"""
)

EXPERIMENT, RUN_RECORD = "prove", "run.json"
"""A folder of this name beside a file of that one holds what ``slotfill prove`` drove with and without a delay."""


@dataclass
class Found:
    """Log files, each once, and what was passed over: path and reason."""

    files: list[Path] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)


def find_logs(paths: Sequence[Path]) -> Found:
    """The log files that the given files and folders stand for; raises BadInput for a path that stands for none."""
    found, known = Found(), set[str]()
    for path in paths:
        for file in _files(path, found.passed_over):
            real = os.path.realpath(file)
            if real not in known:
                known.add(real)
                found.files.append(file)
    return found


def shown(path: str | Path) -> str:
    """A path that can be printed and stored, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files(path: Path, passed_over: list[tuple[str, str]]) -> list[Path]:
    problem = _problem_of_name(path)
    if problem:
        raise BadInput(f"{shown(path)}: {problem}")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file or folder") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise BadInput(f"{path}: a pipe or a device, not a file; save what it gives to a file first")
    before = len(passed_over)
    files = sorted(_logs_below(path, passed_over))
    if not files and len(passed_over) == before:
        raise BadInput(
            f"{path}: no log files in this folder (looked for *.log, *.txt, *.out, *.jsonl, rotated or packed)"
        )
    return files


def _logs_below(folder: Path, passed_over: list[tuple[str, str]]) -> Iterator[Path]:
    """The logs of a folder and the folders in it; links to folders are not followed, so that nothing goes round.

    A run's experiment, where it is not the folder itself, is passed over: it is none of the run's own levels.
    """
    folders = [str(folder)]
    while folders:
        current = folders.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if not _is_experiment(entry):
                            folders.append(entry.path)
                    elif _LOG_NAME.search(entry.name) and (path := _log(entry, passed_over)):
                        yield path
        except OSError as error:
            # A path longer than the system takes is thousands of folders deep; its end says where.
            passed_over.append((_short(current), f"cannot be looked into: {error.strerror or error}"))


def _is_experiment(entry: "os.DirEntry[str]") -> bool:
    return entry.name == EXPERIMENT and Path(entry.path).with_name(RUN_RECORD).is_file()


def _log(entry: "os.DirEntry[str]", passed_over: list[tuple[str, str]]) -> Path | None:
    problem = _problem_of_name(Path(entry.path))
    if problem is None:
        try:
            if not entry.is_file():
                problem = "a pipe, a device or a dead link, not a file"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
    if problem:
        passed_over.append((_short(entry.path), problem))
        return None
    return Path(entry.path)


def _problem_of_name(path: Path) -> str | None:
    name = str(path)
    if "\0" in name:
        return "no path has a NUL in it"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it to have it read"
    return None


def _short(path: str) -> str:
    text = shown(path)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-99:]}"
