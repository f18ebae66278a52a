"""What the seats could have carried: the least waste and the most guests that a perfect seating reaches.

An integer program, solved exactly by HiGHS (through scipy). Tables that are alike (zone, category, seats, party range)
form a class, and a seating is so many tables of some classes. That loses nothing: tables of one zone and category that
differ by two seats at most are all adjacent, so a class either joins another as a whole or not; and so many tables of
a class carry every set of bookings of which no more overlap at any time (interval graphs are perfect). The venue is
taken to be empty but for the bookings that are seated.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from slotfill.attempt import is_confirmed
from slotfill.database.venue import TABLES, Table, are_adjacent, held_minutes
from slotfill.outcomes import EXHAUSTED

MOST_JOINED = 4
"""The platform joins no more tables than that."""
TIME_LIMIT_S = 2.0
"""For each of the two questions of each round of a level."""

Request = tuple[int, int]
"""When a booking begins, in minutes of the day, and its party."""
Seating = tuple[Table, ...]
"""Tables of a seating, each standing for its class."""


@dataclass(frozen=True)
class Optimum:
    """The best value that was found, and how far from it the best possible one may be; ``gap`` 0 is proven."""

    value: int
    gap: int

    @property
    def proven(self) -> bool:
        return self.gap == 0


@dataclass(frozen=True)
class SeatOptimum:
    """One level, all its rounds: seats wasted and guests seated, beside what a perfect seating reaches.

    ``least_waste`` seats the same bookings as were confirmed, ``most_guests`` any of the bookings that were asked for
    (seated ones and those that found no table). ``None`` where the solver found no seating in its time, or where the
    bookings do not fit into this venue.
    """

    label: str
    waste: int
    least_waste: Optimum | None
    guests: int
    most_guests: Optimum | None


def seat_optimum(
    attempts: pd.DataFrame, tables: Sequence[Table] = TABLES, time_limit_s: float = TIME_LIMIT_S
) -> tuple[SeatOptimum, ...]:
    """A row a level, for attempts that name their slot and party."""
    known = attempts[(attempts["slot"].notna() & attempts["party_size"].notna()).to_numpy()]
    return tuple(_level(str(label), rows, tables, time_limit_s) for label, rows in known.groupby("label", sort=False))


def least_waste(bookings: Sequence[Request], tables: Sequence[Table], time_limit_s: float) -> Optimum | None:
    """The fewest empty seats at the tables of these bookings, all of them seated."""
    return _solve(bookings, tables, time_limit_s, all_seated=True)


def most_guests(requests: Sequence[Request], tables: Sequence[Table], time_limit_s: float) -> Optimum | None:
    """The most guests that some of these requests bring."""
    return _solve(requests, tables, time_limit_s, all_seated=False)


def _level(label: str, rows: pd.DataFrame, tables: Sequence[Table], time_limit_s: float) -> SeatOptimum:
    seated = is_confirmed(rows)
    asked = rows[(seated | (rows["outcome"] == EXHAUSTED)).to_numpy()]
    rounds = [each for _, each in asked.groupby(asked["round_number"].fillna(1))]
    confirmed = rows[seated.to_numpy()]
    return SeatOptimum(
        label,
        waste=int(confirmed["seat_waste"].sum()),
        least_waste=_together(
            [least_waste(_requests(each[is_confirmed(each).to_numpy()]), tables, time_limit_s) for each in rounds]
        ),
        guests=int(confirmed["party_size"].sum()),
        most_guests=_together([most_guests(_requests(each), tables, time_limit_s) for each in rounds]),
    )


def _requests(rows: pd.DataFrame) -> list[Request]:
    clocks = (slot.split(":") for slot in rows["slot"])
    begins = [60 * int(hours) + int(minutes) for hours, minutes in clocks]
    return list(zip(begins, rows["party_size"].astype(int).tolist(), strict=True))


def _together(found: Sequence[Optimum | None]) -> Optimum | None:
    """The sum over rounds."""
    known = [each for each in found if each is not None]
    if len(known) < len(found) or not known:
        return None
    return Optimum(sum(each.value for each in known), sum(each.gap for each in known))


def _solve(
    requests: Sequence[Request], tables: Sequence[Table], time_limit_s: float, all_seated: bool
) -> Optimum | None:
    """One variable for each kind of request and each seating that takes it: how often that is done."""
    if not requests:
        return Optimum(0, 0)
    from scipy import optimize, sparse  # which take long to import, and only a report of a run asks

    kinds, classes = Counter(requests), Counter(map(_class, tables))
    seatings = {party: _seatings(party, tuple(classes.items())) for _, party in kinds}
    choices = [(kind, seating) for kind in kinds for seating in seatings[kind[1]]]
    if not choices:
        return None if all_seated else Optimum(0, 0)
    # Each kind of request as often as it was asked for, and of each class, at each beginning, the tables there are.
    of_kind = np.array([[each == kind for each, _ in choices] for kind in kinds], dtype=np.int64)
    uses = np.array([[seating.count(name) for name in classes] for _, seating in choices], dtype=np.int64)
    begins = np.array([begin for (begin, _), _ in choices])
    ends = begins + np.array([held_minutes(party) for (_, party), _ in choices])
    moments = sorted({begin for begin, _ in kinds})
    in_use = [uses.T * ((begins <= at) & (at < ends)) for at in moments]
    least = [kinds[kind] if all_seated else 0 for kind in kinds] + [0] * len(classes) * len(moments)
    most = [*kinds.values(), *(list(classes.values()) * len(moments))]
    limits = np.vstack([of_kind, *in_use])
    worth = [_waste(seating, party) if all_seated else -party for (_, party), seating in choices]
    rows = optimize.LinearConstraint(sparse.csr_array(limits), np.array(least), np.array(most))
    found = optimize.milp(
        worth, integrality=np.ones(len(worth), dtype=np.int64), constraints=rows, options={"time_limit": time_limit_s}
    )
    if found.x is None:
        return None
    value = round(float(found.fun))
    bound = value if found.status == 0 else int(np.ceil(found.mip_dual_bound - 1e-6))
    return Optimum(abs(value), value - bound)


def _class(table: Table) -> Table:
    """What alike tables share."""
    return replace(table, number="", seating_type="", mobility="")


@cache
def _seatings(party: int, classes: tuple[tuple[Table, int], ...]) -> tuple[Seating, ...]:
    """All seatings of a party at ``classes`` (with their sizes); kept, as every round asks for the same few parties."""
    return tuple(_enumerated(party, dict(classes)))


def _enumerated(party: int, classes: Mapping[Table, int]) -> Iterator[Seating]:
    """Single tables that take the party, and joined ones of which none could be left out."""
    for table in classes:
        if table.min_party <= party <= min(table.capacity, table.max_party):
            yield (table,)
    for count in range(2, MOST_JOINED + 1):
        for joined in combinations_with_replacement(classes, count):
            if all(joined.count(each) <= classes[each] for each in joined) and _carries(joined, party):
                fewer = (joined[:place] + joined[place + 1 :] for place in range(count))
                if not any(len(each) > 1 and _carries(each, party) for each in fewer):
                    yield joined


def _carries(joined: Seating, party: int) -> bool:
    """They have the seats, and each stands beside another so that all are one."""
    if sum(table.capacity for table in joined) < party:
        return False
    reached, waiting = [joined[0]], list(joined[1:])
    while waiting:
        near = next((each for each in waiting if any(_beside(each, other) for other in reached)), None)
        if near is None:
            return False
        waiting.remove(near)
        reached.append(near)
    return True


def _beside(one: Table, other: Table) -> bool:
    """Two tables of one class stand beside each other as well."""
    return one == other or are_adjacent(one, other)


def _waste(seating: Seating, party: int) -> int:
    return sum(table.capacity for table in seating) - party
