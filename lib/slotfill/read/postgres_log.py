"""Postgres' own log: its deadlocks and long lock waits, with who waited for whom, on which table, in which functions.

Read as the server writes it to a file (``stderr``, whatever the ``log_line_prefix``) or as JSON lines (``jsonlog``).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from slotfill.database_errors import DEADLOCK
from slotfill.files import write_text
from slotfill.masking import mask
from slotfill.read.find import find_logs
from slotfill.read.text import lines

_FIELD = re.compile(r"(?P<prefix>.*?)\b(?P<name>ERROR|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOG|WARNING|FATAL|PANIC):  ")
_AT = re.compile(
    r"(?P<local>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)(?P<zone> ?[A-Z]{1,5}\b| ?[+-]\d\d(?::?\d\d)?)?"
)
_WAITS = re.compile(r"Process (\d{1,9}) waits for (\w+) on (.+?); blocked by process (\d{1,9})\.")
_STILL_WAITS = re.compile(r"process (\d{1,9}) still waiting for (\w+) on (.+?) after [\d.]+ ms")
_HOLDERS = re.compile(r"Process(?:es)? holding the lock: (\d{1,9})\b")
_STATEMENT = re.compile(r"(?ms)^Process (\d{1,9}): (.*?)(?=^Process \d+|\Z)")
_RELATION = re.compile(r"\bin relation \"([^\"]+)\"|^relation (\d+) of database")
_FUNCTION = re.compile(r"PL/\w+ function ([\w.\"]+)\(|SQL function \"?([\w.]+)\"?")
_DEPENDENT = ("DETAIL", "HINT", "CONTEXT", "STATEMENT", "QUERY")
"""Fields that belong to the message before them."""
_KNOWN_ZONES = {"UTC": "+00:00", "GMT": "+00:00", "Z": "+00:00"}


@dataclass(frozen=True)
class Waiter:
    """A process that waited for a lock."""

    pid: int
    lock: str
    """What it waited for: mode and object, such as ``ShareLock on transaction 2755``."""
    blocked_by: int
    statement: str
    """As far as the server kept it (``track_activity_query_size``), addresses and secrets masked."""


@dataclass(frozen=True)
class LockEvent:
    """A deadlock, as the server tells it of the transaction it ended, or a wait longer than ``deadlock_timeout``.

    Waits are told where ``log_lock_waits`` is on.
    """

    kind: Literal["deadlock", "lock wait"]
    file: Path
    line: int
    at: datetime | None
    """``None`` where the log's prefix has no time, or one of a zone that is not plain."""
    waiters: tuple[Waiter, ...]
    relation: str | None
    """The table whose row was to be locked, where the server says."""
    functions: tuple[str, ...]
    """The database functions it happened in, innermost first."""


def lock_events(log: Path) -> list[LockEvent]:
    """The deadlocks and lock waits of one log, or of those in a folder. Raises BadInput for what cannot be read."""
    told = ((file, *message) for file in find_logs([log]).files for message in _messages(lines(file)))
    return [event for file, number, prefix, fields in told if (event := _lock_event(file, number, prefix, fields))]


def summary(found: Sequence[LockEvent]) -> list[str]:
    """One line for each place where sessions met, the most frequent first, deadlocks before waits."""
    places = Counter((each.kind, each.relation, each.functions) for each in found)
    return [
        f"{count} {kind}{'' if count == 1 else 's'}"
        + (f' on rows of "{relation}"' if relation else "")
        + (f" in {', called by '.join(functions)}" if functions else "")
        for (kind, relation, functions), count in sorted(places.items(), key=lambda each: (each[0][0], -each[1]))
    ]


def keep_lock_messages(logs: Sequence[Path], kept: Path) -> None:
    """Write the lock messages of logs, which may be of weeks, into one file, masked; raises what reading raises."""
    rows = []
    for log in find_logs(logs).files:
        inside = False
        for _, text, problem in lines(log):
            found = None if problem else _FIELD.match(text)
            if text.startswith("{") or (found and found["name"] not in _DEPENDENT):
                inside = DEADLOCK in text or "still waiting for" in text
            if inside and not problem:
                rows.append(mask(text))
    write_text(kept, "".join(f"{row}\n" for row in rows))


def _messages(numbered: Iterable[tuple[int, str, str | None]]) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Each message's first line, the prefix of that line, and its fields by name."""
    number, prefix, fields, last = 0, "", dict[str, str](), ""
    for at, text, problem in numbered:
        if problem:
            continue
        if text.startswith("{"):
            yield from _json_message(at, text)
            continue
        found = _FIELD.match(text)
        if found is None or text.startswith("\t"):
            if last and text.startswith("\t"):
                fields[last] += "\n" + text[1:]
            else:
                last = ""  # a line that is not the server's
            continue
        last = found["name"]
        if last not in _DEPENDENT:
            if fields:
                yield number, prefix, fields
            number, prefix, fields = at, found["prefix"], {}
        fields[last] = text[found.end() :]
    if fields:
        yield number, prefix, fields


def _json_message(number: int, text: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(told, dict) or told.get("error_severity") not in ("ERROR", "LOG"):
        return
    names = {"message": told["error_severity"], "detail": "DETAIL", "context": "CONTEXT", "statement": "STATEMENT"}
    yield (
        number,
        str(told.get("timestamp", "")),
        {name: str(told[key]) for key, name in names.items() if told.get(key)},
    )


def _lock_event(file: Path, number: int, prefix: str, fields: dict[str, str]) -> LockEvent | None:
    detail, context = fields.get("DETAIL", ""), fields.get("CONTEXT", "")
    waits = _STILL_WAITS.match(fields.get("LOG", ""))
    if waits:
        holder = _HOLDERS.search(detail)
        statement = mask(" ".join(fields.get("STATEMENT", "").split()))
        blocked_by = int(holder[1]) if holder else 0
        waiters: tuple[Waiter, ...] = (Waiter(int(waits[1]), f"{waits[2]} on {waits[3]}", blocked_by, statement),)
    elif fields.get("ERROR", "").startswith(DEADLOCK):
        statements = {int(pid): " ".join(text.split()) for pid, text in _STATEMENT.findall(detail)}
        waiters = tuple(
            Waiter(int(pid), f"{mode} on {what}", int(blocker), mask(statements.get(int(pid), "")))
            for pid, mode, what, blocker in _WAITS.findall(detail)
        )
    else:
        return None
    relation = _RELATION.search(context)
    return LockEvent(
        "lock wait" if waits else "deadlock",
        file,
        number,
        _instant(prefix),
        waiters,
        relation[1] if relation else None,
        tuple((plain or other).replace('"', "") for plain, other in _FUNCTION.findall(context)),
    )


def _instant(prefix: str) -> datetime | None:
    """The instant in a line's prefix; ``None`` where there is none, or its zone is an abbreviation that may be many."""
    found = _AT.search(prefix)
    if found is None:
        return None
    zone = (found["zone"] or "").strip()
    try:
        at = datetime.fromisoformat(f"{found['local']}{_KNOWN_ZONES.get(zone, zone)}")
    except ValueError:
        return None
    return at if at.tzinfo else None
