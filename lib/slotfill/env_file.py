"""``.env.local`` as Next.js reads it, so that the platform and Slotfill see the same values.

Next.js reads these files with dotenv and dotenv-expand (``@next/env``); what follows does what they do, quirks
included, except that in a value without quotes a ``#`` begins a comment only after a blank: passwords hold some.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from slotfill.errors import BadInput

LONGEST_FILE = 1 << 18
"""Bytes. More is no environment file."""

_BESIDE = (".env.development.local", ".env.local", ".env.development", ".env")
"""What a development server reads, the first that knows a variable first."""

_BLANK = r"[\s\ufeff]"
_ENTRY = re.compile(
    rf"""^{_BLANK}* (?:export{_BLANK}+)? (?P<name>[A-Za-z0-9_.-]+) (?:{_BLANK}*={_BLANK}*?|:{_BLANK}+?)
    (?P<value> {_BLANK}*'(?:\\'|[^'])*' | {_BLANK}*"(?:\\"|[^"])*" | {_BLANK}*`(?:\\`|[^`])*`
    | (?:[^\#\n]|(?<=[^\s=])\#)+ )?
    {_BLANK}* (?:\#.*)? $""",
    re.VERBOSE | re.MULTILINE,
)
_AROUND = re.compile(rf"\A{_BLANK}+|{_BLANK}+\Z")
_QUOTED = re.compile(r"""^(['"`])([\s\S]*)\1$""", re.MULTILINE)
_DOLLAR = re.compile(r"(?<!\\)\$")
_REFERENCE = re.compile(r"(?<!\\)\$\{?([A-Za-z0-9_]+)(?::-([^}\\]*))?\}?")
_INSERTED = re.compile(r"\$([$&`'])")
_MOST_EXPANSIONS = 1000


def environment(file: Path) -> dict[str, str]:
    """This process's environment, and below it what the file says, and the files that Next.js reads beside it.

    A file that does not exist says nothing. Raises BadInput for one that cannot be read.
    """
    known = dict(os.environ)
    for each in _files(file):
        known = {**read_env_file(each, known), **known}
    return known


def read_env_file(file: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The variables of one file, references filled in; ``known`` variables go before the file's own.

    Bytes that are not UTF-8 read as U+FFFD, as in Next.js. Raises BadInput, which names the file.
    """
    entries = dict(_entries(_text(file)))
    for name in entries:
        try:
            value = _expanded(known.get(name, entries[name]), known, entries)
        except RecursionError:
            raise BadInput(f"{file}: {name} refers to itself, directly or through others") from None
        entries[name] = value.replace("\\$", "$")
    return entries


def _files(file: Path) -> list[Path]:
    return [file.with_name(name) for name in _BESIDE] if file.name == ".env.local" else [file]


def _text(file: Path) -> str:
    try:
        if not file.exists():
            return ""
        if not file.is_file():
            raise BadInput(f"{file}: is not a file")
        with file.open("rb") as stream:
            content = stream.read(LONGEST_FILE + 1)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(content) > LONGEST_FILE:
        raise BadInput(f"{file}: larger than {LONGEST_FILE >> 10} KiB; that is no environment file")
    if b"\0" in content:
        raise BadInput(f"{file}: is not UTF-8 text (UTF-16, perhaps); save it as UTF-8")
    return re.sub(r"\r\n?", "\n", content.decode("utf-8", "replace"))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for match in _ENTRY.finditer(text):
        value = _AROUND.sub("", match["value"] or "")
        is_double_quoted = value.startswith('"')
        value = _QUOTED.sub(lambda quoted: quoted[2], value)
        if is_double_quoted:
            value = value.replace("\\n", "\n").replace("\\r", "\r")
        yield match["name"], value


def _expanded(value: str, known: Mapping[str, str], entries: Mapping[str, str]) -> str:
    """The value with its references filled in, the last first; a default goes before the same file's own variable."""
    for _ in range(_MOST_EXPANSIONS):
        dollars = list(_DOLLAR.finditer(value))
        reference = _REFERENCE.search(value[dollars[-1].start() :]) if dollars else None
        if reference is None:
            return value
        name, default = reference.groups()
        filled = known.get(name) or default or entries.get(name) or ""
        value = _replaced(value, reference[0], filled)
        if len(value) > LONGEST_FILE:
            break
    raise RecursionError


def _replaced(text: str, what: str, by: str) -> str:
    """The first ``what`` replaced as JavaScript does it, where ``$$`` and the like stand for something."""
    before, _, after = text.partition(what)
    meaning = {"$": "$", "&": what, "`": before, "'": after}
    return before + _INSERTED.sub(lambda match: meaning[match[1]], by) + after
