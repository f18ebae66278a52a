"""From calls to hops: what each attempt's request did inside the platform, as spans or taps saw it.

A call belongs to the attempt whose trace it carries. Without a trace it belongs to the attempt that was in flight when
it began, where there was one; where there were several it is shared out among them, and that is an estimate.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slotfill.analyse.call_view import Bar, CallView, TargetCalls, Waterfall, Which
from slotfill.analyse.calls import (
    TOLERANCE_MS,
    Interval,
    chain_length,
    chain_ms,
    clipped,
    duplicates,
    intervals,
    longest_chain,
    together_ms,
    union_ms,
    without_taps,
)
from slotfill.read.requests import read_requests

CLIENT_BORDER = "web"
"""The tap in front of the platform sees the request itself, which is no call that it makes."""
ATTEMPT_COLUMNS = (
    *("correlation_id", "label", "joined", "calls", "union_ms", "sum_ms", "gaps_ms", "taps_ms"),
    *("chain_len", "chain_ms", "duplicates", "together_ms", "errors", "after_answer_calls"),
)
TARGET_COLUMNS = (
    *("label", "target", "method", "calls_per_attempt", "mean_ms", "share"),
    *("chain_share", "in_a_row", "repeats", "errors"),
)
WATERFALL_COLUMNS = ("offset_ms", "duration_ms", "method", "target", "status", "failed", "on_chain", "repeat")
Integers = NDArray[np.integer[Any]]
_TOLD = ["started_at", "duration_ms", "added_ms", "weight", "joined", "after_answer", "failed", "method", "fingerprint"]
"""What is asked of the calls of each attempt."""
_BLOCK = 1000
"""Calls that are looked for among the attempts at once: one against all of a long run would fill the memory."""
MOST_TARGETS = 40
"""Rows of a level in the table of calls; what comes after them is little."""


@dataclass(frozen=True)
class Inside:
    """What was seen inside the platform; all frames are empty where nothing was.

    ``calls``: one row a call of an attempt, or one a share of it: the columns of ``Call``, and ``correlation_id``,
    ``label``, ``joined`` (a ``Join``), ``weight`` (1, or the share of one call), ``offset_ms`` from the request's
    first byte, and ``on_chain``: it is of its attempt's longest chain. ``attempts``: one row an attempt with calls,
    ``ATTEMPT_COLUMNS``; ``gaps_ms`` is the request's time outside every call, less ``taps_ms``,
    which the taps themselves added to it; ``chain_*``, ``duplicates`` and
    ``together_ms`` (see ``calls``) are missing where the join is an estimate.
    """

    calls: pd.DataFrame
    attempts: pd.DataFrame

    @property
    def known(self) -> bool:
        """Whether anything was seen."""
        return not self.calls.empty

    def targets(self) -> pd.DataFrame:
        """One row a level, table or function and method, most time first: ``TARGET_COLUMNS`` as in ``TargetCalls``."""
        before = self.calls[~self.calls["after_answer"].astype(bool)]
        estimated = set(self.attempts.loc[self.attempts["joined"] == "estimate", "label"])
        many = {str(label): len(rows) for label, rows in self.attempts.groupby("label")}
        named: Any = before.groupby(["label", "target", "method"], sort=False)
        rows = [
            _target(str(label), str(target), str(method), group, many[str(label)], label not in estimated)
            for (label, target, method), group in named
        ]
        table = pd.DataFrame(rows, columns=[*TARGET_COLUMNS, "total_ms", "total_chain_ms"])
        groups = table.groupby("label")
        table["share"] = table["total_ms"] / groups["total_ms"].transform("sum")
        table["chain_share"] = table["total_chain_ms"] / groups["total_chain_ms"].transform("sum")
        return table.sort_values(["label", "share"], ascending=[True, False], ignore_index=True)[list(TARGET_COLUMNS)]

    def waterfall(self, correlation_id: str) -> pd.DataFrame:
        """An attempt's calls before its answer in the order of their starts: ``WATERFALL_COLUMNS`` as in ``Bar``."""
        calls = self.calls[(self.calls["correlation_id"] == correlation_id).to_numpy(dtype=bool)]
        calls = calls[~calls["after_answer"].astype(bool)].sort_values("offset_ms", kind="stable")
        asked = calls["fingerprint"]
        table = calls.assign(repeat=(calls.groupby("fingerprint").cumcount() + 1).where(asked.notna(), 1).astype(int))
        return table[list(WATERFALL_COLUMNS)].reset_index(drop=True)

    def view(self) -> CallView | None:
        """What a report shows of all this; ``None`` where nothing was seen."""
        if not self.known:
            return None
        joined = self.attempts.groupby("label", sort=False)["joined"]
        return CallView(
            "spans" if (self.calls["source"] == "span").any() else "taps",
            {str(label): dict(Counter(rows.astype(str))) for label, rows in joined},
            tuple(self._rows()),
            tuple(self._waterfall(which, name) for which, name in self.shown().items()),
            None if pd.isna(added_ms := self.calls["added_ms"].mean()) else float(added_ms),
            self._together_ms(),
        )

    def _together_ms(self) -> float | None:
        """Of a mean attempt at the first level where it is known whose the calls are."""
        known = self.attempts[(self.attempts["joined"] != "estimate").to_numpy(dtype=bool)]
        first = known[(known["label"] == next(iter(known["label"]), None)).to_numpy(dtype=bool)]
        return None if first.empty else float(first["together_ms"].mean())

    def _rows(self) -> Iterator[TargetCalls]:
        named: Any = self.targets().groupby("label", sort=False).head(MOST_TARGETS).to_dict("records")
        for row in named:
            fields: dict[str, Any] = {name: None if pd.isna(value) else value for name, value in row.items()}
            yield TargetCalls(**fields)

    def _waterfall(self, which: Which, correlation_id: str) -> Waterfall:
        of: Any = self.attempts.set_index("correlation_id").loc[correlation_id]
        rows = self.waterfall(correlation_id).astype(object)
        named: Any = rows.where(rows.notna(), None).to_dict("records")
        return Waterfall(
            which,
            correlation_id,
            str(of["label"]),
            of["joined"],
            request_ms=float(of["union_ms"] + of["gaps_ms"]),
            handler_ms=float(of["gaps_ms"]),
            in_a_row=int(of["chain_len"]),
            after_answer=float(of["after_answer_calls"]),
            bars=tuple(Bar(**row) for row in named),
        )

    def shown(self) -> Mapping[Which, str]:
        """The attempts to draw, not by estimate: ``{"median": id, "slowest": id}`` by their request's time."""
        exact = self.attempts[self.attempts["joined"] != "estimate"]
        if exact.empty:
            return {}
        ordered = exact.assign(request_ms=exact["union_ms"] + exact["gaps_ms"]).sort_values("request_ms", kind="stable")
        ids = ordered["correlation_id"].astype(str).tolist()
        return {"median": ids[(len(ids) - 1) // 2], "slowest": ids[-1]}


def look_inside(attempts: pd.DataFrame, spans: pd.DataFrame, taps: pd.DataFrame) -> Inside:
    """``attempts`` (one row an ``Attempt``) beside spans (``SpanRow``) and what taps saw (``Call``).

    A call's time is as it would be without the tap. Where both saw the calls, the spans count: they carry the trace.
    """
    if spans.empty and taps.empty:
        attempts = attempts[:0]  # so none has calls
    timed, taps = _timed(attempts), without_taps(taps)
    calls = read_requests(spans).calls if len(spans) else taps[taps["border"] != CLIENT_BORDER]
    if len(spans) and not calls["trace_id"].isin(timed["trace_id"].dropna()).any():
        calls = taps[taps["border"] != CLIENT_BORDER]
    joined = _join(timed, calls)
    told = joined[_TOLD].groupby(joined["correlation_id"], sort=False)
    groups = {str(name): group for name, group in told}
    named: Any = timed[timed["correlation_id"].isin(list(groups))].itertuples(index=False)
    seen = [(attempt, groups[attempt.correlation_id]) for attempt in named]
    chains = [_chain(attempt, group) for attempt, group in seen]
    joined["on_chain"] = joined.index.isin(np.concatenate(chains)) if chains else False
    rows = [_attempt(attempt, group) for attempt, group in seen]
    return Inside(joined, pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS)))


