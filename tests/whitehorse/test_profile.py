"""Exclusive self times: every instant is charged once, whoever asks and whenever."""

import math
import threading

import pytest

from whitehorse import profile
from whitehorse.profile import Stopwatch


class Clock:
    """perf_counter in a test's hands, seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(profile, "time", clock)
    return clock


def test_an_inner_hop_stops_the_outer_one(clock: Clock) -> None:
    watch = Stopwatch("api")
    clock.now += 0.010
    with watch.measuring("database"):
        clock.now += 0.020
        with watch.measuring("lock"):
            clock.now += 0.005
        clock.now += 0.001
    clock.now += 0.002
    spent = watch.cut(clock.now)
    assert (spent.api_ms, spent.allocator_ms, spent.database_ms, spent.lock_ms) == (12, 0, 26, 5)
    assert spent.total_ms == 38


def test_an_error_leaves_the_hop_as_returning_does(clock: Clock) -> None:
    watch = Stopwatch("api")
    with pytest.raises(KeyError), watch.measuring("allocator"):
        clock.now += 0.003
        raise KeyError
    clock.now += 0.004
    spent = watch.cut(clock.now)
    assert (spent.allocator_ms, spent.api_ms) == (3, 4)


def test_lent_work_is_booked_up_to_the_moment_it_is_taken_back_and_the_rest_later(clock: Clock) -> None:
    watch = Stopwatch("api")
    clock.now += 0.001
    lent = watch.lend("allocator")
    clock.now += 0.010
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with lent.measuring("database"):
            lent.count_call()
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    clock.now += 0.100
    watch.take_back(lent)
    clock.now += 0.007
    leave.set()
    thread.join()
    spent, rest = watch.cut(clock.now), lent.cut(clock.now)
    assert (spent.api_ms, spent.allocator_ms, spent.database_ms, spent.calls) == (8, 10, 100, 1)
    assert (rest.database_ms, rest.calls) == (7, 0)


def test_the_rounded_parts_add_up_exactly() -> None:
    watch = Stopwatch("api")
    for hop in ("allocator", "database", "pool", "lock"):
        with watch.measuring(hop):  # type: ignore[arg-type]
            sum(range(1000))
    block = watch.cut(profile.time.perf_counter()).of_request()
    parts = [block["apiMs"], block["allocatorMs"], block["databaseMs"]]
    assert math.isclose(sum(parts), block["handlerMs"], abs_tol=1e-9)
    assert round(block["handlerMs"], 3) == block["handlerMs"]
