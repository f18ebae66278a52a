"""An attempt's total in the three parts that taps can tell apart.

Taps at two borders, client ↔ web and web ↔ database, cut it without a word of the server's: around its answer, in the
handler but outside every database call, and inside the calls.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse.calls import Interval, clipped, longest_chain, union_ms, without_taps
from slotfill.analyse.load import others_in_flight
from slotfill.attempt import is_confirmed
from slotfill.call import DATABASE, WEB

AROUND, HANDLER, CALLS = "around", "handler", "calls"
PARTS: Mapping[str, tuple[str, ...]] = {
    AROUND: ("client", "network", "queue"),
    HANDLER: ("api", "allocator"),
    CALLS: ("database",),
}
"""The hops of each part. Waiting for a connection of the pool is the database's by name and lies in the handler."""
_OWN = ("in_answer_ms", "after_ms", "sum_ms", "taps_ms", "made", "in_a_row")
"""What an answer's calls amount to: the time that they take in it and after it, and their number."""


def measured_parts(attempts: pd.DataFrame, calls: pd.DataFrame, web_delay_ms: float = 0.0) -> pd.DataFrame:
    """One row a confirmed attempt: ``label, round_number, slot, others, total_ms``, the parts ``around, handler,
    calls``, which add up to it, and ``later_ms, untold_ms, made, in_a_row``.

    ``attempts`` of one arm, ``calls`` of both its taps; ``web_delay_ms`` is what the web tap added itself. An answer's
    time is the web tap's call with the attempt's trace id; a booking that is decided later goes on until then. A call
    of the database is the attempt's whose trace it carries, or who was alone when it ran; calls beside one another
    take their time once. Where several were in flight, each is given the share of its time that all of them spent in
    calls. What the taps themselves add is in none of the parts. ``others`` are the requests of others in flight,
    ``made`` the calls of an attempt and ``in_a_row`` those of its longest chain, NaN where whose they are is unknown.
    """
    attempts = attempts.assign(others=others_in_flight(attempts))
    done = attempts[is_confirmed(attempts).to_numpy() & attempts["total_ms"].notna().to_numpy()]
    calls = without_taps(calls)
    answers = _answers(attempts, calls)
    found = _with_calls(answers, _windows(calls[(calls["border"] == DATABASE).to_numpy()]))
    rows = done.merge(found.drop(columns=["label", "round_number"]), on="trace_id", how="inner")
    added, taps = (rows[name].to_numpy(dtype=float) for name in ("added_ms", "taps_ms"))
    total = rows["total_ms"].to_numpy(dtype=float) - taps - added
    server = np.clip(rows["server_ms"].to_numpy(dtype=float) - taps - web_delay_ms, 0, total)
    in_answer = np.minimum(rows["in_answer_ms"].to_numpy(dtype=float), server)
    after = np.clip(rows["after_ms"].to_numpy(dtype=float), 0, total - server)
    return rows[["label", "round_number", "slot", "others", "made", "in_a_row"]].assign(
        total_ms=total,
        later_ms=np.where(after > 0, 0.0, rows["later_ms"]),
        untold_ms=np.where(after > 0, 0.0, rows["untold_ms"]),
        **{AROUND: total - server - after, HANDLER: server - in_answer, CALLS: in_answer + after},
    )


def way_ms(calls: pd.DataFrame) -> float | None:
    """What the quickest twentieth of the database's calls take without the tap: mostly the way there and back."""
    took = without_taps(calls[(calls["border"] == DATABASE).to_numpy()])["duration_ms"].dropna()
    return float(took.quantile(0.05)) if len(took) else None


