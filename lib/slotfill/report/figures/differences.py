"""How much each figure changed from one run to another."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from slotfill.report import canvas, labels
from slotfill.report.svg import INK, SOFT, mark


def relative(rows: pd.DataFrame, narrow: bool) -> Figure:
    """A dot a figure: its change as a share of what it was, with its 95 % interval; hollow where it is not real.

    ``rows``: figure, hop (or None), difference, low, high (shares), verdict, text.
    """
    if rows.empty:
        return canvas.nothing("No figure of this level is in both runs.", narrow)
    figure, (axes,) = canvas.panels(1, 0.9 + 0.27 * len(rows), narrow)
    for place, row in enumerate(rows.to_dict("records")):
        colour = labels.HOP_COLOURS.get(str(row["hop"]), INK)
        ends = np.array([[row["difference"] - row["low"]], [row["high"] - row["difference"]]]).clip(min=0)
        face = colour if row["verdict"] in ("changed", "follows") else "none"
        dot = axes.errorbar(
            [row["difference"]],
            [place],
            xerr=ends,
            fmt="o",
            color=colour,
            markerfacecolor=face,
            capsize=3,
            markersize=6,
        )
        mark(dot.lines[0], [str(row["text"])])
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_yticks(range(len(rows)), rows["figure"].tolist())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(
        "change, 95 % interval" if narrow else "change against before, with 95 % interval; filled: beyond chance"
    )
    return figure
