"""A change is told with its interval, noise is not told as a change, and unlike runs are refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from slotfill.analyse.compare import compare, render, require_alike
from slotfill.errors import BadInput

RECORD = {
    "parameters": {"concurrency": [1, 4], "seed": 1, "faults": {}, "date": "2026-12-10"},
    "versions": {"slotfill": "0.1.0", "python": "3.11.7"},
    "host": {"cpus": 2},
}


def test_a_shift_of_every_submit_is_found(simulate: Callable[..., Any]) -> None:
    before, after = simulate({"api": 100}, seed=1), simulate({"api": 60}, seed=1)
    table = compare(before.attempts, after.attempts).set_index(["label", "figure"])
    row = table.loc[("concurrency-4", "submit_ms")]
    assert row["difference"] == pytest.approx(-40, abs=3)
    assert row["low"] < -40 < row["high"] < 0
    assert row["changed"]
    assert table.loc[("concurrency-4", "confirmed_per_worker_minute"), "difference"] > 0


def test_the_same_platform_twice_is_no_change(simulate: Callable[..., Any]) -> None:
    told = 0
    for seed in range(20):
        before, after = simulate(levels=(4,), seed=seed), simulate(levels=(4,), seed=seed + 100)
        told += bool(compare(before.attempts, after.attempts, 300).set_index("figure").loc["submit_ms", "changed"])
    assert told <= 3


def test_what_the_platform_changed_may_differ() -> None:
    changed = require_alike(RECORD, {**RECORD, "parameters": {**RECORD["parameters"], "faults": {"api_delay_ms": 50}}})
    assert changed == {"faults": [{}, {"api_delay_ms": 50}]}


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


def test_the_table_has_units_and_no_negative_nothing(simulate: Callable[..., Any]) -> None:
    before = simulate(levels=(4,), seed=1)
    table = compare(before.attempts, before.attempts)
    table.loc[table["figure"] == "submit_ms", ["low", "difference"]] = [-12.34, -0.04]
    table.loc[table["figure"] == "seat_waste", "low"] = -0.004
    told = render(table)
    submit = next(line for line in told.splitlines() if line.startswith("submit "))
    assert " ms " in submit and "-12.3 to " in submit
    assert "seat waste  seats" in told
    assert max(map(len, told.splitlines())) <= 80
    assert not re.search(r"-0\.0+(?!\d)", told)