def _answers(attempts: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """The web tap's answers to attempts; ``until_ms`` is when the booking was decided."""
    web = calls[(calls["border"] == WEB).to_numpy() & (calls["method"] == "POST").to_numpy()]
    windows = _windows(web).drop_duplicates("trace_id")
    own = attempts[["trace_id", "label", "round_number"]].assign(
        later_ms=(attempts["total_ms"] - attempts["submit_ms"]).clip(lower=0.0).fillna(0.0)
    )
    answers = windows.merge(own, on="trace_id", how="inner")
    return answers.assign(until_ms=answers["end_ms"] + answers["later_ms"])


def _windows(calls: pd.DataFrame) -> pd.DataFrame:
    """Start and end of calls in ms since 1970, earliest first."""
    start = calls["started_at"].astype("int64").to_numpy() / 1e3
    duration = calls["duration_ms"].to_numpy(dtype=float)
    added = calls["added_ms"].fillna(0.0).to_numpy(dtype=float)
    times = {"start_ms": start, "end_ms": start + duration, "server_ms": duration, "added_ms": added}
    return pd.DataFrame({**times, "trace_id": calls["trace_id"].to_numpy()})


def _with_calls(answers: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Each answer with what its calls amount to: its own where they are known, else its share of the crowd's."""
    traced = calls["trace_id"].isin(answers["trace_id"]).to_numpy(dtype=bool)
    # Where traces are passed on, a call of another trace is another request's.
    of_others = calls["trace_id"].notna().to_numpy(dtype=bool) & traced.any()
    by_trace = {str(name): group for name, group in calls[traced].groupby("trace_id")}
    untraced = calls[~traced & ~of_others]
    starts, ends = (answers[name].to_numpy(dtype=float) for name in ("start_ms", "end_ms"))
    found = pd.DataFrame(np.nan, index=answers.index, columns=list(_OWN))
    named: Any = answers.itertuples()
    for answer in named:
        alone = ((starts < answer.end_ms) & (ends > answer.start_ms)).sum() == 1
        if alone or answer.trace_id in by_trace:
            near = (untraced["start_ms"] < answer.end_ms) & (untraced["end_ms"] > answer.start_ms) & alone
            own = [by_trace.get(answer.trace_id, untraced[:0]), untraced[near.to_numpy(dtype=bool)]]
            found.loc[answer.Index] = _own(answer, pd.concat([each for each in own if len(each)] or [untraced[:0]]))
    spans = _spans(untraced)
    after = list(zip(answers["end_ms"].tolist(), answers["until_ms"].tolist(), strict=True))
    untold = [union_ms(clipped(spans, window)) if window[1] > window[0] else 0.0 for window in after]
    summed = found["sum_ms"].sum()
    beside = float((found["in_answer_ms"] + found["after_ms"]).sum() / summed) if summed else 1.0
    crowd = answers[found["sum_ms"].isna()]
    for _, group in crowd.groupby(["label", "round_number"], dropna=False):
        found.loc[group.index, list(_OWN[:-1])] = _shared(group, untraced, beside)
    return answers.assign(**{name: found[name] for name in _OWN}, untold_ms=untold)


def _spans(windows: pd.DataFrame) -> list[Interval]:
    return list(zip(windows["start_ms"].tolist(), windows["end_ms"].tolist(), strict=True))


def _own(answer: Any, calls: pd.DataFrame) -> list[float]:
    """``_OWN`` of one answer from its own calls."""
    spans = _spans(calls)
    parts = [
        clipped(spans, (answer.start_ms, answer.end_ms)),
        clipped(spans, (answer.end_ms, answer.until_ms)),
        clipped(spans, (answer.start_ms, answer.until_ms)),
    ]
    summed = sum(end - start for start, end in parts[2])
    in_answer, after, union = map(union_ms, parts)
    taps = calls["added_ms"].sum() * (union / summed if summed else 0.0)
    return [in_answer, after, summed, taps, len(parts[2]), len(longest_chain(parts[2]))]


def _shared(crowd: pd.DataFrame, calls: pd.DataFrame, beside: float) -> Any:
    """``_OWN`` without the last, for answers that were in flight together: their time's share of all their calls.

    ``beside`` is how long calls take that run beside one another, of the sum of their durations.
    """
    start, end, added = (calls[name].to_numpy(dtype=float) for name in ("start_ms", "end_ms", "added_ms"))
    first, last = (crowd[name].to_numpy(dtype=float) for name in ("start_ms", "end_ms"))
    busy = ((start[:, None] < last) & (end[:, None] > first)).any(axis=1) if len(start) else np.zeros(0, dtype=bool)
    everybodys = (last - first).sum()
    spent = min(1.0, (end - start)[busy].sum() / everybodys) * beside * (last - first)
    taps = added[busy].sum() * beside * (last - first) / everybodys
    nothing = np.zeros(len(crowd))
    return np.column_stack([spent, nothing, spent, taps, np.full(len(crowd), busy.sum() / len(crowd))])
