"""What a log comes wrapped in, found once a file and taken off: a prefix on each line, or JSON around the text.

Process managers, containers and platforms put the printer's name, a time, a level in front of each line, or
each line into an object. None of them is known by name here. A few texts of the booking platform cannot be
mistaken (``anchors``), and begin a line when they are printed; what stands before them in a sample of the file is
the prefix, and the string they stand in is the text of the JSON. Several may lie around each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from slotfill.read.field_layer import field_layer
from slotfill.read.json_layer import has_anchor, json_layer
from slotfill.read.layer import Layer
from slotfill.read.prefix_layer import prefix_layer
from slotfill.read.text import Line


class LogLine(NamedTuple):
    """A line as the platform printed it, and the place in the file where it stands."""

    number: int
    text: str
    problem: str | None = None
    source: str = ""
    """Which of the printers whose lines a wrapper mixes."""


_ANCHORS_WANTED = 64
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 4000, 4 << 20
_MOST_LAYERS = 4


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
            found = any(map(has_anchor, texts))
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
            anchors += has_anchor(line[1])
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
    return any(map(has_anchor, texts)) and not find_layers(texts)


def find_layers(texts: Sequence[str]) -> list[Layer]:
    """What lies around the texts of a sample, from the outside in."""
    layers: list[Layer] = []
    while len(layers) < _MOST_LAYERS:
        anchored = list(filter(has_anchor, texts))
        layer = json_layer(anchored, texts) or field_layer(anchored) or prefix_layer(anchored, texts)
        if layer is None:
            break
        layers.append(layer)
        texts = [inner for text in texts for inner, _ in layer.take(text)]
    return layers


def _through(layers: Sequence[Layer], text: str) -> Iterable[tuple[str, str]]:
    """What is left of a line when all layers are off."""
    pieces: Iterable[tuple[str, str]] = ((text, ""),)
    for layer in layers:
        pieces = [(inner, outer + source) for text, outer in pieces for inner, source in layer.take(text)]
    return pieces
