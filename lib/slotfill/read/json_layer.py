"""JSON around the text: an object a line, or an array of them."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from slotfill.read.layer import ANCHOR, LEAST_SHARE, Layer
from slotfill.read.text import without_colours

_BYTES = re.compile(r":\s?\[\d{1,3},\s?\d{1,3},")
_LONGEST_NAME, _MOST_NAMES, _MOST_NAME_PATHS = 100, 12, 4
_MOST_PARTS = 64

Path = tuple[str, ...]


class JsonLayer:
    """An object a line, or an array of them; the text is the string at a path, such as ``jsonPayload.message``."""

    def __init__(self, paths: Sequence[Path], names: Sequence[Path], ends_lines: bool) -> None:
        self._paths, self._names = paths, names
        self._ends_lines = ends_lines
        self._partial: dict[str, list[str]] = {}

    def describe(self) -> str:
        return f"JSON lines with the text in {'.'.join(self._paths[0])}"

    def take(self, text: str) -> Iterable[tuple[str, str]]:
        value = decoded(text)
        if value is None:
            return [(text, "")]
        return [(line, source) for text, source in self._texts(value) for line in self._whole(text, source)]

    def _texts(self, value: Any) -> Iterator[tuple[str, str]]:
        for record in value if isinstance(value, list) else [value]:
            source = " ".join(name for path in self._names for name in _at(record, path))
            for text in next((texts for path in self._paths if (texts := list(_at(record, path)))), []):
                yield text, source

    def _whole(self, text: str, source: str) -> list[str]:
        """The lines of a text; where each text ends its last line, one that does not is a part of a long line."""
        if self._ends_lines:
            parts = self._partial.setdefault(source, [])
            if len(parts) < _MOST_PARTS:
                parts.append(text)
            if not text.endswith("\n"):
                return []
            text = "".join(self._partial.pop(source))
        return without_colours(text).rstrip("\r\n").replace("\r\n", "\n").split("\n")


def decoded(text: str) -> Any:
    """The object or array a line is; ``None`` for another line, and for an event of the platform's own."""
    start = text.lstrip()[:2]
    if start[:1] not in ("{", "[") or not text.rstrip().endswith(("}", "]")) or start[1:] not in ('"', "{", " "):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, dict) and {"phase", "message"} <= value.keys() else value


def _at(value: Any, path: Path) -> Iterator[str]:
    """The strings at a path; a step into an array goes into each of its items."""
    if isinstance(value, list) and path:
        for item in value:
            yield from _at(item, path)
    elif not path:
        text = _text(value)
        if text is not None:
            yield text
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def _text(value: Any) -> str | None:
    """A string; the journal gives one with colours in it as an array of bytes."""
    if isinstance(value, list) and value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if (text := _text(value)) is not None:
        yield path, text
    elif isinstance(value, dict):
        for name, each in value.items():
            if len(path) < 6:
                yield from strings(each, (*path, name))
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, path)


def json_layer(anchored: Sequence[str], texts: Sequence[str]) -> Layer | None:
    votes: Counter[Path] = Counter()
    ended: Counter[Path] = Counter()
    for text in anchored:
        here: set[Path] = set()
        for path, string in strings(decoded(text)):
            if path not in here and (match := ANCHOR.search(without_colours(string))):
                here.add(path)
                # Of two copies of a text the one that is not wrapped again counts more.
                votes[path] += 2 if match.start() == 0 else 1
                ended[path] += string.endswith("\n")
    if not votes or max(votes.values()) < LEAST_SHARE * len(anchored):
        return None
    paths = sorted(votes, key=lambda path: (-votes[path], len(path)))
    return JsonLayer(paths, _names(texts, paths), ended[paths[0]] * 4 > votes[paths[0]] and len(anchored) > 1)


def _names(texts: Sequence[str], text_paths: Sequence[Path]) -> list[Path]:
    """Where the records say whose they are: the paths at which few values come again and again."""
    values: dict[Path, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for path, string in strings(decoded(text)):
            if path not in text_paths and len(string) <= _LONGEST_NAME:
                values[path][string] += 1
    return [path for path, seen in values.items() if 1 < len(seen) <= _MOST_NAMES and seen.total() >= 4 * len(seen)][
        :_MOST_NAME_PATHS
    ]


def has_anchor(text: str) -> bool:
    if ANCHOR.search(text):
        return True
    return bool(_BYTES.search(text)) and any(ANCHOR.search(string) for _, string in strings(decoded(text)))
