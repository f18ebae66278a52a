"""What an attempt's calls amount to: how much of its request they took, and how they stand to one another."""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse.calls import (
    Interval,
    chain_length,
    chain_ms,
    clipped,
    duplicates,
    intervals,
    longest_chain,
    together_ms,
    union_ms,
)

UNSURE = ("estimate", "incomplete")
"""Joins of which neither the order of calls nor the time outside them is known."""


def chain(attempt: Any, calls: pd.DataFrame) -> pd.Index:
    """Which of an attempt's calls are its longest chain; none where some are perhaps not its own, or lost."""
    before = calls[~calls["after_answer"].astype(bool)]
    if before["joined"].isin(UNSURE).any():
        return before.index[:0]
    ends = attempt.answered_at.timestamp() * 1e3
    return before.index[longest_chain([(start, max(start, min(end, ends))) for start, end in intervals(before)])]


def amounts(attempt: Any, calls: pd.DataFrame) -> dict[str, Any]:
    """A row of ``Inside.attempts`` from the calls of one attempt: what is not known of them is left out."""
    before = calls[~calls["after_answer"].astype(bool)]
    taps_ms = float((before["weight"] * before["added_ms"].fillna(0.0)).sum())
    request = (attempt.sent_at.timestamp() * 1e3, attempt.answered_at.timestamp() * 1e3)
    store = before[before["of_database"].astype(bool)]
    told: dict[str, Any] = {
        "correlation_id": attempt.correlation_id,
        "label": attempt.label,
        "calls": float(before["weight"].sum()),
        "database_calls": float(store["weight"].sum()),
        "taps_ms": taps_ms,
        "sum_ms": float((before["weight"] * before["duration_ms"]).sum()),
        "errors": float((before["weight"] * before["failed"].astype(float)).sum()),
        "after_answer_calls": float(calls["weight"].sum() - before["weight"].sum()),
    }
    if (calls["joined"] == "incomplete").any():
        return {**told, "joined": "incomplete"}
    if (before["joined"] == "estimate").any():
        # Whose call it was is not known, so neither is what overlaps: the sum stands for the union.
        return {
            **told,
            "joined": "estimate",
            "union_ms": told["sum_ms"],
            "database_ms": float((store["weight"] * store["duration_ms"]).sum()),
            "gaps_ms": _gaps(request, told["sum_ms"] + taps_ms),
        }
    spans = clipped(intervals(before), request)
    inside_ms = union_ms(spans)
    return {
        **told,
        "joined": "trace" if (before["joined"] == "trace").all() else "time",
        "union_ms": inside_ms,
        "database_ms": union_ms(clipped(intervals(store), request)),
        "gaps_ms": _gaps(request, inside_ms + taps_ms),
        "chain_len": chain_length(spans),
        "chain_ms": chain_ms(spans),
        "duplicates": duplicates(before),
        "together_ms": together_ms(before),
    }


def in_a_row(spans: list[Interval], tolerance_ms: float) -> int:
    """How many stand one after another; of those with the same start one, for they were made at once."""
    ends: dict[float, float] = {}
    for start, end in spans:
        ends[start] = min(end, ends.get(start, end))
    return chain_length(list(ends.items()), tolerance_ms)


def of_target(
    label: str, target: str, method: str, group: pd.DataFrame, attempts: int, exact: bool, tolerance_ms: float
) -> dict[str, Any]:
    """A row of ``Inside.targets``: the calls before the answer of ``attempts`` to one table or function."""
    weight, spent = group["weight"].sum(), group["weight"] * group["duration_ms"]
    known = group.dropna(subset="fingerprint")
    again = len(known) - len(known.drop_duplicates(["correlation_id", "fingerprint"]))
    own: defaultdict[str, list[Interval]] = defaultdict(list)
    for correlation_id, span in zip(group["correlation_id"].tolist(), intervals(group), strict=True):
        own[correlation_id].append(span)
    return {
        "label": label,
        "target": target,
        "method": method,
        "calls_per_attempt": weight / attempts,
        "mean_ms": spent.sum() / weight,
        "in_a_row": sum(in_a_row(spans, tolerance_ms) for spans in own.values()) / attempts if exact else None,
        "repeats": again / attempts if exact else None,
        "errors": (group["weight"] * group["failed"].astype(float)).sum() / attempts,
        "total_ms": spent.sum(),
        "total_chain_ms": spent[group["on_chain"].to_numpy(dtype=bool)].sum() if exact else np.nan,
    }


def _gaps(request: tuple[float, float], elsewhere_ms: float) -> float:
    return max(request[1] - request[0] - elsewhere_ms, 0.0)
