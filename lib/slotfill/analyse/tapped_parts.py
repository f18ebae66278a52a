"""An attempt's total in the three parts that taps can tell apart.

Taps at two borders, client ↔ web and web ↔ database, cut it without a word of the server's: around its answer, in the
handler but outside every database call, and inside the calls.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from slotfill.analyse.calls import without_taps
from slotfill.analyse.inside import look_inside
from slotfill.analyse.load import others_in_flight
from slotfill.attempt import is_confirmed
from slotfill.read import spans

AROUND, HANDLER, CALLS = "around", "handler", "calls"
PARTS: Mapping[str, tuple[str, ...]] = {
    AROUND: ("client", "network", "queue"),
    HANDLER: ("api", "allocator"),
    CALLS: ("database",),
}
"""The hops of each part. Waiting for a connection of the pool is the database's by name and lies in the handler."""


def measured_parts(attempts: pd.DataFrame, calls: pd.DataFrame, web_delay_ms: float = 0.0) -> pd.DataFrame:
    """One row a confirmed attempt: ``label, round_number, slot, others, total_ms, around, handler, calls``.

    The last three add up to the total; ``others`` is the number of others' requests in flight beside it.

    ``attempts`` of one arm, ``calls`` of both its taps; ``web_delay_ms`` is what the web tap added itself. An answer's
    time is the web tap's call with the attempt's trace id. Calls of the database lie in the answers they overlap; where
    several were in flight at once, each answer is given the share of its time that those of its level and round spent
    in calls. What the taps themselves add is in none of the parts.
    """
    attempts = attempts.assign(others=others_in_flight(attempts))
    done = attempts[is_confirmed(attempts).to_numpy() & attempts["total_ms"].notna().to_numpy()]
    calls = without_taps(calls)
    web = calls[(calls["border"] == "web").to_numpy() & (calls["method"] == "POST").to_numpy()]
    answers = _windows(web).assign(trace_id=web["trace_id"].to_numpy()).drop_duplicates("trace_id")
    inside = _windows(calls[(calls["border"] == "database").to_numpy()])
    joined = answers.merge(attempts[["trace_id", "label", "round_number"]], on="trace_id")
    spent = [_in_calls(group, inside) for _, group in joined.groupby(["label", "round_number"], dropna=False)]
    shares = pd.concat(spent) if spent else joined.assign(share=np.nan)
    rows = done.merge(shares[["trace_id", "server_ms", "added_ms", "share", "taps_ms"]], on="trace_id", how="inner")
    server = rows["server_ms"].to_numpy(dtype=float) - rows["taps_ms"].to_numpy(dtype=float) - web_delay_ms
    total = (rows["total_ms"] - rows["taps_ms"] - rows["added_ms"]).to_numpy(dtype=float)
    server = np.clip(server, 0, total)
    in_calls = np.minimum(rows["server_ms"].to_numpy(dtype=float) * rows["share"].to_numpy(dtype=float), server)
    return pd.DataFrame(
        {
            **{name: rows[name] for name in ("label", "round_number", "slot", "others")},
            "total_ms": total,
            AROUND: total - server,
            HANDLER: server - in_calls,
            CALLS: in_calls,
        }
    )


def calls_in_a_row(attempts: pd.DataFrame, calls: pd.DataFrame) -> float | None:
    """Calls of the database that a confirmed attempt makes one after another before its answer, on average.

    Those beside one another count once, for a delay holds them up together. Where several attempts were in flight and
    no trace tells whose calls they are, each has its share of all of them. None where no attempt is known.
    """
    seen = look_inside(attempts, spans.frame([]), calls[(calls["border"] == "database").to_numpy()]).attempts
    confirmed = attempts.loc[is_confirmed(attempts).to_numpy(), "correlation_id"]
    done = seen[seen["correlation_id"].isin(confirmed).to_numpy()]
    counted = "calls" if (done["joined"] == "estimate").any() else "chain_len"
    return float(done[counted].mean()) if len(done) else None


def way_ms(calls: pd.DataFrame) -> float | None:
    """What the quickest twentieth of the database's calls take without the tap: mostly the way there and back."""
    took = without_taps(calls[(calls["border"] == "database").to_numpy()])["duration_ms"].dropna()
    return float(took.quantile(0.05)) if len(took) else None


def _windows(calls: pd.DataFrame) -> pd.DataFrame:
    """Start and end of calls in ms since 1970, earliest first."""
    start = calls["started_at"].astype("int64").to_numpy() / 1e3
    duration = calls["duration_ms"].to_numpy(dtype=float)
    added = calls["added_ms"].fillna(0.0).to_numpy(dtype=float)
    return pd.DataFrame(
        {"start_ms": start, "end_ms": start + duration, "server_ms": duration, "added_ms": added}, index=calls.index
    )


def _in_calls(answers: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """``share``: how much of an answer's time went into calls, and ``taps_ms``: what the calls' tap added to it.

    Its own where it was alone, else its share of what all of them had.
    """
    starts, ends, server = (answers[name].to_numpy(dtype=float) for name in ("start_ms", "end_ms", "server_ms"))
    begin, end, added = (calls[name].to_numpy(dtype=float) for name in ("start_ms", "end_ms", "added_ms"))
    alone = np.array([((starts < b) & (ends > a)).sum() == 1 for a, b in zip(starts, ends, strict=True)], dtype=bool)
    overlaps = [np.clip(np.minimum(end, b) - np.maximum(begin, a), 0, None) for a, b in zip(starts, ends, strict=True)]
    busy = ((begin[:, None] < ends) & (end[:, None] > starts)).any(axis=1) if len(begin) else np.zeros(0, dtype=bool)
    crowd = server[~alone].sum()
    found = {}
    for name, own, everything in (
        ("calls", [overlap.sum() for overlap in overlaps], (end - begin)[busy].sum()),
        ("taps", [added[overlap > 0].sum() for overlap in overlaps], added[busy].sum()),
    ):
        spent = np.array(own, dtype=float)
        shared = max(0.0, everything - spent[alone].sum()) / crowd if crowd else 0.0
        each = np.divide(spent, server, out=np.zeros_like(spent), where=server > 0)
        found[name] = np.clip(np.where(alone, each, shared), 0, 1)
    return answers.assign(share=found["calls"], taps_ms=found["taps"] * server)
