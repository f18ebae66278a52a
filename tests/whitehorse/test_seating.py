"""The choice of tables, against trying every set of tables there is."""

import random
from itertools import combinations
from uuid import UUID

import pytest

from whitehorse.seating import MAX_JOINED_TABLES, Options, Table, options

NO_TABLES = "No tables available for requested window"
TOO_FEW = "Insufficient filtered capacity"
TOO_LARGE = "No tables meet the capacity requirements for this party size."


def table(number: int, capacity: int, near: set[int] = frozenset(), **more: object) -> Table:  # type: ignore[assignment]
    known = {"min_party_size": 1, "max_party_size": None, "outdoor": False, "bookable_alone": True, "busy": False}
    neighbours = frozenset(UUID(int=other) for other in near)
    return Table(id=UUID(int=number), number=f"T{number}", capacity=capacity, neighbours=neighbours, **(known | more))


def choose(tables: list[Table], party: int, *, joined: bool = True, timeout_ms: float = 10_000) -> Options:
    return options(tables, party, joined=joined, timeout_ms=timeout_ms, seed="x")


def is_connected(tables: tuple[Table, ...]) -> bool:
    reached, ids = {tables[0].id}, {table.id for table in tables}
    for _ in tables:
        reached |= {near for table in tables if table.id in reached for near in table.neighbours} & ids
    return reached == ids


@pytest.mark.parametrize("seed", range(60))
def test_the_best_joined_tables_waste_as_little_as_any_connected_set(seed: int) -> None:
    draw = random.Random(seed)
    edges = [pair for pair in combinations(range(1, 9), 2) if draw.random() < 0.35]
    tables = []
    for number in range(1, 9):
        near = {a + b - number for a, b in edges if number in (a, b)}
        tables.append(table(number, draw.choice([2, 4, 6]), near, busy=draw.random() < 0.2))
    party = draw.randint(7, 20)  # more than any single table seats
    free = [table for table in tables if not table.busy]
    wastes = [
        sum(table.capacity for table in some) - party
        for size in range(2, MAX_JOINED_TABLES + 1)
        for some in combinations(free, size)
        if sum(table.capacity for table in some) >= party and is_connected(some)
    ]
    found = choose(tables, party).seatings
    assert bool(found) == bool(wastes)
    if found:
        assert sum(table.capacity for table in found[0]) - party == min(wastes)
    assert all(is_connected(seating) for seating in found)
    assert len({frozenset(seating) for seating in found}) == len(found)


def test_the_single_table_with_least_waste_is_chosen_before_any_joined_ones() -> None:
    tables = [table(1, 2, {2}), table(2, 2, {1}), table(3, 8), table(4, 6)]
    assert choose(tables, 4).seatings[0] == (tables[3],)


def test_party_ranges_busy_tables_and_capacities_not_allowed_are_respected() -> None:
    tables = [
        table(1, 4, min_party_size=3),
        table(2, 4, max_party_size=1),
        table(3, 4, busy=True),
        table(4, 4, bookable_alone=False),
        table(5, 6),
    ]
    assert choose(tables, 2).seatings == [(tables[4],)]


def test_equals_are_not_always_chosen_in_the_same_order() -> None:
    tables = [table(number, 2) for number in range(1, 9)]
    firsts = {options(tables, 2, joined=True, timeout_ms=1000, seed=str(n)).seatings[0][0].number for n in range(50)}
    assert len(firsts) > 1


def test_the_reason_says_whether_it_could_ever_work() -> None:
    assert choose([table(1, 2), table(2, 4)], 9).reason == TOO_LARGE
    assert choose([table(1, 4, busy=True), table(2, 2)], 4).reason == TOO_FEW
    assert choose([table(1, 4, busy=True), table(2, 6, min_party_size=5)], 4).reason == NO_TABLES


def test_without_joining_only_single_tables_count() -> None:
    tables = [table(1, 4, {2}), table(2, 4, {1})]
    assert choose(tables, 8, joined=False).reason == TOO_LARGE
    assert len(choose(tables, 8).seatings) == 1


def test_an_enumeration_out_of_time_says_so() -> None:
    everybody = set(range(1, 31))
    tables = [table(number, 2, everybody - {number}) for number in everybody]
    found = choose(tables, 8, timeout_ms=0)
    assert found.timed_out
    assert found.reason not in (NO_TABLES, TOO_FEW, TOO_LARGE, None)
