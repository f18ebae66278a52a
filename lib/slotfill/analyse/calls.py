"""Inside a request: how many calls it made, how much of the time they took, and how many stand one after another.

Frames in, frames out. Spans start on whole milliseconds and end on finer ones, so two calls overlap only where they do
by more than ``TOLERANCE_MS``, and the length of a chain is told as "about".
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from slotfill.escape import for_json, for_terminal

TOLERANCE_MS = 1.0
READS = ("GET", "HEAD", "SELECT")
Interval = tuple[float, float]
"""Start and end, in milliseconds of one clock."""


HEAD = ("trace", "request", "server ms", "own ms", "calls", "in calls ms", "in a row", "repeated", "errors", "after")


def render(table: pd.DataFrame, form: Literal["table", "json"] = "table") -> str:
    """The output of ``slotfill spans``, from ``requests_table``; times in ms."""
    rows = [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]
    for row in rows:
        if not row["complete"]:
            row["after_answer_calls"] = None  # when it was answered nobody knows
    if form == "json":
        return for_json(json.dumps({"requests": rows}, indent=2, ensure_ascii=False))
    lines = [HEAD, *map(_line, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    told = ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    return for_terminal("\n".join(told))


def requests_table(requests: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """``requests`` with what their calls amount to, one row each; columns as in ``summary`` beside them."""
    groups = dict(iter(calls.groupby(["trace_id", "request_id"], sort=False)))
    named: Any = requests.itertuples(index=False)
    return pd.DataFrame(
        {
            **request._asdict(),
            **summary(groups.get((request.trace_id, request.request_id), calls.iloc[:0]), _handler(request)),
        }
        for request in named
    )


def summary(calls: pd.DataFrame, handler: Interval | None = None) -> dict[str, Any]:
    """What one request's calls amount to. Times are ms.

    ``calls``, ``errors``, ``duplicates`` and ``targets`` count every call before the answer. ``sum_ms``, ``union_ms``
    and the chain are of the calls that ask the database, where there are any: a rate limiter's are not the store's.
    ``chain_len`` is the most calls of which none begins before another ended, ``chain_len_about`` the same within
    the tolerance; ``chain_ms`` the most time that such a chain takes. ``handler_self_ms`` is the handler's time
    outside every call, ``None`` where its span is missing.
    """
    before = calls[~calls["after_answer"].astype(bool)]
    store = before[before["to_database"].astype(bool)]
    spans = intervals(store if len(store) else before)
    own_ms = None
    if handler is not None:
        own_ms = handler[1] - handler[0] - union_ms(clipped(intervals(calls), handler))
    return {
        "handler_self_ms": own_ms,
        "calls": len(before),
        "database_calls": len(store),
        "sum_ms": sum(end - start for start, end in spans),
        "union_ms": union_ms(spans),
        "chain_len": chain_length(spans),
        "chain_len_about": chain_length(spans, TOLERANCE_MS),
        "chain_ms": chain_ms(spans),
        "duplicates": duplicates(before),
        "errors": int(before["failed"].sum()),
        "after_answer_calls": len(calls) - len(before),
        "targets": {str(name): int(count) for name, count in before["target"].value_counts().items()},
    }


def without_taps(calls: pd.DataFrame) -> pd.DataFrame:
    """The calls as long as they would be without the tap that saw them."""
    return calls.assign(duration_ms=(calls["duration_ms"] - calls["added_ms"].fillna(0.0)).clip(lower=0.0))


def intervals(calls: pd.DataFrame) -> list[Interval]:
    """Start and end of each call, in ms since 1970."""
    starts = calls["started_at"].astype("int64").to_numpy() / 1e3
    ends = starts + calls["duration_ms"].to_numpy(dtype=float, na_value=np.nan)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def clipped(spans: Sequence[Interval], frame: Interval) -> list[Interval]:
    """What of the intervals lies inside ``frame``: children can end after their parents."""
    inside = ((max(start, frame[0]), min(end, frame[1])) for start, end in spans)
    return [(start, end) for start, end in inside if end > start]


def union_ms(spans: Sequence[Interval]) -> float:
    """The time in which at least one of the intervals runs."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def chain_length(spans: Sequence[Interval], tolerance_ms: float = 0.0) -> int:
    """The most intervals of which each begins when the one before has ended (earliest end first is optimal)."""
    count, reached = 0, float("-inf")
    for start, end in sorted(spans, key=lambda span: span[1]):
        if start >= reached - tolerance_ms:
            count, reached = count + 1, end
    return count


def chain_ms(spans: Sequence[Interval]) -> float:
    """The most time that intervals one after another can take."""
    return sum(spans[number][1] - spans[number][0] for number in longest_chain(spans))


def longest_chain(spans: Sequence[Interval]) -> list[int]:
    """The places of the intervals one after another that take the most time together (weighted interval scheduling)."""
    order = sorted(range(len(spans)), key=lambda number: spans[number][1])
    ends = [spans[number][1] for number in order]
    before = [bisect_right(ends, spans[number][0], 0, place) for place, number in enumerate(order)]
    best = [0.0]
    for place, number in enumerate(order):
        start, end = spans[number]
        best.append(max(best[-1], best[before[place]] + end - start))
    chain, place = [], len(order)
    while place:
        start, end = spans[order[place - 1]]
        if best[place] > best[place - 1]:
            chain.append(order[place - 1])
            place = before[place - 1]
        else:
            place -= 1
    return chain[::-1]


def together_ms(calls: pd.DataFrame) -> float:
    """What one request would save at most, were the reads of its chain that follow one another made at once.

    Reads with anything else between them are not taken together; whether one needs another's answer nobody knows.
    """
    order = np.argsort(calls["started_at"].astype("int64").to_numpy(), kind="stable").tolist()
    spans, methods = intervals(calls), calls["method"].tolist()
    took = calls["duration_ms"].to_numpy(dtype=float, na_value=np.nan).tolist()
    on_chain = set(longest_chain([spans[number] for number in order]))
    saved = 0.0
    row_ms: list[float] = []
    for place, (method, took_ms) in enumerate((methods[number], took[number]) for number in order):
        if method not in READS:
            saved, row_ms = saved + sum(row_ms) - max(row_ms, default=0.0), []
        elif place in on_chain:
            row_ms.append(took_ms)
    return saved + sum(row_ms) - max(row_ms, default=0.0)


def duplicates(calls: pd.DataFrame) -> int:
    """How many calls asked what an earlier one had asked already; only of those whose whole question is known."""
    known = calls["fingerprint"].dropna().tolist()
    return len(known) - len(set(known))


def _handler(request: Any) -> Interval | None:
    if not request.complete:
        return None
    start = request.handler_started_at.timestamp() * 1e3
    return start, start + request.handler_ms


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return round(value, 3) if isinstance(value, float) else value


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    def ms(name: str) -> str:
        return "-" if row[name] is None else f"{row[name]:.1f}"

    what = f"{row['method'] or ''} {row['path'] or ''}".strip() if row["complete"] else "incomplete"
    low, high = row["chain_len"], row["chain_len_about"]
    in_a_row = f"about {low}" if low == high else f"about {low} to {high}"
    counts = ("-" if row[name] is None else str(row[name]) for name in ("duplicates", "errors", "after_answer_calls"))
    times = (ms("server_ms"), ms("handler_self_ms"), str(row["calls"]), ms("union_ms"), in_a_row)
    return (row["trace_id"][:8], what, *times, *counts)
