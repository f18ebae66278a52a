"""What a log comes wrapped in, found once a file and taken off: a prefix on each line, or JSON around the text.

Process managers, containers and platforms put the printer's name, a time, a level in front of each line, or
each line into an object. None of them is known by name here. A few texts of the booking platform cannot be
mistaken (``anchors``), and begin a line when they are printed; what stands before them in a sample of the file is
the prefix, and the string they stand in is the text of the JSON. Several may lie around each other.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from slotfill.read.text import Line, without_colours


class LogLine(NamedTuple):
    """A line as the platform printed it, and the place in the file where it stands."""

    number: int
    text: str
    problem: str | None = None
    source: str = ""
    """Which of the printers whose lines a wrapper mixes."""


_ANCHOR = re.compile(
    r"""\[\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)\]\ \[[A-Z]{3,8}\]\ \[[a-z_]{4,20}\]\   # a client's event
    |\{\\*"timestamp\\*":\ ?\\*"[^"\n]{10,40}",\ ?\\*"level\\*":\ ?\\*"\w+\\*",\ ?\\*"phase\\*":   # the same in JSON
    |\[(?:bookings\]\[|auto-assign\]\[|capacity\.[a-z]{2,20}\]\ |stress\]\ (?:Summary|Failure\ details)\ \{)""",
    re.VERBOSE,
)
_BYTES = re.compile(r":\s?\[\d{1,3},\s?\d{1,3},")
_ANCHORS_WANTED = 64
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 4000, 4 << 20
_MOST_LAYERS = 4
_LEAST_SHARE = 0.2  # of the lines with an anchor; a wrapper is on all of them
_MOST_SOURCES = 100
_LONGEST_NAME, _MOST_NAMES, _MOST_NAME_PATHS = 100, 12, 4
_MOST_PARTS, _MOST_PARTIAL = 64, 1 << 20


class Layer(Protocol):
    """One thing around the text, taken off."""

    def describe(self) -> str:
        """What it is, for people."""

    def take(self, text: str) -> Iterable[tuple[str, str]]:
        """The texts in a line, each with its source; none where the line is the wrapper's alone."""


class Unwrapper:
    """The lines of one file without what they are wrapped in; ``wrapper`` says what that was."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._layers: list[Layer] = []

    @property
    def wrapper(self) -> str | None:
        """What was taken off; ``None`` where nothing was."""
        return ", in it ".join(layer.describe() for layer in self._layers) or None

    def __iter__(self) -> Iterator[LogLine]:
        found = False
        while not found and (sample := self._sample()):
            texts = [text for _, text, problem in sample if problem is None]
            found = any(map(_has_anchor, texts))
            if found:
                self._layers = find_layers(texts)
            yield from self._unwrap(sample)
        yield from self._unwrap(self._lines)

    def _sample(self) -> list[Line]:
        """The next lines, up to where enough of them have an anchor."""
        sample: list[Line] = []
        anchors = characters = 0
        for line in self._lines:
            sample.append(line)
            characters += len(line[1])
            anchors += _has_anchor(line[1])
            if anchors >= _ANCHORS_WANTED or len(sample) >= _SAMPLE_LINES or characters >= _SAMPLE_CHARACTERS:
                break
        return sample

    def _unwrap(self, lines: Iterable[Line]) -> Iterator[LogLine]:
        if not self._layers:
            for number, text, problem in lines:
                yield LogLine(number, text, problem)
            return
        for number, text, problem in lines:
            if problem:
                yield LogLine(number, text, problem)
            else:
                for inner, source in _through(self._layers, text):
                    yield LogLine(number, inner, None, source)


def is_bare(lines: Iterable[Line]) -> bool:
    """Whether lines are the platform's own and nothing lies around them."""
    sample = Unwrapper(lines)._sample()
    texts = [text for _, text, problem in sample if problem is None]
    return any(map(_has_anchor, texts)) and not find_layers(texts)


