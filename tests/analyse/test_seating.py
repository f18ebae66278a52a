"""Wasted and lost seats are counted by slot and level."""

from dataclasses import replace

import pandas as pd
import pytest

from slotfill import attempt
from slotfill.analyse import seat_costs, seating


def booked(
    label: str, slot: str, party: int, waste: int | None, outcome: str = "confirmed_inline_api"
) -> attempt.Attempt:
    return attempt.Attempt(
        label=label,
        concurrency=None,
        correlation_id=None,
        outcome=outcome,
        file="a.log",
        first_line=1,
        last_line=2,
        slot=slot,
        party_size=party,
        seat_waste=waste,
        total_ms=10.0,
    )


@pytest.fixture
def attempts() -> pd.DataFrame:
    slots = ["16:00", "16:15", "16:30", "16:45", "17:00"]
    calm = [booked("concurrency-1", slot, 3, 1) for slot in slots for _ in range(3)]
    crowded = [booked("concurrency-8", slot, 3, 2) for slot in slots for _ in range(3)]
    full = [booked("concurrency-8", "16:45", 3, None, "exhausted")]
    failed = [booked("concurrency-8", "16:00", 3, None, "api_error")]
    return attempt.frame([*calm, *crowded, *full, *failed])


def test_each_slot_knows_what_it_wasted_and_whom_it_sent_away(attempts: pd.DataFrame) -> None:
    slots = seating.slots(attempts).set_index(["label", "slot"])
    last = slots.loc[("concurrency-8", "16:45")]
    assert (last["bookings"], last["seats_used"], last["seats_wasted"]) == (3, 9, 6)
    assert (last["exhausted"], last["seats_lost"]) == (1, 3)
    assert slots.loc[("concurrency-8", "16:00"), "seats_lost"] == 0


def test_a_level_is_compared_with_the_first(attempts: pd.DataFrame) -> None:
    calm, crowded = seating.levels(attempts)
    assert (calm["seats_used"], calm["seats_wasted"], calm["wasted_share"]) == (45, 15, 0.25)
    assert calm["difference"] is None
    assert crowded["slots_exhausted"] == 1
    assert crowded["difference"] == {"mean_seats": 1, "ci95": [1, 1]}


def test_seats_are_compared_with_the_lowest_level_whatever_was_driven_first() -> None:
    rows = [replace(booked(f"concurrency-{level}", "17:00", 2, 0), concurrency=level) for level in (8, 1, 4)]
    records = seat_costs.costs(attempt.frame(rows), {"levels": []})
    assert [record["label"] for record in records] == ["concurrency-1", "concurrency-4", "concurrency-8"]
