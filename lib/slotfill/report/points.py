"""The figures that charts draw: numbers from metrics.json and bottleneck.json as frames, in ms and fractions."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from slotfill.analyse.document import Bottleneck, Interval
from slotfill.analyse.level_order import level_number

Metrics = Mapping[str, Any]

_WHOLE = 0.15
"""By how much of itself a hop's model may miss its mean and still be drawn as its line."""
STAGES = {
    "submit_ms": "submit (POST)",
    "inline_ms": "inline poll",
    "post_job_ms": "poll after the job",
    "total_ms": "total",
}


def hop_rows(document: Bottleneck) -> pd.DataFrame:
    """label, hop, mean_ms, share, low_ms, high_ms: one row a level and hop."""
    rows = [
        {"label": label, "hop": hop, "mean_ms": cost.mean_ms, "share": cost.share, **_bounds(cost.ci95)}
        for label, hops in document.shares.items()
        for hop, cost in hops.items()
        if cost.mean_ms is not None
    ]
    return pd.DataFrame(rows, columns=["label", "hop", "mean_ms", "share", "low_ms", "high_ms"])


def load_points(document: Bottleneck) -> tuple[pd.DataFrame, str]:
    """``hop_rows`` with the ``load`` each level put on the platform, and what that load is."""
    rows, loads = hop_rows(document), document.loads
    if loads and all(load.others_in_flight is not None for load in loads.values()):
        met = {label: load.others_in_flight for label, load in loads.items()}
        return rows.assign(load=rows["label"].map(met)), "other requests in flight, mean"
    workers = {label: load.effective_workers for label, load in loads.items()}
    known = workers or {label: number for label in document.shares if (number := level_number(label)) is not None}
    return rows.assign(load=rows["label"].map(known).astype(float)).dropna(subset=["load"]), "workers"


def fitted_lines(document: Bottleneck) -> pd.DataFrame:
    """hop, load, mean_ms: each hop's fitted line, at no load and at each level's.

    A hop of which the model explains only a part at the highest load has none: its line would miss the points.
    """
    loads = [0.0, *(load.others_in_flight for load in document.loads.values() if load.others_in_flight is not None)]
    measured = {hop: cost.mean_ms for costs in list(document.shares.values())[-1:] for hop, cost in costs.items()}
    explained: dict[str, float] = {}
    for leaf in document.leaves:
        explained[leaf.hop] = explained.get(leaf.hop, 0.0) + leaf.at_ms
    whole = {hop for hop, ms in explained.items() if abs(ms - (measured.get(hop) or 0.0)) <= _WHOLE * ms}
    rows = [
        {"hop": leaf.hop, "load": load, "mean_ms": leaf.own_ms + leaf.slope_ms * load}
        for leaf in document.leaves
        if leaf.hop in whole
        for load in loads
    ]
    lines = pd.DataFrame(rows, columns=["hop", "load", "mean_ms"])
    return lines.groupby(["hop", "load"]).sum().reset_index()


def throughput_points(metrics: Metrics) -> tuple[pd.DataFrame, str]:
    """label, load, per_min, one row a level with both; and what the load is: as measured where all levels know it."""
    levels = [level for level in metrics["levels"] if level["throughput_per_min"]]
    met = [(level.get("in_flight") or {}).get("mean") for level in levels]
    known = all(load is not None for load in met)
    workers = [level.get("effective_concurrency") or level.get("concurrency") for level in levels]
    rows = [
        {"label": level["label"], "load": load, "per_min": level["throughput_per_min"]}
        for level, load in zip(levels, met if known else workers, strict=True)
        if load
    ]
    return pd.DataFrame(rows, columns=["label", "load", "per_min"]), "requests in flight, mean" if known else "workers"


def stage_rows(metrics: Metrics) -> pd.DataFrame:
    """label, stage, mean_ms, low_ms, high_ms: one row a level and stage; a stage nobody entered is left out."""
    used = [key for key in STAGES if any((level[key]["max"] or 0) > 0 for level in metrics["levels"])]
    rows = [
        {"label": level["label"], "stage": STAGES[key], "mean_ms": level[key]["mean"], **_ends(level[key])}
        for level in metrics["levels"]
        for key in used
    ]
    return pd.DataFrame(rows, columns=["label", "stage", "mean_ms", "low_ms", "high_ms"])


def seat_waste_rows(document: Bottleneck) -> pd.DataFrame:
    """Mean seats wasted per confirmed booking: index label, a column a slot."""
    known = {record["label"]: record["waste_by_slot"] for record in document.seats if record["waste_by_slot"]}
    return pd.DataFrame.from_dict(known, orient="index", dtype=float).sort_index(axis="columns")


def _ends(figures: Mapping[str, Any]) -> dict[str, float | None]:
    bounds = figures.get("ci95") or (None, None)
    return {"low_ms": bounds[0], "high_ms": bounds[1]}


def _bounds(interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"low_ms": low, "high_ms": high}
