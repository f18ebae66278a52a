"""The database over time, as the samples saw it."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slotfill.analyse.level_order import level_order
from slotfill.report import canvas, labels
from slotfill.report.figures.clock import FoldedClock
from slotfill.report.svg import SOFT, mark

STATES = {
    "connected": SOFT,
    "active": labels.HOP_COLOURS["database"],
    "idle in transaction": labels.HOP_COLOURS["queue"],
    "waiting for a lock": labels.HOP_COLOURS["allocator"],
}


def sessions(rows: pd.DataFrame, attempts: pd.DataFrame, narrow: bool) -> Figure:
    """Database sessions by what they do while attempts ran, a panel a level on the same axes.

    ``rows``: label, at, a column a state. ``attempts``: label, started_at, ended_at.
    """
    timed = attempts[["label", "started_at", "ended_at"]].dropna(subset=["started_at", "ended_at"])
    rows = rows[rows["label"].isin(timed["label"].unique())]
    if rows.empty:
        return canvas.nothing("No database samples.", narrow)
    levels = level_order(rows["label"].unique())
    figure, panels = canvas.panels(len(levels), 0.9 + 1.2 * len(levels), narrow, sharey=True)
    for axes, level in zip(panels, levels, strict=True):
        level_attempts = timed[(timed["label"] == level).to_numpy()]
        clock = FoldedClock(level_attempts["started_at"], level_attempts["ended_at"])
        here = rows[(rows["label"] == level).to_numpy()].sort_values("at")
        places = clock.place(here["at"])
        for state, colour in STATES.items():
            if state in here:
                (line,) = axes.plot(
                    places, here[state], color=colour, label=state, drawstyle="steps-post", linewidth=1.2
                )
                mark(line, f"{state} at {level}")
        clock.draw_axis(axes)
        canvas.title(axes, level)
        axes.set_ylabel("sessions")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    panels[0].set_ylim(bottom=0)  # shared, so only once all is drawn
    panels[-1].set_xlabel(FoldedClock.label(narrow))
    canvas.legend_above(figure, panels, narrow)
    return figure
