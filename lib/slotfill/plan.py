"""The plan of a level: which bookings are asked for, slot by slot. Pure and seeded.

Slots and parties depend on the seed, the round and the slot, never on the date: two days ask for the same, and the
levels of a round differ in nothing but concurrency. Guests differ from level to level as well, because the platform
merges a guest's bookings of a slot; keys also from day to day, so that none is answered with an old booking.
"""

import random
import string
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from slotfill.errors import BadInput
from slotfill.params import Settings

DINNER_FROM = "17:00"


@dataclass(frozen=True, slots=True)
class PlannedAttempt:
    """One booking to ask for; each has its own guest, because the platform merges a guest's bookings of a slot."""

    iteration: int
    """1-based within the slot."""
    idempotency_key: str
    correlation_id: str
    guest: str
    """Ten hexadecimal digits, of which the guest's name and addresses are made: those are kept in no file."""

    @property
    def name(self) -> str:
        return f"Slot Fill {self.guest}"

    @property
    def email(self) -> str:
        return f"booking-flow-script+{self.guest}@example.com"

    @property
    def phone(self) -> str:
        # 07700 900000-900999 is set aside for fiction; the digits after it keep guests apart: the platform lets no
        # two guests of a venue share a phone.
        return f"+447700900{int(self.guest, 16):013d}"


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """One start time and the attempts to fill it with, one after another."""

    date: str
    time: str
    party_size: int
    booking_type: str
    tag: str
    """Six characters that end the name of the slot's log."""
    attempts: tuple[PlannedAttempt, ...]

    def log_name(self, started_at: datetime) -> str:
        """The name of the slot's log in the platform's own form."""
        instant = started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"slot-fill-{self.date}-{self.time.replace(':', '-')}-p{self.party_size}-{instant}-{self.tag}.log"


@dataclass(frozen=True, slots=True)
class Plan:
    """A level: ``concurrency`` workers over these slots, in order."""

    label: str
    concurrency: int
    round_number: int
    """1-based."""
    slots: tuple[SlotPlan, ...]

    @property
    def name(self) -> str:
        """What a person reads while it is driven."""
        return f"{self.label}, round {self.round_number}"

    @property
    def effective_concurrency(self) -> int:
        """Workers beyond the number of slots have nothing to do."""
        return min(self.concurrency, len(self.slots))

    def dump(self) -> dict[str, Any]:
        """As plain values for JSON; ``parse`` reads it back."""
        return asdict(self)


def plan(settings: Settings, concurrency: int, round_number: int = 1) -> Plan:
    """The plan of one level in one round. Raises BadInput for a grid that is empty or too large."""
    slots = tuple(_slot(settings, concurrency, round_number, time) for time in grid(settings))
    asked = sum(len(slot.attempts) for slot in slots)
    if asked > settings.max_attempts:
        raise BadInput(
            f"the grid asks for {asked} attempts a level, above max_attempts {settings.max_attempts}; "
            "shorten the grid, lower stress_max, or raise max_attempts"
        )
    return Plan(f"concurrency-{concurrency}", concurrency, round_number, slots)


def level_orders(settings: Settings) -> list[list[int]]:
    """The levels in the order in which each round drives them, one list a round.

    Consecutive rounds rotate one seeded order, so that as many rounds as there are levels make a Latin square: every
    level has had every place once, and no drift of the platform looks like a level's.
    """
    draw = random.Random(f"{settings.seed} levels")
    orders: list[list[int]] = []
    while len(orders) < settings.rounds:
        drawn = draw.sample(settings.concurrency, len(settings.concurrency))
        orders += [drawn[first:] + drawn[:first] for first in range(len(drawn))]
    return orders[: settings.rounds]


def grid(settings: Settings) -> list[str]:
    """Start times ``HH:MM`` from start to end, end included where it is on the grid."""
    first, last = _minutes(settings.start), _minutes(settings.end)
    return [f"{at // 60:02d}:{at % 60:02d}" for at in range(first, last + 1, settings.interval_minutes)]


def booking_type(settings: Settings, time: str) -> str:
    """What a slot is booked as: what the settings say, or by the time of day."""
    if settings.booking_type != "auto":
        return settings.booking_type
    return "dinner" if time >= DINNER_FROM else "lunch"


def parse(content: dict[str, Any]) -> Plan:
    """The plan that ``Plan.dump`` wrote."""
    slots = tuple(
        SlotPlan(**{**slot, "attempts": tuple(PlannedAttempt(**attempt) for attempt in slot["attempts"])})
        for slot in content["slots"]
    )
    # A plan from before there were rounds was the first one's.
    return Plan(content["label"], content["concurrency"], content.get("round_number", 1), slots)


def _slot(settings: Settings, concurrency: int, round_number: int, time: str) -> SlotPlan:
    drawn_from = f"{settings.seed} {round_number} {time}"
    parties = random.Random(drawn_from)
    guests = random.Random(f"{drawn_from} at {concurrency}")
    keys = random.Random(f"{drawn_from} at {concurrency} on {settings.date}")
    return SlotPlan(
        date=settings.date,
        time=time,
        party_size=parties.randint(settings.min_party_size, settings.max_party_size),
        booking_type=booking_type(settings, time),
        tag="".join(guests.choices(string.ascii_lowercase + string.digits, k=6)),
        attempts=tuple(_attempt(guests, keys, iteration) for iteration in range(1, settings.stress_max + 1)),
    )


def _attempt(guests: random.Random, keys: random.Random, iteration: int) -> PlannedAttempt:
    return PlannedAttempt(
        iteration=iteration,
        idempotency_key=str(_uuid(keys)),
        correlation_id=str(_uuid(keys)),
        guest=f"{guests.getrandbits(40):010x}",
    )


def _uuid(draw: random.Random) -> UUID:
    return UUID(int=draw.getrandbits(128), version=4)


def _minutes(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)
