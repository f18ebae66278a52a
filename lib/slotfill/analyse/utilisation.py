"""What the samples of a level say: who waited for what, how full the server was, which process was busy.

Little's law turns sampled states into time: with L sessions in a state on average and X attempts a
second, an attempt spends L / X in that state (J. Little, Operations Research 9, 1961).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse.stats import Bools

HOST = "host"
"""The name under which the whole machine's processor time stands beside that of its processes."""
_INSTRUMENT = "slotfill"
_PLATFORMS = "whitehorse|postgrest|supavisor|pgbouncer|node|next|authenticator"
"""Application names of booking platforms and of what stands between them and Postgres."""
_WAITING_FOR_THE_CLIENT = ("idle in transaction", "idle in transaction (aborted)")


@dataclass(frozen=True)
class Pressure:
    """One level, as its samples saw it. Times are ms per attempt, ``*_cores`` are CPU seconds per second.

    ``None`` means the samples do not hold it.
    """

    seconds: float
    attempts: int
    running_ms: float
    """Sessions executing a statement and not waiting for a lock."""
    lock_ms: float
    open_ms: float
    """Transactions that stood open while the client did something else."""
    foreign_running: float
    """Sessions of others (not the platform's) executing, on average."""
    foreign_blockers: int
    """Samples in which a session of others held what the platform waited for."""
    busiest_statement: str | None
    """The statement found running most often."""
    busiest_share: float
    """Its share of all that was found running."""
    busiest_ms: float
    """How long it runs: found at a random moment, a statement has run for half of its time."""
    connections_most: float | None
    connections_limit: float | None
    busy_most: int
    """The largest number of the platform's sessions busy (or in a transaction) at once."""
    queue_depth_mean: float | None
    queue_depth_last: float | None
    deadlocks: float | None
    commits: float | None
    cores: dict[str, float] = field(default_factory=dict)
    host_cores: float | None = None
    """Cores kept busy on the whole machine, by others' processes as well."""

    @property
    def ms_per_core(self) -> float:
        """What one busy core, or one session, amounts to in ms per attempt."""
        return self.seconds * 1000 / max(self.attempts, 1)

    @property
    def others_cores(self) -> float:
        """Cores kept busy by processes that have nothing to do with the run; 0 where the host was not sampled."""
        return 0.0 if self.host_cores is None else max(0.0, self.host_cores - sum(self.cores.values()))

    def capacity(self, cpus: int) -> float:
        """The cores that others leave to the run; beside as many hogs as cores, a fair scheduler leaves half."""
        return max(cpus - self.others_cores, cpus / 2)

    @property
    def web_ms(self) -> float:
        """Processor time of the web process per attempt."""
        return self.cores.get("web", 0.0) * self.ms_per_core


def pressure(samples: pd.DataFrame, attempts: pd.DataFrame) -> Pressure | None:
    """Fold the samples of one level (see the run folder's ``samples.parquet``) over its attempts.

    ``None`` where fewer than five samples fell into the time of the attempts.
    """
    start, end = attempts["started_at"].min(), attempts["ended_at"].max()
    during = samples[((samples["at"] >= start) & (samples["at"] <= end)).fillna(False).to_numpy(dtype=bool)]
    ticks = during.loc[during["kind"] == "server", "at"].nunique()
    if ticks < 5:
        return None
    seconds = (end - start).total_seconds()
    # Attempts that ran out of tables cost time as well: the law is over all of them.
    ended = int(attempts["total_ms"].notna().sum())
    cores = _cores(samples[(samples["metric"] == "cpu_ms").fillna(False).to_numpy(dtype=bool)], start, end)
    host = cores.pop(HOST, None)
    sessions = during[(during["kind"] == "activity").to_numpy()]
    return Pressure(
        seconds=seconds,
        attempts=ended,
        **_sessions(sessions, ticks, seconds * 1000 / max(ended, 1)),
        **_server(during[(during["kind"] == "server").to_numpy()]),
        cores=cores,
        host_cores=host,
    )


