"""Text of others, made fit for the place where it is shown: a terminal obeys no character, a spreadsheet no cell."""

import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def for_terminal(text: str) -> str:
    """The text with each control character (C0, C1, and those that turn the direction of writing) as its escape.

    Line ends and tabs stay. What UTF-8 cannot carry is escaped too.
    """
    shown = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return shown.encode("utf-8", "backslashreplace").decode()


def for_json(document: str) -> str:
    """A JSON document with the control characters that JSON leaves alone as their escapes."""
    if document.isascii() and "\x7f" not in document:  # the others JSON has escaped itself
        return document
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def for_cell(value: Any) -> Any:
    """A value for a CSV cell: no control characters, and what looks like a formula has a quote before it."""
    if not isinstance(value, str):
        return value
    return for_terminal(f"'{value}" if value.startswith(_FORMULA) else value)
