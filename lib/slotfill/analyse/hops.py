"""Time accounting: every attempt's total as exclusive self times of the hops it passed through.

Three tiers of evidence, by what the logs hold for an attempt:

1. *server profile*: the server says what its handler, allocator and database calls cost;
2. *server log*: the server says how long quote and confirm took (contract §4), and they include their database calls;
3. *client log*: only the client's own clock, and the duration the allocator reported with the booking.

Where the platform's calls were seen (spans, taps) and no profile tells more, ``estimate.with_calls`` makes it *traces*.

Whatever the tier, the hops of an attempt add up to its ``total_ms``.
"""

import numpy as np
import pandas as pd

from slotfill.analyse.constants import FEW_ATTEMPTS, FRONT_LEAST_MS, FRONT_SPREAD
from slotfill.analyse.load import others_in_flight
from slotfill.analyse.stats import Bools, Floats

HOPS = ("client", "network", "api", "allocator", "queue", "database", "unexplained")
TRACES, SERVER_PROFILE, SERVER_LOG, CLIENT_LOG = 0, 1, 2, 3
TIER_NAMES = {TRACES: "traces", SERVER_PROFILE: "server profile", SERVER_LOG: "server log", CLIENT_LOG: "client log"}

_IDENTITY = [
    "label",
    "concurrency",
    "booking_date",
    "round_number",
    "slot",
    "worker",
    "correlation_id",
    "booking_id",
    "outcome",
    "file",
    "last_line",
]
_CLIENT_FACTS = [
    *("started_at", "submitted_at", "sent_at", "answered_at", "confirmed_at", "total_ms"),
    *("submit_ms", "connect_ms", "send_ms", "wait_ms", "receive_ms"),
    *("inline_ms", "post_job_ms", "background_ms", "initial_status", "allocator_ms", "allocator_success"),
]
_SERVER_TIMES = [
    *("handler_ms", "compile_ms", "quote_ms", "confirm_ms"),
    *(f"profile_{name}_ms" for name in ("api", "allocator", "database", "pool_wait", "lock_wait")),
    *(f"{block}_{name}_ms" for block in ("inline", "job") for name in ("allocator", "database", "pool_wait")),
    *(f"{block}_database_calls" for block in ("profile", "inline", "job")),
]
_SERVER_INSTANTS = ["inline_finished_at", "job_finished_at"]
_FACTS = [*(f"{hop}_ms" for hop in HOPS), "total_ms", "tier", "poll_lag_ms", "front_wait_ms", "cold_start_ms"]
_FACTS += ["pool_wait_ms", "lock_wait_ms", "database_calls", "taps_ms"]


def hops(attempts: pd.DataFrame, server: pd.DataFrame) -> pd.DataFrame:
    """One row per attempt that ended: what each hop cost it, in ms.

    Columns: who it was (``label, concurrency, slot, worker, correlation_id, booking_id, outcome, file,
    last_line``), ``<hop>_ms`` for each of ``HOPS``, their sum ``total_ms``, the evidence ``tier``, and
    parts of hops: ``poll_lag_ms`` (of client: confirmed until seen), ``taps_ms`` (of client: what taps held
    up), ``front_wait_ms`` (of api: waiting
    for the handler to start), ``cold_start_ms`` (of api: compiling), ``pool_wait_ms``, ``lock_wait_ms``
    and ``database_calls`` (of database). NaN means that the logs cannot say; ``database_ms`` is NaN
    below tier 1, where the database's time is inside the api's and the allocator's (see
    ``estimate.with_database``). ``estimated`` is false. ``others`` is the load that it met.
    """
    ended = attempts.loc[attempts["total_ms"].notna(), [*_IDENTITY, *_CLIENT_FACTS]].reset_index(drop=True)
    facts = _join(ended, server)
    tier = _tiers(facts)
    floor = _network_floor(facts, tier)
    parts = [_account(facts[(tier == each).to_numpy()], each, floor) for each in TIER_NAMES if (tier == each).any()]
    table = pd.concat(parts).sort_index() if parts else pd.DataFrame(columns=_FACTS, dtype=float)
    table = _with_front_placed(table.assign(estimated=False, others=others_in_flight(ended)))
    return pd.concat([ended[_IDENTITY], table], axis=1)


