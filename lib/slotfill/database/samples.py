"""What the database and the local processes are doing, looked at several times a second.

One row an observation (``sample``), in long form. Cumulative counters are kept as
read: differences are the reader's business, and nothing is ever reset.
"""

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import psycopg
from psycopg.rows import dict_row

from slotfill.database.connect import keywords, one_line, parse_url
from slotfill.database.processes import CpuMeter, Processes
from slotfill.database.statements import masked
from slotfill.errors import BadInput
from slotfill.files import write_parquet
from slotfill.sample import frame, read

APPLICATION_NAME = "slotfill sampler"
QUERY_LENGTH = 1024
"""As much of a statement as a server keeps where nobody has told it otherwise: its functions and tables are in it."""
PROCESS_INTERVAL_S = 0.5
FIRST_WRITE_S, WRITE_SHARE = 5.0, 0.01
"""The file is written anew so seldom that writing stays below this share of the time."""
LONGEST_PAUSE_S = 5.0
LONGEST_WAIT_S = 15.0

Row = dict[str, Any]

# Everything in one round trip: one row, the sessions in it as JSON. A role without pg_read_all_stats
# sees no backend_type of others. Our own connection counts, as it takes a place; places kept for superusers do not.
_SAMPLE = """
WITH session AS (
    SELECT * FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
), waiting AS (
    SELECT pid, pg_blocking_pids(pid) AS blockers FROM session WHERE wait_event_type = 'Lock'
), wanted AS MATERIALIZED (
    -- Who waits for a row waits for another's transaction; the table is that of the row's lock, held meanwhile.
    SELECT DISTINCT ON (pid) pid, relation::regclass::text AS relation FROM pg_locks
    WHERE relation IS NOT NULL AND pid IN (SELECT pid FROM waiting) AND (NOT granted OR locktype = 'tuple')
    ORDER BY pid, granted
)
SELECT (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'pid', pid, 'application_name', application_name, 'state', state,
            'wait_event_type', wait_event_type, 'wait_event', wait_event,
            'blocked_by', array_to_string(blockers, ','), 'relation', relation,
            'blocking_query', (SELECT left(b.query, 1024) FROM session b WHERE b.pid = ANY(blockers) LIMIT 1),
            'query', left(query, 1024),
            'query_age_ms', extract(epoch FROM clock_timestamp() - query_start) * 1000,
            'xact_age_ms', extract(epoch FROM clock_timestamp() - xact_start) * 1000)), '[]')
        FROM session LEFT JOIN waiting USING (pid) LEFT JOIN wanted USING (pid)
        WHERE state <> 'idle' OR state IS NULL) AS activity,
    jsonb_build_object(
        'connections', (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL
                        AND coalesce(backend_type, 'client backend') = 'client backend'),
        'max_connections', current_setting('max_connections')::int
            - CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN 0
                   ELSE current_setting('superuser_reserved_connections')::int
                        + coalesce(current_setting('reserved_connections', true)::int, 0) END,
        'active', (SELECT count(*) FROM session WHERE state = 'active'),
        'idle_in_transaction', (SELECT count(*) FROM session WHERE state LIKE 'idle in transaction%'),
        'waiting_for_lock', (SELECT count(*) FROM session WHERE wait_event_type = 'Lock')
        {queue}
    ) || (SELECT to_jsonb(d) - '{{datid,datname,stats_reset,numbackends,temp_files,checksum_failures,
            checksum_last_failure,parallel_workers_to_launch,parallel_workers_launched}}'::text[]
          FROM pg_stat_database d WHERE datname = current_database()) AS server"""
_QUEUE = """,
        'queue_depth', (SELECT count(*) FROM {table} WHERE status = 'todo'),
        'queue_doing', (SELECT count(*) FROM {table} WHERE status = 'doing')"""
_SEES = """
SELECT current_user AS role, pg_backend_pid() AS backend_pid, pg_has_role('pg_read_all_stats', 'USAGE') AS all_sessions,
    coalesce(has_table_privilege(to_regclass(%s), 'SELECT'), false) AS queue,
    coalesce(has_table_privilege(to_regclass('pg_stat_statements'), 'SELECT'), false) AS statements"""
