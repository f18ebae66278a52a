"""What all charts share: figures, axes that read in s, ms or min:s, legends, and the colours of levels."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

WIDTH = 10.0


def blank(height: float) -> Figure:
    with sns.axes_style("whitegrid", {"grid.color": "#EEEEEE", "axes.edgecolor": "#BBBBBB"}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def described(figure: Figure, sentence: str) -> Figure:
    figure.set_label(sentence)
    for axes in figure.axes:
        sns.despine(ax=axes)
        axes.grid(color="#EEEEEE")
        axes.set_axisbelow(True)
    return figure


def nothing(sentence: str) -> Figure:
    figure = blank(1.0)
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color="#555555")
    return described(figure, sentence)


def time_axis(axes: Axes, label: str, from_zero: bool = True) -> None:
    """Milliseconds below two seconds, seconds above: the data stay in ms."""
    if from_zero:
        axes.set_xlim(left=0)
    seconds = axes.get_xlim()[1] >= 2000
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}" if seconds else f"{x:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel(f"{label} ({'s' if seconds else 'ms'})")


def clock_axis(axes: Axes) -> None:
    """Seconds since a level's first attempt began, as min:s where they are many."""
    axes.set_xlim(left=0)
    short = axes.get_xlim()[1] < 120
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:g}" if short else f"{int(x // 60)}:{int(x % 60):02d}")
    )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10] if short else [1, 1.5, 2, 3, 6, 10]))
    axes.set_xlabel(f"since the level's first attempt began ({'s' if short else 'min:s'})")


def level_colours(levels: list[str]) -> list[Any]:
    """Levels are ordered, so their colours go from light to dark."""
    return list(sns.color_palette("viridis_r", len(levels) + 1)[1:])


def dodge(amount: int) -> list[float]:
    return list(np.linspace(-0.27, 0.27, amount)) if amount > 1 else [0.0]


def legend_beside(axes: Axes, title: str) -> None:
    axes.legend(title=title, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def legend_above(figure: Figure, rows: Iterable[Axes]) -> None:
    """One legend for all axes, each name once."""
    handles: dict[str, Any] = {
        text: handle for axes in rows for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles), frameon=False)
