import os
import subprocess
import sys
import threading

import pandas as pd
import psycopg
import pytest

from slotfill.database.processes import CpuMeter
from slotfill.database.samples import APPLICATION_NAME, Sampler, _differences
from slotfill.database.statements import masked
from slotfill.sample import COLUMNS

INTERVAL_MS = 20


@pytest.fixture
def url(venue):
    return venue.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "samples.parquet"


def activity(frame):
    return frame[frame["kind"] == "activity"]


def waits_in_a_statement(frame):
    return (frame["wait_event_type"] == "Lock") & (frame["state"] == "active")


def test_lock_wait_is_seen_with_its_blocker(url, path, until):
    slow = "UPDATE restaurants SET name = 'secret name', last_seating_buffer_minutes = 42"
    with (
        Sampler(url, path, INTERVAL_MS) as sampler,
        psycopg.connect(url, application_name="blocker") as blocker,
        psycopg.connect(url, application_name="waiter") as waiter,
    ):
        blocker.execute("SELECT * FROM restaurants FOR UPDATE")
        waiting = threading.Thread(target=waiter.execute, args=(slow,))
        waiting.start()
        # What a session waits for is of a later moment than what it runs: a look can fall in between.
        frame = until(sampler, lambda frame: waits_in_a_statement(frame).any())
        blocker.rollback()
        waiting.join()
        blocker_pid, waiter_pid = blocker.info.backend_pid, waiter.info.backend_pid

    seen = activity(frame)
    [row] = seen[waits_in_a_statement(seen)].head(1).to_dict("records")
    assert row["pid"] == waiter_pid
    assert row["application_name"] == "waiter"
    assert row["blocked_by"] == str(blocker_pid)
    assert row["query"] == "UPDATE restaurants SET name = ?, last_seating_buffer_minutes = ?"
    assert row["query_age_ms"] >= 0
    assert row["relation"] == "restaurants"
    assert row["blocking_query"] == "SELECT * FROM restaurants FOR UPDATE"
    idle = seen[seen["pid"] == blocker_pid].iloc[-1]
    assert idle["state"] == "idle in transaction"
    assert idle["xact_age_ms"] >= 0


def test_file_has_the_fixed_columns_and_the_counters(url, path, until):
    with Sampler(url, path, INTERVAL_MS, {"driver": os.getpid()}) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").sum() > 3)
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(COLUMNS)
    assert str(frame["at"].dtype) == "datetime64[us, UTC]"
    server = frame[frame["kind"] == "server"]
    assert {"connections", "max_connections", "xact_commit", "deadlocks", "blks_hit"} <= set(server["metric"])
    assert (server.loc[server["metric"] == "max_connections", "value"] == 50).all()
    assert (server["sample_ms"] > 0).all()
    pd.testing.assert_frame_equal(frame.astype(COLUMNS), sampler.frame())


def test_the_sampler_does_not_report_itself(url, path, fetch, venue, until):
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
        names = {name for (name,) in fetch(venue, "SELECT application_name FROM pg_stat_activity")}
        frame = until(sampler, lambda frame: (frame["metric"] == "connections").sum() > 5)
    assert APPLICATION_NAME in names
    assert APPLICATION_NAME not in set(frame["application_name"].dropna())


def test_lost_connection_is_noted_and_made_anew(url, path, server, until):
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slotfill sampler'"
        )
        frame = until(sampler, lambda frame: (frame["kind"] == "error").any())
        lost_at = frame.loc[frame["kind"] == "error", "at"].iloc[0]
        frame = until(sampler, lambda frame: (frame.loc[frame["metric"] == "connections", "at"] > lost_at).any())
    # A dying server's last words and the end of its connection race each other: which are heard is the kernel's choice.
    errors = frame[frame["kind"] == "error"]
    assert set(errors["metric"]) == {"sample"}
    assert errors["query"].str.contains("terminating connection|server closed the connection|terminated abnorm").all()


