"""Small documents in the shape of metrics.json and bottleneck.json, and attempts to draw."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.document import Bottleneck, Cost, Evidence, Growth, Source, Tier
from slotfill.attempt import Attempt, frame

START = datetime(2026, 12, 8, 16, tzinfo=UTC)


def stage(mean: float | None, **others: float | None) -> dict[str, Any]:
    bounds = None if mean is None else [mean * 0.9, mean * 1.1]
    return {"mean": mean, "ci95": bounds, "p50": mean, "p95": mean, "p99": None, "max": mean, **others}


def level(concurrency: int, submit: float, confirmed: int = 20) -> dict[str, Any]:
    return {
        "label": f"concurrency-{concurrency}",
        "concurrency": concurrency,
        "effective_concurrency": concurrency,
        "started_at": "2026-12-08T16:00:00.000Z",
        "ended_at": "2026-12-08T16:01:30.000Z",
        "attempts": confirmed + 1,
        "confirmed": confirmed,
        "outcomes": {"confirmed_inline_api": confirmed, "exhausted": 1},
        "submit_ms": stage(submit),
        "inline_ms": stage(0.0),
        "post_job_ms": stage(0.0),
        "total_ms": stage(submit + 100),
        "seat_waste": {"mean": 0.9, "total": 18, "max": 4},
        "tables_per_booking": 1.15,
        "inline_poll_rate": 0.1,
        "background_rate": 0.0,
        "throughput_per_min": 2.9,
        "failure_reasons": {"No tables available for requested window": 1},
        "logs": [f"concurrency-{concurrency}/slot-fill.log"],
    }


def hop(mean: float, share: float) -> Cost:
    return Cost(mean, share, (mean * 0.9, mean * 1.1))


@pytest.fixture
def metrics() -> dict[str, Any]:
    return {"levels": [level(1, 1000), level(4, 1010), level(8, 1005)]}


@pytest.fixture
def document() -> Bottleneck:
    """The allocator takes 60 % at every level and does not grow."""
    shares = {
        f"concurrency-{n}": {"api": hop(300, 0.3), "allocator": hop(600, 0.6), "unexplained": hop(100, 0.1)}
        for n in (1, 4, 8)
    }
    return Bottleneck(
        verdict="allocator",
        mechanism="round_trips",
        kind="constant_cost",
        probability=0.9,
        shares=shares,
        growth={"allocator": Growth(2.0, (-15.0, 19.0))},
        evidence=(
            Evidence(
                claim="quote and confirm take most of the submit",
                value="600 ms of 1.00 s",
                source=Source("server.log", 17),
                excerpt="[bookings][POST][inline-auto-assign] quote result {\n  durationMs: 290\n}",
                decisive=("durationMs: 290",),
            ),
        ),
        tiers=(Tier("concurrency-1", "client log", 20), Tier("concurrency-4", "server log", 20)),
    )


@pytest.fixture
def attempts() -> pd.DataFrame:
    """Two levels of two slots with three attempts each: confirmed, confirmed, out of tables."""
    return frame(
        Attempt(
            label=f"concurrency-{concurrency}",
            concurrency=concurrency,
            correlation_id=f"{concurrency}-{slot}-{iteration}",
            outcome="exhausted" if iteration == 3 else "confirmed_inline_api",
            file=f"concurrency-{concurrency}/slot.log",
            first_line=1,
            last_line=9,
            slot=slot,
            iteration=iteration,
            started_at=START + timedelta(seconds=iteration),
            ended_at=START + timedelta(seconds=iteration + 0.9),
            submit_ms=700.0 + 10 * iteration,
            total_ms=900.0,
            seat_waste=None if iteration == 3 else iteration - 1,
        )
        for concurrency in (1, 4)
        for slot in ("16:00", "16:15")
        for iteration in (1, 2, 3)
    )
