"""From calls to hops: what each attempt's request did inside the platform, as spans or taps saw it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse.attempt_calls import UNSURE, amounts, chain, of_target
from slotfill.analyse.call_view import Bar, CallView, TargetCalls, Waterfall, Which
from slotfill.analyse.calls import TOLERANCE_MS, without_taps
from slotfill.analyse.joined_calls import joined, timed
from slotfill.analyse.level_order import level_order
from slotfill.analyse.traced_calls import TracedCalls, traced_calls
from slotfill.call import DATABASE, WEB

ATTEMPT_COLUMNS = (
    *("correlation_id", "label", "joined", "calls", "union_ms", "sum_ms", "gaps_ms", "taps_ms"),
    *("database_calls", "database_ms"),
    *("chain_len", "chain_ms", "duplicates", "together_ms", "errors", "after_answer_calls"),
)
TARGET_COLUMNS = (
    *("label", "target", "method", "calls_per_attempt", "mean_ms", "share"),
    *("chain_share", "in_a_row", "repeats", "errors"),
)
WATERFALL_COLUMNS = ("offset_ms", "duration_ms", "method", "target", "status", "failed", "on_chain", "repeat")
_TOLD = [
    *("started_at", "duration_ms", "added_ms", "weight", "joined", "after_answer", "failed", "method", "fingerprint"),
    "of_database",
]
"""What is asked of the calls of each attempt."""
MOST_TARGETS = 40
"""Rows of a level in the table of calls; what comes after them is little."""


@dataclass(frozen=True)
class Inside:
    """What was seen inside the platform; all frames are empty where nothing was.

    ``calls``: one row a call of an attempt, or one a share of it: the columns of ``Call``, and ``correlation_id``,
    ``label``, ``joined`` (a ``Join``), ``weight`` (1, or the share of one call), ``offset_ms`` from the request's
    first byte, ``of_database``: its time is the database's hop, and ``on_chain``: it is of its attempt's longest chain.
    ``attempts``: one row an attempt with calls, ``ATTEMPT_COLUMNS``; ``database_ms`` (their union) and
    ``database_calls`` are of the calls to the database alone, missing where no call is known to be one, all else is of
    every call; ``gaps_ms`` is the request's time outside every call, less ``taps_ms``,
    which the taps themselves added to it; ``chain_*``, ``duplicates`` and
    ``together_ms`` (see ``calls``) are missing where the join is an estimate, and all times where it is incomplete.
    """

    calls: pd.DataFrame
    attempts: pd.DataFrame
    traced: TracedCalls

    @property
    def known(self) -> bool:
        """Whether anything was seen."""
        return not self.calls.empty

    @property
    def foreign_traces(self) -> int:
        """How many traces were told of, where neither their ids nor their times are an attempt's; else 0."""
        ours = self.traced.known or self.instrumented
        return 0 if ours else self.traced.traces

    @property
    def instrumented(self) -> bool:
        """Whether the platform told of these attempts itself, which cost it time."""
        return bool((self.calls["source"] == "span").any())

    def targets(self) -> pd.DataFrame:
        """One row a level, table or function and method, most time first: ``TARGET_COLUMNS`` as in ``TargetCalls``."""
        attempts = self._counted()
        before = self.calls[~self.calls["after_answer"].astype(bool)]
        before = before[before["correlation_id"].isin(attempts["correlation_id"]).to_numpy(dtype=bool)]
        unsure = set(attempts.loc[attempts["joined"].isin(UNSURE), "label"])
        many = {str(label): len(rows) for label, rows in attempts.groupby("label")}
        tolerance_ms = TOLERANCE_MS if self.traced.whole_ms else 0.0
        named: Any = before.groupby(["label", "target", "method"], sort=False)
        rows = [
            of_target(str(label), str(target), str(method), group, many[str(label)], label not in unsure, tolerance_ms)
            for (label, target, method), group in named
        ]
        table = pd.DataFrame(rows, columns=[*TARGET_COLUMNS, "total_ms", "total_chain_ms"])
        groups = table.groupby("label")
        table["share"] = table["total_ms"] / groups["total_ms"].transform("sum")
        table["chain_share"] = table["total_chain_ms"] / groups["total_chain_ms"].transform("sum")
        return table.sort_values(["label", "share"], ascending=[True, False], ignore_index=True)[list(TARGET_COLUMNS)]

    def _counted(self) -> pd.DataFrame:
        """The attempts that tell how many calls one makes: the incomplete only at levels that have no others."""
        whole = self.attempts["joined"] != "incomplete"
        return self.attempts[(whole | ~whole.groupby(self.attempts["label"]).transform("any")).to_numpy(dtype=bool)]

    def waterfall(self, correlation_id: str) -> pd.DataFrame:
        """An attempt's calls before its answer in the order of their starts: ``WATERFALL_COLUMNS`` as in ``Bar``.

        Each stands where it would without the tap, as its duration and the request's time are.
        """
        calls = self.calls[(self.calls["correlation_id"] == correlation_id).to_numpy(dtype=bool)]
        calls = calls[~calls["after_answer"].astype(bool)].sort_values("offset_ms", kind="stable")
        starts, took = (calls[name].to_numpy(dtype=float) for name in ("offset_ms", "duration_ms"))
        added = calls["added_ms"].fillna(0.0).to_numpy(dtype=float)
        calls["offset_ms"] = starts - ((starts + took + added)[:, None] <= starts).T @ added
        asked = calls["fingerprint"]
        table = calls.assign(repeat=(calls.groupby("fingerprint").cumcount() + 1).where(asked.notna(), 1).astype(int))
        return table[list(WATERFALL_COLUMNS)].reset_index(drop=True)

    def view(self) -> CallView | None:
        """What a report shows of all this; ``None`` where nothing was seen."""
        if not self.known:
            return None
        hows = {
            str(label): dict(Counter(rows.astype(str)))
            for label, rows in self.attempts.groupby("label", sort=False)["joined"]
        }
        for label, number in self.traced.unseen.items():
            hows.setdefault(label, {})["unseen"] = number
        together = self._together()
        moved_ms = self.traced.moved_ms
        return CallView(
            "spans" if self.instrumented else "taps",
            hows,
            tuple(self._rows()),
            tuple(self._waterfall(which, name) for which, name in self.shown().items()),
            None if pd.isna(added_ms := self.calls["added_ms"].mean()) else float(added_ms),
            together_ms=together[1] if together else None,
            together_level=together[0] if together else None,
            about=self.traced.whole_ms,
            moved=len(moved_ms),
            moved_ms=float(moved_ms.max()) if len(moved_ms) else None,
        )

    def _together(self) -> tuple[str, float] | None:
        """The lowest level where it is known whose the calls are, and ``together_ms`` of a mean attempt there."""
        known = self._sure()
        if known.empty:
            return None
        lowest = level_order(known["label"].astype(str))[0]
        return lowest, float(known.loc[(known["label"] == lowest).to_numpy(dtype=bool), "together_ms"].mean())

    def _sure(self) -> pd.DataFrame:
        return self.attempts[~self.attempts["joined"].isin(UNSURE).to_numpy(dtype=bool)]

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
        """The attempts to draw, whole and no estimate: ``{"median": id, "slowest": id}`` by their request's time."""
        exact = self._sure()
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
    known, taps = timed(attempts), without_taps(taps)
    traced = traced_calls(known, spans)
    theirs = joined(known, traced.calls)
    if theirs.empty:
        theirs = joined(known, taps[taps["border"] != WEB])  # which sees the request itself, no call that it makes
    theirs = _with_database(theirs)
    told = theirs[_TOLD].groupby(theirs["correlation_id"], sort=False)
    groups = {str(name): group for name, group in told}
    named: Any = known[known["correlation_id"].isin(list(groups))].itertuples(index=False)
    seen = [(attempt, groups[attempt.correlation_id]) for attempt in named]
    chains = [chain(attempt, group) for attempt, group in seen]
    theirs["on_chain"] = theirs.index.isin(np.concatenate(chains)) if chains else False
    table = pd.DataFrame([amounts(attempt, group) for attempt, group in seen], columns=list(ATTEMPT_COLUMNS))
    if not theirs["of_database"].any():
        table[["database_calls", "database_ms"]] = np.nan
    return Inside(theirs, table, traced)


def _with_database(calls: pd.DataFrame) -> pd.DataFrame:
    """The calls with ``of_database``: what a tap at another border saw is none, whatever it looks like.

    Where no span is known to ask the database, nothing tells its calls from others, and all of them count.
    """
    asks = calls["to_database"].to_numpy(dtype=bool) | (calls["border"] == DATABASE).fillna(False).to_numpy(dtype=bool)
    spans = (calls["source"] == "span").to_numpy(dtype=bool)
    return calls.assign(of_database=asks if asks.any() else spans)
