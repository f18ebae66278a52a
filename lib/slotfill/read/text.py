"""A file in, numbered lines out: whatever the encoding, however long, never all at once."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from slotfill.errors import BadInput
from slotfill.masking import mask

LONGEST_LINE = 1 << 20
"""Bytes. The longest line of a booking log is a few thousand; more is not a log line."""

_CHUNK = 1 << 18
_SNIFFED = 1 << 16
_COLOUR = re.compile(r"\x1b(?:\[[0-9;:?]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_MOST_CONTROL = 0.1  # share of bytes that no text has
_CONTROL_BYTES = [bytes([code]) for code in (*range(1, 7), *range(14, 27), *range(28, 32))]
_EVENT = re.compile(rb"Z\] \[[A-Z]+\] \[[a-z_]+\] ")
_WIDE_ZEROS, _WIDE_TEXT = 0.6, 0.2  # in a line of UTF-16, of every other byte, for the scripts logs are written in
_UNPACKERS: tuple[tuple[bytes, str, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", "gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"BZh", "bzip2", bz2.BZ2File),
    (b"\xfd7zXZ\0", "xz", lzma.LZMAFile),
)
_MAGICS = tuple(magic for magic, _, _ in _UNPACKERS)
BLOCK = 1 << 21
"""Bytes of a plain file that are looked at at once."""
_NOT_PLAIN = bytes((*range(9), *range(11, 32)))
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, ValueError)
_ZSTD = b"\x28\xb5\x2f\xfd"
_BOMB_RATIO, _BOMB_BYTES = 100, 1 << 23
"""Logs shrink to a tenth, seldom to a fiftieth; what is that large and grows by more has no log in it."""


Line = tuple[int, str, str | None]
"""Number, text without line end, colours and byte-order mark, and the problem where it could not be read."""


class NotText(BadInput):
    """A file that is no text at all."""


def lines(path: Path) -> Iterator[Line]:
    """The lines of a text file, also packed, but for the empty ones.

    Raises BadInput for one that cannot be opened, NotText for a binary.
    """
    try:
        with io.BufferedReader(io.FileIO(path), _SNIFFED) as raw:
            stream, kind = _unpacked(path, raw)
            yield from _lines(_chunks(stream, raw, kind))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None


class Irregular(Exception):
    """A file for ``lines``, and for the reader of everything."""


def plain_blocks(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The lines of a plain file, many at once, as bytes of UTF-8, each with its line end; of a part of it, from and to
    a place where a line begins.

    Raises Irregular where ``lines`` would have to unpack, convert or repair anything, BadInput for a file that cannot
    be read.
    """
    try:
        with io.FileIO(path) as raw:
            rest, at = b"", raw.seek(start)
            while chunk := raw.read(BLOCK if end is None else min(BLOCK, end - at)):
                at += len(chunk)
                if not rest and chunk.startswith(_MAGICS):
                    raise Irregular
                end_of_lines = chunk.rfind(b"\n") + 1
                block, rest = (
                    (rest + chunk[:end_of_lines], chunk[end_of_lines:]) if end_of_lines else (b"", rest + chunk)
                )
                if len(rest) > LONGEST_LINE:
                    raise Irregular
                if block:
                    yield _checked(block)
            if rest:
                yield _checked(rest + b"\n")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None


