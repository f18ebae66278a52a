"""Requests in flight: the load that a level put on the platform, beside the number of workers it was told."""

from pathlib import PurePath

import numpy as np
import pandas as pd

from slotfill.analyse.stats import Floats


def in_flight(attempts: pd.DataFrame) -> dict[str, float | None]:
    """Booking requests under way at once, ``{"mean", "max"}``: the mean over the time in which attempts were under way.

    Waiting out a full slot counts as time without a request; a pause between two runs of one level does not count.
    ``None`` where no attempt says when its request was sent and answered.
    """
    parents = {file: str(PurePath(file).parent) for file in attempts["file"].dropna().unique()}
    folders = attempts["file"].map(parents)
    parts = [_busy_and_working(part) for _, part in attempts.groupby(folders)]
    working_ms = sum(working for _, working, _ in parts)
    if not working_ms:
        return {"mean": None, "max": None}
    return {"mean": sum(busy for busy, _, _ in parts) / working_ms, "max": max(most for _, _, most in parts)}


def most_at_once(rows: pd.DataFrame) -> int:
    """The largest number of attempts open at one moment; 0 where none has both its times."""
    timed = rows[["started_at", "ended_at"]].dropna()
    moments = pd.concat([timed["ended_at"], timed["started_at"]])
    steps = np.repeat([-1, 1], len(timed))
    # An end and a start at one instant are the same worker going on, so ends come first.
    order = np.lexsort((steps, moments.to_numpy(dtype="datetime64[us]")))
    return int(steps[order].cumsum().max()) if len(timed) else 0


def request_times(attempts: pd.DataFrame) -> pd.DataFrame:
    """``sent`` and ``answered`` of each request, in ms since the first; NaN where a log does not say.

    Measured at the wire where our runner wrote the log, else from the line before the request and its duration.
    """
    submit = pd.to_timedelta(pd.Series(_floats(attempts["submit_ms"]), attempts.index), unit="ms")
    sent = attempts["sent_at"].fillna(attempts["submitted_at"])
    times = pd.DataFrame({"sent": sent, "answered": attempts["answered_at"].fillna((sent + submit).astype(sent.dtype))})
    first = times["sent"].min()
    return pd.DataFrame({name: (times[name] - first).dt.total_seconds() * 1e3 for name in ("sent", "answered")})


def _busy_and_working(attempts: pd.DataFrame) -> tuple[float, float, float]:
    """Request time in sum, time in which an attempt was under way, both in ms, and most requests at once."""
    times = request_times(attempts).astype("float64")
    known = times.notna().all(axis=1).to_numpy()
    sent, answered = times["sent"].to_numpy()[known], times["answered"].to_numpy()[known]
    if not len(sent):
        return 0.0, 0.0, 0.0
    total = np.nan_to_num(_floats(attempts["total_ms"])[known])
    return float((answered - sent).sum()), covered(sent, np.maximum(answered, sent + total)), _most(sent, answered)


def covered(starts: Floats, ends: Floats) -> float:
    """The length of the union of the spans."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    before = np.concatenate(([-np.inf], ends[:-1]))
    return float(np.maximum(ends - np.maximum(starts, before), 0).sum())


def _most(starts: Floats, ends: Floats) -> float:
    """How many of the spans overlap at most; one that ends as another begins does not overlap it."""
    instants = np.concatenate((ends, starts))
    steps = np.concatenate((np.full(len(ends), -1), np.full(len(starts), 1)))
    return float(np.cumsum(steps[np.argsort(instants, kind="stable")]).max())


def _floats(values: pd.Series) -> Floats:
    return values.to_numpy(dtype=float, na_value=np.nan)