def _sessions(rows: pd.DataFrame, ticks: int, ms_per_attempt: float) -> dict[str, Any]:
    """The database's sessions: ours by state, others as far as they are in the way."""
    names = rows["application_name"].fillna("").str.lower()
    instrument = names.str.contains(_INSTRUMENT).to_numpy(dtype=bool)
    rows, names = rows[~instrument], names[~instrument]
    ours = names.str.contains(_PLATFORMS).to_numpy(dtype=bool)
    if not ours.any():  # a platform that does not say who it is: nobody else is known to be there
        ours = np.ones(len(rows), dtype=bool)
    active = (rows["state"] == "active").fillna(False).to_numpy(dtype=bool)
    locked = (rows["wait_event_type"] == "Lock").fillna(False).to_numpy(dtype=bool)
    open_ = rows["state"].isin(_WAITING_FOR_THE_CLIENT).to_numpy(dtype=bool)
    running = rows[ours & active & ~locked]
    busy = rows[ours & (active | open_)]
    return {
        "running_ms": len(running) / ticks * ms_per_attempt,
        "lock_ms": int((ours & locked).sum()) / ticks * ms_per_attempt,
        "open_ms": int((ours & open_).sum()) / ticks * ms_per_attempt,
        "foreign_running": int((~ours & active & ~locked).sum()) / ticks,
        "foreign_blockers": _foreign_blockers(rows, ours),
        **_busiest(running),
        "busy_most": int(busy.groupby("at").size().max()) if len(busy) else 0,
    }


def _foreign_blockers(rows: pd.DataFrame, ours: Bools) -> int:
    """Samples in which one of our sessions waited for a session that is not ours."""
    known_ours = set(rows.loc[ours, "pid"].dropna().astype(int))
    waiting = rows.loc[ours, "blocked_by"].dropna().astype(str)
    blockers = [{int(pid) for pid in text.split(",") if pid.strip().isdigit()} for text in waiting]
    return sum(1 for pids in blockers if pids - known_ours)


SHOWN = 120
"""Characters of a statement that are shown; samples keep the whole."""


def _busiest(running: pd.DataFrame) -> dict[str, Any]:
    counts = running["query"].dropna().value_counts()
    if counts.empty:
        return {"busiest_statement": None, "busiest_share": 0.0, "busiest_ms": 0.0}
    statement = str(counts.index[0])
    ages = running.loc[(running["query"] == statement).fillna(False).to_numpy(dtype=bool), "query_age_ms"]
    return {
        "busiest_statement": statement[:SHOWN],
        "busiest_share": float(counts.iloc[0] / len(running)),
        "busiest_ms": 2 * float(ages.mean()),
    }


def _server(rows: pd.DataFrame) -> dict[str, Any]:
    """Gauges and counters of the server; a counter's figure is what it grew by."""

    def metric(name: str) -> pd.Series:
        return rows.loc[(rows["metric"] == name).to_numpy(), ["at", "value"]].sort_values("at")["value"].dropna()

    def grown(name: str) -> float | None:
        values = metric(name)
        return float(values.iloc[-1] - values.iloc[0]) if len(values) > 1 else None

    connections, limit, depth = metric("connections"), metric("max_connections"), metric("queue_depth")
    return {
        "connections_most": float(connections.max()) if len(connections) else None,
        "connections_limit": float(limit.max()) if len(limit) else None,
        "queue_depth_mean": float(depth.mean()) if len(depth) else None,
        "queue_depth_last": float(depth.iloc[-1]) if len(depth) else None,
        "deadlocks": grown("deadlocks"),
        "commits": grown("xact_commit"),
    }


def _cores(cpu: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> dict[str, float]:
    """Cores each kind of process kept busy, from its cumulative counters, read a second apart.

    Readings in between are interpolated, so that a short level is not measured by its one whole second.
    """
    cores: dict[str, float] = {}
    window = np.array([start.timestamp(), end.timestamp()])
    for (name, _), rows in cpu.sort_values("at").groupby(["application_name", "pid"], dropna=False):
        at = rows["at"].map(pd.Timestamp.timestamp).to_numpy(dtype=float)
        if len(rows) < 2 or at[-1] <= window[0] or at[0] >= window[1]:
            continue
        used = np.interp(window, at, rows["value"].to_numpy(dtype=float))
        seen = float(min(window[1], at[-1]) - max(window[0], at[0]))
        cores[str(name)] = cores.get(str(name), 0.0) + float(used[1] - used[0]) / 1000 / seen
    return cores
