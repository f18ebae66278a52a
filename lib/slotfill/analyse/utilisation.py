"""What the samples of a level say: who waited for what, how full the server was, which process was busy.

Little's law turns sampled states into time: with L sessions in a state on average and X attempts a
second, an attempt spends L / X in that state (J. Little, Operations Research 9, 1961).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse.load import active_seconds
from slotfill.analyse.locks import LockWait, lock_waits
from slotfill.analyse.stats import Bools

HOST = "host"
"""The name under which the whole machine's processor time stands beside that of its processes."""
_BETWEEN_READINGS_S = 2.0
_INSTRUMENT = "slotfill"
_WELL_KNOWN = ("postgrest", "supavisor", "pgbouncer", "node", "next", "authenticator")
"""Application names of booking platforms and of what stands between them and Postgres."""
_WAITING_FOR_THE_CLIENT = ("idle in transaction", "idle in transaction (aborted)")


@dataclass(frozen=True)
class Utilisation:
    """One level, as its samples saw it. Times are ms per attempt, ``*_cores`` are CPU seconds per second.

    ``None`` means the samples do not hold it.
    """

    seconds: float
    active_seconds: float
    """How long at least one request was in flight."""
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
    idle_connections: int
    """Of the application that was busy most: connections it was seen to use beyond those it ever used at once."""
    queue_depth_mean: float | None
    deadlocks: float | None
    cores: dict[str, float] = field(default_factory=dict)
    host_cores: float | None = None
    """Cores kept busy on the whole machine, by others' processes as well."""
    lock_waits: tuple[LockWait, ...] = ()
    """Who was found waiting for whom, on which table; the most frequent first."""

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

    def busy(self, cpus: int) -> float:
        """Utilisation of the cores left to the run, while requests were in flight: processor time over time."""
        used = sum(self.cores.values()) * self.seconds
        return used / (self.active_seconds * self.capacity(cpus)) if self.active_seconds else 0.0

    @property
    def web_ms(self) -> float:
        """Processor time of the web process per attempt."""
        return self.cores.get("web", 0.0) * self.ms_per_core


def utilisation(samples: pd.DataFrame, attempts: pd.DataFrame, sessions: Sequence[str] = ()) -> Utilisation | None:
    """Fold the samples of one level (see the run folder's ``samples.parquet``) over its attempts, round by round.

    ``sessions`` are the names of the platform's sessions, beside those of well-known software.
    ``None`` where fewer than five samples fell into the time of the attempts.
    """
    rounds = attempts.groupby(attempts["round_number"].fillna(0).rename("round"))
    windows = rounds.agg(start=("started_at", "min"), end=("ended_at", "max")).dropna().sort_values("start")
    if windows.empty:
        return None
    # Between the rounds of a level other levels were driven.
    place = windows["start"].searchsorted(samples["at"], side="right") - 1
    until = windows["end"].iloc[np.maximum(place, 0)].to_numpy()
    inside = (place >= 0) & (samples["at"].to_numpy() <= until)
    during = samples[inside].assign(round=place[inside])
    ticks = during.loc[during["kind"] == "server", "at"].nunique()
    if ticks < 5:
        return None
    seconds = float((windows["end"] - windows["start"]).dt.total_seconds().sum())
    # Attempts that ran out of tables cost time as well: the law is over all of them.
    ended = int(attempts["total_ms"].notna().sum())
    cores = _cores(samples[(samples["metric"] == "cpu_ms").fillna(False).to_numpy(dtype=bool)], windows)
    host = cores.pop(HOST, None)
    activity = during[(during["kind"] == "activity").to_numpy()]
    return Utilisation(
        seconds=seconds,
        active_seconds=active_seconds(attempts),
        attempts=ended,
        **_sessions(activity, (*_WELL_KNOWN, *sessions), ticks, seconds * 1000 / max(ended, 1)),
        **_server(during[(during["kind"] == "server").to_numpy()]),
        cores=cores,
        host_cores=host,
    )


def _sessions(rows: pd.DataFrame, platforms: Sequence[str], ticks: int, ms_per_attempt: float) -> dict[str, Any]:
    """The database's sessions: ours by state, others as far as they are in the way."""
    names = rows["application_name"].fillna("").str.lower()
    instrument = names.str.contains(_INSTRUMENT).to_numpy(dtype=bool)
    rows, names = rows[~instrument], names[~instrument]
    ours = names.str.contains("|".join(map(re.escape, platforms))).to_numpy(dtype=bool)
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
        "lock_waits": lock_waits(rows[ours & locked]),
        **_busiest(running),
        "busy_most": int(busy.groupby("at").size().max()) if len(busy) else 0,
        "idle_connections": _idle_connections(busy),
    }


def _idle_connections(busy: pd.DataFrame) -> int:
    applications = busy["application_name"].fillna("")
    if applications.empty:
        return 0
    rows = busy[(applications == applications.value_counts().index[0]).to_numpy()]
    return int(rows["pid"].nunique()) - int(rows.groupby("at").size().max())


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
        "busiest_ms": 2 * float(ages.mean()) if ages.notna().any() else 0.0,
    }


def _server(rows: pd.DataFrame) -> dict[str, Any]:
    """Gauges and counters of the server; a counter's figure is what it grew by."""

    def metric(name: str) -> pd.Series:
        return rows.loc[(rows["metric"] == name).to_numpy(), ["at", "value"]].sort_values("at")["value"].dropna()

    def grown(name: str) -> float | None:
        values = rows[(rows["metric"] == name).to_numpy()].dropna(subset=["value"]).sort_values("at")
        ends = values.groupby("round")["value"].agg(["first", "last", "size"])
        return float((ends["last"] - ends["first"]).sum()) if (ends["size"] > 1).any() else None

    connections, limit, depth = metric("connections"), metric("max_connections"), metric("queue_depth")
    return {
        "connections_most": float(connections.max()) if len(connections) else None,
        "connections_limit": float(limit.max()) if len(limit) else None,
        "queue_depth_mean": float(depth.mean()) if len(depth) else None,
        "deadlocks": grown("deadlocks"),
    }


def _cores(cpu: pd.DataFrame, windows: pd.DataFrame) -> dict[str, float]:
    """Cores each kind of process kept busy in the windows, from its cumulative counters, read a second apart.

    Readings in between are interpolated, so that a short level is not measured by its one whole second.
    """
    edges = windows[["start", "end"]].to_numpy(dtype="datetime64[us]").astype("int64") / 1e6
    used: dict[str, float] = {}
    for (name, _), rows in cpu.sort_values("at").groupby(["application_name", "pid"], dropna=False):
        at = rows["at"].to_numpy(dtype="datetime64[us]").astype("int64") / 1e6
        value = rows["value"].to_numpy(dtype=float) / 1000
        for start, end in edges:
            inside = (at >= start - _BETWEEN_READINGS_S) & (at <= end + _BETWEEN_READINGS_S)
            if inside.sum() < 2:
                continue
            known, counted = at[inside], value[inside]
            seen = min(end, known[-1]) - max(start, known[0])
            spent = float(np.diff(np.interp([start, end], known, counted))[0])
            # What was not read of a window was as busy as the rest of it.
            used[str(name)] = used.get(str(name), 0.0) + (spent * (end - start) / seen if seen > 0 else 0.0)
    total = float((edges[:, 1] - edges[:, 0]).sum())
    return {name: seconds / total for name, seconds in used.items()} if total > 0 else {}
