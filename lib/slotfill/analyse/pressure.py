"""What the samples of a level say: who waited for what, how full the server was, which process was busy.

Little's law turns sampled states into time: with L sessions in a state on average and X attempts a
second, an attempt spends L / X in that state (J. Little, Operations Research 9, 1961).
"""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from slotfill.analyse.stats import Bools
from slotfill.attempt import is_confirmed

PLATFORM_PROCESSES = ("web", "worker")
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
    """Sessions of others (not web or worker) executing, on average."""
    foreign_blockers: int
    """Samples in which a session of others held what the platform waited for."""
    longest_statement_ms: float
    busiest_statement: str | None
    connections_most: float | None
    connections_limit: float | None
    busy_most: int
    """The largest number of the platform's sessions busy (or in a transaction) at once."""
    queue_depth_mean: float | None
    queue_depth_last: float | None
    deadlocks: float | None
    commits: float | None
    cores: dict[str, float] = field(default_factory=dict)
    busiest_process_cores: dict[str, float] = field(default_factory=dict)
    """The busiest single process of each kind."""
    host_cores: float | None = None
    host_busy: float | None = None
    """Busy share of all cores, others' processes included."""


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
    sessions = during[(during["kind"] == "activity").to_numpy()]
    return Pressure(
        seconds=seconds,
        attempts=ended,
        **_sessions(sessions, ticks, seconds * 1000 / max(ended, 1)),
        **_server(during[(during["kind"] == "server").to_numpy()]),
        **_processes(during[(during["kind"] == "process").to_numpy()]),
    )


def confirmed_per_second(attempts: pd.DataFrame) -> float:
    """Throughput of one level: confirmed attempts over the time from first start to last end."""
    seconds = (attempts["ended_at"].max() - attempts["started_at"].min()).total_seconds()
    return float(is_confirmed(attempts).sum() / seconds) if seconds > 0 else 0.0


def _sessions(rows: pd.DataFrame, ticks: int, ms_per_attempt: float) -> dict[str, Any]:
    """The database's sessions: ours by state, others as far as they are in the way."""
    ours = rows["application_name"].fillna("").str.contains("|".join(PLATFORM_PROCESSES)).to_numpy(dtype=bool)
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
        "longest_statement_ms": float(running["query_age_ms"].max()) if len(running) else 0.0,
        "busiest_statement": _most_common(running["query"]),
        "busy_most": int(busy.groupby("at").size().max()) if len(busy) else 0,
    }


def _foreign_blockers(rows: pd.DataFrame, ours: Bools) -> int:
    """Samples in which one of our sessions waited for a session that is not ours."""
    known_ours = set(rows.loc[ours, "pid"].dropna().astype(int))
    waiting = rows.loc[ours, "blocked_by"].dropna().astype(str)
    blockers = [{int(pid) for pid in text.split(",") if pid.strip().isdigit()} for text in waiting]
    return sum(1 for pids in blockers if pids - known_ours)


def _most_common(values: pd.Series) -> str | None:
    counts = values.dropna().value_counts()
    return str(counts.index[0]) if len(counts) else None


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


def _processes(rows: pd.DataFrame) -> dict[str, Any]:
    """CPU of each kind of process, from its cumulative counters."""
    cpu = rows[(rows["metric"] == "cpu_ms").to_numpy()].sort_values("at")
    spans = cpu.groupby(["application_name", "pid"], dropna=False).agg(
        first=("value", "first"), last=("value", "last"), start=("at", "first"), end=("at", "last")
    )
    lived_ms = (spans["end"] - spans["start"]).dt.total_seconds() * 1000
    cores = ((spans["last"] - spans["first"]) / lived_ms.where(lived_ms > 0)).dropna().astype(float)
    by_kind = cores.groupby(level="application_name")
    return {
        "cores": {str(name): float(value) for name, value in by_kind.sum().items()},
        "busiest_process_cores": {str(name): float(value) for name, value in by_kind.max().items()},
    }
