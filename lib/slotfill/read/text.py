"""Files and folders in, numbered lines out: whatever the encoding, however long, never all at once."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from slotfill.errors import BadInput

LONGEST_LINE = 1 << 20
"""Characters. The longest line of a booking log is a few thousand; more is not a log line."""

_LOG_NAME = re.compile(r"\.(log|txt|out|jsonl|ndjson)(\.\d+)?(\.gz)?$", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SNIFFED = 1 << 16
_MOST_CONTROL = 0.1  # share of bytes that no text has
_CONTROL_BYTES = [bytes([code]) for code in (*range(1, 7), *range(14, 27), *range(28, 32))]
_EVENT = re.compile(rb"Z\] \[[A-Z]+\] \[[a-z_]+\] ")


Line = tuple[int, str, str | None]
"""Number, text without line end, colours and byte-order mark, and the problem where it could not be read."""


class NotText(BadInput):
    """A file that is no text at all."""


def find_logs(paths: Sequence[Path]) -> list[Path]:
    """The log files that the given files and folders stand for, each once; raises BadInput where there is none."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _files(path):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def lines(path: Path) -> Iterator[Line]:
    """The lines of a text file, also gzipped; raises BadInput for one that cannot be opened, NotText for a binary."""
    try:
        with io.BufferedReader(io.FileIO(path), _SNIFFED) as raw, _text(path, raw) as stream:
            yield from _lines(stream)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None


def excerpt(path: str | Path, line: int, width: int = 200) -> str:
    """One line of a file, cut to ``width``, fit to be shown; empty where the file no longer has that line."""
    for number, content, problem in lines(Path(path)):
        if number == line:
            shown = _CONTROL.sub("", problem or content).strip()
            return shown if len(shown) <= width else shown[: width - 1] + "…"
    return ""


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if _LOG_NAME.search(file.name) and file.is_file() and not _hidden(file.relative_to(path))
    )
    if not files:
        raise BadInput(f"{path}: no log files in this folder (looked for *.log, *.log.gz, *.txt, *.out, *.jsonl)")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _text(path: Path, raw: "io.BufferedReader[Any]") -> io.TextIOWrapper:
    """The file as text: unpacked, decoded, checked to be text by its first bytes."""
    stream = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
    try:
        head = stream.peek(_SNIFFED)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise NotText(f"{path}: a damaged gzip file") from None
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return io.TextIOWrapper(stream, "utf-16", errors="replace", newline="\n")
    if _is_binary(head):
        raise NotText(f"{path}: a binary file, not a log")
    return io.TextIOWrapper(stream, "utf-8", errors="replace", newline="\n")


def _is_binary(head: bytes) -> bool:
    """Whether a file that begins so is no text; holes of zeros, as a crash leaves them, do not make a log binary."""
    text = head.replace(b"\0", b"")
    control = sum(map(text.count, _CONTROL_BYTES)) + text.decode("utf-8", "replace").count("\ufffd")
    return bool(head) and control >= _MOST_CONTROL * len(text) and not _EVENT.search(text)


def _lines(stream: TextIO) -> Iterator[Line]:
    number = 0
    try:
        while text := stream.readline(LONGEST_LINE):
            number += 1
            if len(text) >= LONGEST_LINE and not text.endswith("\n"):
                _skip_line(stream)
                yield number, "", f"longer than {LONGEST_LINE >> 20} MiB"
            else:
                yield number, _clean(text), None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield number + 1, "", "the gzip file is cut or damaged here"


def _skip_line(stream: TextIO) -> None:
    while (text := stream.readline(LONGEST_LINE)) and not text.endswith("\n"):
        pass


def _clean(text: str) -> str:
    text = text.rstrip("\r\n")
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    return text.replace("\x00", "").lstrip("\ufeff") if text[:1] == "\ufeff" or "\x00" in text else text
