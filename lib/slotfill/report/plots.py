"""Charts: a finished frame in, a Figure out.

Every figure works on a few rows and on none, says its unit on the axis, gives a hop or an outcome the
same colour everywhere, and carries in its label (``Figure.get_label``) the sentence that stands in for it
where it cannot be seen. Figures come from the object interface, so nothing is left open and nothing is
shown by itself.
"""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slotfill.attempt import is_confirmed
from slotfill.report import canvas, labels, tables

ROW = 0.55
_SESSION_COLOURS = {
    "connected": "#BBBBBB",
    "active": labels.HOP_COLOURS["database"],
    "idle in transaction": labels.HOP_COLOURS["queue"],
    "waiting for a lock": labels.HOP_COLOURS["allocator"],
    "jobs queued": "#009E73",
}


def hop_stack(hops: pd.DataFrame) -> Figure:
    """Mean time per hop: stacked for each level, and each hop with its 95 % interval beside it.

    ``hops``: label, hop, mean_ms, low_ms, high_ms (one row a level and hop; see ``tables.hop_rows``).
    """
    if hops.empty:
        return canvas.nothing("No time per hop: no attempt could be split.")
    levels = labels.level_order(hops["label"].tolist())
    names = [name for name in labels.HOPS if name in set(hops["hop"])]
    figure = canvas.blank(max(2.8, 1.3 + ROW * max(len(levels), len(names)) * 0.9))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _stack(left, hops, levels, names)
    _intervals(right, hops, levels, names)
    canvas.legend_above(figure, [left])
    said = "; ".join(f"{level} {_largest(hops, level)}" for level in levels)
    return canvas.described(figure, f"Stacked bars, mean time per hop for each level. {said}.")


def stage_latencies(stages: pd.DataFrame) -> Figure:
    """The flow's stages (submit, inline poll, after the job, total) for each level, mean with 95 % interval.

    ``stages``: label, stage, mean_ms, low_ms, high_ms (see ``tables.stage_rows``).
    """
    stages = stages.dropna(subset=["mean_ms"])
    if stages.empty:
        return canvas.nothing("No stage latencies: no attempt was confirmed.")
    levels = labels.level_order(stages["label"].tolist())
    names = list(dict.fromkeys(stages["stage"]))
    figure = canvas.blank(max(2.6, 1.0 + ROW * len(names) * max(1.0, len(levels) / 3)))
    axes = figure.subplots()
    for level, offset, colour in zip(levels, canvas.dodge(len(levels)), canvas.level_colours(levels), strict=True):
        means = stages[stages["label"] == level].set_index("stage").reindex(names)
        _dots(axes, means, np.arange(len(names)) + offset, colour, level)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    canvas.time_axis(axes, "mean of confirmed bookings, with 95 % interval")
    canvas.legend_beside(axes, "level")
    rows = stages[["label", "stage", "mean_ms"]].to_numpy()
    said = "; ".join(f"{label} {stage} {labels.duration(mean)}" for label, stage, mean in rows)
    return canvas.described(figure, f"Dots with intervals, mean time of each stage for each level: {said}.")


def latency_distributions(attempts: pd.DataFrame, column: str = "submit_ms") -> Figure:
    """How ``column`` of the confirmed attempts is distributed: each as a point, and the share that was as fast."""
    measured = attempts[is_confirmed(attempts) & attempts[column].notna()]
    if measured.empty:
        return canvas.nothing("No distribution: no attempt was confirmed.")
    levels = labels.level_order(measured["label"].tolist())
    colours = canvas.level_colours(levels)
    figure = canvas.blank(max(3.2, 1.2 + ROW * len(levels)))
    strip, steps = figure.subplots(1, 2, sharex=True, gridspec_kw={"wspace": 0.12})
    for place, (level, colour) in enumerate(zip(levels, colours, strict=True)):
        values = measured.loc[measured["label"] == level, column].astype(float).sort_values()
        jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(values))
        strip.plot(values, place + jitter, "o", color=colour, alpha=0.5, markersize=4, markeredgewidth=0)
        strip.plot([values.median()] * 2, [place - 0.38, place + 0.38], color="black", linewidth=1.5)
        steps.ecdf(values, color=colour, label=level)
    strip.set_yticks(range(len(levels)), levels)
    strip.invert_yaxis()
    canvas.time_axis(strip, f"{_stage_name(column)}, one point a booking, line = median", from_zero=False)
    steps.set_ylabel("share of bookings at least as fast")
    canvas.time_axis(steps, _stage_name(column), from_zero=False)
    canvas.legend_beside(steps, "level")
    medians = measured.groupby("label")[column].median().reindex(pd.Index(levels)).to_numpy(dtype=float)
    said = "; ".join(f"{level} median {labels.duration(m)}" for level, m in zip(levels, medians, strict=True))
    return canvas.described(figure, f"Distribution of {_stage_name(column)} for each level: {said}.")


