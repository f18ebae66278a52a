"""What spans say of the attempts' requests: their calls by the driver's clock, and what of it is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from slotfill.analyse.stats import Floats
from slotfill.read.requests import read_requests

CLOCKS_AGREE_MS = 5.0
CLOCKS_AGREE = 0.01
"""What a server span may stick out of its attempt, in ms and more by a share of it: starts are whole milliseconds, and
a busy platform notes its end behind the answer's."""
SUBMITS = "POST"


@dataclass(frozen=True)
class TracedCalls:
    """``calls``: the columns of ``Call``, and of the request that made it ``complete`` (its server span came) and
    ``asked_at``, when it was sure to be in flight; empty where the spans are none of these attempts'."""

    calls: pd.DataFrame
    ahead_ms: pd.Series
    """By trace, how far the platform's clock was ahead of the driver's, and was set back; 0 where they agree."""
    whole_ms: bool
    """Whether the calls' starts are whole milliseconds, so that what they overlap by less is not known."""
    unseen: Mapping[str, int]
    """By level, attempts of whose trace nothing came, where of others something did."""
    traces: int
    """How many there are of all spans."""
    known: bool
    """Whether some of them are attempts', by their ids."""

    @property
    def moved_ms(self) -> pd.Series:
        """How far calls were moved, of the traces where they were."""
        return self.ahead_ms[self.ahead_ms != 0].abs()


def traced_calls(attempts: pd.DataFrame, spans: pd.DataFrame) -> TracedCalls:
    """``attempts`` as ``joined_calls.timed`` gives them, beside ``spans`` (one row a ``SpanRow``).

    Where no attempt has a trace, as in other programs' logs, the calls of all requests that may be theirs are left to
    be joined by time.
    """
    requests, calls = read_requests(spans)
    # A start of whole milliseconds lies before the true one, and perhaps before its attempt's.
    well_in = pd.to_timedelta((requests["server_ms"] / 2).clip(upper=CLOCKS_AGREE_MS), unit="ms").dt.round("us")
    asked = requests[["trace_id", "request_id", "complete"]].assign(
        asked_at=requests["started_at"] + well_in.astype("timedelta64[us]")
    )
    calls = calls.merge(asked, on=["trace_id", "request_id"], how="left")
    calls["asked_at"] = calls["asked_at"].where(calls["complete"].astype(bool), calls["started_at"])
    ids, came, none = attempts["trace_id"].dropna(), set(requests["trace_id"]), pd.Series(dtype=float)
    if ids.empty:
        others = requests.loc[(requests["method"] != SUBMITS).fillna(False).to_numpy(dtype=bool), "request_id"]
        calls = calls[~calls["request_id"].isin(others).to_numpy(dtype=bool)]
        return TracedCalls(calls, none, _whole_ms(calls), {}, len(came), known=False)
    if came.isdisjoint(ids):
        return TracedCalls(calls[:0], none, False, {}, len(came), known=False)
    seen = attempts["trace_id"].isin(came)
    many = attempts.assign(seen=seen, unseen=~seen & attempts["trace_id"].notna()).groupby("label")[["seen", "unseen"]]
    unseen = {str(label): int(row.unseen) for label, row in many.sum().iterrows() if row.seen and row.unseen}
    ahead_ms = _clocks_ahead_ms(attempts, requests)
    return TracedCalls(_by_our_clock(calls, ahead_ms), ahead_ms, _whole_ms(calls), unseen, len(came), known=True)


def _clocks_ahead_ms(attempts: pd.DataFrame, requests: pd.DataFrame) -> pd.Series:
    """By trace, how far the platform's clock is ahead of the driver's: 0 where its server span lies in its attempt.

    Where it does not, the middles of the two coincide. A request that lasts longer than its client waited began within
    that wait; where it did not, with it.
    """
    served = requests[requests["complete"].to_numpy(dtype=bool)].drop_duplicates("trace_id")
    own = attempts.dropna(subset="trace_id").drop_duplicates("trace_id")
    both = own.merge(served[["trace_id", "started_at", "server_ms"]], on="trace_id")
    begins = _ms(both["started_at"] - both["sent_at"])
    waited = _ms(both["latest_at"] - both["sent_at"])
    ends = begins + both["server_ms"].to_numpy(dtype=float) - waited
    outlasts = ends - begins > CLOCKS_AGREE_MS
    ahead = np.where(outlasts, begins, (begins + ends) / 2)
    outside = np.maximum(-begins, np.where(outlasts, begins - waited, ends))
    allowed = CLOCKS_AGREE_MS + CLOCKS_AGREE * waited
    return pd.Series(np.where(outside > allowed, ahead, 0.0), index=both["trace_id"].astype(str).tolist())


def _by_our_clock(calls: pd.DataFrame, ahead_ms: pd.Series) -> pd.DataFrame:
    """The calls as the driver's clock would have timed them; those of an incomplete trace as those of most others."""
    usual_ms = float(ahead_ms.median()) if len(ahead_ms) else 0.0
    own_ms = calls["trace_id"].map(ahead_ms.to_dict()).astype(float).fillna(usual_ms)
    moved = pd.to_timedelta(own_ms, unit="ms").dt.round("us").astype("timedelta64[us]")
    return calls.assign(started_at=calls["started_at"] - moved)


def _whole_ms(calls: pd.DataFrame) -> bool:
    return bool((calls["started_at"].astype("int64") % 1000 == 0).all()) and len(calls) > 0


def _ms(differences: pd.Series) -> Floats:
    return np.asarray(differences.dt.total_seconds() * 1e3, dtype=np.float64)
