"""A prediction is held against what the halved cost does, and against exact mean value analysis."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from closed_loop import attempt_ms

from slotfill.analyse.bottleneck import Observed, bottleneck
from slotfill.analyse.prediction import delayed_ms, loop_ms, service_ms

IDLE = {"web": 0.05, "postgres": 0.05, "driver": 0.02}


@pytest.mark.parametrize("queue_at", [None, "database"])
def test_the_prediction_holds_when_the_cost_is_halved(simulate: Callable[..., Any], queue_at: str | None) -> None:
    # 20 ms are the database's own, so that 80 and 30 more are 100 and 50 in all.
    lock = 0.8 if queue_at else 0.0
    now, then = (
        simulate(
            {"database": more}, queue_at=queue_at, seed=seed, sessions={"running": 0.2}, cores=IDLE, lock_share=lock
        )
        for more, seed in ((80, 1), (30, 101))
    )
    found = bottleneck(now.attempts, now.server, now.error_lines, Observed(now.samples, 2))
    assert found.verdict == "database"
    for label, predicted in found.prediction.items():
        mean = then.attempts.loc[then.attempts["label"] == label, "total_ms"].mean()
        assert predicted.total_ms == pytest.approx(mean, rel=0.2)
        assert predicted.total_ci95 is not None and predicted.throughput_ci95 is not None
        assert predicted.total_ci95[0] < predicted.total_ms < predicted.total_ci95[1]
        assert predicted.throughput_ci95[0] < predicted.throughput_per_min < predicted.throughput_ci95[1]


@pytest.mark.parametrize("workers", [2, 4, 8, 16])
@pytest.mark.parametrize("rest", [5.0, 100.0, 1000.0])
def test_halving_a_queue_is_near_exact_attempt_ms(workers: int, rest: float) -> None:
    demand = 40.0
    total = np.array([attempt_ms((demand,), rest, workers)])
    others = np.array([workers - 1.0])
    wait = total - rest - demand
    service = service_ms(wait, others, total)
    halved = loop_ms(total - wait - service / 2, service / 2, others)
    assert halved[0] == pytest.approx(attempt_ms((demand / 2,), rest, workers), rel=0.12)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("workers", [2, 4, 8, 16])
@pytest.mark.parametrize("rest", [5.0, 100.0])
def test_a_delay_costs_about_what_exact_mean_value_analysis_makes_of_it(workers: int, rest: float, held: bool) -> None:
    demand, added = 40.0, 30.0
    total = attempt_ms((demand,), rest, workers)
    inside = added * demand / (demand + rest) if held else 0.0
    exact = attempt_ms((demand + inside,), rest + added - inside, workers)
    others = (workers - 1.0, workers - 1.0)
    assert delayed_ms(total, total - rest - demand, others, added, held) == pytest.approx(exact, rel=0.1)


def test_the_service_is_the_one_that_makes_the_wait() -> None:
    wait, others, total = np.array([0.0, 5.0, 270.0]), np.array([3.0, 3.0, 7.0]), np.array([50.0, 60.0, 320.0])
    service = service_ms(wait, others, total)
    assert loop_ms(total - wait, service, others) == pytest.approx(total)
    assert service[0] == 0 and service[2] == pytest.approx(40, rel=0.02)


def test_a_better_hop_never_buys_less_at_one_level_and_more_at_both_neighbours(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 80}, queue_at="database", lock_share=0.8, levels=(1, 2, 4, 8), slots=8, per_slot=4)
    found = bottleneck(world.attempts, world.server, world.error_lines)
    saved = [each.now_total_ms - each.total_ms for each in found.prediction.values()]
    assert all(now >= min(before, after) for before, now, after in zip(saved, saved[1:], saved[2:], strict=False))


def test_a_full_queue_serves_one_attempt_after_another() -> None:
    assert attempt_ms((10.0,), 0.0, 8) == pytest.approx(80)
    assert attempt_ms((10.0,), 5.0, 1) == pytest.approx(15)


def test_what_lies_between_two_rounds_is_nobodys_time(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 80})
    whole = bottleneck(world.attempts, world.server, world.error_lines)
    second = world.attempts["slot"] >= "18:00"
    later = world.attempts.assign(round_number=second.map({True: 2, False: 1}).astype("Int64"))
    for name in ("started_at", "submitted_at", "ended_at", "sent_at", "answered_at"):
        later[name] += second.map({True: pd.Timedelta(hours=1), False: pd.Timedelta(0)})
    apart = bottleneck(later, world.server, world.error_lines)
    for label, predicted in whole.prediction.items():
        # The two halves of a level are driven one after the other then, so that both end with idle workers.
        faster = predicted.throughput_per_min / predicted.now_throughput_per_min
        then = apart.prediction[label]
        assert then.throughput_per_min / then.now_throughput_per_min == pytest.approx(faster, rel=0.1)


def test_half_of_a_hop_that_grows_with_all_others_is_half_of_what_it_takes(simulate: Callable[..., Any]) -> None:
    own, usual = {"api": 10.0, "allocator": 10.0, "database": 100.0}, {"api": 10.0, "allocator": 10.0, "database": 20.0}
    grown = {1: 1.0, 4: 2.0, 8: 3.0}
    levels = [
        simulate({hop: times * ms - usual[hop] for hop, ms in own.items()}, levels=(workers,), seed=workers)
        for workers, times in grown.items()
    ]
    attempts, server = (pd.concat([getattr(each, name) for each in levels]) for name in ("attempts", "server"))
    found = bottleneck(attempts.reset_index(drop=True), server.reset_index(drop=True), levels[0].error_lines)
    assert (found.verdict, found.kind) == ("database", "unknown")
    for workers, times in grown.items():
        predicted = found.prediction[f"concurrency-{workers}"]
        saved_ms = predicted.now_total_ms - predicted.total_ms
        assert saved_ms == pytest.approx(own["database"] * times / 2, rel=0.15)
