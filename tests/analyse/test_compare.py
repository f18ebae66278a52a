"""A change is told with its interval, noise is not told as a change, and unlike runs are refused."""

import re
from dataclasses import replace
from typing import Any

import pytest
from simulation import Grid, Planted
from worlds import World, build

from slotfill.analyse.comparable import require_alike
from slotfill.analyse.compare import Change, Comparison, _consequences, compare, render
from slotfill.errors import BadInput

RECORD = {
    "parameters": {"concurrency": [1, 4], "seed": 1, "faults": {}, "date": "2026-12-10"},
    "versions": {"slotfill": "0.1.0", "python": "3.11.7"},
    "host": {"cpus": 2},
}
USUAL = Planted(client_ms=5, network_ms=5, api_delay_ms=25, allocator_cpu_ms=6, calls=20, distance_ms=1.2)
SMOKE = Grid(levels=(1, 4), rounds=3, slots=5, per_slot=2, drift=0.05)


def run(planted: Planted, grid: Grid, seed: int) -> World:
    return build("run", planted, grid, seed, sampled=False, truth=False)


def test_a_slower_hop_is_named_and_no_other() -> None:
    """20 % of an attempt's time more, in one hop."""
    grid = Grid(rounds=3, slots=8, per_slot=3, drift=0.03, plan_seed=1)
    found = compare(run(USUAL, grid, 1), run(replace(USUAL, api_delay_ms=41), grid, 2))
    hops = {change.hop for change in found.changes if change.verdict == "changed" and change.hop}
    assert hops == {"api"}
    [alone] = [each for each in found.changes if each.hop == "api" and each.label == "concurrency-1"]
    assert alone.low < 16 < alone.high
    assert "between the 3 rounds" in found.note


def test_a_hop_that_is_only_crowded_less_is_told_apart() -> None:
    """Eight workers that wait longer in the api leave two cores less contended: the others get faster unchanged."""
    grid = Grid(rounds=3, slots=17, per_slot=5, drift=0.0, plan_seed=1)
    busy = replace(USUAL, allocator_cpu_ms=9, api_cpu_ms=3)
    found = compare(run(busy, grid, 1), run(replace(busy, api_delay_ms=busy.api_delay_ms + 30), grid, 2))
    told = {(change.hop, change.label): change for change in found.changes if change.hop}
    assert told["allocator", "concurrency-1"].verdict == "unchanged"
    eased = told["allocator", "concurrency-8"]
    assert eased.verdict == "follows" and eased.difference < 0
    assert all(told["api", f"concurrency-{level}"].verdict == "changed" for level in (1, 4, 8))
    assert "follows" in render(found) and "crowd each other" in " ".join(found.note.split())


@pytest.mark.parametrize(("seen", "eased"), [("changed", "follows"), ("unsure", "follows"), ("unchanged", "changed")])
def test_a_hop_follows_one_that_changed_at_the_lowest_level_and_differs_here(seen: str, eased: str) -> None:
    def change(label: str, hop: str, difference: float, verdict: str) -> Change:
        return Change(label, f"{hop}_hop_ms", 10, 10 + difference, difference - 1, difference + 1, verdict)

    slower = [change("concurrency-1", "database", 4.6, "changed"), change("concurrency-8", "database", 4.4, seen)]
    faster = [change("concurrency-1", "api", 0.1, "unchanged"), change("concurrency-8", "api", -1.4, "changed")]
    assert [each.verdict for each in _consequences([*slower, *faster])] == ["changed", seen, "unchanged", eased]


def test_unchanged_runs_that_drift_are_not_called_changed() -> None:
    found = [
        change
        for seed in range(3)
        for grid in [replace(SMOKE, plan_seed=seed)]
        for change in compare(run(USUAL, grid, 100 + seed), run(USUAL, grid, 200 + seed)).changes
    ]
    assert len(found) > 50
    assert sum(change.verdict == "changed" for change in found) <= 0.05 * len(found)


def test_one_round_says_what_its_intervals_do_not_hold() -> None:
    grid = replace(SMOKE, rounds=1, plan_seed=1)
    found = compare(run(USUAL, grid, 1), run(USUAL, grid, 2))
    assert found.rounds == 1
    assert "not from run to run" in found.note and "rounds: 3" in found.note


def test_other_parties_are_another_plan() -> None:
    with pytest.raises(BadInput, match=r"plans differ at \d+ places, first at concurrency-1, round 1, 16:00"):
        compare(run(USUAL, replace(SMOKE, plan_seed=1), 1), run(USUAL, replace(SMOKE, plan_seed=2), 1))


def test_a_run_that_stopped_early_is_another_plan() -> None:
    whole = run(USUAL, SMOKE, 1)
    part = replace(whole, attempts=whole.attempts[(whole.attempts["slot"] != "17:00").to_numpy()])
    with pytest.raises(BadInput, match=r"17:00 \(parties of \d+ and none\)"):
        compare(whole, part)


def test_what_the_platform_changed_may_differ() -> None:
    changed = require_alike(RECORD, {**RECORD, "parameters": {**RECORD["parameters"], "faults": {"api_delay_ms": 50}}})
    assert changed == {"faults": [{}, {"api_delay_ms": 50}]}


def test_what_instrumenting_costs_is_measured_and_never_mixed_with_another_change() -> None:
    listening = {**RECORD, "parameters": {**RECORD["parameters"], "otlp_listen": "127.0.0.1:4318"}}
    assert set(require_alike(RECORD, listening, (False, True))) == {"otlp_listen"}
    faulty = {**listening, "parameters": {**listening["parameters"], "faults": {"api_delay_ms": 50}}}
    with pytest.raises(BadInput, match=r"the second ran with OpenTelemetry.*parameters\.faults"):
        require_alike(RECORD, faulty, (False, True))
    assert set(require_alike(listening, faulty, (True, True))) == {"faults"}


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("parameters", {"concurrency": [8]}, r"parameters\.concurrency \(\[1, 4\] → \[8\]\)"),
        ("versions", {"python": "3.12.1"}, r"versions\.python"),
        ("host", {"cpus": 64}, r"host\.cpus \(2 → 64\)"),
    ],
)
def test_unlike_runs_are_refused_by_name(part: str, change: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        require_alike(RECORD, {**RECORD, part: {**RECORD[part], **change}})


def test_the_table_has_units_fits_80_columns_and_has_no_negative_nothing() -> None:
    changes = (
        Change("concurrency-8", "submit_ms", 123456.7, 123444.3, -12345.6, 0.04, "unsure"),
        Change("concurrency-8", "database_hop_ms", 60.0, 80.0, 15.0, 25.0, "changed"),
        Change("concurrency-8", "seat_waste", 1.004, 1.0, -0.004, 0.01),
    )
    told = render(Comparison(changes, rounds=3))
    assert max(map(len, told.splitlines())) <= 80
    submit, database, seats = told.splitlines()[1:4]
    assert "submit, ms" in submit and "unsure" in submit
    assert "database, ms" in database and "+20.0" in database and database.endswith("changed")
    assert "seats wasted a booking" in seats
    assert not re.search(r"-0\.0+(?!\d)", told)