def _timed(attempts: pd.DataFrame) -> pd.DataFrame:
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


def _join(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
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
    return table


def _by_time(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Each call once for every attempt in flight when it began, with its share as ``weight``."""
    starts = attempts["sent_at"].astype("int64").to_numpy()
    ends = attempts["latest_at"].astype("int64").to_numpy()
    began = calls["started_at"].astype("int64").to_numpy()
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


def _chain(attempt: Any, calls: pd.DataFrame) -> pd.Index:
    """Which of an attempt's calls are its longest chain; none where some are perhaps not its own."""
    before = calls[~calls["after_answer"].astype(bool)]
    if (before["joined"] == "estimate").any():
        return before.index[:0]
    ends = attempt.answered_at.timestamp() * 1e3
    return before.index[longest_chain([(start, max(start, min(end, ends))) for start, end in intervals(before)])]


def _attempt(attempt: Any, calls: pd.DataFrame) -> dict[str, Any]:
    before = calls[~calls["after_answer"].astype(bool)]
    taps_ms = float((before["weight"] * before["added_ms"].fillna(0.0)).sum())
    request = (attempt.sent_at.timestamp() * 1e3, attempt.answered_at.timestamp() * 1e3)
    told: dict[str, Any] = {
        "correlation_id": attempt.correlation_id,
        "label": attempt.label,
        "calls": float(before["weight"].sum()),
        "taps_ms": taps_ms,
        "sum_ms": float((before["weight"] * before["duration_ms"]).sum()),
        "errors": float((before["weight"] * before["failed"].astype(float)).sum()),
        "after_answer_calls": float(calls["weight"].sum() - before["weight"].sum()),
    }
    if (before["joined"] == "estimate").any():
        # Whose call it was is not known, so neither is what overlaps: the sum stands for the union.
        return {
            **told,
            "joined": "estimate",
            "union_ms": told["sum_ms"],
            "gaps_ms": _gaps(request, told["sum_ms"] + taps_ms),
        }
    spans = clipped(intervals(before), request)
    inside_ms = union_ms(spans)
    return {
        **told,
        "joined": "trace" if (before["joined"] == "trace").all() else "time",
        "union_ms": inside_ms,
        "gaps_ms": _gaps(request, inside_ms + taps_ms),
        "chain_len": chain_length(spans),
        "chain_ms": chain_ms(spans),
        "duplicates": duplicates(before),
        "together_ms": together_ms(before),
    }


def _target(label: str, target: str, method: str, group: pd.DataFrame, attempts: int, exact: bool) -> dict[str, Any]:
    weight, spent = group["weight"].sum(), group["weight"] * group["duration_ms"]
    known = group.dropna(subset="fingerprint")
    again = len(known) - len(known.drop_duplicates(["correlation_id", "fingerprint"]))
    own: defaultdict[str, list[Interval]] = defaultdict(list)
    for correlation_id, span in zip(group["correlation_id"].tolist(), intervals(group), strict=True):
        own[correlation_id].append(span)
    in_a_row = sum(chain_length(spans, TOLERANCE_MS) for spans in own.values()) / attempts if exact else None
    return {
        "label": label,
        "target": target,
        "method": method,
        "calls_per_attempt": weight / attempts,
        "mean_ms": spent.sum() / weight,
        "in_a_row": in_a_row,
        "repeats": again / attempts if exact else None,
        "errors": (group["weight"] * group["failed"].astype(float)).sum() / attempts,
        "total_ms": spent.sum(),
        "total_chain_ms": spent[group["on_chain"].to_numpy(dtype=bool)].sum() if exact else np.nan,
    }


def _gaps(request: tuple[float, float], elsewhere_ms: float) -> float:
    return max(request[1] - request[0] - elsewhere_ms, 0.0)


def _between_ms(later: pd.Series, earlier: pd.Series) -> pd.Series:
    return (later - earlier).dt.total_seconds() * 1e3
