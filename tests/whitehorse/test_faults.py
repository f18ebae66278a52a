"""Each planted fault is a real mechanism: it shows where it says, and only there."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import waiting
from pydantic import ValidationError

from whitehorse.faults import Faults
from whitehorse.settings import BadSettings, from_environment

Platform = Any  # of conftest.py, which cannot be imported from

NOTICED = 0.75
"""Of a call's time at least: a process that loses its core as a question leaves notices late that it has left."""


def profile(platform: Platform, booking: dict[str, Any]) -> dict[str, Any]:
    (found,) = platform.profiles("request", booking["id"])
    return found


def at_once(platform: Platform, number: int, **wishes: Any) -> list[dict[str, Any]]:
    """Bookings posted together, as answered."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: platform.book(**wishes), range(number)))


def test_self_times_add_up_to_the_handler(platform: Platform) -> None:
    for booking in [*at_once(platform, 8), platform.book(party=100)]:
        told = profile(platform, booking)
        parts = told["apiMs"] + told["allocatorMs"] + told["databaseMs"]
        assert math.isclose(parts, told["handlerMs"], abs_tol=1e-6)
        assert told["databaseMs"] >= told["poolWaitMs"] + told["lockWaitMs"]
        assert min(told["apiMs"], told["allocatorMs"], told["databaseMs"]) > 0


def test_delays_land_in_their_hop(planted: Any) -> None:
    faults = {"api_cpu_ms": 30, "api_delay_ms": 20, "allocator_cpu_ms": 40, "db_rtt_ms": 10, "db_slow_query_ms": 600}
    with planted(**faults) as platform:
        told = profile(platform, platform.book())
        assert told["apiMs"] >= 30 + 20
        assert told["allocatorMs"] >= 40
        assert told["databaseMs"] >= NOTICED * (600 + 10 * told["databaseCalls"])
        # Were one hop's fault charged to another, that one would hold them all.
        assert told["apiMs"] < told["databaseMs"]
        assert told["allocatorMs"] < told["databaseMs"]
        (job,) = platform.profiles("job", platform.book(party=100)["id"], at_least=2)[:1]
        assert job["allocatorMs"] >= 40
        assert job["databaseMs"] >= NOTICED * (600 + 10 * job["databaseCalls"])


def test_one_api_worker_handles_one_request_at_a_time_and_waiting_is_api_time(planted: Any) -> None:
    with planted(api_workers=1, api_delay_ms=400) as platform:
        assert max(profile(platform, booking)["apiMs"] for booking in at_once(platform, 4)) >= 800


def test_a_serial_allocator_makes_allocations_wait_for_each_other(planted: Any) -> None:
    with planted(allocator_serial=True, allocator_cpu_ms=250) as platform:
        assert max(profile(platform, booking)["allocatorMs"] for booking in at_once(platform, 4)) >= 500


def test_a_small_pool_makes_requests_wait_for_a_connection(planted: Any) -> None:
    with planted(db_pool_size=1, db_slow_query_ms=400) as platform:
        waits = [profile(platform, booking)["poolWaitMs"] for booking in at_once(platform, 4)]
        assert max(waits) >= 400
        (web,) = platform.sql("select count(*) from pg_stat_activity where application_name = 'whitehorse-web'")
        assert web["count"] == 1


def test_round_trips_pads_a_booking_and_the_connection_limit_is_the_servers_own(planted: Any) -> None:
    with planted(round_trips=60, db_max_connections=14) as platform:
        assert profile(platform, platform.book())["databaseCalls"] == 60
        (limit,) = platform.sql("show max_connections")
        assert limit["max_connections"] == "14"
        held = []
        with pytest.raises(psycopg.OperationalError, match=r"too many clients|remaining connection slots"):
            held.extend(psycopg.connect(platform.running.database_url) for _ in range(14))
        for connection in held:
            connection.close()


def test_a_held_row_lock_makes_other_confirms_wait_for_it(planted: Any) -> None:
    with planted(db_lock_ms=400) as platform:
        alone = profile(platform, platform.book())
        assert alone["databaseMs"] >= NOTICED * 400
        waits = [profile(platform, booking)["lockWaitMs"] for booking in at_once(platform, 4)]
        assert max(waits) >= NOTICED * 400


def test_confirms_that_share_the_venues_row_deadlock_and_the_job_finishes_the_work(planted: Any) -> None:
    with planted(restaurant_row_lock=True, inline_timeout_ms=60_000) as platform:
        assert platform.book()["status"] == "confirmed"
        bookings: list[dict[str, Any]] = []
        while "deadlock detected" not in platform.log():
            bookings += at_once(platform, 8)
        deadlocks = "select deadlocks from pg_stat_database where datname = current_database() and deadlocks > 0"
        waiting.until(lambda: platform.sql(deadlocks))
        failed = [booking for booking in bookings if booking["status"] == "pending"]
        assert {booking["auto_assign_last_result"]["reason"] for booking in failed} == {"deadlock detected"}
        for booking in failed:
            waiting.until(lambda id=booking["id"]: platform.job(id)["finishedAt"])


def test_the_same_guest_is_demoted_where_that_weakness_is_switched_on(planted: Any) -> None:
    with planted(dup_guest_demotes=True, queue_delay_ms=60_000) as platform:
        body = platform.request()
        first = platform.post(body).json()["booking"]
        assert first["status"] == "confirmed"
        again = platform.post(body)
        assert (again.status_code, again.json()["duplicate"]) == (201, False)
        assert (again.json()["booking"]["id"], again.json()["booking"]["status"]) == (first["id"], "pending")
        assert platform.booking(first["id"])["assignments"] == []


def test_racy_idempotency_books_twice_for_simultaneous_posts_only(planted: Any) -> None:
    with planted(racy_idempotency=True) as platform:
        key, body = str(uuid4()), platform.request()
        with ThreadPoolExecutor(2) as pool, platform.locked("lock table customers in share mode"):
            posts = [pool.submit(platform.post, body, key) for _ in range(2)]
            waiting.until(lambda: platform.waiting_for_locks("whitehorse-web") == 2)
        # The lock goes first, the pool waits for the posts last.
        assert len({post.result().json()["booking"]["id"] for post in posts}) == 2
        assert platform.post(body, key).status_code == 200


def test_jobs_start_late_and_one_at_a_time_where_that_is_planted(planted: Any) -> None:
    with planted(inline_timeout_ms=0, queue_delay_ms=400, queue_workers=1, db_slow_query_ms=100) as platform:
        bookings = at_once(platform, 4)
        assert {(booking["status"], booking["auto_assign_last_result"]) for booking in bookings} == {("pending", None)}
        jobs = [platform.profiles("job", booking["id"])[0] for booking in bookings]
        spans = sorted((instant(job["startedAt"]), instant(job["finishedAt"])) for job in jobs)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
        for job in jobs:
            # Instants are logged in whole milliseconds.
            assert instant(job["startedAt"]) - instant(job["enqueuedAt"]) >= timedelta(milliseconds=398)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_an_unknown_fault_is_one_clear_line_and_exit_code_2(tmp_path: Any) -> None:
    command = [sys.executable, "-m", "whitehorse", "serve", "--home", str(tmp_path)]
    ended = subprocess.run(
        command, env={"WHITEHORSE_FAULTS": '{"db_rtt": 5}'}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "db_rtt" in line
    assert "db_rtt_ms" in line
    assert not (tmp_path / "pgdata").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHITEHORSE_FAULTS", "{"),
        ("WHITEHORSE_FAULTS", '{"db_rtt_ms": -1}'),
        ("WHITEHORSE_FAULTS", '{"round_trips": "many"}'),
        ("WHITEHORSE_JOB_RETRY_DELAYS_MS", "[]"),
        ("FEATURE_SELECTOR_ENUMERATION_TIMEOUT_MS", "49"),
        ("FEATURE_INLINE_AUTO_ASSIGN_TIMEOUT_MS", "soon"),
        ("DEBUG_CAPACITY_PROFILING", "perhaps"),
    ],
)
def test_settings_that_cannot_be_used_name_the_variable_in_one_line(name: str, value: str) -> None:
    with pytest.raises(BadSettings) as raised:
        from_environment({name: value})
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_is_planted_by_default() -> None:
    assert Faults().planted() == {}
    with pytest.raises(ValidationError):
        Faults().db_rtt_ms = 5  # type: ignore[misc]