def _with_front_placed(table: pd.DataFrame) -> pd.DataFrame:
    """Give the network what a request took to reach its handler although the handler was not busier than usual.

    Requests queue for a busy server when many are in flight, and each of them; a way that is long now and then is
    the network's. So the front's wait stays the api's where most attempts have some of it under the highest loads.
    """
    front = table["front_wait_ms"].fillna(0).to_numpy(dtype=np.float64)
    if len(front) < FEW_ATTEMPTS or front.sum() == 0:
        return table
    others = table["others"].fillna(0).to_numpy(dtype=np.float64)
    loaded = others >= np.median(others)
    typical = float(np.median(front[loaded]))
    queued = np.minimum(front, max(FRONT_SPREAD * typical, FRONT_LEAST_MS))
    moved = front - queued
    return table.assign(
        front_wait_ms=np.where(table["front_wait_ms"].isna(), np.nan, queued),
        api_ms=table["api_ms"] - moved,
        network_ms=table["network_ms"] + moved,
    )


def _join(attempts: pd.DataFrame, server: pd.DataFrame) -> pd.DataFrame:
    """The attempts beside what the server says of their bookings; a fact nobody logged is NaN."""
    known = [*_SERVER_TIMES, *_SERVER_INSTANTS, "job_result"]
    bookings = server.astype({"booking_id": "string"}).drop_duplicates("booking_id")
    facts = bookings.set_index("booking_id").reindex(columns=known)
    joined = attempts.join(facts, on="booking_id")
    numbers = [name for name in map(str, joined) if name.endswith(("_ms", "_calls", "_polls"))]
    joined[numbers] = joined[numbers].astype("float64")
    for name in _SERVER_INSTANTS:
        joined[name] = pd.to_datetime(joined[name], utc=True)
    return joined


def _tiers(facts: pd.DataFrame) -> pd.Series:
    profiled = facts["profile_api_ms"].notna()
    logged = facts[["handler_ms", "quote_ms", "confirm_ms"]].notna().any(axis=1)
    return pd.Series(np.select([profiled, logged], [SERVER_PROFILE, SERVER_LOG], CLIENT_LOG), index=facts.index)


def _wire(facts: pd.DataFrame) -> Floats:
    """Connect, send and receive: the network beyond dispute."""
    return np.asarray(facts[["connect_ms", "send_ms", "receive_ms"]].sum(axis=1), dtype=np.float64)


def _handler(facts: pd.DataFrame) -> Floats:
    return np.asarray(facts[["profile_api_ms", "profile_allocator_ms", "profile_database_ms"]].sum(axis=1))


def _wait(facts: pd.DataFrame) -> Floats:
    """From the last byte sent to the first received; where that was not measured, all of the submit."""
    wait = facts["wait_ms"].fillna(facts["submit_ms"] - _wire(facts)).fillna(0)
    return np.asarray(wait.clip(lower=0), dtype=np.float64)


def _network_floor(facts: pd.DataFrame, tier: pd.Series) -> float:
    """How long a request takes between client and handler when no other request is in its way.

    The way over the wire does not depend on how many others travel it at our handful of small
    requests; queueing for a busy server does, and belongs to the api. At concurrency 1 nobody is in
    the way, so its median is the floor; with more workers only, the fastest request.
    """
    profiled = facts[(tier == SERVER_PROFILE).to_numpy()]
    if profiled.empty:
        return 0.0
    workers = profiled["concurrency"].fillna(0)
    alone = profiled[(workers == workers.min()).to_numpy(dtype=bool)]
    gap = np.maximum(_wait(alone) - _handler(alone), 0)
    return float(np.median(gap) if workers.min() == 1 else gap.min())


