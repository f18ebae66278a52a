"""The load that each attempt met: how many requests of others were in flight while its own was."""

import numpy as np
import pandas as pd

from slotfill.analyse.in_flight import covered, request_times
from slotfill.analyse.stats import Floats
from slotfill.outcomes import EXHAUSTED

_TIMES = ["sent_at", "submitted_at", "answered_at", "submit_ms", "total_ms", "outcome"]
"""What says when a request was in flight."""


def others_in_flight(attempts: pd.DataFrame) -> pd.Series:
    """Requests of others in flight, on average over the time that an attempt's own request was; NaN without times.

    An attempt that found no table is in flight until its answer: waiting out a full slot loads nothing.
    """
    found = pd.Series(np.nan, index=attempts.index, dtype="float64")
    told = attempts[["label", *_TIMES]]
    for _, rows in told.groupby(["label", attempts["round_number"].fillna(0)], sort=False):
        start, end = _active(rows)
        timed = np.isfinite(start) & np.isfinite(end) & (end > start)
        if timed.any():
            found.loc[rows.index[timed]] = _mean_in_flight(start[timed], end[timed]) - 1.0
    return found.clip(lower=0.0)


def active_seconds(attempts: pd.DataFrame) -> float:
    """How long at least one attempt loaded the platform, over all rounds of a level."""
    rounds = [_active(rows) for _, rows in attempts.groupby(attempts["round_number"].fillna(0))]
    known = [np.isfinite(start) & np.isfinite(end) for start, end in rounds]
    return sum(covered(start[here], end[here]) for (start, end), here in zip(rounds, known, strict=True)) / 1000


def _active(rows: pd.DataFrame) -> tuple[Floats, Floats]:
    """From when to when each attempt loaded the platform, in ms since the first."""
    times = request_times(rows)
    start, answered = (times[name].to_numpy(dtype="float64") for name in ("sent", "answered"))
    # The booking went on being worked at after its answer, for as long as the attempt lasted beyond its submit.
    after = (rows["total_ms"] - rows["submit_ms"].fillna(0)).to_numpy(dtype="float64", na_value=0.0)
    ran_out = (rows["outcome"] == EXHAUSTED).to_numpy(dtype=bool)
    return start, answered + np.where(ran_out, 0.0, np.clip(after, 0, None))


def _mean_in_flight(start: Floats, end: Floats) -> Floats:
    """The mean number of intervals open over each interval: its own counts."""
    moments = np.concatenate([start, end])
    order = np.argsort(moments, kind="stable")
    at = moments[order]
    steps = np.concatenate([np.ones(len(start)), -np.ones(len(end))])[order].cumsum()
    area = np.concatenate([[0.0], np.cumsum(steps[:-1] * np.diff(at))])
    # Of equal instants the last has the whole area until then; interp wants them distinct.
    last = np.append(at[1:] != at[:-1], True)
    opened, closed = (np.interp(edge, at[last], area[last]) for edge in (start, end))
    return np.asarray((closed - opened) / (end - start), dtype=np.float64)
