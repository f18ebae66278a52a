"""What halving a hop is said to do is what happens when it is halved."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.growth import effective_concurrency
from slotfill.analyse.hops import hops
from slotfill.analyse.prediction import Loop, fit_demand, fit_rest, halved, mean_value_analysis


def predict(
    world: Any, hop: str, saturates: bool, computing_ms: float = 0.0, cores: float = 1.0, shared: bool = False
) -> Any:
    effective = effective_concurrency(world.attempts)
    loops = {label: Loop(n, per_minute(world, label), computing_ms, cores) for label, n in effective.items()}
    return halved(hops(world.attempts, world.server), world.attempts, loops, hop, saturates, shared)


def per_minute(world: Any, label: str) -> float:
    rows = world.attempts[world.attempts["label"] == label]
    return 60 * len(rows) / (rows["ended_at"].max() - rows["started_at"].min()).total_seconds()


@pytest.mark.parametrize("queue_at", [None, "allocator"])
@pytest.mark.parametrize("seed", range(3))
def test_the_prediction_holds_when_the_cost_is_halved(
    simulate: Callable[..., Any], queue_at: str | None, seed: int
) -> None:
    # 10 ms are the allocator's own, so that 90 and 40 more are 100 and 50 in all.
    now = simulate({"allocator": 90}, queue_at=queue_at, seed=seed)
    then = simulate({"allocator": 40}, queue_at=queue_at, seed=seed + 100)
    found = predict(now, "allocator", saturates=queue_at is not None)
    for label in ("concurrency-1", "concurrency-4", "concurrency-8"):
        assert found[label].throughput_per_min == pytest.approx(per_minute(then, label), rel=0.15)
        mean = then.attempts.loc[then.attempts["label"] == label, "total_ms"].mean()
        assert found[label].total_ms == pytest.approx(mean, rel=0.15)
        low, high = found[label].throughput_ci95
        assert low <= found[label].throughput_per_min <= high


def test_a_queue_inside_a_flat_hop_is_not_taken_for_all_of_it(simulate: Callable[..., Any]) -> None:
    queued = simulate({"database": 40}, queue_at="database", seed=1)
    found = predict(queued, "database", saturates=True)["concurrency-8"]
    # One server of 60 ms: 1,000 a minute; of 30 ms: 2,000.
    assert found.now_throughput_per_min == pytest.approx(1000, rel=0.1)
    assert found.throughput_per_min == pytest.approx(2000, rel=0.15)


def test_the_fitted_demand_is_the_one_the_times_were_made_with() -> None:
    times = {n: mean_value_analysis([30], 70, n) for n in (1, 4, 8)}
    assert fit_demand(times) == pytest.approx((30, 70), rel=1e-3)


def test_a_loop_of_one_worker_never_waits() -> None:
    assert mean_value_analysis([30], 70, 1) == 100


def test_a_full_queue_serves_one_attempt_after_another() -> None:
    assert mean_value_analysis([30], 0, 8) == pytest.approx(240)


def test_a_level_whose_logs_cannot_say_is_left_out(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(1,), profile=False)
    assert predict(world, "database", saturates=False) == {}


def test_two_queues_of_one_demand_hold_each_attempt_up_alike() -> None:
    # Balanced: with N in the loop an arrival finds (N - 1) / K at each of K queues, so X = N / (D (N + K - 1)).
    assert mean_value_analysis([30, 30], 0, 8) == pytest.approx(30 * (8 + 2 - 1))


def test_the_rest_is_what_the_queue_leaves_of_the_time() -> None:
    assert fit_rest(mean_value_analysis([30], 70, 4), 30, 4) == pytest.approx(70)
    assert fit_rest(100, 30, 4) == 0  # the queue alone takes 120


def test_no_saving_goes_below_what_the_processors_need(simulate: Callable[..., Any]) -> None:
    world = simulate({"api": 90}, levels=(8,))
    free, bound = (predict(world, "api", False, each)["concurrency-8"] for each in (0.0, 15.0))
    assert free.total_ms == pytest.approx(free.now_total_ms - 50, rel=0.02)
    # Eight workers and 15 ms of one processor each: one attempt every 15 ms, however short the rest is.
    assert free.total_ms < 8 * 15 <= bound.total_ms < bound.now_total_ms
    assert bound.now_throughput_per_min < bound.throughput_per_min <= 60_000 / 15


def test_no_sample_makes_processors_busier_than_the_fastest_level_shows(simulate: Callable[..., Any]) -> None:
    # A second of computing an attempt would be eight seconds for eight workers, who took 130 ms.
    found = predict(simulate({"api": 90}), "api", False, computing_ms=1000.0)
    alone, full = found["concurrency-1"], found["concurrency-8"]
    assert alone.total_ms == pytest.approx(alone.now_total_ms - 50, rel=0.02)
    assert full.total_ms == pytest.approx(full.now_total_ms)


def test_two_processors_serve_a_lone_worker_no_faster(simulate: Callable[..., Any]) -> None:
    # Half of 100 ms of computing is saved where nobody waits; among eight on two cores the queue gets shorter too.
    loop = {n: mean_value_analysis([110 / 2], 110 / 2 + 32, n) for n in (1, 4, 8)}
    faster = {n: mean_value_analysis([60 / 2], 60 / 2 + 32, n) for n in (1, 4, 8)}
    world = simulate({"api": 90})
    for n, time in loop.items():
        rows = world.attempts["label"] == f"concurrency-{n}"
        waits = time - world.attempts.loc[rows, "total_ms"]
        world.attempts.loc[rows, "total_ms"] += waits
        world.server.loc[rows.to_numpy(), ["profile_api_ms", "handler_ms"]] += waits.to_numpy()[:, None]
        world.attempts.loc[rows, "wait_ms"] += waits
    found = predict(world, "api", True, computing_ms=110, cores=2, shared=True)
    for n, time in faster.items():
        assert found[f"concurrency-{n}"].total_ms == pytest.approx(time, rel=0.1)


def test_the_end_of_a_level_is_replayed_and_not_scaled(simulate: Callable[..., Any]) -> None:
    # One slot takes a whole second longer, which no faster hop changes: it keeps one worker to the end.
    world = simulate({"api": 90}, levels=(8,), per_slot=2)
    last = world.attempts.index[-1]
    world.attempts.loc[last, "total_ms"] += 1000
    world.attempts.loc[last, "ended_at"] += pd.Timedelta(milliseconds=1000)
    found = predict(world, "api", False)["concurrency-8"]
    assert found.throughput_per_min / found.now_throughput_per_min < 1.25


def test_workers_that_begin_late_end_late_however_fast_the_hop(simulate: Callable[..., Any]) -> None:
    # Eight workers of one attempt each, who begin 10 ms after each other: the last ends 70 ms and one attempt later.
    world = simulate({"api": 90}, levels=(8,), slots=8, per_slot=1)
    for instant in ("started_at", "submitted_at", "ended_at"):  # 3 ms of the 10 are the simulation's
        world.attempts[instant] += pd.to_timedelta(7 * world.attempts["worker"], unit="ms")
    found = predict(world, "api", False)["concurrency-8"]
    last = world.attempts["total_ms"].iloc[-1]
    expected = (70 + last) / (70 + last - 50)
    assert found.throughput_per_min / found.now_throughput_per_min == pytest.approx(expected, rel=0.02)