def seat_waste(attempts: pd.DataFrame) -> Figure:
    """Seats given beyond the party's size, mean of the confirmed bookings of each slot and level."""
    seated = attempts[is_confirmed(attempts) & attempts["seat_waste"].notna() & attempts["slot"].notna()]
    if seated.empty:
        return canvas.nothing("No seat waste: no confirmed booking names its tables.")
    grid = _grid(seated, "seat_waste", "mean")
    figure = _heatmap(grid, "seats wasted per booking", ".1f")
    return canvas.described(
        figure,
        f"Heat map, seats wasted per booking for each slot and level; most, {np.nanmax(grid.to_numpy()):.1f}.",
    )


def outcomes(attempts: pd.DataFrame) -> Figure:
    """How the attempts of every slot ended, one row of bars a level."""
    known = attempts.assign(slot=attempts["slot"].fillna("?").astype(str))
    if known.empty:
        return canvas.nothing("No attempts.")
    groups = known["outcome"].map(labels.outcome_group)
    counts = known.groupby(["label", "slot", groups]).size().unstack(fill_value=0)
    levels, slots = labels.level_order(known["label"].tolist()), sorted(set(known["slot"]))
    figure = canvas.blank(1.1 + 1.25 * len(levels))
    rows = np.atleast_1d(figure.subplots(len(levels), 1, sharex=True, sharey=True))
    for axes, level in zip(rows, levels, strict=True):
        base = np.zeros(len(slots))
        for group in labels.OUTCOME_GROUPS:
            if group in counts.columns:
                heights = counts.xs(level)[group].reindex(slots, fill_value=0).to_numpy()
                axes.bar(
                    slots, heights, bottom=base, color=labels.OUTCOME_COLOURS[group], label=group, edgecolor="white"
                )
                base = base + heights
        axes.set_title(level, loc="left", fontsize="medium")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    rows[-1].set_xlabel("slot (start time)")
    rows[-1].tick_params(axis="x", rotation=45 if len(slots) > 10 else 0)
    figure.supylabel("attempts", fontsize="medium")
    canvas.legend_above(figure, rows)
    totals = known.groupby(["label", groups]).size()
    said = "; ".join(f"{level}: " + ", ".join(f"{n} {g}" for g, n in totals.xs(level).items()) for level in levels)
    return canvas.described(figure, f"Stacked bars, outcomes of the attempts in each slot. {said}.")


def timeline(attempts: pd.DataFrame) -> Figure:
    """When every attempt ran, as a bar from start to end, one lane a worker (a slot where no worker is named)."""
    timed = attempts.dropna(subset=["started_at", "ended_at"])
    if timed.empty:
        return canvas.nothing("No timeline: the logs carry no start and end.")
    levels = labels.level_order(timed["label"].tolist())
    lanes = {level: _lanes(timed[timed["label"] == level]) for level in levels}
    heights = [max(2, len(set(lane))) for lane in lanes.values()]
    figure = canvas.blank(1.3 + 0.17 * sum(heights) + 0.35 * len(levels))
    rows = np.atleast_1d(figure.subplots(len(levels), 1, height_ratios=heights))
    for axes, level in zip(rows, levels, strict=True):
        _bars(axes, timed[timed["label"] == level], lanes[level])
        axes.set_title(level, loc="left", fontsize="medium")
    canvas.legend_above(figure, rows)
    return canvas.described(figure, f"Timeline, one bar an attempt, for {labels.listing(levels)}.")


def database_over_time(sessions: pd.DataFrame) -> Figure:
    """Database sessions by what they do, and jobs queued, over each level's time.

    ``sessions``: label, since_s, and a column a state (see ``tables.session_rows``).
    """
    if sessions.empty:
        return canvas.nothing("No database samples.")
    levels = labels.level_order(sessions["label"].tolist())
    figure = canvas.blank(1.2 + 1.5 * len(levels))
    rows = np.atleast_1d(figure.subplots(len(levels), 1, sharey=True))
    peaks = []
    for axes, level in zip(rows, levels, strict=True):
        here = sessions[sessions["label"] == level]
        for state, colour in _SESSION_COLOURS.items():
            if state in here:
                axes.plot(
                    here["since_s"], here[state], color=colour, label=state, drawstyle="steps-post", linewidth=1.3
                )
        waiting = here["waiting for a lock"].max() if "waiting for a lock" in here else 0
        peaks.append(f"{level} at most {waiting:.0f} waiting for a lock")
        canvas.clock_axis(axes)
        axes.set_title(level, loc="left", fontsize="medium")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    rows[0].set_ylim(bottom=0)  # shared, so only once all is drawn
    figure.supylabel("sessions", fontsize="medium")
    canvas.legend_above(figure, rows)
    return canvas.described(figure, f"Database sessions over time: {'; '.join(peaks)}.")


