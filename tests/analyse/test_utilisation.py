"""Samples become time per attempt, whatever the rhythm they were taken in."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.estimate import with_database
from slotfill.analyse.growth import effective_concurrency
from slotfill.analyse.hops import hops
from slotfill.analyse.utilisation import Utilisation, utilisation


def sampled(world: Any, label: str = "concurrency-4") -> Utilisation:
    found = utilisation(world.samples[label], world.attempts[world.attempts["label"] == label], ["whitehorse"])
    assert found is not None
    return found


def test_sessions_seen_in_a_state_are_time_in_it(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 400}, levels=(4,), sessions={"running": 3.0, "lock": 1.0})
    found = sampled(world)
    # Of four workers three are found running: three quarters of the time the attempts take in all.
    per_attempt = found.seconds * 1000 / len(world.attempts)
    assert found.running_ms == pytest.approx(3 * per_attempt, rel=0.05)
    assert found.lock_ms == pytest.approx(1 * per_attempt, rel=0.1)


def test_cores_are_read_between_readings_a_second_apart(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 100}, levels=(4,), sessions={}, cores={"web": 0.7, "postgres": 0.4, "host": 1.9})
    samples = world.samples["concurrency-4"]
    seconds = (samples["at"] - samples["at"].min()).dt.total_seconds()
    sparse = samples[(samples["kind"] != "process") | (seconds % 1 == 0)]
    found = utilisation(sparse, world.attempts)
    assert found is not None
    assert found.cores == pytest.approx({"web": 0.7, "postgres": 0.4}, rel=0.02)
    assert found.host_cores == pytest.approx(1.9, rel=0.02)
    assert found.others_cores == pytest.approx(0.8, rel=0.05)


def test_the_instruments_own_sessions_are_not_the_platforms(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,), sessions={"running": 1.0})
    ours = world.samples["concurrency-4"]
    driver = ours[ours["kind"] == "activity"].assign(application_name="slotfill-driver", pid=7)
    stranger = driver.assign(application_name="psql", pid=8)
    world.samples["concurrency-4"] = pd.concat([ours, driver, stranger], ignore_index=True)
    found = sampled(world)
    assert found.busy_most == ours[ours["kind"] == "activity"].groupby("at").size().max()
    assert found.foreign_running == pytest.approx(1, rel=0.25)


def test_a_pool_with_connections_to_spare_is_told_from_one_that_is_used_up(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,), sessions={"running": 2.0, "pool": 2})
    samples = world.samples["concurrency-4"]
    assert sampled(world).idle_connections == 0
    # The same two at once, on each of ten connections in turn.
    turn = (samples["at"].rank(method="dense") % 5 * 2).astype("Int64")
    world.samples["concurrency-4"] = samples.assign(pid=samples["pid"] + turn)
    assert sampled(world).idle_connections == 8


def test_a_lock_somebody_else_holds_is_told_apart(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,), sessions={"lock": 1.0})
    samples = world.samples["concurrency-4"]
    waiting = (samples["wait_event_type"] == "Lock").fillna(False).to_numpy(dtype=bool)
    samples.loc[waiting, "blocked_by"] = "104"
    assert sampled(world).foreign_blockers == 0
    samples.loc[waiting, "blocked_by"] = "104,4711"
    assert sampled(world).foreign_blockers == waiting.sum()


def test_counters_are_differences(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,), sessions={})
    samples = world.samples["concurrency-4"]
    counter = (samples["metric"] == "deadlocks").fillna(False).to_numpy(dtype=bool)
    samples.loc[counter, "value"] = [float(40 + n) for n in range(counter.sum())]
    assert sampled(world).deadlocks == pytest.approx(counter.sum() - 1, abs=1)


def test_too_few_samples_are_none(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,), sessions={"running": 1.0})
    samples = world.samples["concurrency-4"]
    first = samples[samples["at"] <= samples["at"].min() + timedelta(milliseconds=150)]
    assert utilisation(first, world.attempts) is None


def estimated(world: Any) -> pd.DataFrame:
    utilisations = {label: sampled(world, label) for label in world.samples}
    return with_database(hops(world.attempts, world.server), utilisations, effective_concurrency(world.attempts), 2)


def test_without_a_profile_the_databases_part_is_estimated(simulate: Callable[..., Any]) -> None:
    # The database has 120 of 142 ms: of eight workers 6.8 are found in it.
    world = simulate({"database": 100}, levels=(8,), profile=False, sessions={"running": 6.0, "open": 0.8})
    table = estimated(world)
    assert table["database_ms"].mean() == pytest.approx(120, rel=0.15)
    hidden = ["client_ms", "network_ms", "api_ms", "allocator_ms", "queue_ms", "database_ms"]
    assert (table[hidden].sum(axis=1) - table["total_ms"]).abs().max() < 1e-6
    assert table["estimated"].all()


def test_a_profile_needs_no_estimate(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 100}, levels=(8,), sessions={"running": 1.0})
    assert not estimated(world)["estimated"].any()


def test_a_small_pool_is_what_grows_with_the_allocators_steps(simulate: Callable[..., Any]) -> None:
    # One connection: its holder runs or lets it stand open, and the others are not to be seen.
    planted = {"costs": {"database": 40}, "queue_at": "database", "profile": False}
    table = estimated(simulate(**planted, sessions={"running": 0.4, "open": 0.6, "pool": 1}))
    waits = table.groupby("label")["pool_wait_ms"].mean()
    assert waits["concurrency-1"] == 0
    assert waits["concurrency-8"] == pytest.approx(7 * 60, rel=0.25)
