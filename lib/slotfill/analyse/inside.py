"""From calls to hops: what each attempt's request did inside the platform, as spans or taps saw it.

A call belongs to the attempt whose trace it carries. Without a trace it belongs to the attempt that was in flight when
it began, where there was one; where there were several it is shared out among them, and that is an estimate.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from slotfill.analyse.calls import TOLERANCE_MS, chain_length, chain_ms, clipped, duplicates, intervals, union_ms
from slotfill.read.requests import read_requests

CLIENT_BORDER = "web"
"""The tap in front of the platform sees the request itself, which is no call that it makes."""
Join = Literal["trace", "time", "estimate"]
ATTEMPT_COLUMNS = (
    *("correlation_id", "label", "joined", "calls", "union_ms", "sum_ms", "gaps_ms"),
    *("chain_len", "chain_ms", "duplicates", "errors", "after_answer_calls"),
)
TARGET_COLUMNS = ("label", "target", "method", "calls_per_attempt", "mean_ms", "share", "repeats", "errors")
WATERFALL_COLUMNS = ("offset_ms", "duration_ms", "method", "target", "status", "failed", "overlaps", "repeat")


@dataclass(frozen=True)
class Inside:
    """What was seen inside the platform; all frames are empty where nothing was.

    ``calls``: one row a call of an attempt, or one a share of it: the columns of ``Call``, and ``correlation_id``,
    ``label``, ``joined`` (a ``Join``), ``weight`` (1, or the share of one call) and ``offset_ms`` from the request's
    first byte. ``attempts``: one row an attempt with calls, ``ATTEMPT_COLUMNS``; ``gaps_ms`` is the request's time
    outside every call, ``chain_*`` and ``duplicates`` are missing where the join is an estimate.
    """

    calls: pd.DataFrame
    attempts: pd.DataFrame

    @property
    def known(self) -> bool:
        """Whether anything was seen."""
        return not self.calls.empty

    def targets(self) -> pd.DataFrame:
        """One row a level, table or function and method, most time first: ``TARGET_COLUMNS``.

        ``share`` is of the level's time inside calls; ``repeats`` is how often an attempt asked the very same again.
        """
        before = self.calls[~self.calls["after_answer"].astype(bool)]
        many = {str(label): len(rows) for label, rows in self.attempts.groupby("label")}
        named: Any = before.groupby(["label", "target", "method"], sort=False)
        rows = [
            _target(str(label), str(target), str(method), group, many[str(label)])
            for (label, target, method), group in named
        ]
        table = pd.DataFrame(rows, columns=[*TARGET_COLUMNS, "total_ms"])
        table["share"] = table["total_ms"] / table.groupby("label")["total_ms"].transform("sum")
        return table.sort_values(["label", "share"], ascending=[True, False], ignore_index=True)[list(TARGET_COLUMNS)]

    def waterfall(self, correlation_id: str) -> pd.DataFrame:
        """An attempt's calls in the order of their starts: ``WATERFALL_COLUMNS``.

        ``overlaps``: begins while an earlier one runs, by more than the clocks' millisecond; ``repeat``: counts the
        calls that ask the very same, 1 for the first and where that is not known.
        """
        calls = self.calls[self.calls["correlation_id"] == correlation_id].sort_values("offset_ms", kind="stable")
        ends = (calls["offset_ms"] + calls["duration_ms"]).cummax().shift(fill_value=float("-inf"))
        asked = calls["fingerprint"]
        table = calls.assign(
            overlaps=(calls["offset_ms"] < ends - TOLERANCE_MS).astype(bool),
            repeat=(calls.groupby("fingerprint").cumcount() + 1).where(asked.notna(), 1).astype(int),
        )
        return table[list(WATERFALL_COLUMNS)].reset_index(drop=True)

    def shown(self) -> dict[str, str]:
        """The attempts to draw, not by estimate: ``{"median": id, "slowest": id}`` by their request's time."""
        exact = self.attempts[self.attempts["joined"] != "estimate"]
        if exact.empty:
            return {}
        ordered = exact.assign(request_ms=exact["union_ms"] + exact["gaps_ms"]).sort_values("request_ms", kind="stable")
        ids = ordered["correlation_id"].astype(str).tolist()
        return {"median": ids[(len(ids) - 1) // 2], "slowest": ids[-1]}


def look_inside(attempts: pd.DataFrame, spans: pd.DataFrame, taps: pd.DataFrame) -> Inside:
    """``attempts`` (one row an ``Attempt``) beside spans (``SpanRow``) and what taps saw (``Call``).

    Where both saw the calls, the spans count: they carry the trace.
    """
    timed = attempts[attempts["sent_at"].notna() & attempts["answered_at"].notna() & attempts["correlation_id"].notna()]
    timed = timed.drop_duplicates("correlation_id")
    calls = read_requests(spans).calls if len(spans) else taps[taps["border"] != CLIENT_BORDER]
    if len(spans) and not calls["trace_id"].isin(timed["trace_id"].dropna()).any():
        calls = taps[taps["border"] != CLIENT_BORDER]
    joined = _join(timed, calls)
    groups = {str(name): group for name, group in joined.groupby("correlation_id", sort=False)}
    named: Any = timed.itertuples(index=False)
    rows = [_attempt(attempt, groups[attempt.correlation_id]) for attempt in named if attempt.correlation_id in groups]
    return Inside(joined, pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS)))


