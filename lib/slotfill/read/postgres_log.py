"""Postgres' own log: its deadlocks, with who waited for whom, on which table, in which functions.

Read as the server writes it to a file (``stderr``, whatever the ``log_line_prefix``) or as JSON lines (``jsonlog``).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotfill.masking import mask
from slotfill.read.text import lines

_FIELD = re.compile(r"(?P<prefix>.*?)\b(?P<name>ERROR|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOG|WARNING|FATAL|PANIC):  ")
_AT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?[A-Z]{2,5}| ?[+-]\d\d:?\d\d)?")
_WAITS = re.compile(r"Process (\d+) waits for (\w+) on (.+?); blocked by process (\d+)\.")
_STATEMENT = re.compile(r"(?ms)^Process (\d+): (.*?)(?=^Process \d+|\Z)")
_RELATION = re.compile(r"\bin relation \"([^\"]+)\"|^relation (\d+) of database")
_FUNCTION = re.compile(r"PL/\w+ function ([\w.\"]+)\(|SQL function \"?([\w.]+)\"?")
DEADLOCK = "deadlock detected"


@dataclass(frozen=True)
class Waiter:
    """One of the processes of a deadlock."""

    pid: int
    lock: str
    """What it waited for: mode and object, such as ``ShareLock on transaction 2755``."""
    blocked_by: int
    statement: str
    """As far as the server kept it (``track_activity_query_size``), addresses and secrets masked."""


@dataclass(frozen=True)
class Deadlock:
    """One deadlock, as the server tells it of the transaction it ended."""

    file: Path
    line: int
    at: str | None
    waiters: tuple[Waiter, ...]
    relation: str | None
    """The table whose row was to be locked, where the server says."""
    functions: tuple[str, ...]
    """The database functions it happened in, innermost first."""


def deadlocks(file: Path) -> list[Deadlock]:
    """The deadlocks of one log. Raises BadInput for a file that cannot be read."""
    return [
        _deadlock(file, number, prefix, fields)
        for number, prefix, fields in _messages(lines(file))
        if fields.get("ERROR", "").startswith(DEADLOCK)
    ]


def summary(found: Sequence[Deadlock]) -> list[str]:
    """One line for each place where deadlocks happened, the most frequent first."""
    places = Counter((each.relation, each.functions) for each in found)
    return [
        f"{count} {'deadlock' if count == 1 else 'deadlocks'}"
        + (f' on rows of "{relation}"' if relation else "")
        + (f" in {', called by '.join(functions)}" if functions else "")
        for (relation, functions), count in places.most_common()
    ]


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
        if last not in ("DETAIL", "HINT", "CONTEXT", "STATEMENT", "QUERY"):
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
    names = {"message": "ERROR", "detail": "DETAIL", "context": "CONTEXT", "statement": "STATEMENT"}
    if isinstance(told, dict) and told.get("error_severity") == "ERROR":
        yield (
            number,
            str(told.get("timestamp", "")),
            {name: str(told[key]) for key, name in names.items() if told.get(key)},
        )


def _deadlock(file: Path, number: int, prefix: str, fields: dict[str, str]) -> Deadlock:
    detail, context = fields.get("DETAIL", ""), fields.get("CONTEXT", "")
    statements = {int(pid): " ".join(text.split()) for pid, text in _STATEMENT.findall(detail)}
    at, relation = _AT.search(prefix), _RELATION.search(context)
    return Deadlock(
        file,
        number,
        at[0] if at else None,
        tuple(
            Waiter(int(pid), f"{mode} on {what}", int(blocker), mask(statements.get(int(pid), "")))
            for pid, mode, what, blocker in _WAITS.findall(detail)
        ),
        relation[1] if relation else None,
        tuple((plain or other).replace('"', "") for plain, other in _FUNCTION.findall(context)),
    )
