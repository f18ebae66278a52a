"""The database's part of the time where no profile tells it, estimated from samples.

Sessions show what runs, what waits for a lock, and which transactions stand open between two
statements. They do not show two things a request can wait for, which are inferred from the rest of
the handler that neither a session nor a processor accounts for:

- calls outside a transaction. Where transactions stand open for long, every call has a way to go, and
  so have those outside: the unseen time at the lowest level is theirs.
- a connection of the pool. Where the unseen time grows with concurrency and the allocator's own steps,
  which are database calls, grow with it, while fewer sessions are ever busy than workers are, and hardly more were
  ever used than were at once.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from slotfill.analyse.constants import OPEN_SHARE, QUEUED, STEPS_GROWN
from slotfill.analyse.hops import SERVER_PROFILE, TRACES
from slotfill.analyse.stats import Bools
from slotfill.analyse.utilisation import Utilisation

_HANDLER = ["api_ms", "allocator_ms", "database_ms"]


def with_database(
    table: pd.DataFrame, utilisations: Mapping[str, Utilisation], effective: Mapping[str, int], cpus: int | None
) -> pd.DataFrame:
    """The hop table (see ``hops``) with ``database_ms``, ``pool_wait_ms`` and ``lock_wait_ms`` of unprofiled levels.

    The estimated mean is taken from the api's and the allocator's time, in which it is hidden, in
    proportion to them, so the hops still add up. Such rows are marked ``estimated``.
    """
    table = table.copy()
    bare = table[(table["tier"] != SERVER_PROFILE).to_numpy()]
    steps = {str(label): float(rows["allocator_ms"].mean()) for label, rows in bare.groupby("label")}
    handlers = {str(label): steps[str(label)] + float(rows["api_ms"].mean()) for label, rows in bare.groupby("label")}
    labels = sorted((label for label in handlers if label in utilisations), key=lambda label: effective[label])
    if not labels:
        return table
    unseen = {label: _unseen_ms(handlers[label], utilisations[label], cpus) for label in labels}
    lowest = labels[0]
    trips = unseen[lowest] if utilisations[lowest].open_ms >= OPEN_SHARE * handlers[lowest] else 0.0
    for label in labels:
        utilisation, here = (
            utilisations[label],
            ((table["label"] == label) & (table["tier"] != SERVER_PROFILE)).to_numpy(),
        )
        # A pool makes every step wait; what only the handler's rest waits for is not a connection.
        pooled = steps[label] >= STEPS_GROWN * steps[lowest] and utilisation.busy_most < effective[label]
        # Where bookings wait for a connection, all there are are in use; one may just have come back.
        pooled = pooled and utilisation.idle_connections <= 1
        pool = max(0.0, unseen[label] - unseen[lowest]) if pooled else 0.0
        seen = utilisation.running_ms + utilisation.lock_ms + utilisation.open_ms + trips + pool
        part = min(1.0, seen / handlers[label]) if handlers[label] else 0.0
        table.loc[here, "database_ms"] = (table.loc[here, "api_ms"] + table.loc[here, "allocator_ms"]) * part
        table.loc[here, ["api_ms", "allocator_ms"]] *= 1 - part
        table.loc[here, ["pool_wait_ms", "lock_wait_ms"]] = pool, utilisation.lock_ms
        table.loc[here, "estimated"] = True
    return table


def with_unknown_locks(table: pd.DataFrame, utilisations: Mapping[str, Utilisation]) -> pd.DataFrame:
    """The hop table with the waits for locks that only samples saw: a profile times the locks its application takes.

    Somebody else's lock shows as a long statement there. Where sampled waiting is more than the profiled by a good part
    of the statements, that much of each statement's time is waiting; the database's time stays what it is.
    """
    table = table.copy()
    for label, utilisation in utilisations.items():
        here = ((table["label"] == label) & (table["tier"] <= SERVER_PROFILE)).to_numpy()
        rows = table[here]
        known = rows["lock_wait_ms"].fillna(0.0)
        statements = (rows["database_ms"] - rows["pool_wait_ms"].fillna(0.0) - known).clip(lower=0.0)
        unknown = utilisation.lock_ms - float(known.mean()) if len(rows) else 0.0
        if len(rows) and unknown >= QUEUED * float(statements.mean()) > 0:
            table.loc[here, "lock_wait_ms"] = known + statements * min(1.0, unknown / float(statements.mean()))
    return table


def with_calls(table: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """The hop table with the database's time as the attempts' calls of it were seen to take it.

    ``seen``: ``Inside.attempts``. Calls of anything else, a mailer or a rate limiter, stay the api's. Calls outrank a
    server's profile where each is known to be its attempt's, at all levels alike; what was not profiled takes them even
    shared out. A connection of the pool is waited for outside of any call, so that part stays the profile's or the
    estimate of ``with_database``. What is left of api and allocator
    keeps their proportion, and what the taps themselves add is the client's, as all that measuring costs, so the hops
    still add up; it is in ``taps_ms`` as well, for it is no cause of anything.
    """
    table = table.copy()
    calls = table[["correlation_id"]].join(seen.set_index("correlation_id"), on="correlation_id")
    known = calls["database_ms"].notna().to_numpy(dtype=bool)
    exact = not (seen["joined"] == "estimate").any()
    traced = known & (exact | (table["tier"] > SERVER_PROFILE).to_numpy(dtype=bool))
    handler_ms = table[_HANDLER].sum(axis=1)
    taps_ms = np.minimum(calls["taps_ms"].astype(float).fillna(0.0), handler_ms)
    left_ms = handler_ms - taps_ms
    pool_ms = table["pool_wait_ms"].fillna(0.0)
    seen_ms = (calls["database_ms"].astype(float) + pool_ms).where(traced, table["database_ms"] - taps_ms)
    database_ms = np.minimum(seen_ms.clip(lower=0.0), left_ms)
    others_ms = table[["api_ms", "allocator_ms"]].sum(axis=1)
    kept = ((left_ms - database_ms) / others_ms.where(others_ms > 0)).fillna(0.0)
    changed = table.assign(
        client_ms=table["client_ms"] + taps_ms,
        api_ms=table["api_ms"] * kept + (left_ms - database_ms).where(others_ms <= 0, 0.0),
        allocator_ms=table["allocator_ms"] * kept,
        database_ms=database_ms,
    )
    changed["taps_ms"] = taps_ms
    hops = ["client_ms", "api_ms", "allocator_ms", "database_ms", "taps_ms"]
    table.loc[known, hops] = changed.loc[known, hops]
    table.loc[traced, "database_calls"] = calls.loc[traced, "database_calls"].astype(float)
    guessed = (calls["joined"] == "estimate") | ((pool_ms > 0) & (table["tier"] > SERVER_PROFILE))
    table.loc[traced, "estimated"] = guessed[traced]
    table.loc[traced, "tier"] = TRACES
    return _with_unseen(table, traced)


def _with_unseen(table: pd.DataFrame, traced: Bools) -> pd.DataFrame:
    """The hop table with attempts of which nothing, or not all, was seen divided as those of their level that were.

    Only where those are fewer than half: else they speak for their level alone (see ``growth.measured``).
    """
    unprofiled = (table["tier"] > SERVER_PROFILE).to_numpy(dtype=bool)
    for label in table.loc[traced, "label"].unique():
        here = (table["label"] == label).to_numpy(dtype=bool)
        seen, unseen = table[here & traced], here & ~traced & unprofiled
        if len(seen) >= unseen.sum():
            continue
        seen_ms = float(seen[_HANDLER].sum().sum())
        part = float(seen["database_ms"].sum()) / seen_ms if seen_ms else 0.0
        handler_ms = table.loc[unseen, _HANDLER].sum(axis=1)
        others_ms = table.loc[unseen, _HANDLER[:2]].sum(axis=1)
        kept = (handler_ms * (1 - part) / others_ms.where(others_ms > 0)).fillna(0.0)
        table.loc[unseen, _HANDLER[:2]] = table.loc[unseen, _HANDLER[:2]].mul(kept, axis=0)
        table.loc[unseen, "database_ms"] = handler_ms - table.loc[unseen, _HANDLER[:2]].sum(axis=1)
        table.loc[unseen, "database_calls"] = seen["database_calls"].mean()
        table.loc[unseen, "estimated"] = True
        table.loc[unseen, "tier"] = TRACES
    return table


def _unseen_ms(handler_ms: float, utilisation: Utilisation, cpus: int | None) -> float:
    """The handler's time that neither a session nor the web process accounts for."""
    stretch = cpus / utilisation.capacity(cpus) if cpus else 1.0
    return max(
        0.0,
        handler_ms - utilisation.running_ms - utilisation.lock_ms - utilisation.open_ms - utilisation.web_ms * stretch,
    )