def _account(facts: pd.DataFrame, tier: int, floor: float) -> pd.DataFrame:
    """The hops of the attempts of one tier."""
    submit = np.asarray(facts["submit_ms"].fillna(0).clip(upper=facts["total_ms"]), dtype=np.float64)
    after = np.asarray(facts["total_ms"], dtype=np.float64) - submit
    spent = _profiled_submit(facts, submit, floor) if tier == SERVER_PROFILE else _logged_submit(facts, submit, tier)
    follow_up = _timed_follow_up(facts, submit, after)
    for hop in HOPS[:-1]:
        spent[f"{hop}_ms"] = spent.get(f"{hop}_ms", np.zeros(len(facts))) + follow_up[f"{hop}_ms"]
    spent["poll_lag_ms"] = follow_up["poll_lag_ms"]
    if tier != SERVER_PROFILE:
        spent["database_ms"] = np.full(len(facts), np.nan)
    table = pd.DataFrame(spent, index=facts.index).assign(
        tier=tier, total_ms=facts["total_ms"], cold_start_ms=facts["compile_ms"].fillna(0)
    )
    table["unexplained_ms"] = facts["total_ms"] - table[[f"{hop}_ms" for hop in HOPS[:-1]]].sum(axis=1)
    return table.reindex(columns=_FACTS)


def _profiled_submit(facts: pd.DataFrame, submit: Floats, floor: float) -> dict[str, Floats]:
    """Tier 1: the server's own exclusive times; what it took to reach the handler is network up to the floor."""
    wire, wait, handler = _wire(facts), _wait(facts), _handler(facts)
    # A client that gave up waited less than the handler took.
    seen = np.divide(wait, handler, out=np.ones_like(wait), where=handler > wait)
    gap = np.maximum(wait - handler, 0)
    front = np.maximum(gap - floor, 0)
    return {
        "client_ms": np.maximum(submit - wire - wait, 0),
        "network_ms": wire + gap - front,
        "api_ms": facts["profile_api_ms"].to_numpy() * seen + front,
        "allocator_ms": facts["profile_allocator_ms"].to_numpy() * seen,
        "database_ms": facts["profile_database_ms"].to_numpy() * seen,
        "front_wait_ms": front,
        "lock_wait_ms": _total(facts, ["profile_lock_wait_ms"]),
        "pool_wait_ms": _total(facts, [f"{block}_pool_wait_ms" for block in ("profile", "inline", "job")]),
        "database_calls": _total(facts, [f"{block}_database_calls" for block in ("profile", "inline", "job")]),
    }


def _logged_submit(facts: pd.DataFrame, submit: Floats, tier: int) -> dict[str, Floats]:
    """Tiers 2 and 3: the allocator as far as it was timed, the rest of the handler is the api's.

    A budget that ended stops the waiting and not the work, so the allocator is bounded by the handler.
    """
    wire = np.minimum(_wire(facts), submit)
    waited = np.minimum(_wait(facts), submit - wire)
    timed = _total(facts, ["quote_ms", "confirm_ms"]) if tier == SERVER_LOG else _reported_allocator(facts)
    allocator = np.minimum(timed, waited)
    return {
        "client_ms": submit - wire - waited,
        "network_ms": wire,
        "api_ms": waited - allocator,
        "allocator_ms": allocator,
    }


def _reported_allocator(facts: pd.DataFrame) -> Floats:
    """Tier 3's estimate from the duration kept with the booking.

    The platform writes it down between quote and confirm, so of a success it is the quote alone; where
    both are known the confirm takes as long (5,868 ms after 5,783 ms in the recorded runs).
    """
    reported = _column(facts, "allocator_ms")
    succeeded = facts["allocator_success"].fillna(False).to_numpy(dtype=bool)
    return np.where(succeeded, 2 * reported, reported)


