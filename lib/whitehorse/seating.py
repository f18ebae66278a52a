"""Which tables could seat a party: pure, no database."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

MAX_JOINED_TABLES = 4
NO_TABLES = "No tables available for requested window"
TOO_FEW_SEATS = "Insufficient filtered capacity"
TOO_LARGE = "No tables meet the capacity requirements for this party size."
TIMED_OUT = "The enumeration of joined tables ran out of time"
NO_CAPACITY = frozenset({NO_TABLES, TOO_FEW_SEATS, TOO_LARGE})


@dataclass(frozen=True)
class Table:
    """A table as the quote sees it. ``bookable_alone``: its capacity is one the venue allows by itself."""

    id: UUID
    number: str
    capacity: int
    min_party_size: int
    max_party_size: int | None
    outdoor: bool
    bookable_alone: bool
    busy: bool
    neighbours: frozenset[UUID]

    def seats_alone(self, party_size: int) -> bool:
        most = self.capacity if self.max_party_size is None else min(self.capacity, self.max_party_size)
        return self.bookable_alone and self.min_party_size <= party_size <= most


Seating = tuple[Table, ...]


@dataclass(frozen=True)
class Options:
    """Ways to seat a party, best first; ``reason`` says why there is none; ``timed_out``: there may be more."""

    seatings: list[Seating]
    reason: str | None
    timed_out: bool


class OutOfTime(Exception):
    """The enumeration used up its time."""


def options(tables: Sequence[Table], party_size: int, *, joined: bool, timeout_ms: float, seed: str) -> Options:
    """The free single tables by least seat waste; failing those, free joined tables by least waste and number.

    Equals are shuffled by ``seed``, so that simultaneous bookings do not all reach for the same table.
    """
    until = time.perf_counter() + timeout_ms / 1000
    free = [table for table in tables if not table.busy]
    random.Random(seed).shuffle(free)
    found, timed_out = _enumerate(free, party_size, joined, until)
    found.sort(key=lambda seating: (sum(table.capacity for table in seating) - party_size, len(seating)))
    reason = None
    if not found:
        reason = TIMED_OUT if timed_out else _why_none(tables, free, party_size, joined, until)
    return Options(found, reason, timed_out)


def _enumerate(tables: Sequence[Table], party_size: int, joined: bool, until: float) -> tuple[list[Seating], bool]:
    found: list[Seating] = [(table,) for table in tables if table.seats_alone(party_size)]
    if found or not joined:
        return found, False
    try:
        for seating in _connected(tables, lambda seats: seats >= party_size, until):
            found.append(seating)
    except OutOfTime:
        return found, True
    return found, False


def _connected(tables: Sequence[Table], enough: Callable[[int], bool], until: float) -> Iterator[Seating]:
    """Every connected set of 2..MAX_JOINED_TABLES tables that just has enough seats, each once.

    A set grows only from its lowest member, by neighbours not passed over before, so no set appears twice;
    it stops growing once it has enough seats, because more tables only waste more.
    """
    free = {table.id: table for table in tables}
    rank = {table.id: place for place, table in enumerate(tables)}

    def beside(table: Table, first: Table) -> list[UUID]:
        return [near for near in table.neighbours if near in free and rank[near] > rank[first.id]]

    def grow(chosen: Seating, reachable: list[UUID], passed: frozenset[UUID]) -> Iterator[Seating]:
        if time.perf_counter() > until:
            raise OutOfTime
        for place, table in enumerate(free[id] for id in reachable):
            larger, skipped = (*chosen, table), passed.union(reachable[: place + 1])
            if enough(sum(member.capacity for member in larger)):
                yield larger
            elif len(larger) < MAX_JOINED_TABLES:
                rest = reachable[place + 1 :]
                fresh = [near for near in beside(table, chosen[0]) if near not in skipped and near not in rest]
                yield from grow(larger, rest + fresh, skipped)

    for first in tables:
        if not enough(first.capacity):
            yield from grow((first,), beside(first, first), frozenset({first.id}))


def _why_none(tables: Sequence[Table], free: Sequence[Table], party_size: int, joined: bool, until: float) -> str:
    """The platform's reason: never enough, not enough seats left, or enough seats but no tables that fit."""
    could_ever, timed_out = _enumerate(tables, party_size, joined, until)
    if not could_ever and not timed_out:
        return TOO_LARGE
    return TOO_FEW_SEATS if sum(table.capacity for table in free) < party_size else NO_TABLES