def test_database_that_is_not_there_is_noted_without_the_password(path, until):
    with Sampler("postgresql://u:hush-hush@127.0.0.1:1/d", path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: (frame["kind"] == "error").any())
    frame = pd.read_parquet(path)
    assert frame["query"].str.contains("refused").any()
    assert not frame["query"].str.contains("hush-hush").any()


def test_read_only_role_samples_and_notes_once_what_it_may_not_see(url, path, server, venue, execute, until):
    execute(venue, "CREATE ROLE watcher LOGIN PASSWORD 'look'", "GRANT pg_read_all_data TO watcher")
    watching = server.url(venue.url.database, "watcher", "look")
    with psycopg.connect(url, application_name="someone") as someone:
        someone.execute("SELECT 1")
        with Sampler(watching, path, INTERVAL_MS) as sampler:
            frame = until(sampler, lambda frame: (frame["metric"] == "connections").sum() > 5)
    kept_for_superusers = 3
    assert set(frame.loc[frame["metric"] == "max_connections", "value"]) == {50 - kept_for_superusers}
    errors = frame[frame["kind"] == "error"]
    assert list(errors["metric"]) == ["blind"]
    assert "pg_monitor" in errors["query"].iloc[0]
    assert (frame.loc[frame["metric"] == "connections", "value"] >= 1).all()
    execute(venue, "DROP OWNED BY watcher", "DROP ROLE watcher")


def test_queue_depth_where_there_is_a_queue(url, path, venue, execute, until):
    from procrastinate.schema import SchemaManager

    execute(
        venue,
        SchemaManager.get_schema(),
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES ('q', 't', 'todo'), ('q', 't', 'todo'), "
        "('q', 't', 'doing'), ('q', 't', 'succeeded')",
    )
    with Sampler(url, path, INTERVAL_MS, queue="procrastinate_jobs") as sampler:
        frame = until(sampler, lambda frame: (frame["metric"] == "queue_doing").any())
    assert set(frame.loc[frame["metric"] == "queue_depth", "value"]) == {2.0}
    assert set(frame.loc[frame["metric"] == "queue_doing", "value"]) == {1.0}


BURN_HALF_A_SECOND = """
import sys, time
while time.process_time() < 0.5: pass
print("burnt", flush=True)
sys.stdin.read()
"""


def test_cpu_of_a_process_counts_its_children_alive_and_gone():
    meter = CpuMeter({"driver": os.getpid()})
    before, host_before = meter.read()
    child = subprocess.Popen(
        [sys.executable, "-c", BURN_HALF_A_SECOND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    alive, _ = meter.read()
    child.communicate()
    gone, host_after = meter.read()
    assert (before["pid"], before["application_name"], before["metric"]) == (os.getpid(), "driver", "cpu_ms")
    assert alive["value"] - before["value"] >= 490  # the kernel counts in ticks of 10 ms
    assert gone["value"] >= alive["value"]
    assert (host_after["application_name"], host_after["metric"]) == ("host", "cpu_ms")
    assert host_after["value"] - host_before["value"] >= 490


def test_process_that_is_gone_is_told_once(url, path, until):
    with Sampler(url, path, INTERVAL_MS, {"web": 2**22 - 1}) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
    frame = sampler.frame()
    assert list(frame.loc[frame["application_name"] == "web", "metric"]) == ["gone"]


def test_a_long_statement_keeps_its_function_and_two_waiters_their_table(url, path, until):
    """The second waits behind the first; each is told with who blocks it."""
    call = f"SELECT {', '.join('a_long_name_of_a_column_' + str(n) for n in range(9))}, pg_sleep(0) FROM (VALUES "  # noqa: S608
    call += "(1, 2, 3, 4, 5, 6, 7, 8, 9)) v(" + ", ".join(f"a_long_name_of_a_column_{n}" for n in range(9)) + "), "
    call += "restaurants FOR UPDATE OF restaurants"
    with (
        Sampler(url, path, INTERVAL_MS) as sampler,
        psycopg.connect(url) as blocker,
        psycopg.connect(url, application_name="waiter", autocommit=True) as first,
        psycopg.connect(url, application_name="waiter", autocommit=True) as second,
    ):
        blocker.execute("UPDATE restaurants SET name = 'x'")
        threads = [threading.Thread(target=waiter.execute, args=(call,)) for waiter in (first, second)]
        for thread in threads:
            thread.start()
        until(
            sampler,
            lambda frame: frame.loc[frame["wait_event_type"] == "Lock"].groupby("at")["pid"].nunique().max() == 2,
        )
        blocker.rollback()
        for thread in threads:
            thread.join()
    waiting = activity(sampler.frame())
    waiting = waiting[waits_in_a_statement(waiting)]
    assert set(waiting["relation"]) == {"restaurants"}
    assert waiting["query"].str.endswith("restaurants FOR UPDATE OF restaurants").all()
    # A blocker may let go between one look and the other, so not in every sample.
    assert waiting.groupby("pid")["blocking_query"].apply(lambda told: told.notna().any()).all()


def test_second_run_adds_to_the_file_of_the_first(url, path, until):
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
    first = pd.read_parquet(path)
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: len(frame) > len(first))
    both = pd.read_parquet(path)
    assert len(both) > len(first)
    pd.testing.assert_frame_equal(both.head(len(first)), first)


def test_file_is_written_in_between(url, path, monkeypatch, until):
    monkeypatch.setattr("slotfill.database.samples.FIRST_WRITE_S", 0.05)
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: path.exists())
        assert len(pd.read_parquet(path)) > 0


