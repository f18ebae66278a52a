"""A figure as SVG that a page can hold: text stays text, colours follow the page's scheme, marks say what they are.

Colours that have a name in ``COLOURS`` become CSS variables with the colour itself as fallback, so that the same
picture is right on a light page, on a dark one, on paper, and where no style sheet is at all.
"""

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from slotfill.report import labels

INK, SOFT, GRID = "#1b1f24", "#57606b", "#e1e5ea"
LEVEL_COLOURS = (
    *("#8cb8d9", "#73a7d0", "#5c97c7", "#4787bd", "#3677b0"),
    *("#2867a2", "#1d5892", "#144981", "#0d3a6e", "#082c59"),
)
"""Ten steps from the lowest level to the highest: one hue, darker with load."""

COLOURS: Mapping[str, str] = {
    INK: "ink",
    SOFT: "soft",
    GRID: "grid",
    **{colour.lower(): f"hop-{hop}" for hop, colour in labels.HOP_COLOURS.items()},
    **{colour: f"level-{step}" for step, colour in enumerate(LEVEL_COLOURS)},
    **{colour.lower(): f"outcome-{step}" for step, colour in enumerate(labels.OUTCOME_COLOURS.values())},
}

_DROPPED = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<defs>\s*</defs>|<!--.*?-->| font-family: [^;\"]*;", re.DOTALL
)
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
_COLOUR = re.compile("|".join(map(re.escape, COLOURS)))
_OPENING = re.compile(r"<svg [^>]*?viewBox=\"0 0 ([\d.]+) ([\d.]+)\"[^>]*>")
_POINT = re.compile(r"<use ([^>]*)/>")
NARROW = "for-narrow"
"""The kind of a picture that is shown only where a style sheet says so: in a notebook there is none."""
_DPI = 72
"""A figure's own units are points."""
_PIXELS = 4 / 3
"""CSS pixels in a point, the unit of a figure's own size."""


def mark(artist: Artist, title: str | Sequence[str]) -> None:
    """Have a mark of a figure say ``title`` to a pointer that rests on it; of a line of points, each its own."""
    figure = artist.get_figure(root=True)
    assert figure is not None, "a mark is drawn before it is named"
    titles = figure.__dict__.setdefault("_titles", [])
    artist.set_gid(f"mark-{len(titles)}")
    titles.append(title)


def render(figure: Figure, name: str, kind: str = "") -> str:
    """The ``svg`` element. ``name`` is unique on its page; ``kind`` is a class for the style sheet."""
    picture = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        _lay_out(figure)
        figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
    text = picture.getvalue()
    text = _DROPPED.sub("", text[text.index("<svg") :])
    text = _COLOUR.sub(lambda found: f"var(--{COLOURS[found[0]]}, {found[0]})", text)
    text = "".join(_titled(text, figure.__dict__.get("_titles", [])))
    text = _REFERENCE.sub(rf"\g<1>{name}-", text)
    return _OPENING.sub(lambda found: _opening(found, str(figure.get_label()), kind), text, count=1)


def _lay_out(figure: Figure) -> None:
    """Place everything as in the picture, so that saving it need not draw it twice."""
    FigureCanvasSVG(figure)
    figure.dpi = _DPI
    engine = figure.get_layout_engine()
    if figure.axes and engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def _titled(text: str, titles: Sequence[str | Sequence[str]]) -> Iterator[str]:
    """The picture in pieces, with each mark's titles put in; a figure is drawn in another order than it was marked."""
    pieces = re.split(r'(<g id="mark-\d+">)', text)
    yield pieces[0]
    for opening, body in zip(pieces[1::2], pieces[2::2], strict=True):
        title = titles[int(re.findall(r"\d+", opening)[0])]
        if isinstance(title, str):
            yield f"{opening}<title>{html.escape(title)}</title>{body}"
        else:
            each = iter(title)
            yield opening + _POINT.sub(lambda found, each=each: _point(found[1], next(each, "")), body)


def _point(attributes: str, title: str) -> str:
    return f"<use {attributes}><title>{html.escape(title)}</title></use>" if title else f"<use {attributes}/>"


def _opening(found: re.Match[str], description: str, kind: str) -> str:
    width, height = (float(side) for side in found.groups())
    hidden = "display:none;" if kind == NARROW else ""
    return (
        f'<svg class="chart {kind}" role="img" aria-label="{html.escape(description)}" '
        f'viewBox="0 0 {width:g} {height:g}" style="{hidden}width:100%;max-width:{width * _PIXELS:.0f}px;height:auto" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
