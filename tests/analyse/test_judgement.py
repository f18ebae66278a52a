"""A verdict is confirmed where the taps and the planted delay agree with it, and refuted where they do not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from closed_loop import attempt_ms

from slotfill.analyse.judgement import judge
from slotfill.analyse.tapped_parts import AROUND, CALLS, HANDLER, PARTS

SLOTS = ("17:00", "17:15", "17:30", "17:45", "18:00", "18:15")
CALLS_MADE, DELAY_MS = 15, 2.0


def arm(
    around: float, handler: float, calls: float, added_ms: float = 0.0, seed: int = 0, label: str = "concurrency-1"
) -> pd.DataFrame:
    """Three rounds of six slots with four bookings each, a tenth of noise on every part."""
    draw = np.random.default_rng(seed)
    rows = [
        {
            "label": label,
            "round_number": number,
            "slot": slot,
            "others": int(label.removeprefix("concurrency-")) - 1,
            "later_ms": 0.0,
            "untold_ms": 0.0,
            "made": CALLS_MADE,
            "in_a_row": CALLS_MADE,
            **_noisy(draw, around, handler, calls, added_ms),
        }
        for number in (1, 2, 3)
        for slot in SLOTS
        for _ in range(4)
    ]
    return pd.DataFrame(rows)


def _noisy(draw: np.random.Generator, around: float, handler: float, calls: float, added_ms: float) -> dict[str, float]:
    parts = {
        name: value * draw.normal(1, 0.1)
        for name, value in (("around", around), ("handler", handler), ("calls", calls))
    }
    parts["calls"] += added_ms
    return {**parts, "total_ms": sum(parts.values())}


def verdict(hop: str, mechanism: str, **means: float) -> dict[str, Any]:
    """A bottleneck.json with these mean times."""
    hops = dict.fromkeys([name for names in PARTS.values() for name in names], 1.0) | means
    shares = {name: {"mean_ms": ms, "share": None, "ci95": [0.9 * ms, 1.1 * ms]} for name, ms in hops.items()}
    return {
        "verdict": hop,
        "mechanism": mechanism,
        "kind": "constant_cost",
        "shares": {"concurrency-1": shares},
        "leaves": [],
        "loads": {},
    }


@pytest.mark.parametrize("hop", ["database", "api", "queue"])
def test_each_verdict_is_confirmed_on_its_own_world_and_refuted_on_the_others(hop: str) -> None:
    worlds = {
        "queue": (90.0, 8.0, 12.0),
        "api": (4.0, 80.0, 12.0),
        "database": (4.0, 10.0, 75.0),
    }
    for truth, parts in worlds.items():
        before = arm(*parts, seed=1)
        after = arm(*parts, added_ms=CALLS_MADE * DELAY_MS, seed=2)
        claimed = verdict(hop, "some_mechanism", **{hop: 80.0})
        found = judge(claimed, before, after, "database", DELAY_MS)
        assert found.status == ("confirmed" if truth == hop else "refuted"), (hop, truth, found.reason)


def test_two_hops_of_one_part_do_not_outweigh_the_verdicts_hop_together() -> None:
    # By the taps the handler takes longer than the calls, but it is two hops, and neither of them does.
    before, after = arm(4, 52, 40, seed=1), arm(4, 52, 40, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("database", "cpu", database=40.0, api=26.0, allocator=26.0)
    assert judge(claimed, before, after, "database", DELAY_MS).status == "confirmed"
    claimed = verdict("database", "cpu", database=40.0, api=78.0, allocator=2.0)
    before, after = arm(4, 80, 40, seed=1), arm(4, 80, 40, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    assert judge(claimed, before, after, "database", DELAY_MS).status == "refuted"


def test_the_slope_is_the_number_of_calls_and_other_parts_do_not_move() -> None:
    before, after = arm(4, 10, 75, seed=1), arm(4, 10, 75, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    found = judge(verdict("database", "round_trips", database=75.0), before, after, "database", DELAY_MS)
    assert found.calls_ci95 is not None
    assert found.calls_ci95[0] <= CALLS_MADE <= found.calls_ci95[1]
    effects = {effect.part: effect for effect in found.effects}
    assert effects["total"].predicted_ms == effects[CALLS].predicted_ms == CALLS_MADE * DELAY_MS
    assert effects[HANDLER].predicted_ms == 0
    assert all(effect.as_predicted for effect in found.effects)


def test_the_way_to_the_database_is_extrapolated_to_none() -> None:
    # 15 calls of 5 ms, of which 3 are the way there and back: without it 45 ms less.
    before, after = arm(4, 10, 75, seed=1), arm(4, 10, 75, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("database", "round_trips", database=75.0)
    way = judge(claimed, before, after, "database", DELAY_MS, way_ms=3.0).distance
    assert way is not None
    assert way.ci95[0] <= 45 <= way.ci95[1]
    assert way.total_ms - way.cost_ms == pytest.approx(4 + 10 + 30, rel=0.15)
    assert judge(claimed, before, after, "web", DELAY_MS).distance is None


def test_a_delay_that_costs_half_of_what_the_verdict_predicts_refutes_it() -> None:
    # Half of the calls ran side by side, so the round trips are not what the verdict says.
    before, after = arm(4, 10, 75, seed=1), arm(4, 10, 75, added_ms=CALLS_MADE * DELAY_MS / 2, seed=2)
    found = judge(verdict("database", "round_trips", database=75.0), before, after, "database", DELAY_MS)
    assert found.status == "refuted"


WORKERS, ALONE_MS, SERVICE_MS = 8, 60.0, 40.0
"""A saturated queue of 40 ms in attempts that take 60 ms alone."""


def saturated(hop: str, mechanism: str) -> dict[str, Any]:
    claimed = verdict(hop, mechanism, **{hop: ALONE_MS - 10})
    crowded_ms = attempt_ms((SERVICE_MS,), ALONE_MS - SERVICE_MS, WORKERS)
    shares = verdict(hop, mechanism, **{hop: crowded_ms - 10})["shares"]["concurrency-1"]
    return claimed | {"kind": "saturation", "shares": claimed["shares"] | {f"concurrency-{WORKERS}": shares}}


def arms(inside_ms: float, outside_ms: float, hop: str, noise_ms: float = 0.0) -> list[pd.DataFrame]:
    """Without and with a delay of which so much is held by the queue, alone and with eight workers."""
    found = []
    for seed, (inside, outside) in enumerate([(0.0, 0.0), (inside_ms, outside_ms)]):
        levels = []
        for workers in (1, WORKERS):
            total = attempt_ms((SERVICE_MS + inside,), ALONE_MS - SERVICE_MS + outside, workers)
            calls = 10 + inside + outside if hop == "allocator" else total - 10
            rows = arm(4, total - 4 - calls, calls, seed=seed + 2 * workers, label=f"concurrency-{workers}")
            if workers > 1:
                rows["total_ms"] += np.random.default_rng(seed).normal(0, noise_ms, len(rows))
            levels.append(rows)
        found.append(pd.concat(levels))
    return found


def test_a_delay_beside_a_saturated_processor_is_mostly_hidden() -> None:
    before, after = arms(0.0, CALLS_MADE * DELAY_MS, "allocator")
    claimed = saturated("allocator", "cpu")
    found = judge(claimed, before, after, "database", DELAY_MS)
    alone, crowded = (effect for effect in found.effects if effect.part == "total")
    assert (alone.label, crowded.label) == ("concurrency-1", "concurrency-8")
    assert alone.predicted_ms == CALLS_MADE * DELAY_MS
    assert crowded.predicted_ms < alone.predicted_ms / 3
    assert crowded.as_predicted
    assert found.status == "confirmed"
    # The same measurements refuse a lock that all calls are made under: its queue would have grown.
    wrong = saturated("allocator", "serialised_allocator")
    assert judge(wrong, before, after, "database", DELAY_MS).status == "asserted"


def test_a_delay_under_a_permit_is_paid_by_all_who_wait() -> None:
    held = SERVICE_MS / ALONE_MS * CALLS_MADE * DELAY_MS
    before, after = arms(held, CALLS_MADE * DELAY_MS - held, "allocator")
    found = judge(saturated("allocator", "serialised_allocator"), before, after, "database", DELAY_MS)
    crowded = [effect for effect in found.effects if effect.part == "total"][-1]
    assert crowded.predicted_ms > 3 * CALLS_MADE * DELAY_MS
    assert crowded.as_predicted
    assert found.status == "confirmed"
    computed = judge(saturated("allocator", "cpu"), before, after, "database", DELAY_MS)
    assert computed.status == "asserted"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_lock_may_be_taken_before_a_transactions_calls_or_in_the_last_of_them(share: float) -> None:
    held = share * SERVICE_MS / ALONE_MS * CALLS_MADE * DELAY_MS
    before, after = arms(held, CALLS_MADE * DELAY_MS - held, "database")
    for mechanism in ("lock_wait", "deadlock"):
        found = judge(saturated("database", mechanism), before, after, "database", DELAY_MS)
        assert found.status == "confirmed"
        assert [effect for effect in found.effects if effect.part == "total"][-1].as_predicted
    # No lock makes a delay cost this much.
    slow = after.assign(total_ms=after["total_ms"] + 600 * (after["label"] == "concurrency-8"))
    assert judge(saturated("database", "lock_wait"), before, slow, "database", DELAY_MS).status == "asserted"


def test_an_effect_too_uncertain_to_tell_says_so() -> None:
    before, after = arms(0.0, CALLS_MADE * DELAY_MS, "allocator", noise_ms=1_500)
    found = judge(saturated("allocator", "cpu"), before, after, "database", DELAY_MS)
    assert found.status == "confirmed"
    assert "whether it saturates the delay does not tell" in found.reason
    # A constant cost has no other level to go by.
    before, after = arm(4, 80, 12, seed=1), arm(4, 80, 12, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    for each in (before, after):
        each["total_ms"] += np.random.default_rng(3).permutation(np.linspace(-900, 900, len(each)))
    before["total_ms"] = before["total_ms"].sample(frac=1, random_state=4).to_numpy()
    before, after = (each.assign(calls=each["handler"], handler=each["calls"]) for each in (before, after))
    found = judge(verdict("database", "slow_query", database=70.0), before, after, "database", DELAY_MS)
    assert (found.status, "tells nothing" in found.reason) == ("asserted", True)


@pytest.mark.parametrize("hop", ["api", "queue"])
def test_a_delay_elsewhere_that_costs_less_is_no_word_against_a_hop(hop: str) -> None:
    # Half of the calls hide behind other work, and the hop's own part is what it was.
    parts = (4, 80, 12) if hop == "api" else (90, 8, 12)
    before, after = arm(*parts, seed=1), arm(*parts, added_ms=CALLS_MADE * DELAY_MS / 2, seed=2)
    claimed = verdict(hop, "some_mechanism", **{hop: 80.0})
    assert judge(claimed, before, after, "database", DELAY_MS).status == "confirmed"
    moved = after.assign(**{part: after[part] + 30 for part in (HANDLER if hop == "api" else AROUND,)})
    assert judge(claimed, before, moved, "database", DELAY_MS).status == "asserted"


@pytest.mark.parametrize(("mechanism", "made"), [("slow_query", CALLS_MADE), ("round_trips", None)])
def test_fewer_calls_in_a_row_refute_round_trips_that_were_counted_and_nothing_else(
    mechanism: str, made: float | None
) -> None:
    before, after = arm(4, 10, 75, seed=1), arm(4, 10, 75, added_ms=CALLS_MADE * DELAY_MS / 2, seed=2)
    before["in_a_row"] = np.nan if made is None else made
    claimed = verdict("database", mechanism, database=75.0)
    assert judge(claimed, before, after, "database", DELAY_MS).status == "asserted"


def test_what_cannot_be_compared_stays_asserted() -> None:
    before, after = arm(4, 10, 75, seed=1), arm(4, 10, 75, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("api", "api_delay", api=70.0)
    few = judge(claimed, before.iloc[:3], after.iloc[:3], "database", DELAY_MS)
    assert (few.status, "too few" in few.reason) == ("asserted", True)
    crowd = pd.concat([before, before.assign(label="concurrency-8")])
    missing = judge(claimed, crowd, after, "database", DELAY_MS)
    assert (missing.status, "at concurrency-8 with the delay" in missing.reason) == ("asserted", True)
    assert judge(claimed, before.iloc[:0], after, "database", DELAY_MS).status == "asserted"
    unseen = judge(claimed, before.assign(made=0.0, in_a_row=0.0), after, "database", DELAY_MS)
    assert (unseen.status, unseen.effects) == ("asserted", ())
    assert judge(claimed, before, after, "database", DELAY_MS).status == "refuted"


def test_what_a_job_does_after_the_answer_refutes_no_database() -> None:
    before, after = arm(450, 20, 40, seed=1), arm(450, 20, 40, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("database", "slow_query", database=400.0)
    assert judge(claimed, before, after, "database", DELAY_MS).status == "refuted"
    later = before.assign(later_ms=420.0, untold_ms=380.0)
    assert judge(claimed, later, after, "database", DELAY_MS).status == "asserted"
    little = before.assign(later_ms=420.0, untold_ms=20.0)  # anybody's calls in that time are no more than this
    assert judge(claimed, little, after, "database", DELAY_MS).status == "refuted"
    queue = verdict("queue", "queue_delay", queue=400.0)
    assert judge(queue, little, after.assign(around=after["around"] + 200), "database", DELAY_MS).status == "confirmed"
    found = judge(queue, later, after, "database", DELAY_MS)
    assert found.status == "asserted"
    # What hides behind a poll is not known, so nothing is predicted of the total.
    assert [effect.part for effect in found.effects if effect.predicted_ms is None] == ["total", AROUND]


def test_the_pools_wait_at_the_highest_level_is_none_of_an_attempt_alone() -> None:
    before, after = arm(4, 85, 60, seed=1), arm(4, 85, 60, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("api", "api_delay", api=80.0, allocator=5.0, database=60.0)
    claimed["leaves"] = [{"hop": "database", "name": "pool", "own_ms": 0.0, "slope_ms": 14.0}]
    assert judge(claimed, before, after, "database", DELAY_MS).status == "confirmed"


def test_what_no_tap_parts_is_held_against_the_runs_own_account() -> None:
    before, after = arm(4, 80, 12, seed=1), arm(4, 80, 12, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("api", "api_delay", api=10.0, allocator=70.0)
    found = judge(claimed, before, after, "database", DELAY_MS)
    assert found.status == "refuted"
    assert "allocator" in found.reason


def test_waiting_for_a_connection_of_the_pool_lies_in_the_handler() -> None:
    before, after = arm(4, 80, 12, seed=1), arm(4, 80, 12, added_ms=CALLS_MADE * DELAY_MS, seed=2)
    claimed = verdict("database", "pool_wait", database=85.0)
    claimed["leaves"] = [{"hop": "database", "name": "pool", "own_ms": 73.0, "slope_ms": 20.0}]
    assert judge(claimed, before, after, "database", DELAY_MS).status == "confirmed"
