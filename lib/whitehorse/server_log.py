"""The server log, printed as Node prints it: a label and an object in ``util.inspect`` form, one write a block."""

import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BREAK_LENGTH = 80
INLINE = "[bookings][POST][inline-auto-assign]"
JOB = "[auto-assign][job]"
HOLD = "[capacity.hold]"
PROFILE = "[capacity.profile]"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\v": "\\v"}


class ServerLog:
    """Appends to a file shared by the web and the worker process; each block is one write, so blocks stay whole."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, label: str, fields: Mapping[str, Any]) -> None:
        """Print ``label {…}``."""
        self.line(f"{label} {inspect(fields)}")

    def line(self, text: str) -> None:
        os.write(self._fd, f"{text}\n".encode())

    def access(self, method: str, path: str, status: int, duration_ms: float) -> None:
        """The line a Next.js server prints for a request; nothing compiles here."""
        took = duration(duration_ms)
        self.line(f" {method} {path} {status} in {took} (compile: 0ms, render: {took})")


class LogHandler(logging.Handler):
    """Prints the warnings of a library to the server log."""

    def __init__(self, log: ServerLog, label: str) -> None:
        super().__init__()
        self._log, self._label = log, label

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        self._log.write(f"{self._label} {record.levelname.lower()}", {"error": text})


def inspect(value: Any, indentation: int = 0) -> str:
    """``util.inspect(value)`` with Node's defaults, for what JSON knows and datetimes."""
    if isinstance(value, Mapping):
        entries = [f"{_key(key)}: {inspect(item, indentation + 2)}" for key, item in value.items()]
        return _braced(entries, "{", "}", indentation)
    if isinstance(value, list | tuple):
        return _braced([inspect(item, indentation + 2) for item in value], "[", "]", indentation)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value)) if value == int(value) else repr(value)
    if isinstance(value, datetime):
        return quote(instant(value))
    return quote(str(value))


def quote(text: str) -> str:
    """A string in the quotes Node would choose: the first of ' " ` that needs no escape."""
    mark = next((mark for mark in "'\"`" if mark not in text), "'")
    escaped = "".join(_ESCAPES.get(char, char) for char in text)
    return mark + (escaped.replace("'", "\\'") if mark in text else escaped) + mark


def instant(at: datetime) -> str:
    """``2026-12-14T17:00:00.000Z``, as JavaScript prints it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(milliseconds: float) -> str:
    """``1800µs`` below 2 ms, ``385ms`` below 2 s, ``20.6s`` above: the units of Next.js."""
    if milliseconds < 2:
        return f"{milliseconds * 1000:.0f}µs"
    return f"{milliseconds:.0f}ms" if milliseconds < 2000 else f"{milliseconds / 1000:.1f}s"


def _key(name: str) -> str:
    return name if _IDENTIFIER.match(name) else quote(name)


def _braced(entries: list[str], opening: str, closing: str, indentation: int) -> str:
    """On one line when it fits the way Node reckons it (every entry counts two, plus ten), else one entry a line."""
    if not entries:
        return opening + closing
    length = sum(map(len, entries)) + 2 * len(entries) + indentation + 11
    if length <= BREAK_LENGTH and not any("\n" in entry for entry in entries):
        return f"{opening} {', '.join(entries)} {closing}"
    margin = "\n" + " " * (indentation + 2)
    return opening + margin + f",{margin}".join(entries) + "\n" + " " * indentation + closing
