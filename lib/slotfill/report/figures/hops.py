"""Where the time goes, and how it grows with the load."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slotfill.analyse.level_order import level_order
from slotfill.report import canvas, labels
from slotfill.report.svg import INK, mark

_WHITE_TEXT = ("database", "allocator")
_SMALL = 0.02
"""Share of an attempt up to which a hop at every level is left out of the growth chart."""


def stack(rows: pd.DataFrame, narrow: bool) -> Figure:
    """Mean time per hop, stacked, a bar a level. ``rows``: label, hop, mean_ms, share, low_ms, high_ms."""
    if rows.empty:
        return canvas.nothing("No attempt could be split into hops.", narrow)
    levels = level_order(rows["label"].unique())
    names = [name for name in labels.HOPS if name in set(rows.loc[rows["mean_ms"] > 0, "hop"])]
    figure, (axes,) = canvas.panels(1, 1.1 + 0.42 * len(levels) + (0.18 * len(names) if narrow else 0.2), narrow)
    wide = rows.pivot(index="label", columns="hop", values="mean_ms").reindex(index=levels, columns=names).fillna(0)
    shares = rows.set_index(["label", "hop"])["share"]
    longest = float(wide.sum(axis=1).max())
    base = np.zeros(len(levels))
    for name in names:
        widths = wide[name].to_numpy(dtype=float)
        bars = axes.barh(levels, widths, left=base, color=labels.HOP_COLOURS[name], label=labels.hop(name), height=0.62)
        for place, (level, bar, width) in enumerate(zip(levels, bars, widths, strict=True)):
            share = labels.share(shares.get((level, name)))
            mark(bar, f"{labels.hop(name)} at {level}: {labels.duration(width)} ({share})")
            if width > (0.2 if narrow else 0.08) * longest:
                colour = "white" if name in _WHITE_TEXT else "black"
                middle = base[place] + width / 2
                axes.text(middle, place, labels.duration(width), ha="center", va="center", color=colour, fontsize=8.5)
        base = base + widths
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    canvas.time_axis(axes, "mean time of an attempt")
    canvas.legend_above(figure, [axes], narrow)
    return figure


def growth(points: pd.DataFrame, lines: pd.DataFrame, load: str, emphasised: str, narrow: bool) -> Figure:
    """Mean time of each hop against the load it met, with its interval and, where one was fitted, the line.

    ``points``: label, hop, load, mean_ms, share, low_ms, high_ms. ``lines``: hop, load, mean_ms, two or more rows a
    hop. ``load`` names the horizontal axis, ``emphasised`` the hop that is drawn strongest.
    """
    if len(points):
        points = points[(points.groupby("hop")["share"].transform("max") > _SMALL).to_numpy()]
    if points["load"].nunique() < 2:
        return canvas.nothing("One level alone shows no growth.", narrow)
    figure, (axes,) = canvas.panels(1, 3.4 if narrow else 3.3, narrow)
    for hop in [name for name in labels.HOPS if name in set(points["hop"])]:
        strong = hop == emphasised
        colour, weight = labels.HOP_COLOURS[hop], 2.4 if strong else 1.2
        rows = points[points["hop"] == hop].sort_values("load")
        fitted = lines[lines["hop"] == hop].sort_values("load")
        path = fitted if len(fitted) else rows
        (line,) = axes.plot(
            path["load"], path["mean_ms"], color=colour, linewidth=weight, linestyle="-" if len(fitted) else ":"
        )
        mark(line, f"{labels.hop(hop)}, {'fitted line' if len(fitted) else 'from level to level'}")
        _intervals(axes, rows, colour, labels.hop(hop), strong)
    canvas.time_axis(axes, "mean time of an attempt", vertical=True)
    axes.set_xlim(left=0)
    axes.set_xlabel(load)
    canvas.legend_above(figure, [axes], narrow)
    return figure


def throughput(rows: pd.DataFrame, load: str, limit_per_min: float | None, narrow: bool) -> Figure:
    """Confirmed bookings a minute against the load met. ``rows``: label, load, per_min; ``load`` names the axis."""
    if rows.empty:
        return canvas.nothing("No throughput: nothing was confirmed, or the logs carry no times.", narrow)
    rows = rows.sort_values("load")
    figure, (axes,) = canvas.panels(1, 2.7, narrow)
    colours = canvas.level_colours(rows["label"].tolist())
    axes.plot(rows["load"], rows["per_min"], color=INK, linewidth=1)
    for row, colour in zip(rows.to_dict("records"), colours, strict=True):
        (point,) = axes.plot([row["load"]], [row["per_min"]], "o", color=colour, markersize=8, label=row["label"])
        mark(point, f"{row['label']}: {labels.number(row['per_min'])} confirmed bookings a minute")
    if limit_per_min:
        line = axes.axhline(limit_per_min, color=INK, linestyle="--", linewidth=1)
        mark(line, f"limit of the slowest hop: {labels.number(limit_per_min)} a minute")
        line.set_label("limit of the slowest hop")
    axes.set_ylim(0, 1.1 * max(float(rows["per_min"].max()), limit_per_min or 0.0))
    axes.set_xlim(0, 1.05 * float(rows["load"].max()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(value)))
    axes.set_xlabel(load)
    axes.set_ylabel("confirmed bookings/min")
    canvas.legend_above(figure, [axes], narrow)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, colour: str, name: str, strong: bool) -> None:
    means, low, high = (rows[end].to_numpy(dtype=float, na_value=np.nan) for end in ("mean_ms", "low_ms", "high_ms"))
    ends = np.nan_to_num(np.vstack([means - low, high - means])).clip(min=0)
    size = 7 if strong else 5
    dots = axes.errorbar(
        rows["load"], means, yerr=ends, fmt="o", color=colour, label=name, capsize=3, markersize=size, linewidth=1.2
    )
    mark(dots.lines[0], _interval_titles(rows, name))


def _interval_titles(rows: pd.DataFrame, name: str) -> Sequence[str]:
    return [
        f"{name} at {row['label']}: {labels.duration(row['mean_ms'])} "
        f"(95 % interval {labels.interval((row['low_ms'], row['high_ms']))})"
        for row in rows.to_dict("records")
    ]
