"""The simulated worlds are what they say: times add up, queues obey their laws, and the truth is the planted one."""

import numpy as np
import pytest
from simulation import Grid, Planted, simulate
from worlds import Truth, build, find_truth, study_of

SMALL = Grid(slots=8, per_slot=5)


def test_a_request_is_the_sum_of_what_the_server_charged() -> None:
    planted = Planted(api_workers=2, allocator_permits=1, lock_held_ms=5, pool=2, slow_query_ms=10)
    for booking in simulate(planted, SMALL, seed=1).bookings:
        charged = sum(booking.spent[hop] for hop in ("api", "allocator", "database"))
        assert charged == pytest.approx(booking.responded - booking.received)
        assert booking.spent["pool"] + booking.spent["lock"] <= booking.spent["database"] + 1e-9


def test_a_single_server_is_never_used_for_longer_than_there_is_time() -> None:
    """The utilisation law: eight bookings at once keep one worker busy all the time, and no more than that."""
    run = simulate(Planted(api_workers=1, api_delay_ms=40), Grid(levels=(8,), slots=16, per_slot=5), seed=2)
    ((_, _, begin, end),) = run.cells
    held = sum(each.responded - each.received - each.spent["api"] + each.own["api_delay"] for each in run.bookings)
    assert 0.9 < held / (end - begin) <= 1.0


def test_cores_are_shared() -> None:
    """Eight that compute on two cores take four times as long as one; beside as many hogs, still longer."""
    computing = Planted(api_cpu_ms=100, cores=2)
    one, eight = (
        np.mean([each.total_ms for each in simulate(computing, Grid(levels=(level,), slots=16), seed=3).bookings])
        for level in (1, 8)
    )
    assert eight / one == pytest.approx(4, rel=0.15)
    run = simulate(Planted(api_cpu_ms=100, hogs={1: 4}), Grid(levels=(1,)), seed=3)
    assert np.mean([each.total_ms for each in run.bookings]) / one == pytest.approx(2.5, rel=0.15)


@pytest.mark.parametrize(
    ("planted", "truth"),
    [
        (Planted(api_delay_ms=100), ("api", "api_delay", "constant_cost")),
        (Planted(network_ms=80), ("network", "network", "constant_cost")),
        (Planted(calls=60, distance_ms=5), ("database", "round_trips", "constant_cost")),
        (Planted(slow_query_ms=100), ("database", "slow_query", "constant_cost")),
        (Planted(pool=1, distance_ms=3), ("database", "pool_wait", "saturation")),
        (Planted(inline=False, queue_delay_ms=600), ("queue", "queue_delay", "constant_cost")),
        (Planted(inline=False, queue_workers=1, slow_query_ms=200), ("queue", "starved_queue", "saturation")),
        (Planted(api_delay_ms=100, allocator_cpu_ms=60), ("allocator", "cpu", "saturation")),
        (Planted(api_workers=3, lock_held_ms=40), ("database", "lock_wait", "saturation")),
        (Planted(pool=2, lock_held_ms=40), ("database", "lock_wait", "saturation")),
        (Planted(allocator_permits=1, allocator_cpu_ms=30), ("allocator", "serialised_allocator", "saturation")),
        (Planted(api_workers=1, api_cpu_ms=100), ("api", "api_workers", "saturation")),
    ],
)
def test_the_truth_is_the_inner_resource(planted: Planted, truth: tuple[str, str, str]) -> None:
    found = Truth(find_truth(planted, SMALL, seed=4), {})
    assert (found.hop, found.mechanism, found.kind) == truth
    assert found.is_met_by(*truth)
    assert not found.is_met_by("unexplained", truth[1], truth[2])


def test_one_level_tells_no_kind() -> None:
    found = Truth(find_truth(Planted(api_delay_ms=100), Grid(levels=(4,)), seed=5), {})
    assert found.is_met_by("api", "api_delay", "unknown")
    assert not found.is_met_by("api", "api_delay", "constant_cost")


def test_a_world_is_that_of_its_seed() -> None:
    one, same, other = (build("plain", Planted(), SMALL, seed, truth=False) for seed in (6, 6, 7))
    assert one.attempts.equals(same.attempts)
    assert not one.attempts.equals(other.attempts)


def test_frames_tell_what_was_simulated() -> None:
    world = build("plain", Planted(lock_held_ms=20, slots_that_exhaust=0.5), Grid(), seed=8, truth=False)
    assert set(world.samples) == {"concurrency-1", "concurrency-4", "concurrency-8"}
    assert (world.attempts["outcome"] == "exhausted").any()
    joined = world.attempts.merge(world.server, on="booking_id")
    assert len(joined) == len(world.attempts)
    assert (joined["profile_handler_ms"] <= joined["wait_ms"] + 1e-6).all()
    assert (world.samples["concurrency-8"]["wait_event_type"] == "Lock").any()


@pytest.mark.parametrize("hogged", [(1, 8), (4, 8), (4,), (1,), (1, 4, 8)])
def test_a_lock_is_named_whichever_levels_others_use_the_machine_at(hogged: tuple[int, ...]) -> None:
    """Levels with others and without are not held against each other, and what is left over shows the growth."""
    planted = Planted(lock_held_ms=60, api_cpu_ms=5, hogs=dict.fromkeys(hogged, 4))
    world = build("hogs", planted, Grid(slots=12, per_slot=5), seed=9, truth=False)
    found = study_of(world).document
    assert (found.verdict, found.mechanism, found.kind) == ("database", "lock_wait", "saturation")
    assert found.confidence == "low"


def test_computing_is_named_where_others_use_the_machine_at_all_levels() -> None:
    planted = Planted(api_cpu_ms=8, allocator_cpu_ms=4, hogs={1: 4, 4: 4, 8: 4})
    found = study_of(build("hogs", planted, Grid(slots=12, per_slot=5), seed=10, truth=False)).document
    assert (found.mechanism, found.confidence) == ("cpu", "low")


def test_a_start_that_fades_is_called_a_start() -> None:
    """A slow start of many bookings outweighs what the platform takes in each of them afterwards."""
    planted = Planted(slow_query_ms=28, cold_start_ms=2800, cold_start_fades=4, cold_start_each_cell=True)
    found = study_of(build("fading", planted, Grid(), seed=11, truth=False)).document
    assert (found.verdict, found.mechanism, found.confidence) == ("api", "warm_up", "low")
    assert found.mechanism_observed