_STATEMENTS = """
SELECT queryid::text || '/' || userid AS id, left(query, 1000) AS query, calls, total_exec_time AS exec_ms
FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_%'
  AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class Sampler:
    """Samples in a thread of its own, on a connection of its own, while the ``with`` block runs.

    ``path`` gets the rows, added to those an earlier run left there: in between, so that a crash
    loses little, and at the end. A lost connection is an observation too (a row of kind ``error``)
    and is made anew. ``interval_ms`` 0 takes no samples. ``processes`` are local ones: see ``CpuMeter``.
    ``queue`` is the table of the platform's background jobs, with a column status, where it may have one.
    """

    def __init__(self, url: str, path: Path, interval_ms: float, processes: Processes = dict, queue: str = "") -> None:
        self._url = parse_url(url)
        self._path = path
        self._interval_s = interval_ms / 1000
        self._cpu = CpuMeter(processes)
        self._queue = queue
        self._rows: list[Row] = []
        self._written = frame([])
        self._connection: psycopg.Connection[Row] | None = None
        self._query: Any = ""
        self._direct = False
        self._statements: dict[str, Row] | None = None
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        if self._path.exists():
            try:
                self._written = read(self._path)
            except BadInput:  # a power cut's work: put aside, for a run that continues needs its attempts, not these
                self._path.rename(self._path.with_suffix(".torn"))
        if self._interval_s:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._interval_s:
            self._thread.join(LONGEST_WAIT_S)  # a database that hangs must not hang the run
        self._write()

    def frame(self) -> pd.DataFrame:
        """All rows so far, those of an earlier run first."""
        with self._lock:
            return pd.concat([self._written, frame(self._rows)], ignore_index=True)

    def _run(self) -> None:
        next_sample = next_cpu = time.monotonic()
        next_write = next_sample + FIRST_WRITE_S
        pause_s = self._interval_s
        while not self._stop.wait(max(0.0, next_sample - time.monotonic())):
            pause_s = self._interval_s if self._sample() else min(2 * pause_s, LONGEST_PAUSE_S)
            now = time.monotonic()
            if now >= next_cpu:
                self._add("process", self._cpu.read())
                next_cpu = now + PROCESS_INTERVAL_S
            if now >= next_write:
                self._write()
                done = time.monotonic()
                next_write = done + max(FIRST_WRITE_S, (done - now) / WRITE_SHARE)
            # A late sample is not made up for: that would load a database that is already slow.
            next_sample = max(next_sample + pause_s, time.monotonic())
        self._finish()

    def _sample(self) -> bool:
        """Take one sample; False where the database did not give one."""
        started = time.perf_counter()
        try:
            connection = self._connection or self._connect()
            row = connection.execute(self._query, prepare=self._direct).fetchone()
        except psycopg.Error as error:
            self._lose_connection()
            self._add("error", [{"metric": "sample", "query": one_line(str(error), self._url)}])
            return False
        assert row is not None
        sample_ms = (time.perf_counter() - started) * 1000
        statements = ("query", "blocking_query")
        sessions = [
            {**session, **{name: masked(session[name], QUERY_LENGTH) for name in statements}}
            for session in row["activity"]
        ]
        self._add("activity", sessions, sample_ms)
        metrics = [{"metric": name, "value": value} for name, value in row["server"].items() if value is not None]
        self._add("server", metrics, sample_ms)
        return True

    def _connect(self) -> psycopg.Connection[Row]:
        # Plain psycopg: one statement a sample, and nothing between it and the clock.
        told = {**keywords(self._url, APPLICATION_NAME), "prepare_threshold": 0}  # see ``_direct``
        connection: psycopg.Connection[Row] = psycopg.connect(**told, autocommit=True, row_factory=dict_row)
        self._connection = connection
        sees = connection.execute(_SEES, [self._queue or None]).fetchone()
        assert sees is not None
        # A pooler tells a process id of its own making. Without one the sample is planned only once.
        self._direct = sees["backend_pid"] == connection.info.backend_pid
        if not sees["all_sessions"]:
            self._tell(f"the role {sees['role']} does not see what other roles' sessions do (grant pg_monitor to it)")
        self._query = _SAMPLE.format(queue=_QUEUE.format(table=self._queue) if sees["queue"] else "")
        if sees["statements"] and self._statements is None:
            self._statements = self._read_statements()
        return connection

    def _lose_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_statements(self) -> dict[str, Row] | None:
        """What pg_stat_statements has counted so far; None where it is installed but does not count."""
        assert self._connection is not None
        try:
            return {row["id"]: row for row in self._connection.execute(_STATEMENTS)}
        except psycopg.errors.ObjectNotInPrerequisiteState:
            self._tell("pg_stat_statements is installed, but the server does not load it")
            return None

    def _finish(self) -> None:
        """The last CPU reading, and what each statement cost while we looked."""
        self._add("process", self._cpu.read())
        if self._statements is not None and self._connection is not None:
            try:
                after = self._read_statements()
            except psycopg.Error as error:
                self._tell(one_line(str(error), self._url))
            else:
                self._add("server", _differences(self._statements, after or {}))
        self._lose_connection()

    def _tell(self, text: str) -> None:
        """Note once what cannot be seen."""
        if text not in self._told:
            self._told.add(text)
            self._add("error", [{"metric": "blind", "query": text}])

    def _add(self, kind: str, rows: list[Row], sample_ms: float | None = None) -> None:
        at = datetime.now(UTC)
        with self._lock:
            self._rows += [{"at": at, "kind": kind, "sample_ms": sample_ms, **row} for row in rows]

    def _write(self) -> None:
        """Only this class's thread adds rows, and it is the one that writes; others may read in between."""
        everything = self.frame()
        with self._lock:
            self._written, self._rows = everything, []
        write_parquet(self._path, everything)


def _differences(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[Row]:
    """Calls and milliseconds of each statement in between; one that was evicted and came back counts from zero."""
    rows = []
    for id, now in after.items():
        earlier = before.get(id, {"calls": 0, "exec_ms": 0.0})
        if earlier["calls"] > now["calls"]:
            earlier = {"calls": 0, "exec_ms": 0.0}
        if now["calls"] == earlier["calls"]:
            continue
        for metric, column in (("statement_calls", "calls"), ("statement_ms", "exec_ms")):
            value = float(now[column] - earlier[column])
            rows.append({"metric": metric, "value": value, "query": masked(now["query"], QUERY_LENGTH)})
    return rows