def find_layers(texts: Sequence[str]) -> list[Layer]:
    """What lies around the texts of a sample, from the outside in."""
    layers: list[Layer] = []
    while len(layers) < _MOST_LAYERS:
        anchored = list(filter(_has_anchor, texts))
        layer = _json_layer(anchored, texts) or _field_layer(anchored) or _prefix_layer(anchored, texts)
        if layer is None:
            break
        layers.append(layer)
        texts = [inner for text in texts for inner, _ in layer.take(text)]
    return layers


def _has_anchor(text: str) -> bool:
    if _ANCHOR.search(text):
        return True
    return bool(_BYTES.search(text)) and any(_ANCHOR.search(string) for _, string in _strings(_decoded(text)))


def _through(layers: Sequence[Layer], text: str) -> Iterable[tuple[str, str]]:
    """What is left of a line when all layers are off."""
    pieces: Iterable[tuple[str, str]] = ((text, ""),)
    for layer in layers:
        pieces = [(inner, outer + source) for text, outer in pieces for inner, source in layer.take(text)]
    return pieces


# --- JSON around the text


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
        value = _decoded(text)
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


def _decoded(text: str) -> Any:
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


def _strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if (text := _text(value)) is not None:
        yield path, text
    elif isinstance(value, dict):
        for name, each in value.items():
            if len(path) < 6:
                yield from _strings(each, (*path, name))
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, path)


def _json_layer(anchored: Sequence[str], texts: Sequence[str]) -> Layer | None:
    votes: Counter[Path] = Counter()
    ended: Counter[Path] = Counter()
    for text in anchored:
        here: set[Path] = set()
        for path, string in _strings(_decoded(text)):
            if path not in here and (match := _ANCHOR.search(without_colours(string))):
                here.add(path)
                # Of two copies of a text the one that is not wrapped again counts more.
                votes[path] += 2 if match.start() == 0 else 1
                ended[path] += string.endswith("\n")
    if not votes or max(votes.values()) < _LEAST_SHARE * len(anchored):
        return None
    paths = sorted(votes, key=lambda path: (-votes[path], len(path)))
    return JsonLayer(paths, _names(texts, paths), ended[paths[0]] * 4 > votes[paths[0]] and len(anchored) > 1)


def _names(texts: Sequence[str], text_paths: Sequence[Path]) -> list[Path]:
    """Where the records say whose they are: the paths at which few values come again and again."""
    values: dict[Path, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for path, string in _strings(_decoded(text)):
            if path not in text_paths and len(string) <= _LONGEST_NAME:
                values[path][string] += 1
    return [path for path, seen in values.items() if 1 < len(seen) <= _MOST_NAMES and seen.total() >= 4 * len(seen)][
        :_MOST_NAME_PATHS
    ]


# --- a quoted field on the line: an indented JSON document, logfmt


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


def _field_layer(anchored: Sequence[str]) -> Layer | None:
    keys = Counter[tuple[str, bool]]()
    for text in anchored:
        for key, string in _fields(text):
            if _ANCHOR.search(without_colours(string)):
                keys[key, text.lstrip().startswith(f'"{key}"')] += 1
    if not keys:
        return None
    (key, indented), count = keys.most_common(1)[0]
    return FieldLayer(key, indented) if count >= _LEAST_SHARE * len(anchored) else None


# --- a prefix on each line


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
        match = None if _ANCHOR.match(text) else self._pattern.match(text)
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


def _prefix_layer(anchored: Sequence[str], texts: Sequence[str]) -> Layer | None:
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
    match = _ANCHOR.search(text)
    if match is None:
        return None
    start = match.start()
    brace = re.search(r'\[?\{ ?"', text[:start])
    if brace is None:
        return text[:start]
    # Where the JSON is a part of a line only, what stands before the text is not all prefix.
    return text[: brace.start()] if _decoded(text[brace.start() :]) is not None else None


def _tokens(prefix: str) -> list[Token]:
    return [(str(match.lastgroup), match[0]) for match in _TOKEN.finditer(prefix)]


def _is_wrapper(samples: Sequence[Sequence[Token]], anchored: int, texts: Sequence[str]) -> bool:
    """Whether a shape is on enough lines; of one anchor alone, on most other lines of the file too."""
    if len(samples) >= max(2, _LEAST_SHARE * anchored):
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
