"""Every attempt's time is split without a millisecond lost, whatever the logs hold."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from slotfill import attempt
from slotfill.analyse.hops import CLIENT_LOG, HOPS, SERVER_LOG, SERVER_PROFILE, hops

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
COLUMNS = [f"{hop}_ms" for hop in HOPS]


def after(ms: float) -> datetime:
    return START + timedelta(milliseconds=ms)


def one(**facts: Any) -> pd.DataFrame:
    known: dict[str, Any] = {
        "label": "concurrency-1",
        "concurrency": 1,
        "correlation_id": "c",
        "booking_id": "b",
        "outcome": "confirmed_inline_api",
        "file": "a.log",
        "first_line": 1,
        "last_line": 4,
        "started_at": START,
        "submitted_at": START,
    }
    return attempt.frame([attempt.Attempt(**known | facts)])


def server(**facts: Any) -> pd.DataFrame:
    return pd.DataFrame([{"booking_id": "b", **facts}])


def split(attempts: pd.DataFrame, facts: pd.DataFrame) -> dict[str, float]:
    return {hop: round(float(ms), 6) for hop, ms in zip(HOPS, hops(attempts, facts).loc[0, COLUMNS], strict=True)}


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_costs_come_back_for_every_attempt(simulate: Callable[..., Any], seed: int) -> None:
    world = simulate({"allocator": 30}, queue_at="allocator", seed=seed)
    table = hops(world.attempts, world.server)
    spent = world.server.set_index("booking_id").loc[table["booking_id"]].reset_index()
    for hop in ("allocator", "database"):
        assert (table[f"{hop}_ms"] - spent[f"profile_{hop}_ms"]).abs().max() < 1e-6
    assert (table[COLUMNS].sum(axis=1) - table["total_ms"]).abs().max() < 1e-6
    assert table["unexplained_ms"].abs().max() < 1e-6
    assert (table["tier"] == SERVER_PROFILE).all()


def test_a_slow_way_to_the_handler_is_network_alone_and_queueing_in_a_crowd() -> None:
    gaps = {1: [4.0, 4.0, 4.0], 8: [4.0, 54.0]}
    attempts = pd.concat(
        [
            one(
                concurrency=n,
                label=f"c{n}",
                booking_id=f"{n}{k}",
                submit_ms=100 + gap,
                wait_ms=100 + gap,
                total_ms=100 + gap,
            )
            for n, level in gaps.items()
            for k, gap in enumerate(level)
        ],
        ignore_index=True,
    )
    facts = pd.concat(
        [server(profile_api_ms=60.0, profile_allocator_ms=40.0, profile_database_ms=0.0)] * 5, ignore_index=True
    ).assign(booking_id=attempts["booking_id"])
    table = hops(attempts, facts)
    assert table["network_ms"].tolist() == [4, 4, 4, 4, 4]
    assert table["api_ms"].tolist() == [60, 60, 60, 60, 110]
    assert table["front_wait_ms"].tolist() == [0, 0, 0, 0, 50]


def test_a_client_that_gave_up_saw_only_part_of_the_handler() -> None:
    gave_up = one(outcome="api_timeout", submit_ms=100.0, wait_ms=100.0, total_ms=100.0)
    table = split(gave_up, server(profile_api_ms=50.0, profile_allocator_ms=100.0, profile_database_ms=50.0))
    assert (table["api"], table["allocator"], table["database"], table["unexplained"]) == (25, 50, 25, 0)


def test_after_the_answer_come_the_queue_the_job_and_the_poll_lag() -> None:
    polled = one(
        outcome="confirmed_inline_poll",
        initial_status="pending",
        submit_ms=100.0,
        wait_ms=100.0,
        inline_ms=900.0,
        total_ms=1010.0,
        confirmed_at=after(700),
        ended_at=after(1010),
    )
    table = split(
        polled,
        server(
            profile_api_ms=20.0,
            profile_allocator_ms=30.0,
            profile_database_ms=50.0,
            job_allocator_ms=40.0,
            job_database_ms=60.0,
            job_finished_at=after(710),
            job_result="succeeded",
        ),
    )
    assert table == {
        "client": 310,
        "network": 0,
        "api": 20,
        "allocator": 70,
        "queue": 500,
        "database": 110,
        "unexplained": 0,
    }


def test_inline_work_that_outlives_its_budget_is_the_allocators() -> None:
    polled = one(
        outcome="confirmed_inline_poll",
        initial_status="pending",
        submit_ms=100.0,
        wait_ms=100.0,
        inline_ms=500.0,
        total_ms=600.0,
        confirmed_at=after(400),
        ended_at=after(600),
    )
    table = split(
        polled,
        server(
            profile_api_ms=100.0,
            profile_allocator_ms=0.0,
            profile_database_ms=0.0,
            inline_allocator_ms=200.0,
            inline_database_ms=100.0,
            inline_finished_at=after(400),
        ),
    )
    assert (table["allocator"], table["database"], table["client"], table["queue"]) == (200, 100, 200, 0)
    assert table["unexplained"] == 0


def test_a_booking_no_worker_ever_took_waited_in_the_queue() -> None:
    stuck = one(
        outcome="failed_background_timeout", initial_status="pending", submit_ms=100.0, wait_ms=100.0, total_ms=60_000.0
    )
    table = split(stuck, server(profile_api_ms=100.0, profile_allocator_ms=0.0, profile_database_ms=0.0))
    assert table["queue"] == 59_900


def test_a_next_js_log_bounds_the_allocator_by_the_request() -> None:
    within = one(submit_ms=20_000.0, total_ms=20_700.0)
    assert split(within, server(quote_ms=6_000.0, confirm_ms=5_000.0))["allocator"] == 11_000
    beyond = split(within, server(quote_ms=12_000.0, confirm_ms=15_000.0))
    assert (beyond["allocator"], beyond["api"], beyond["client"]) == (20_000, 0, 700)
    table = hops(within, server(quote_ms=6_000.0, confirm_ms=5_000.0))
    assert table.loc[0, "tier"] == SERVER_LOG
    assert pd.isna(table.loc[0, "database_ms"])


def test_a_client_log_alone_has_the_allocators_own_word() -> None:
    alone = one(submit_ms=20_000.0, total_ms=20_700.0, allocator_ms=12_010.0)
    table = hops(alone, pd.DataFrame({"booking_id": []}))
    assert table.loc[0, "tier"] == CLIENT_LOG
    assert (table.loc[0, "allocator_ms"], table.loc[0, "api_ms"]) == (12_010, 7_990)


def test_an_attempt_that_never_ended_has_no_time_to_split() -> None:
    assert hops(one(outcome="aborted"), pd.DataFrame({"booking_id": []})).empty
