"""The plan is pure and seeded."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

import pytest

from slotfill.errors import BadInput
from slotfill.params import Settings
from slotfill.plan import Plan, grid, level_orders, parse, plan


def attempts(level: Plan) -> list:
    return list(chain.from_iterable(slot.attempts for slot in level.slots))


def test_four_hours_of_quarters_hold_both_ends() -> None:
    times = grid(Settings())
    assert (len(times), times[0], times[1], times[-1]) == (17, "16:00", "16:15", "20:00")


def test_an_end_off_the_grid_is_left_out() -> None:
    assert grid(Settings(start="16:00", end="16:50", interval_minutes=20)) == ["16:00", "16:20", "16:40"]


def test_one_seed_plans_identical_attempts_and_another_does_not() -> None:
    assert plan(Settings(seed=7), 4) == plan(Settings(seed=7), 4)
    ours, theirs = attempts(plan(Settings(seed=7), 4)), attempts(plan(Settings(seed=8), 4))
    assert not {one.idempotency_key for one in ours} & {one.idempotency_key for one in theirs}


def test_levels_share_parties_and_nothing_that_identifies_a_booking() -> None:
    one, eight = plan(Settings(), 1), plan(Settings(), 8)
    assert [slot.party_size for slot in one.slots] == [slot.party_size for slot in eight.slots]
    both = attempts(one) + attempts(eight)
    for field in ("idempotency_key", "correlation_id", "email", "phone"):
        values = [getattr(attempt, field) for attempt in both]
        assert len(set(values)) == len(values) == 2 * 17 * 10


def test_another_day_asks_for_the_same_under_other_keys() -> None:
    today, leap_day = (plan(Settings(seed=7, date=day), 4) for day in ("2027-03-28", "2028-02-29"))

    def asked(level: Plan) -> list:
        return [(slot.time, slot.party_size, slot.tag, [each.guest for each in slot.attempts]) for slot in level.slots]

    assert asked(today) == asked(leap_day)
    keys = [{each.idempotency_key for each in attempts(level)} for level in (today, leap_day)]
    assert not keys[0] & keys[1]


def test_rounds_differ_in_parties_and_in_everything_that_identifies_a_booking() -> None:
    first, second = plan(Settings(), 4, 1), plan(Settings(), 4, 2)
    assert [slot.party_size for slot in first.slots] != [slot.party_size for slot in second.slots]
    for field in ("idempotency_key", "correlation_id", "email", "phone"):
        values = [getattr(attempt, field) for attempt in attempts(first) + attempts(second)]
        assert len(set(values)) == len(values)


def test_guests_satisfy_the_platforms_limits() -> None:
    for attempt in attempts(plan(Settings(), 8)):
        assert 2 <= len(attempt.name) <= 120
        assert 7 <= len(attempt.phone) <= 50


def test_parties_stay_in_their_range_and_use_all_of_it() -> None:
    sizes = {
        slot.party_size
        for seed in range(20)
        for slot in plan(Settings(seed=seed, min_party_size=2, max_party_size=5), 1).slots
    }
    assert sizes == {2, 3, 4, 5}


def test_a_plan_survives_its_journey_through_json() -> None:
    level = plan(Settings(), 4)
    assert parse(level.dump()) == level
    assert parse(level.dump()) != replace(level, concurrency=5)


def test_a_plan_on_disk_holds_no_guests_address() -> None:
    level = plan(Settings(), 4)
    text = str(level.dump())
    assert not [attempt for attempt in attempts(level) if attempt.email in text or attempt.phone in text]


def test_workers_beyond_the_slots_do_not_count() -> None:
    level = plan(Settings(start="17:30", end="18:30"), 8)
    assert (level.concurrency, level.effective_concurrency) == (8, 5)


def test_the_log_name_has_the_platforms_form() -> None:
    slot = plan(Settings(date="2099-11-25", start="17:30", end="17:30"), 1).slots[0]
    name = slot.log_name(datetime(2026, 11, 15, 9, 39, 31, tzinfo=UTC))
    assert name == f"slot-fill-2099-11-25-17-30-p{slot.party_size}-20261115T093931Z-{slot.tag}.log"
    assert len(slot.tag) == 6


def test_dinner_starts_at_five() -> None:
    types = {slot.time: slot.booking_type for slot in plan(Settings(), 1).slots}
    assert (types["16:45"], types["17:00"]) == ("lunch", "dinner")


def test_a_grid_above_the_cap_is_refused() -> None:
    with pytest.raises(BadInput, match="170 attempts a level, above max_attempts 100"):
        plan(Settings(max_attempts=100), 1)


def test_every_round_drives_every_level_once_and_every_level_has_had_every_place() -> None:
    for seed in range(20):
        orders = level_orders(Settings(seed=seed, concurrency=[1, 4, 8], rounds=3))
        assert [sorted(order) for order in orders] == [[1, 4, 8]] * 3
        assert [sorted(place) for place in zip(*orders, strict=True)] == [[1, 4, 8]] * 3


def test_the_order_of_the_levels_is_seeded() -> None:
    drawn = [tuple(level_orders(Settings(seed=seed, concurrency=[1, 4, 8], rounds=1))[0]) for seed in range(40)]
    assert drawn == [tuple(level_orders(Settings(seed=seed, concurrency=[1, 4, 8], rounds=1))[0]) for seed in range(40)]
    assert len(set(drawn)) == 6


def test_rounds_beyond_the_square_begin_another() -> None:
    orders = level_orders(Settings(concurrency=[1, 4], rounds=5))
    assert [sorted(order) for order in orders] == [[1, 4]] * 5
    assert orders[0] != orders[1]
    assert orders[2] != orders[3]
