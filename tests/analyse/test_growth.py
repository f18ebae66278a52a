"""Costs and growth come back as they were planted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slotfill.analyse.growth import accounts, effective_concurrency, measured
from slotfill.analyse.hops import HOPS, hops


def folded(world: Any) -> Any:
    return accounts(world.attempts, hops(world.attempts, world.server))


def test_the_shares_of_a_level_are_its_means_and_add_up(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 60})
    costs = folded(world).shares["concurrency-4"]
    rows = world.attempts[world.attempts["label"] == "concurrency-4"]
    truth = world.server.set_index("booking_id").loc[rows["booking_id"], "profile_database_ms"].mean()
    assert costs["database"].mean_ms == pytest.approx(truth)
    assert sum(costs[hop].share for hop in HOPS) == pytest.approx(1)
    assert costs["database"].ci95[0] < truth < costs["database"].ci95[1]


def test_workers_without_slots_do_not_count() -> None:
    at = pd.Timestamp("2026-11-24T12:00Z")
    rows = pd.DataFrame(
        {
            "label": "concurrency-8",
            "concurrency": 8,
            "slot": [f"17:{minute:02d}" for minute in (0, 15, 30, 45)] + ["18:00"],
            "file": "one.log",
            "started_at": at,
            "ended_at": at + pd.Timedelta(seconds=1),
        }
    )
    assert effective_concurrency(rows) == {"concurrency-8": 5}
    unrecorded = rows.assign(concurrency=None)
    unrecorded.loc[4, ["started_at", "ended_at"]] += pd.Timedelta(seconds=1)
    assert effective_concurrency(unrecorded) == {"concurrency-8": 4}


def test_failed_attempts_count_only_where_they_are_the_rule(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(4,))
    table = hops(world.attempts, world.server)
    few, many = table.copy(), table.copy()
    few.loc[:9, "outcome"] = "failed_background_timeout"
    many.loc[:99, "outcome"] = "failed_background_timeout"
    assert len(measured(few)) == len(table) - 10
    assert len(measured(many)) == len(table)


def test_hops_of_different_evidence_are_not_compared(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 60})
    table = hops(world.attempts, world.server)
    bare = (table["label"] == "concurrency-8").to_numpy()
    table.loc[bare, "tier"], table.loc[bare, "database_ms"] = 3, np.nan
    figures = accounts(world.attempts, table)
    assert set(figures.growth) == {"total"}
    assert figures.shares["concurrency-8"]["database"].mean_ms is None


def test_nothing_ended_is_nothing_to_account_for(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(1,))
    with pytest.raises(ValueError, match="no attempt"):
        accounts(world.attempts, hops(world.attempts, world.server).head(0))
