"""The calls that a platform made for one booking, in the order of their starts."""

import pandas as pd
from matplotlib.figure import Figure

from slotfill.analyse.call_view import Bar, Waterfall
from slotfill.report import canvas, labels
from slotfill.report.svg import INK, LEVEL_COLOURS, mark

MOST_BARS = 120
"""Calls of a request up to which a waterfall can be read."""
_LONGEST_NAME = {False: 48, True: 22}
CHAIN, BESIDE, FAILED = "on the longest chain", "beside it", "failed"
COLOURS = {
    CHAIN: labels.HOP_COLOURS["database"],
    BESIDE: LEVEL_COLOURS[0],
    FAILED: labels.OUTCOME_COLOURS["failed"],
}


def kind(bar: Bar) -> str:
    """What its colour says of a call."""
    return FAILED if bar.failed else CHAIN if bar.on_chain else BESIDE


def waterfall(shown: Waterfall, narrow: bool) -> Figure:
    """A bar a call: where it begins after the request's first byte, how long it takes, and what it asks."""
    bars = shown.bars[:MOST_BARS]
    if not bars:
        return canvas.nothing("No call was made before the answer.", narrow)
    figure, (axes,) = canvas.panels(1, 1.1 + 0.17 * len(bars), narrow)
    places = pd.Series(range(len(bars)))
    kinds = pd.Series([kind(bar) for bar in bars])
    for name in [name for name in COLOURS if (kinds == name).any()]:
        here = places[kinds == name].tolist()
        drawn = axes.barh(
            here,
            [max(bars[place].duration_ms, shown.request_ms / 1000) for place in here],  # a hair is still seen
            left=[bars[place].offset_ms for place in here],
            height=0.72,
            color=COLOURS[name],
            label=name,
        )
        for patch, place in zip(drawn, here, strict=True):
            mark(patch, _title(bars[place]))
    end = axes.axvline(shown.request_ms, color=INK, linestyle="--", linewidth=1)
    mark(end, f"answered after {labels.duration(shown.request_ms)}")
    axes.set_yticks(places.tolist(), [_name(bar, narrow) for bar in bars], fontsize=7.5)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(bars) - 0.5, -0.5)
    canvas.time_axis(axes, "since the request's first byte")
    canvas.legend_above(figure, [axes], narrow)
    return figure


def _name(bar: Bar, narrow: bool) -> str:
    again = f" ×{bar.repeat}" if bar.repeat > 1 else ""
    most = _LONGEST_NAME[narrow]
    name = bar.target if narrow else bar.name
    return f"{name if len(name) <= most else f'{name[: most - 1]}…'}{again}"


def _title(bar: Bar) -> str:
    again = f", asked the same {bar.repeat} times by now" if bar.repeat > 1 else ""
    status = f", {bar.status}" if bar.status else ""
    return f"{bar.name}: {labels.duration(bar.duration_ms)} from {labels.duration(bar.offset_ms)}{status}{again}"
