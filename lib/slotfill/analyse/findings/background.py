"""After the answer: the job queue, the inline budget, and the client's own polling."""

import pandas as pd

from slotfill.analyse.document import Finding
from slotfill.analyse.findings.measurements import Measurements, places, truth

_CONFIRMED_AT = "the instant of confirmation from the database"
_PENDING = ("confirmed_inline_poll", "confirmed_background", "failed_inline_timeout", "failed_background_timeout")


def starved_queue(case: Measurements) -> Finding:
    """Jobs wait because the workers are busy, or gone."""
    waits = _queued(case)
    if waits.empty:
        return Finding("starved_queue", "false", "no booking waited for a job", hop="queue")
    cost, utilisation, served = case.hop_ms("queue"), case.utilisation, _served(case)
    depth = utilisation.queue_depth_mean if utilisation else None
    figures = {
        "queue_ms": cost,
        "jobs": len(waits),
        "jobs_finished": served,
        "median_wait_ms": float(waits.median()),
        "queue_depth": depth,
    }
    claim = f"{len(waits)} bookings waited {waits.mean():.0f} ms each for their job"
    if served is not None and served < len(waits) / 2:
        claim += f", and only {served} jobs ever finished"
    starved = case.is_material(cost) and not _late(waits, served)
    return Finding("starved_queue", truth(starved), claim, figures, case.slowest("queue_ms"), hop="queue", cost_ms=cost)


def queue_delay(case: Measurements) -> Finding:
    """Every job starts late by about the same time, whether others wait or not."""
    waits = _queued(case)
    if waits.empty:
        return Finding("queue_delay", "false", "no booking waited for a job", hop="queue")
    least, cost = float(waits.quantile(0.1)), case.hop_ms("queue")
    figures = {"queue_ms": cost, "least_wait_ms": least, "mean_wait_ms": float(waits.mean())}
    claim = f"even the quickest tenth of the jobs waited {least:.0f} ms of {waits.mean():.0f} ms"
    late = case.is_material(cost) and _late(waits, _served(case))
    return Finding("queue_delay", truth(late), claim, figures, case.slowest("queue_ms"), hop="queue", cost_ms=cost)


def poll_interval(case: Measurements) -> Finding:
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
    return Finding("poll_interval", verdict, claim, figures, case.slowest("poll_lag_ms"), hop="client", cost_ms=cost)


def inline_timeout(case: Measurements) -> Finding:
    """Bookings are left to the job because the inline budget ended before the allocator did."""
    rows = case.attempts
    told = (rows["allocator_reason"] == "INLINE_TIMEOUT").fillna(False)
    if "aborted_ms" in case.server:
        told |= rows["booking_id"].isin(case.server.loc[case.server["aborted_ms"].notna(), "booking_id"])
    left = rows[(told & rows["initial_status"].str.startswith("pending").fillna(False)).to_numpy(dtype=bool)]
    share = len(left) / max(len(rows), 1)
    claim = f"the inline budget ended before the allocation in {len(left)} of {len(rows)} attempts"
    where = places(left, "last_line")
    return Finding("inline_timeout", truth(share >= 0.5), claim, {"share": share}, where, hop="client")


def _queued(case: Measurements) -> pd.Series:
    """How long each attempt that left a booking pending waited for its job."""
    waits = case.accounts.measured["queue_ms"].dropna()
    return waits[waits > 1]


def _served(case: Measurements) -> int | None:
    """How many of the measured bookings' jobs finished in time; ``None`` where no log would say."""
    if not case.server.reindex(columns=["profile_api_ms"])["profile_api_ms"].notna().any():
        return None
    jobs = case.server.reindex(columns=["booking_id", "job_finished_at"]).astype({"booking_id": "string"})
    rows = case.attempts[case.attempts["booking_id"].isin(case.accounts.measured["booking_id"])]
    finished = rows.merge(jobs, on="booking_id")
    in_time = pd.to_datetime(finished["job_finished_at"], utc=True) <= finished["ended_at"]
    return int(in_time.fillna(False).sum())


def _late(waits: pd.Series, served: int | None) -> bool:
    """A delay, not a line: jobs do finish, and the quickest tenth waits at least half of the mean."""
    if served is not None and served < len(waits) / 2:
        return False
    return float(waits.quantile(0.1)) >= 0.5 * float(waits.mean())
