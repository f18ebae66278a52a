"""A closed loop simulated from planted costs, so that the truth behind every frame is known."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slotfill import attempt, sample
from slotfill.read.server_log import ErrorLine

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
CORES_EACH = 0.05
COSTS = {"client": 1.0, "network": 1.0, "api": 10.0, "allocator": 10.0, "database": 20.0}


@dataclass
class World:
    """What one simulated run left behind, as the reader and the sampler would hand it over."""

    attempts: pd.DataFrame
    server: pd.DataFrame
    samples: dict[str, pd.DataFrame]
    error_lines: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ErrorLine._fields))


@pytest.fixture
def simulate() -> Callable[..., World]:
    return simulate_world


def simulate_world(
    costs: dict[str, float] | None = None,
    queue_at: str | None = None,
    levels: tuple[int, ...] = (1, 4, 8),
    slots: int = 17,
    per_slot: int = 8,
    seed: int = 0,
    noise: float = 0.05,
    profile: bool = True,
    sessions: dict[str, float] | None = None,
    cores: dict[str, float] | None = None,
    pool_share: float = 0.0,
    lock_share: float = 0.0,
    calls: int = 60,
    age_ms: float = 2.0,
) -> World:
    """Workers take slots in turn and book ``per_slot`` times in each.

    ``costs`` are ms by hop on top of ``COSTS``; ``queue_at`` names the hop that serves one attempt at a
    time; ``sessions`` are those seen in a state on average ("running", "lock", "open"), one a worker
    at most, and "pool" bounds all of them.
    """
    rng = np.random.default_rng(seed)
    spent = {hop: COSTS[hop] + (costs or {}).get(hop, 0.0) for hop in COSTS}
    rows: list[attempt.Attempt] = []
    server: list[dict[str, Any]] = []
    sampled = {}
    for level in levels:
        label = f"concurrency-{level}"
        run = list(_closed_loop(rng, spent, queue_at, level, slots, per_slot, noise))
        for number, (worker, slot, iteration, start_ms, hops) in enumerate(run):
            key = f"{label}-{number}"
            rows.append(_attempt(label, level, worker, slot, iteration, start_ms, hops, key, number))
            server.append(_server_row(key, hops, profile, pool_share, lock_share, calls))
        if sessions is not None:
            end = max(start + sum(hops.values()) for *_, start, hops in run)
            sampled[label] = _samples(rng, end, level, sessions, cores or {}, age_ms)
    return World(attempt.frame(rows), pd.DataFrame(server), sampled)


def _closed_loop(
    rng: np.random.Generator,
    spent: dict[str, float],
    queue_at: str | None,
    level: int,
    slots: int,
    per_slot: int,
    noise: float,
) -> Any:
    """Attempts in the order they reach the queue, each with what every hop cost it."""
    free_at, open_slots = 0.0, list(range(slots))
    effects = rng.normal(1, noise, slots)
    ready: list[tuple[float, int, int, int]] = []
    for worker in range(min(level, slots)):
        heapq.heappush(ready, (worker * 3.0, worker, open_slots.pop(0), 1))
    while ready:
        start, worker, slot, iteration = heapq.heappop(ready)
        hops = {hop: max(0.1, ms * effects[slot] * rng.normal(1, noise)) for hop, ms in spent.items()}
        if queue_at is not None:
            begun = max(start, free_at)
            free_at = begun + hops[queue_at]
            hops[queue_at] = free_at - start
        yield worker, slot, iteration, start, hops
        end = start + sum(hops.values())
        if iteration < per_slot:
            heapq.heappush(ready, (end, worker, slot, iteration + 1))
        elif open_slots:
            heapq.heappush(ready, (end, worker, open_slots.pop(0), 1))


def _attempt(
    label: str,
    level: int,
    worker: int,
    slot: int,
    iteration: int,
    start_ms: float,
    hops: dict[str, float],
    key: str,
    number: int,
) -> attempt.Attempt:
    total = sum(hops.values())
    wait = total - hops["client"] - hops["network"] / 2
    start = START + timedelta(milliseconds=start_ms)
    return attempt.Attempt(
        label=label,
        concurrency=level,
        correlation_id=key,
        booking_id=key,
        outcome="confirmed_inline_api",
        file=f"slot-fill-{slot}.log",
        first_line=number * 4 + 1,
        last_line=number * 4 + 4,
        slot=f"{16 + slot // 4:02d}:{slot % 4 * 15:02d}",
        iteration=iteration,
        worker=worker,
        started_at=start,
        submitted_at=start,
        ended_at=start + timedelta(milliseconds=total),
        submit_ms=total - hops["client"],
        connect_ms=0.0,
        send_ms=hops["network"] / 4,
        wait_ms=wait,
        receive_ms=hops["network"] / 4,
        total_ms=total,
        seat_waste=slot % 3,
        initial_status="confirmed",
    )


def _server_row(
    key: str, hops: dict[str, float], profile: bool, pool_share: float, lock_share: float, calls: int
) -> dict[str, Any]:
    handler = hops["api"] + hops["allocator"] + hops["database"]
    if not profile:
        inside = hops["allocator"] + hops["database"]
        return {"booking_id": key, "handler_ms": handler, "quote_ms": inside / 2, "confirm_ms": inside / 2}
    return {
        "booking_id": key,
        "handler_ms": handler,
        "profile_api_ms": hops["api"],
        "profile_allocator_ms": hops["allocator"],
        "profile_database_ms": hops["database"],
        "profile_pool_wait_ms": hops["database"] * pool_share,
        "profile_lock_wait_ms": hops["database"] * lock_share,
        "profile_database_calls": calls,
    }


def _samples(
    rng: np.random.Generator,
    end_ms: float,
    workers: int,
    sessions: dict[str, float],
    cores: dict[str, float],
    age_ms: float,
) -> pd.DataFrame:
    """Some 400 observations; each worker is in a state by chance, so that the mean is the one asked for."""
    rows: list[dict[str, Any]] = []
    kinds = {"running": ("active", None), "lock": ("active", "Lock"), "open": ("idle in transaction", "Client")}
    for at_ms in np.arange(0, end_ms, max(50.0, end_ms / 400)):
        at, free = START + timedelta(milliseconds=float(at_ms)), int(sessions.get("pool", workers))
        for name, value in (("connections", 10), ("max_connections", 100), ("queue_depth", 0), ("deadlocks", 0)):
            rows.append({"at": at, "kind": "server", "metric": name, "value": float(value)})
        chances = np.array([sessions.get(kind, 0.0) / workers for kind in kinds])
        drawn = rng.multinomial(workers, [*(chances / max(1.0, chances.sum())), max(0.0, 1 - chances.sum())])
        for (state, wait), wanted in zip(kinds.values(), drawn, strict=False):
            seen = min(free, wanted)
            rows += [_session(at, 100 + free - each, state, wait, age_ms) for each in range(seen)]
            free -= seen
        for number, (name, busy) in enumerate(cores.items()):
            cpu = {"pid": number, "application_name": name, "metric": "cpu_ms", "value": busy * at_ms}
            rows.append({"at": at, "kind": "process", **cpu})
    return sample.frame(rows)


def _session(at: datetime, pid: int, state: str, wait: str | None, age_ms: float) -> dict[str, Any]:
    return {
        "at": at,
        "kind": "activity",
        "pid": pid,
        "application_name": "whitehorse-web",
        "state": state,
        "wait_event_type": wait,
        "query": "select",
        "query_age_ms": age_ms,
    }
