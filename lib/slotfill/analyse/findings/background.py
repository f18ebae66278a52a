"""After the answer: the job queue, the inline budget, and the client's own polling."""

import pandas as pd

from slotfill.analyse.findings.finding import Case, Finding, places, truth

_CONFIRMED_AT = "the instant of confirmation from the database"
_PENDING = ("confirmed_inline_poll", "confirmed_background", "failed_inline_timeout", "failed_background_timeout")


def starved_queue(case: Case) -> Finding:
    """Jobs wait because the workers are busy, or gone."""
    waits = _queued(case)
    if waits.empty:
        return Finding("starved_queue", "false", "no booking waited for a job", hop="queue")
    cost, pressure = case.hop_ms("queue"), case.pressure
    depth = pressure.queue_depth_mean if pressure else None
    figures = {"queue_ms": cost, "jobs": len(waits), "median_wait_ms": float(waits.median()), "queue_depth": depth}
    finished = case.server["job_finished_at"].notna().any() if "job_finished_at" in case.server else False
    claim = f"{len(waits)} bookings waited {waits.mean():.0f} ms each for their job"
    if not finished and len(case.server):
        claim += ", and no job ever finished"
    starved = case.is_material(cost) and not _steady(waits)
    return Finding("starved_queue", truth(starved), claim, figures, case.slowest("queue_ms"), "", "queue", cost)


def queue_delay(case: Case) -> Finding:
    """Every job starts late by about the same time, whether others wait or not."""
    waits = _queued(case)
    if waits.empty:
        return Finding("queue_delay", "false", "no booking waited for a job", hop="queue")
    least, cost = float(waits.quantile(0.1)), case.hop_ms("queue")
    figures = {"queue_ms": cost, "least_wait_ms": least, "mean_wait_ms": float(waits.mean())}
    claim = f"even the quickest tenth of the jobs waited {least:.0f} ms of {waits.mean():.0f} ms"
    late = case.is_material(cost) and _steady(waits)
    return Finding("queue_delay", truth(late), claim, figures, case.slowest("queue_ms"), "", "queue", cost)


def poll_interval(case: Case) -> Finding:
    """The booking is confirmed, and the client does not look."""
    lag = case.accounts.measured["poll_lag_ms"].dropna()
    if lag.empty:
        polled = case.attempts["outcome"].isin(_PENDING).any()
        if not polled:
            return Finding("poll_interval", "false", "no booking was polled for", hop="client")
        return Finding("poll_interval", "unknown", "no poll lag was measured", needs=_CONFIRMED_AT, hop="client")
    rows = case.accounts.measured[(case.accounts.measured["label"] == case.accounts.top).to_numpy()]
    cost = float(rows["poll_lag_ms"].fillna(0).mean())
    claim = f"a booking that was polled for is seen {lag.mean():.0f} ms after it was confirmed"
    figures = {"poll_lag_ms": float(lag.mean()), "polled": len(lag), "of_a_mean_attempt_ms": cost}
    verdict = truth(case.is_material(cost))
    return Finding("poll_interval", verdict, claim, figures, case.slowest("poll_lag_ms"), "", "client", cost)


def inline_timeout(case: Case) -> Finding:
    """The inline allocator's budget ends before its work does."""
    ended = case.attempts[(case.attempts["allocator_reason"] == "INLINE_TIMEOUT").fillna(False).to_numpy(dtype=bool)]
    share = len(ended) / max(len(case.attempts), 1)
    claim = f"the inline budget ended in {len(ended)} of {len(case.attempts)} attempts"
    where = places(ended, "last_line")
    return Finding("inline_timeout", truth(share >= 0.1), claim, {"share": share}, where)


def _queued(case: Case) -> pd.Series:
    """How long each attempt that left a booking pending waited for its job."""
    waits = case.accounts.measured["queue_ms"].dropna()
    return waits[waits > 1]


def _steady(waits: pd.Series) -> bool:
    """The quickest tenth waits at least half of the mean: a delay, not a line."""
    return float(waits.quantile(0.1)) >= 0.5 * float(waits.mean())
