"""What halving a hop is said to do is what happens when it is halved."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.growth import effective_concurrency
from slotfill.analyse.hops import hops
from slotfill.analyse.prediction import Loop, fit_demand, halved, mean_value_analysis


def predict(world: Any, hop: str, saturates: bool, least_ms: float = 0.0) -> Any:
    effective = effective_concurrency(world.attempts)
    loops = {label: Loop(workers, per_minute(world, label), least_ms) for label, workers in effective.items()}
    return halved(hops(world.attempts, world.server), world.attempts, loops, hop, saturates)


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
    times = {n: mean_value_analysis(30, 70, n) for n in (1, 4, 8)}
    assert fit_demand(times) == pytest.approx((30, 70), rel=1e-3)


def test_a_loop_of_one_worker_never_waits() -> None:
    assert mean_value_analysis(30, 70, 1) == 100


def test_a_full_queue_serves_one_attempt_after_another() -> None:
    assert mean_value_analysis(30, 0, 8) == pytest.approx(240)


def test_a_level_whose_logs_cannot_say_is_left_out(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(1,), profile=False)
    assert predict(world, "database", saturates=False) == {}


def test_no_saving_goes_below_what_the_processors_need(simulate: Callable[..., Any]) -> None:
    world = simulate({"api": 90}, levels=(8,))
    free, bound = (predict(world, "api", False, least)["concurrency-8"] for least in (0.0, 120.0))
    assert free.total_ms == pytest.approx(free.now_total_ms - 50, rel=0.02)
    assert bound.total_ms == pytest.approx(120)
    assert bound.now_throughput_per_min < bound.throughput_per_min < free.throughput_per_min


def test_the_end_of_a_level_is_replayed_and_not_scaled(simulate: Callable[..., Any]) -> None:
    # One slot takes a whole second longer, which no faster hop changes: it keeps one worker to the end.
    world = simulate({"api": 90}, levels=(8,), per_slot=2)
    last = world.attempts.index[-1]
    world.attempts.loc[last, "total_ms"] += 1000
    world.attempts.loc[last, "ended_at"] += pd.Timedelta(milliseconds=1000)
    found = predict(world, "api", False)["concurrency-8"]
    assert found.throughput_per_min / found.now_throughput_per_min < 1.25