def _stage_name(column: str) -> str:
    return {"submit_ms": "submit time", "total_ms": "total time", "inline_ms": "inline poll time"}.get(column, column)


def _stack(axes: Axes, hops: pd.DataFrame, levels: list[str], names: list[str]) -> None:
    wide = hops.pivot(index="label", columns="hop", values="mean_ms").reindex(index=levels, columns=names).fillna(0)
    whole = wide.sum(axis=1).max()
    thickness = min(0.7, 0.2 + 0.2 * len(levels))
    base = np.zeros(len(levels))
    for name in names:
        widths = wide[name].to_numpy(dtype=float)
        axes.barh(
            levels, widths, left=base, color=labels.HOP_COLOURS[name], label=name, edgecolor="white", height=thickness
        )
        for place, width in enumerate(widths):
            if width > 0.1 * whole:
                ink = "black" if name in ("network", "api", "unexplained", "queue") else "white"
                axes.text(
                    base[place] + width / 2,
                    place,
                    labels.duration(width),
                    ha="center",
                    va="center",
                    color=ink,
                    fontsize=9,
                )
        base = base + widths
    axes.invert_yaxis()
    canvas.time_axis(axes, "mean time of an attempt")


def _intervals(axes: Axes, hops: pd.DataFrame, levels: list[str], names: list[str]) -> None:
    for level, offset, fill in zip(levels, canvas.dodge(len(levels)), np.linspace(0.5, 1, len(levels)), strict=True):
        rows = hops[hops["label"] == level].set_index("hop").reindex(names)
        for place, name in enumerate(names):
            _dots(axes, rows.loc[[name]], np.array([place + offset]), labels.HOP_COLOURS[name], None, float(fill))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    canvas.time_axis(axes, "95 % interval; levels from pale to full")


def _dots(
    axes: Axes, rows: pd.DataFrame, places: np.ndarray, colour: Any, label: str | None, alpha: float = 1.0
) -> None:
    means, low, high = (rows[name].to_numpy(dtype=float, na_value=np.nan) for name in ("mean_ms", "low_ms", "high_ms"))
    ends = np.nan_to_num(np.vstack([means - low, high - means])).clip(min=0)
    axes.errorbar(means, places, xerr=ends, fmt="o", color=colour, label=label, capsize=3, markersize=5, alpha=alpha)


def _largest(hops: pd.DataFrame, level: str) -> str:
    rows = hops[hops["label"] == level].set_index("hop")["mean_ms"].astype(float)
    total = float(rows.sum())
    if not total:
        return "no time measured"
    return f"{labels.duration(total)}, most of it {rows.idxmax()} ({labels.share(float(rows.max()) / total)})"


def _grid(attempts: pd.DataFrame, column: str, how: str) -> pd.DataFrame:
    grid = attempts.groupby(["label", "slot"])[column].agg(how).astype(float).unstack()
    return grid.loc[labels.level_order(grid.index.tolist()), sorted(grid.columns)]


def _heatmap(grid: pd.DataFrame, title: str, digits: str) -> Figure:
    figure = canvas.blank(1.3 + 0.45 * len(grid))
    axes = figure.subplots()
    sns.heatmap(
        grid.to_numpy(),
        ax=axes,
        annot=grid.shape[1] <= 24,
        fmt=digits,
        cmap="cividis_r",
        vmin=0,
        linewidths=1,
        xticklabels=list(grid.columns),
        yticklabels=list(grid.index),
    )
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set_xlabel("slot (start time)")
    axes.set_ylabel("")
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=45 if grid.shape[1] > 10 else 0)
    return figure


def _lanes(attempts: pd.DataFrame) -> pd.Series:
    if attempts["worker"].notna().all():
        return "worker " + attempts["worker"].astype(str)
    return attempts["slot"].fillna("?").astype(str)


def _bars(axes: Axes, attempts: pd.DataFrame, lanes: pd.Series) -> None:
    names = labels.level_order(lanes.tolist())
    start = attempts["label"].map(tables.began(attempts))
    for group in labels.OUTCOME_GROUPS:
        rows = attempts[attempts["outcome"].map(labels.outcome_group) == group]
        if rows.empty:
            continue
        begins = (rows["started_at"] - start[rows.index]).dt.total_seconds()
        widths = (rows["ended_at"] - rows["started_at"]).dt.total_seconds()
        places = [names.index(lane) for lane in lanes[rows.index]]
        axes.barh(places, widths, left=begins, color=labels.OUTCOME_COLOURS[group], edgecolor="white", label=group)
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.invert_yaxis()
    canvas.clock_axis(axes)