def line_starts(path: Path, parts: int) -> list[int]:
    """Where to cut a file into so many parts of like size, between lines; fewer where its lines are too long.

    Raises BadInput for a file that cannot be read.
    """
    try:
        with io.FileIO(path) as raw:
            size, starts = raw.seek(0, io.SEEK_END), [0]
            for part in range(1, parts):
                at = raw.seek(size * part // parts)
                if (end := raw.read(LONGEST_LINE).find(b"\n")) >= 0 and at + end + 1 < size:
                    starts.append(at + end + 1)
            return sorted(set(starts))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None


def _checked(block: bytes) -> bytes:
    if not block.isascii():
        try:
            text = block.decode()
        except UnicodeDecodeError:
            raise Irregular from None
        if "\ufeff" in text or "\ufffd" in text:
            raise Irregular
    if len(block.translate(None, _NOT_PLAIN)) != len(block) or not _is_short(block):
        raise Irregular
    return block


def _is_short(block: bytes) -> bool:
    """Whether each line has ``LONGEST_LINE`` bytes at most: then none of so many bytes is without a line end."""
    at = 0
    while len(block) - at > LONGEST_LINE:
        at = block.rfind(b"\n", at, at + LONGEST_LINE + 1) + 1
        if not at:
            return False
    return True


def excerpt(path: str | Path, line: int, width: int = 200) -> str:
    """One line of a file, masked and cut to ``width``, fit to be shown; empty where the file has no such line."""
    for number, content, problem in takewhile(lambda row: row[0] <= line, lines(Path(path))):
        if number == line:
            shown = mask(_CONTROL.sub("", problem or content).strip(), width + 1)
            return shown if len(shown) <= width else shown[: width - 1] + "…"
    return ""


def without_colours(text: str) -> str:
    """The text without what tells a terminal to change its colour or to make a link."""
    return _COLOUR.sub("", text) if "\x1b" in text else text


def _unpacked(path: Path, raw: "io.BufferedReader[Any]") -> tuple[Any, str | None]:
    """The file's bytes, unpacked where they are packed, and how; checked to be text by its first bytes."""
    start = raw.peek(6)[:6]
    if start.startswith(_ZSTD):
        raise NotText(f"{path}: packed with zstd; unpack it first")
    stream, kind = raw, None
    for magic, name, unpack in _UNPACKERS:
        if start.startswith(magic):
            stream, kind = unpack(raw), name
    try:
        head = stream.peek(_SNIFFED)[:_SNIFFED]
    except _DAMAGED:
        raise NotText(f"{path}: a damaged {kind} file") from None
    if head[:2] not in (b"\xff\xfe", b"\xfe\xff") and _is_binary(head):
        raise NotText(f"{path}: a binary file, not a log")
    return stream, kind


def _is_binary(head: bytes) -> bool:
    """Whether a file that begins so is no text; holes of zeros, as a crash leaves them, do not make a log binary."""
    text = head.replace(b"\0", b"")
    control = sum(map(text.count, _CONTROL_BYTES)) + text.decode("utf-8", "replace").count("\ufffd")
    return bool(head) and control >= _MOST_CONTROL * len(text) and not _EVENT.search(text)


def _chunks(stream: Any, raw: Any, kind: str | None) -> Iterator[bytes | str]:
    """The bytes in pieces; last of all, as a str, what is wrong where the rest cannot be unpacked."""
    unpacked = 0
    while True:
        try:
            chunk = stream.read1(_CHUNK) if kind else stream.read(_CHUNK)
        except _DAMAGED:
            yield f"the {kind} file is cut or damaged here"
            return
        if not chunk:
            return
        unpacked += len(chunk)
        if kind and unpacked > max(_BOMB_BYTES, _BOMB_RATIO * raw.tell()):
            yield f"the {kind} file unpacks to more than {_BOMB_RATIO} times its size; the rest is left unread"
            return
        yield chunk


def _lines(chunks: Iterator[bytes | str]) -> Iterator[Line]:
    number, rest, too_long, decode = 0, b"", False, _Decoder()
    for chunk in chunks:
        if isinstance(chunk, str):
            if rest or too_long:
                number += 1
                yield number, decode(rest)[0], _TOO_LONG if too_long else None
            yield number + 1, "", chunk
            return
        end = chunk.rfind(b"\n")
        if end < 0:
            too_long |= len(rest) + len(chunk) > LONGEST_LINE
            rest = b"" if too_long else rest + chunk
            continue
        if too_long:
            number, too_long = number + 1, False
            yield number, "", _TOO_LONG
            start = chunk.find(b"\n") + 1
        else:
            start = 0
        block, rest = rest + chunk[start:end] if start <= end else None, chunk[end + 1 :]
        for text in decode(block) if block is not None else ():
            number += 1
            if len(text) > LONGEST_LINE:
                yield number, "", _TOO_LONG
            elif text:
                yield number, text, None
    if too_long or rest.strip(b"\0"):  # the half of a line end of UTF-16 is no line
        yield number + 1, "" if too_long else decode(rest)[0], _TOO_LONG if too_long else None


_TOO_LONG = f"longer than {LONGEST_LINE >> 20} MiB"


class _Decoder:
    """Whole lines of bytes in, lines of text out. Windows appends UTF-16 to a log in UTF-8, and the other way round.

    Cut at the byte ``\\n``, a line of UTF-16 keeps one half of a line end of two bytes: little endian leaves its
    second half at the start of the next line, big endian its first half at the end of this one.
    """

    def __init__(self) -> None:
        self._encoding = "utf-8"

    def __call__(self, block: bytes) -> list[str]:
        if b"\0" not in block and self._encoding == "utf-8" and block[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            return _clean(block.decode("utf-8", "replace"))
        return [_clean(self._line(line))[0].replace("\0", "") for line in block.split(b"\n")]

    def _line(self, line: bytes) -> str:
        if line[:2] in (b"\xff\xfe", b"\xfe\xff") and (len(line) <= 4 or _is_wide(line[2:])):
            self._encoding = "utf-16-le" if line[:1] == b"\xff" else "utf-16-be"
        elif self._encoding == "utf-16-le" and line[:1] == b"\0" and (line == b"\0" or _is_wide(line)):
            line = line[1:]
        elif self._encoding != "utf-16-be" or not (line == b"\0" or _is_wide(line)):
            self._encoding = "utf-8"
            if _is_wide(line):
                self._encoding = "utf-16-be" if line[:1] == b"\0" else "utf-16-le"
        if self._encoding == "utf-16-be":
            line = line.removesuffix(b"\0") if len(line) % 2 else line
        return line.decode(self._encoding, "replace").replace("\n", "")


def _is_wide(line: bytes) -> bool:
    zeros = sorted(half.count(0) / max(len(half), 1) for half in (line[0::2], line[1::2]))
    return zeros[1] >= _WIDE_ZEROS and zeros[0] <= _WIDE_TEXT


def _clean(text: str) -> list[str]:
    text = without_colours(text)
    if "\r" in text:
        text = _RETURNS.sub("", text)
    if "\ufeff" in text:
        text = _MARKS.sub("", text)
    return text.split("\n")


_RETURNS = re.compile(r"\r+$", re.MULTILINE)
_MARKS = re.compile(r"^\ufeff+", re.MULTILINE)
