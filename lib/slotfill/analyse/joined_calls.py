"""Whose calls they are: each call given to the attempt that made it.

A call belongs to the attempt whose trace it carries. Without a trace it belongs to the attempt that was in flight when
it began, where there was one; where there were several it is shared out among them, and that is an estimate. Where a
trace came without its server span, what else of it was lost nobody knows, and its attempt is incomplete.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
_BLOCK = 1000
"""Calls that are looked for among the attempts at once: one against all of a long run would fill the memory."""


def timed(attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts whose request is known from its start to its answer; other programs log that less exactly.

    A driver that was kept from its core guesses when the answers that it then finds had come. ``latest_at`` is when
    they came at the latest: what the platform asked for before that is no late call.
    """
    sent = attempts["sent_at"].fillna(attempts["submitted_at"])
    took = pd.to_timedelta(attempts["submit_ms"], unit="ms").dt.round("us").astype("timedelta64[us]")
    lag = pd.to_timedelta(attempts["lag_ms"].fillna(0), unit="ms").dt.round("us").astype("timedelta64[us]")
    answered = attempts["answered_at"].fillna(sent + took)
    table = attempts[["label", "correlation_id", "trace_id"]].assign(
        sent_at=sent, answered_at=answered, latest_at=answered + lag
    )
    return table.dropna(subset=["sent_at", "answered_at", "correlation_id"]).drop_duplicates("correlation_id")


def joined(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """The calls beside ``timed`` attempts, as ``Inside.calls`` has them as far as ``offset_ms``.

    Those of spans say in ``complete`` whether their request's server span came, and in ``asked_at`` when it was made.
    """
    if "asked_at" not in calls:
        calls = calls.assign(complete=True, asked_at=calls["started_at"])
    by_trace = attempts.dropna(subset="trace_id").drop_duplicates("trace_id").set_index("trace_id")["correlation_id"]
    carries = calls["trace_id"].isin(by_trace.index).to_numpy(dtype=bool)
    traced = calls[carries]
    # Where traces are passed on, a call of another trace is another request's, such as our own client's poll.
    of_others = calls["trace_id"].notna().to_numpy(dtype=bool) & carries.any()
    traced = traced.assign(correlation_id=traced["trace_id"].map(by_trace).astype("string"), joined="trace", weight=1.0)
    table = pd.concat([traced, _by_time(attempts, calls[~carries & ~of_others])], ignore_index=True)
    own = attempts.set_index("correlation_id")
    sent, latest = (
        own[name].reindex(table["correlation_id"]).set_axis(table.index) for name in ("sent_at", "latest_at")
    )
    table["label"] = table["correlation_id"].map(own["label"])
    table["offset_ms"] = _between_ms(table["started_at"], sent)
    late = (table["started_at"] > latest).fillna(False).to_numpy(dtype=bool)
    table["after_answer"] = table["after_answer"].fillna(False).to_numpy(dtype=bool) | late
    whole = table["complete"].to_numpy(dtype=bool) | (table["joined"] == "estimate").to_numpy(dtype=bool)
    table["joined"] = table["joined"].where(whole, "incomplete")
    # Beside a whole request that time gives to the attempt, what lacks its server span is another's, such as a job's.
    by_time = table.loc[(table["joined"] == "time").to_numpy(dtype=bool), "correlation_id"]
    strays = ((table["joined"] == "incomplete") & table["correlation_id"].isin(by_time)).to_numpy(dtype=bool)
    return table[~strays].drop(columns=["complete", "asked_at"]).reset_index(drop=True)


def _by_time(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Each call once for every attempt in flight when its request was made, with its share as ``weight``."""
    starts = attempts["sent_at"].astype("int64").to_numpy()
    ends = attempts["latest_at"].astype("int64").to_numpy()
    began = calls["asked_at"].astype("int64").to_numpy()
    which_call, which_attempt = _in_flight(began, starts, ends)
    many = np.bincount(which_call, minlength=len(began))[which_call]
    ids = attempts["correlation_id"].to_numpy()[which_attempt]
    return calls.iloc[which_call].assign(
        correlation_id=pd.array(ids, dtype="string"),
        joined=np.where(many == 1, "time", "estimate"),
        weight=1.0 / np.maximum(many, 1),
    )


def _in_flight(began: Integers, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """Pairs of a call and an attempt that was in flight when it began, by their places."""
    nothing = np.empty(0, dtype=np.intp)
    pairs = [(nothing, nothing)]
    for at in range(0, len(began), _BLOCK):
        block = began[at : at + _BLOCK]
        near = np.flatnonzero((starts <= block.max()) & (ends >= block.min()))
        calls, attempts = np.nonzero((block[:, None] >= starts[near]) & (block[:, None] <= ends[near]))
        pairs.append((at + calls, near[attempts]))
    which_call, which_attempt = map(np.concatenate, zip(*pairs, strict=True))
    return which_call, which_attempt


def _between_ms(later: pd.Series, earlier: pd.Series) -> pd.Series:
    return (later - earlier).dt.total_seconds() * 1e3
