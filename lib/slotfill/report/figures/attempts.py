"""What became of the attempts: outcomes by slot, seats wasted, and when each worker did what."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from slotfill.analyse.level_order import level_order
from slotfill.outcomes import EXHAUSTED
from slotfill.report import canvas, labels
from slotfill.report.figures.clock import FoldedClock
from slotfill.report.svg import INK, mark

MOST_BARS = 400
"""Attempts of a level up to which a timeline can be read."""
_CELLS = ("#e4eef7", "#cde0f0", "#b3cfe7", "#95bcdc", "#75a6cf", "#558fc0", "#3877ae", "#236098", "#144a80", "#0b3767")
"""From none to most; the same on every page, because the text in a cell is chosen for its colour."""
_WHITE_FROM = 5


def outcomes(attempts: pd.DataFrame, narrow: bool) -> Figure:
    """How the attempts of every slot ended, a panel a level. ``attempts``: label, slot, outcome."""
    known = attempts[["label", "outcome"]].assign(slot=attempts["slot"].fillna("?").astype(str))
    if known.empty:
        return canvas.nothing("No attempts.", narrow)
    groups = labels.outcome_groups(known["outcome"])
    counts = known.groupby(["label", "slot", groups]).size().unstack(fill_value=0)
    levels, slots = level_order(known["label"].unique()), sorted(known["slot"].unique())
    figure, rows = canvas.panels(len(levels), 0.9 + 1.05 * len(levels), narrow, sharex=True, sharey=True)
    for axes, level in zip(rows, levels, strict=True):
        base = np.zeros(len(slots))
        for group in [name for name in labels.OUTCOME_GROUPS if name in counts]:
            heights = counts.xs(level)[group].reindex(slots, fill_value=0).to_numpy()
            bars = axes.bar(slots, heights, bottom=base, color=labels.OUTCOME_COLOURS[group], label=group, width=0.75)
            for bar, slot, height in zip(bars, slots, heights, strict=True):
                mark(bar, f"{slot} at {level}: {height:.0f} {group}")
            base = base + heights
        canvas.title(axes, level)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.set_ylabel("attempts")
    rows[-1].set_xlabel("slot (start time)")
    _slot_ticks(rows[-1], slots, narrow)
    canvas.legend_above(figure, rows, narrow)
    return figure


def seat_waste(means: pd.DataFrame, narrow: bool) -> Figure:
    """Seats given beyond the party's size, a cell a slot and level. ``means``: index label, a column a slot."""
    if means.empty:
        return canvas.nothing("No seat waste: no confirmed booking names its tables.", narrow)
    levels, slots = level_order([str(name) for name in means.index]), sorted(str(slot) for slot in means)
    grid = means.loc[levels, slots].to_numpy(dtype=float)
    most = np.nanmax(grid)
    if narrow:
        grid = grid.T
    across, down = (levels, slots) if narrow else (slots, levels)
    figure, (axes,) = canvas.panels(1, 0.8 + 0.3 * len(down), narrow)
    for row, name in enumerate(down):
        for column, other in enumerate(across):
            _cell(axes, column, row, grid[row, column], most, f"{other}, {name}")
    axes.set_xlim(0, len(across))
    axes.set_ylim(len(down), 0)
    axes.grid(visible=False)
    axes.set_xticks(np.arange(len(across)) + 0.5, across, rotation=0 if narrow else 45)
    axes.set_yticks(np.arange(len(down)) + 0.5, down)
    return figure


def timeline(attempts: pd.DataFrame, narrow: bool) -> Figure:
    """When every booking ran, to scale, a lane a worker (a slot where no worker is named), a panel a level.

    Attempts that waited for a full slot are thin lines, and time in which there was nothing else is left out.
    """
    told = attempts[["label", "worker", "slot", "outcome", "started_at", "ended_at", "total_ms"]]
    timed = told.dropna(subset=["started_at", "ended_at"])
    if timed.empty:
        return canvas.nothing("No timeline: the logs carry no start and end.", narrow)
    levels = level_order(timed["label"].unique())
    lanes = {level: _lanes(timed[timed["label"] == level]) for level in levels}
    heights = [max(2, lane.nunique()) for lane in lanes.values()]
    size = 0.9 + 0.17 * sum(heights) + 0.5 * len(levels)
    figure, rows = canvas.panels(len(levels), size, narrow, height_ratios=heights)
    for axes, level in zip(rows, levels, strict=True):
        _bars(axes, timed[timed["label"] == level], lanes[level])
        canvas.title(axes, level)
    rows[-1].set_xlabel(FoldedClock.label(narrow))
    canvas.legend_above(figure, rows, narrow)
    return figure


def _bars(axes: Axes, attempts: pd.DataFrame, lanes: pd.Series) -> None:
    attempts = attempts.sort_values("started_at").head(MOST_BARS)
    lanes = lanes[attempts.index]
    names = level_order(lanes.unique())
    booking = attempts[(attempts["outcome"] != EXHAUSTED).to_numpy()]
    seen = booking if len(booking) else attempts
    clock = FoldedClock(seen["started_at"], seen["ended_at"])
    begins, ends = clock.place(attempts["started_at"]), clock.place(attempts["ended_at"])
    groups = labels.outcome_groups(attempts["outcome"])
    places = lanes.map(names.index).to_numpy(dtype=float)
    heights = np.where((attempts["outcome"] == EXHAUSTED).to_numpy(), 0.2, 0.8)
    for group in [name for name in labels.OUTCOME_GROUPS if name in set(groups)]:
        here = (groups == group).to_numpy()
        widths = (ends - begins)[here]
        colour = labels.OUTCOME_COLOURS[group]
        bars = axes.barh(places[here], widths, left=begins[here], height=heights[here], color=colour, label=group)
        for bar, row, lane in zip(bars, attempts[here].to_dict("records"), lanes[here], strict=True):
            mark(bar, f"{row['slot']}, {lane}: {labels.duration(row['total_ms'])}, {group}")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    clock.draw_axis(axes)


def _cell(axes: Axes, column: int, row: int, value: float, most: float, where: str) -> None:
    if np.isnan(value):
        return
    step = round(value / most * (len(_CELLS) - 1)) if most else 0
    patch = axes.add_patch(Rectangle((column + 0.03, row + 0.05), 0.94, 0.9, color=_CELLS[step]))
    mark(patch, f"{where}: {value:.2f} seats wasted per booking")
    colour = "white" if step >= _WHITE_FROM else "black"
    axes.text(column + 0.5, row + 0.5, f"{value:.1f}", ha="center", va="center", fontsize=8.5, color=colour)


def _slot_ticks(axes: Axes, slots: list[str], narrow: bool) -> None:
    every = -(-len(slots) // (6 if narrow else 18))
    axes.set_xticks(range(0, len(slots), every), slots[::every], color=INK)


def _lanes(attempts: pd.DataFrame) -> pd.Series:
    if attempts["worker"].notna().all():
        return "worker " + attempts["worker"].astype(str)
    return attempts["slot"].fillna("?").astype(str)
