"""What all charts share: figures in two widths, axes that read in s or ms, legends, and the colours of levels."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from slotfill.report.svg import GRID, INK, LEVEL_COLOURS, SOFT

WIDE_IN, NARROW_IN = 9.2, 3.7
"""Widths for a screen of 1,280 px and for one of 400, with text of the same size on both."""

_STYLE: Any = {
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.solid_capstyle": "round",
    "grid.color": GRID,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_SIZES: Any = {
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
}


def panels(count: int, height: float, narrow: bool, **layout: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels one below the other, ``height`` inches in all."""
    with mpl.rc_context(_SIZES | _STYLE):
        figure = Figure(figsize=(NARROW_IN if narrow else WIDE_IN, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = np.atleast_1d(figure.subplots(count, 1, **layout)).tolist() if count else []
    for each in axes:
        each.set_axisbelow(True)
    return figure, axes


def nothing(sentence: str, narrow: bool) -> Figure:
    """A figure that only says why there is none."""
    figure, _ = panels(0, 0.7, narrow)
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=SOFT, fontsize=9.5, wrap=True)
    return figure


def time_axis(axes: Axes, label: str, vertical: bool = False, from_zero: bool = True) -> None:
    """Milliseconds below two seconds, seconds above: the data stay in ms."""
    axis = axes.yaxis if vertical else axes.xaxis
    if from_zero:
        axes.set_ylim(bottom=0) if vertical else axes.set_xlim(left=0)
    seconds = (axes.get_ylim() if vertical else axes.get_xlim())[1] >= 2000
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}" if seconds else f"{x:g}"))
    axis.set_major_locator(MaxNLocator(nbins=5 if vertical else 6))
    axis.set_label_text(f"{label} ({'s' if seconds else 'ms'})")


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9.5, fontweight="bold", color=INK)


def level_colours(levels: Sequence[str]) -> list[str]:
    """Levels are ordered, so their colours go from light to dark."""
    steps = np.linspace(1, len(LEVEL_COLOURS) - 1, len(levels)) if len(levels) > 1 else [6]
    return [LEVEL_COLOURS[round(step)] for step in steps]


def dodge(amount: int) -> list[float]:
    return list(np.linspace(-0.27, 0.27, amount)) if amount > 1 else [0.0]


def legend_above(figure: Figure, rows: Iterable[Axes], narrow: bool) -> None:
    """One legend for all panels, each name once."""
    handles: dict[str, Any] = {
        text: handle for axes in rows for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        columns = min(len(handles), 2 if narrow else 6)
        with mpl.rc_context(_SIZES | {"text.color": INK}):
            figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=columns, frameon=False)
