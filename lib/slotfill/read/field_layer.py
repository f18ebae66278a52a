"""A quoted field on the line: an indented JSON document, logfmt."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from slotfill.read.layer import ANCHOR, LEAST_SHARE, Layer
from slotfill.read.text import without_colours

_FIELD = re.compile(
    r"""(?:^\s*"(?P<key>[\w@.$-]{1,60})"\s*:\s*|(?:^|\s)(?P<word>[\w.-]{1,60})=)(?P<text>"(?:[^"\\]|\\.)*")"""
)


class FieldLayer:
    """A line of an indented JSON document, or of logfmt, with the text in the string of one key."""

    def __init__(self, key: str, indented: bool) -> None:
        self._key, self._indented = key, indented

    def describe(self) -> str:
        return f"an indented JSON document with the text in {self._key}" if self._indented else f"{self._key}=…"

    def take(self, text: str) -> Iterable[tuple[str, str]]:
        fields = list(_fields(text))
        found = [string for key, string in fields if key == self._key]
        if not found:  # the rest of such a document is no line of the platform's
            return [] if fields or self._indented else [(text, "")]
        return [(line, "") for line in without_colours(found[0]).rstrip("\r\n").split("\n")]


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for match in _FIELD.finditer(text):
        try:
            yield match["key"] or match["word"], str(json.loads(match["text"]))
        except ValueError:
            continue


def field_layer(anchored: Sequence[str]) -> Layer | None:
    keys = Counter[tuple[str, bool]]()
    for text in anchored:
        for key, string in _fields(text):
            if ANCHOR.search(without_colours(string)):
                keys[key, text.lstrip().startswith(f'"{key}"')] += 1
    if not keys:
        return None
    (key, indented), count = keys.most_common(1)[0]
    return FieldLayer(key, indented) if count >= LEAST_SHARE * len(anchored) else None
