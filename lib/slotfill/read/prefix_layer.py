"""A prefix on each line, found by what stands before the platform's own texts."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from slotfill.read.json_layer import decoded
from slotfill.read.layer import ANCHOR, LEAST_SHARE, Layer
from slotfill.read.text import without_colours

_MOST_SOURCES = 100
_MOST_PARTIAL = 1 << 20
_TIME = (
    r"(?:(?:[A-Z][a-z]{2},? )?(?:"
    r"\d{4}[-/.]\d\d[-/.]\d\d[T ,]+\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
    r"|\d{1,2}[-/][A-Za-z\d]{2,3}[-/]\d{4}[T: ,]+\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AP]M)?(?: ?(?:Z|[+-]\d\d:?\d\d))?"
    r"|[A-Z][a-z]{2} [ \d]?\d(?:,? \d{4})?,? \d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AP]M)?(?: [A-Z]{3,4}(?: \d{4})?)?"
    r"|\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?: ?[AP]M)?"
    r"))(?!\w|:\d)"
)
_WORD = r"[^\s\[\](){}<>|:=\"'`;,│┃┊»›]+"
_TOKEN = re.compile(rf"(?P<time>{_TIME})|(?P<space>[ \t]+)|(?P<word>{_WORD})|(?P<mark>.)")
_LONGEST_PREFIX = 200
_PARTIAL_MARK = "P"
_COUNTER = re.compile(r"[\d.+-]{4,}")


Token = tuple[str, str]
"""Kind (``time``, ``space``, ``word``, ``mark``) and text."""


class PrefixLayer:
    """A prefix of one of a few shapes; a line without one goes on with what the line before it said."""

    def __init__(self, shapes: Sequence[str], example: str) -> None:
        self._pattern = re.compile("|".join(f"(?:{shape})" for shape in shapes))
        self._example = example
        self._source, self._width = "", 0
        self._sources: dict[str, str] = {}
        self._partial: dict[str, str] = {}

    def describe(self) -> str:
        return f"a prefix on each line, such as {self._example!r}"

    def take(self, text: str) -> Iterable[tuple[str, str]]:
        match = None if ANCHOR.match(text) else self._pattern.match(text)
        if match is None:
            # systemd's journal indents the further lines of a message by the width of the prefix.
            if self._width and text.startswith(" " * self._width):
                text = text[self._width :]
            return [(text, self._source)]
        prefix, text = match[0], text[match.end() :]
        self._width = len(prefix)
        self._source, is_partial = self._read(prefix)
        if is_partial or self._source in self._partial:
            text = self._partial.pop(self._source, "") + text
            if is_partial and len(text) < _MOST_PARTIAL:
                self._partial[self._source] = text
                return []
        return [(without_colours(text), self._source)]

    def _read(self, prefix: str) -> tuple[str, bool]:
        """Whose line it is, and whether the next line goes on with it, as container runtimes mark it."""
        words = [match["word"] for match in _TOKEN.finditer(prefix) if match["word"]]
        is_partial = bool(words) and words[-1] == _PARTIAL_MARK
        name = " ".join(word for word in words if word not in (_PARTIAL_MARK, "F") and not _COUNTER.fullmatch(word))
        if name not in self._sources and len(self._sources) >= _MOST_SOURCES:
            return "", is_partial  # what differs from line to line names nobody
        return self._sources.setdefault(name, name), is_partial


def prefix_layer(anchored: Sequence[str], texts: Sequence[str]) -> Layer | None:
    prefixes = [prefix for text in anchored if (prefix := _before_anchor(text)) is not None]
    shapes: dict[tuple[str, ...], list[list[Token]]] = defaultdict(list)
    for prefix in filter(None, prefixes):
        if len(prefix) <= _LONGEST_PREFIX:
            tokens = _tokens(prefix)
            shapes[tuple(kind if kind != "mark" else text for kind, text in tokens)].append(tokens)
    patterns = [
        _shape(samples)
        for samples in sorted(shapes.values(), key=lambda samples: -len(samples[0]))
        if _is_wrapper(samples, len(prefixes), texts)
    ]
    if not patterns:
        return None
    example = max(shapes.values(), key=len)[0]
    return PrefixLayer(patterns, "".join(text for _, text in example))


def _before_anchor(text: str) -> str | None:
    """What stands before the platform's own text, or before the JSON that holds it."""
    match = ANCHOR.search(text)
    if match is None:
        return None
    start = match.start()
    brace = re.search(r'\[?\{ ?"', text[:start])
    if brace is None:
        return text[:start]
    # Where the JSON is a part of a line only, what stands before the text is not all prefix.
    return text[: brace.start()] if decoded(text[brace.start() :]) is not None else None


def _tokens(prefix: str) -> list[Token]:
    return [(str(match.lastgroup), match[0]) for match in _TOKEN.finditer(prefix)]


def _is_wrapper(samples: Sequence[Sequence[Token]], anchored: int, texts: Sequence[str]) -> bool:
    """Whether a shape is on enough lines; of one anchor alone, on most other lines of the file too."""
    if len(samples) >= max(2, LEAST_SHARE * anchored):
        return True
    if anchored > 1:
        return False
    pattern = re.compile(_shape(samples))
    return sum(pattern.match(text) is not None for text in texts) > len(texts) / 2


def _shape(samples: Sequence[Sequence[Token]]) -> str:
    """A pattern for all prefixes of a shape: names and times may be others, marks and the last gap may not."""
    columns = list(zip(*samples, strict=True))
    kinds = [column[0][0] for column in columns]
    if not {"time", "mark"} & set(kinds):  # but a prefix of mere words has to be one that was seen
        seen = tuple(("seen", "".join(text for _, text in sample).rstrip()) for sample in samples)
        kinds, columns = ["seen", *kinds[-1:]], [seen, *columns[-1:]]
    parts = [_part(kind, {text for _, text in column}) for kind, column in zip(kinds, columns, strict=True)]
    if kinds[-1] == "space":
        parts[-2:] = [_end(parts[-2], kinds[-2], columns[-2], columns[-1])]
    return "".join(parts)


def _part(kind: str, texts: set[str]) -> str:
    if kind == "time":
        return _TIME
    if kind == "word":
        return _WORD
    if kind == "space":
        return r"[ \t]+"
    return f"(?:{'|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))})"


def _end(before: str, kind: str, words: Sequence[Token], spaces: Sequence[Token]) -> str:
    """The last gap. What follows it is the platform's own indentation, so its width has to be right.

    A word that is padded to a column gives the column's width; an empty line may have lost its gap.
    """
    gaps = {text for _, text in spaces}
    widths = {len(word) + len(gap) for (_, word), (_, gap) in zip(words, spaces, strict=True)}
    gap = min(gaps, key=len)
    if kind == "word" and len(widths) == 1 and len(gap) > 1:
        [width] = widths
        columns = [rf"{_WORD[:-1]}{{{size}}} {{{width - size}}}" for size in range(1, min(width, 60))]
        return f"(?:{'|'.join(columns)}|{before} |{before}$)"
    return f"{before}(?:{re.escape(gap)}|$)"
