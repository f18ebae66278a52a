"""The optimum is that of trying everything, and what a level did is never better."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from random import Random

from simulation import Grid, Planted
from worlds import build

from slotfill.analyse.seat_optimum import Optimum, Request, least_waste, most_guests, seat_optimum
from slotfill.database.venue import TABLES, Table, are_adjacent, held_minutes
from slotfill.outcomes import EXHAUSTED

LIMIT_S = 20.0


def connected(tables: tuple[Table, ...]) -> bool:
    seen = {tables[0]}
    for _ in tables:
        seen |= {table for table in tables if any(are_adjacent(table, other) for other in seen)}
    return len(seen) == len(tables)


def seatings(party: int, tables: list[Table]) -> Iterator[tuple[Table, ...]]:
    for table in tables:
        if table.min_party <= party <= min(table.capacity, table.max_party):
            yield (table,)
    for count in (2, 3, 4):
        for joined in combinations(tables, count):
            if sum(table.capacity for table in joined) >= party and connected(joined):
                yield joined


def tried(requests: list[Request], tables: list[Table]) -> tuple[int | None, int]:
    """The least waste with all seated (``None`` where they cannot be) and the most guests, by trying everything."""
    wastes, guests = [], [0]

    def place(number: int, taken: list[tuple[Table, int, int]], waste: int, seated: int, all_seated: bool) -> None:
        if number == len(requests):
            guests.append(seated)
            if all_seated:
                wastes.append(waste)
            return
        begin, party = requests[number]
        end = begin + held_minutes(party)
        place(number + 1, taken, waste, seated, False)
        for seating in seatings(party, tables):
            if not any(table in seating and begin < until and since < end for table, since, until in taken):
                more = [(table, begin, end) for table in seating]
                seats = sum(table.capacity for table in seating)
                place(number + 1, taken + more, waste + seats - party, seated + party, all_seated)

    place(0, [], 0, 0, True)
    return min(wastes, default=None), max(guests)


def test_equals_trying_everything_in_200_small_venues() -> None:
    rng = Random(1)
    for _ in range(200):
        zone = [table for table in TABLES if table.number.startswith(rng.choice(["MD", "BA", "PR", "OG"]))]
        tables = rng.sample(zone, 2) + rng.sample(TABLES, 2)
        tables = [replace(table, number=f"{number}") for number, table in enumerate(tables)]
        requests = [(960 + 15 * rng.randrange(8), rng.randint(1, 12)) for _ in range(rng.randint(1, 4))]
        waste, guests = tried(requests, tables)
        found = least_waste(requests, tables, LIMIT_S)
        assert (found.value if found else None) == waste
        assert most_guests(requests, tables, LIMIT_S) == Optimum(guests, gap=0)


def test_a_level_is_never_better_than_the_optimum() -> None:
    grid = Grid(levels=(1,), slots=5, per_slot=3, rounds=2)
    world = build("seats", Planted(slots_that_exhaust=0.5), grid, seed=1, sampled=False, truth=False)
    [level] = seat_optimum(world.attempts, time_limit_s=LIMIT_S)
    assert level.least_waste is not None and level.most_guests is not None
    assert level.least_waste.value <= level.waste
    assert level.most_guests.value >= level.guests
    assert level.least_waste.proven and level.most_guests.proven


def test_a_level_that_seated_nobody_wasted_nothing() -> None:
    world = build("full", Planted(slots_that_exhaust=0.5), Grid(levels=(1,), slots=4, per_slot=3), 1, False, False)
    turned_away = world.attempts[(world.attempts["outcome"] == EXHAUSTED).to_numpy()]
    [level] = seat_optimum(turned_away, time_limit_s=LIMIT_S)
    assert (level.waste, level.least_waste) == (0, Optimum(0, gap=0))
    assert level.most_guests is not None and level.most_guests.value > level.guests == 0