def test_interval_zero_takes_no_samples(path):
    with Sampler("postgresql://u:p@no-such-host.invalid/d", path, 0):
        pass
    assert len(pd.read_parquet(path)) == 0


def test_statement_differences_survive_a_statement_that_was_evicted():
    before = {"a": {"query": "SELECT $1", "calls": 5, "exec_ms": 50.0}, "b": {"query": "x", "calls": 9, "exec_ms": 9.0}}
    after = {
        "a": {"query": "SELECT $1", "calls": 7, "exec_ms": 80.0},
        "b": {"query": "x", "calls": 2, "exec_ms": 1.5},
        "c": {"query": "y", "calls": 1, "exec_ms": 3.0},
    }
    rows = {(row["query"], row["metric"]): row["value"] for row in _differences(before, after)}
    assert rows == {
        ("SELECT $1", "statement_calls"): 2,
        ("SELECT $1", "statement_ms"): 30.0,
        ("x", "statement_calls"): 2,
        ("x", "statement_ms"): 1.5,
        ("y", "statement_calls"): 1,
        ("y", "statement_ms"): 3.0,
    }


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("SELECT * FROM t WHERE name = 'O''Brien' AND n = 42", "SELECT * FROM t WHERE name = ? AND n = ?"),
        ("SELECT  a1\n FROM t2 WHERE x = $1 AND y > 1.5", "SELECT a1 FROM t2 WHERE x = $1 AND y > ?"),
        ("SELECT E'it\\'s' || 'cut o", "SELECT ? || ?"),
        ("DO $body$ SELECT 'x' $body$", "DO ?"),
        ('SELECT "col 1" FROM t', 'SELECT "col 1" FROM t'),
        (None, None),
    ],
)
def test_literals_are_masked(query, kept):
    assert masked(query, 120) == kept


def test_samples_of_an_earlier_version_are_gone_on_with(url, path, until):
    old = pd.DataFrame([{"at": pd.Timestamp("2026-01-01", tz="UTC"), "kind": "error", "metric": "sample"}])
    old.to_parquet(path)
    with Sampler(url, path, INTERVAL_MS) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
    assert list(pd.read_parquet(path).columns) == list(COLUMNS)


def test_queries_are_cut():
    assert len(masked("SELECT " + "a, " * 100, 120)) == 120
