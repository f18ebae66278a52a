"""Latency: the stages of the flow, each booking over time, and the distribution."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from slotfill.analyse.level_order import level_order
from slotfill.report import canvas, labels
from slotfill.report.figures.clock import FoldedClock
from slotfill.report.svg import mark

MOST_POINTS = 600
"""Bookings of a level that are drawn one by one; of more, so many are taken at even distance."""


def stages(rows: pd.DataFrame, narrow: bool) -> Figure:
    """The flow's stages for each level, mean with 95 % interval. ``rows``: label, stage, mean_ms, low_ms, high_ms."""
    rows = rows.dropna(subset=["mean_ms"])
    if rows.empty:
        return canvas.nothing("No stage latencies: no attempt was confirmed.", narrow)
    levels = level_order(rows["label"].unique())
    names = list(dict.fromkeys(rows["stage"]))
    figure, (axes,) = canvas.panels(1, 1.1 + 0.16 * len(names) * (1 + len(levels)), narrow)
    for level, offset, colour in zip(levels, canvas.dodge(len(levels)), canvas.level_colours(levels), strict=True):
        here = rows[rows["label"] == level].set_index("stage").reindex(names)
        means, low, high = (here[n].to_numpy(dtype=float, na_value=np.nan) for n in ("mean_ms", "low_ms", "high_ms"))
        ends = np.nan_to_num(np.vstack([means - low, high - means])).clip(min=0)
        places = np.arange(len(names)) + offset
        dots = axes.errorbar(means, places, xerr=ends, fmt="o", color=colour, label=level, capsize=3, markersize=5)
        intervals = [labels.interval(pair) for pair in zip(low, high, strict=True)]
        texts = zip(names, means, intervals, strict=True)
        mark(dots.lines[0], [f"{name} at {level}: {labels.duration(mean)} ({within})" for name, mean, within in texts])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    canvas.time_axis(axes, "mean, 95 % interval")
    canvas.legend_above(figure, [axes], narrow)
    return figure


def over_time(confirmed: pd.DataFrame, narrow: bool) -> Figure:
    """Total time of each confirmed booking at the moment it began, a panel a level, all on the same axes.

    ``confirmed``: label, slot, started_at, total_ms.
    """
    timed = confirmed[["label", "slot", "started_at", "total_ms"]].dropna(subset=["started_at", "total_ms"])
    if timed.empty:
        return canvas.nothing("The logs carry no start times of confirmed bookings.", narrow)
    levels = level_order(timed["label"].unique())
    figure, rows = canvas.panels(len(levels), 0.7 + 1.15 * len(levels), narrow, sharey=True)
    for axes, level, colour in zip(rows, levels, canvas.level_colours(levels), strict=True):
        here = timed[timed["label"] == level].sort_values("started_at")
        clock = FoldedClock(here["started_at"], here["started_at"] + pd.to_timedelta(here["total_ms"], unit="ms"))
        here = here.iloc[:: -(-len(here) // MOST_POINTS)]
        values = here["total_ms"].astype(float)
        (points,) = axes.plot(clock.place(here["started_at"]), values, "o", color=colour, markersize=4, alpha=0.75)
        mark(points, [f"{level}, {row['slot']}: {labels.duration(row['total_ms'])}" for row in here.to_dict("records")])
        canvas.title(axes, level)
        clock.draw_axis(axes)
    for axes in rows:
        canvas.time_axis(axes, "total", vertical=True)
    rows[-1].set_xlabel(FoldedClock.label(narrow))
    return figure


def distribution(confirmed: pd.DataFrame, narrow: bool) -> Figure:
    """The share of each level's confirmed bookings that took at most so long. ``confirmed``: label, total_ms."""
    measured = confirmed[["label", "total_ms"]].dropna(subset=["total_ms"])
    if measured.empty:
        return canvas.nothing("No distribution: no attempt was confirmed.", narrow)
    levels = level_order(measured["label"].unique())
    figure, (axes,) = canvas.panels(1, 2.9, narrow)
    for level, colour in zip(levels, canvas.level_colours(levels), strict=True):
        values = measured.loc[measured["label"] == level, "total_ms"].astype(float)
        line = axes.ecdf(values, color=colour, label=level, linewidth=1.8)
        mark(line, f"{level}: {labels.count(len(values), 'confirmed booking')}")
    canvas.time_axis(axes, "total time of a confirmed booking")
    axes.set_ylabel("share at most so long")
    canvas.legend_above(figure, [axes], narrow)
    return figure