def _timed_follow_up(facts: pd.DataFrame, submit: Floats, after: Floats) -> dict[str, Floats]:
    """What happened between the answer and the end of the attempt.

    In order: allocator work that went on after the answer, waiting for the job (queue), the job's own
    work, and, once the database has the booking confirmed, the client until it saw that (poll lag and
    its own reads). Waiting that no job line explains is the queue's while the booking was pending.
    """
    answered_at = facts["submitted_at"].fillna(facts["started_at"]) + pd.to_timedelta(submit, unit="ms")
    waited, seen = _waiting(facts, answered_at, after)
    inline = np.minimum(_since(answered_at, facts["inline_finished_at"], missing=0.0), waited)
    inline_work = _total(facts, ["inline_allocator_ms", "inline_database_ms"])
    inline_share = _fraction(inline, inline_work)
    job_ran = facts["job_finished_at"].notna() & (facts["job_result"] != "already_confirmed").fillna(True)
    job_end = np.where(job_ran, np.minimum(_since(answered_at, facts["job_finished_at"], 0.0), waited), waited)
    job_window = np.maximum(job_end - inline, 0)
    job_work = np.where(job_ran, _total(facts, ["job_allocator_ms", "job_database_ms"]), 0.0)
    job_share = np.where(job_ran, _fraction(job_window, job_work), 0.0)
    background = np.asarray(facts["background_ms"].where(facts["confirmed_at"].isna() & ~job_ran).fillna(0))
    background = np.minimum(background, job_window)
    inline_overrun = (inline > 0) & ~job_ran
    queue = np.where(inline_overrun, 0.0, job_window - background - np.minimum(job_work, job_window))
    nothing = np.zeros(len(facts))
    return {
        "client_ms": after - waited,
        "network_ms": nothing,
        "api_ms": nothing,
        "allocator_ms": _column(facts, "inline_allocator_ms") * inline_share
        + _column(facts, "job_allocator_ms") * job_share
        + background,
        "queue_ms": queue,
        "database_ms": _column(facts, "inline_database_ms") * inline_share
        + _column(facts, "job_database_ms") * job_share,
        "poll_lag_ms": np.where(seen, after - waited, np.nan),
    }


def _waiting(facts: pd.DataFrame, answered_at: pd.Series, after: Floats) -> tuple[Floats, Bools]:
    """How long after the answer the platform still had work, and whether that end is known.

    Known from the instant of confirmation, or the end of the job; else the time the client polled, and
    for a booking left pending, all of it.
    """
    polled = np.asarray(facts[["inline_ms", "post_job_ms", "background_ms"]].sum(axis=1), dtype=np.float64)
    pending = facts["initial_status"].str.startswith("pending").fillna(False).to_numpy(dtype=bool)
    done_at = facts["confirmed_at"].fillna(facts["job_finished_at"])
    known = done_at.notna().to_numpy()
    guess = np.where(polled > 0, polled, np.where(pending, after, 0.0))
    waited = np.where(known, _since(answered_at, done_at, 0.0), guess)
    return np.clip(waited, 0, after), known & (waited > 0)


def _since(start: pd.Series, end: pd.Series, missing: float) -> Floats:
    """Milliseconds from one instant to another, not below zero."""
    elapsed = (end - start).dt.total_seconds() * 1000
    return np.asarray(elapsed.clip(lower=0).fillna(missing), dtype=np.float64)


def _fraction(window: Floats, work: Floats) -> Floats:
    """How much of some work fits into the window it is known to have happened in."""
    return np.minimum(np.divide(window, work, out=np.zeros_like(window), where=work > 0), 1.0)


def _column(facts: pd.DataFrame, name: str) -> Floats:
    return np.asarray(facts[name].fillna(0), dtype=np.float64)


def _total(facts: pd.DataFrame, names: list[str]) -> Floats:
    return np.asarray(facts[names].sum(axis=1), dtype=np.float64)