def _join(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    by_trace = attempts.dropna(subset="trace_id").drop_duplicates("trace_id").set_index("trace_id")["correlation_id"]
    carries = calls["trace_id"].isin(by_trace.index) if len(calls) else pd.Series(dtype=bool)
    traced = calls[carries.to_numpy(dtype=bool)]
    traced = traced.assign(correlation_id=traced["trace_id"].map(by_trace).astype("string"), joined="trace", weight=1.0)
    table = pd.concat([traced, _by_time(attempts, calls[~carries.to_numpy(dtype=bool)])], ignore_index=True)
    own = attempts.set_index("correlation_id")
    sent, answered = (
        own[name].reindex(table["correlation_id"]).set_axis(table.index) for name in ("sent_at", "answered_at")
    )
    table["label"] = table["correlation_id"].map(own["label"])
    table["offset_ms"] = _between_ms(table["started_at"], sent)
    late = (table["started_at"] > answered).fillna(False).to_numpy(dtype=bool)
    table["after_answer"] = table["after_answer"].fillna(False).to_numpy(dtype=bool) | late
    return table


def _by_time(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Each call once for every attempt in flight when it began, with its share as ``weight``."""
    starts = attempts["sent_at"].astype("int64").to_numpy()
    ends = attempts["answered_at"].astype("int64").to_numpy()
    began = calls["started_at"].astype("int64").to_numpy()
    inside = (began[:, None] >= starts[None, :]) & (began[:, None] <= ends[None, :])
    which_call, which_attempt = np.nonzero(inside)
    many = inside.sum(axis=1)[which_call]
    ids = attempts["correlation_id"].to_numpy()[which_attempt]
    return calls.iloc[which_call].assign(
        correlation_id=pd.array(ids, dtype="string"),
        joined=np.where(many == 1, "time", "estimate"),
        weight=1.0 / np.maximum(many, 1),
    )


def _attempt(attempt: Any, calls: pd.DataFrame) -> dict[str, Any]:
    before = calls[~calls["after_answer"].astype(bool)]
    request = (attempt.sent_at.timestamp() * 1e3, attempt.answered_at.timestamp() * 1e3)
    told: dict[str, Any] = {
        "correlation_id": attempt.correlation_id,
        "label": attempt.label,
        "calls": float(before["weight"].sum()),
        "sum_ms": float((before["weight"] * before["duration_ms"]).sum()),
        "errors": float((before["weight"] * before["failed"].astype(float)).sum()),
        "after_answer_calls": float(calls["weight"].sum() - before["weight"].sum()),
    }
    if (before["joined"] == "estimate").any():
        # Whose call it was is not known, so neither is what overlaps: the sum stands for the union.
        return {**told, "joined": "estimate", "union_ms": told["sum_ms"], "gaps_ms": _gaps(request, told["sum_ms"])}
    spans = clipped(intervals(before), request)
    inside_ms = union_ms(spans)
    return {
        **told,
        "joined": "trace" if (before["joined"] == "trace").all() else "time",
        "union_ms": inside_ms,
        "gaps_ms": _gaps(request, inside_ms),
        "chain_len": chain_length(spans),
        "chain_ms": chain_ms(spans),
        "duplicates": duplicates(before),
    }


def _target(label: str, target: str, method: str, group: pd.DataFrame, attempts: int) -> dict[str, Any]:
    weight, total_ms = group["weight"].sum(), (group["weight"] * group["duration_ms"]).sum()
    known = group.dropna(subset="fingerprint")
    again = len(known) - len(known.drop_duplicates(["correlation_id", "fingerprint"]))
    return {
        "label": label,
        "target": target,
        "method": method,
        "calls_per_attempt": weight / attempts,
        "mean_ms": total_ms / weight,
        "repeats": again / attempts,
        "errors": (group["weight"] * group["failed"].astype(float)).sum() / attempts,
        "total_ms": total_ms,
    }


def _gaps(request: tuple[float, float], inside_ms: float) -> float:
    return max(request[1] - request[0] - inside_ms, 0.0)


def _between_ms(later: pd.Series, earlier: pd.Series) -> pd.Series:
    return (later - earlier).dt.total_seconds() * 1e3
