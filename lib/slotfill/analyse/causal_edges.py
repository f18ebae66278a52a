"""The causal edges: what the leaves alone would charge to the wrong cause.

A deadlock sends bookings to the queue, a late hop makes the client poll, refused connections are waited for as in a
pool; and where the server does not tell its times, what a hop does has no name but its steps.
"""

from collections.abc import Mapping

import numpy as np

from slotfill.analyse import constants
from slotfill.analyse.causes import LOCK, PERMIT, POOL, STARVED, WORKERS, Leaves, Name, Processors, leaves
from slotfill.analyse.document import Finding
from slotfill.analyse.findings.database import slow_share
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.hops import SERVER_PROFILE
from slotfill.analyse.ledger import PARTS, Fit, Ledger
from slotfill.analyse.neighbours import hogged
from slotfill.analyse.stats import Floats

Findings = Mapping[str, Finding]
DELAY: Name = ("queue", "queue_delay")
POLL: Name = ("client", "poll_interval")
LIMIT: Name = ("database", "connection_limit")
CPU_MECHANISM = "cpu"


def named_leaves(case: Measurements, findings: Findings, book: Ledger, fitted: Fit) -> Leaves:
    """The leaves with the causal edges applied, and named for what was found."""
    rows = case.accounts.measured
    divided = bool(rows["database_ms"].notna().all())
    profiled = bool((rows["tier"] <= SERVER_PROFILE).all())
    slow = slow_share(case, float(fitted.at[0, PARTS.index("statements")]))
    crowded = case.accounts.top in hogged(case)
    found = leaves(book, fitted, processors(case) if divided else Processors(), profiled, slow, crowded)
    own, waits = dict(found.own), dict(found.waits)
    if not divided:
        _undivided(own, waits)
    _late_jobs(case, findings, own, waits)
    if findings["connection_limit"].holds:
        _rename(own, waits, POOL, LIMIT)
    if _deadlocks(findings):
        _deadlocked(case, findings, own, waits, divided)
    for name in ("enumeration", "cold_start"):
        if findings[name].holds:
            _carve(own, waits, str(findings[name].hop), name, findings[name].cost_ms)
    return Leaves(own, waits, found.unnamed, found.transferred, found.utilisation)


def processors(case: Measurements) -> Processors:
    """Processor time by process over all sampled levels, and the cores that others leave at the busiest."""
    sampled = [case.utilisations[label] for label in case.accounts.labels if label in case.utilisations]
    sampled = [each for each in sampled if each.cores]
    attempts = sum(each.attempts for each in sampled)
    if not attempts:
        return Processors()
    kinds = {kind for each in sampled for kind in each.cores}
    demands = {
        kind: sum(each.cores.get(kind, 0.0) * each.ms_per_core * each.attempts for each in sampled) / attempts
        for kind in kinds
    }
    web = max(each.cores.get("web", 0.0) * each.seconds / max(each.active_seconds, 1e-9) for each in sampled)
    return Processors(demands, min(each.capacity(case.cpus or 1) for each in sampled), web)


def _rename(own: dict[Name, Floats], waits: dict[Name, Floats], old: Name, new: Name) -> None:
    for columns in (own, waits):
        columns[new] = columns.get(new, 0.0) + columns.pop(old)


def _undivided(own: dict[Name, Floats], waits: dict[Name, Floats]) -> None:
    """Without the server's own times a hop's cost is its steps one after another, and its waiting has no name."""
    for hop, cost, queue in (("api", "api_delay", "api_workers"), ("allocator", "serialised_allocator", "")):
        steps, waiting = (hop, "sequential_work"), waits.pop((hop, queue)) if queue else waits[hop, cost]
        own[steps] = own.pop((hop, cost)) + own.pop((hop, CPU_MECHANISM))
        own.pop((hop, queue), None)
        waits.pop((hop, cost), None)
        waits.pop((hop, CPU_MECHANISM), None)
        waits[steps] = waiting


def _late_jobs(case: Measurements, findings: Findings, own: dict[Name, Floats], waits: dict[Name, Floats]) -> None:
    """Jobs that no worker takes wait at every load; and a client polls because what it polls for is late."""
    finished, jobs = (findings["starved_queue"].figures.get(name) for name in ("jobs_finished", "jobs"))
    unserved = finished is not None and jobs is not None and finished < jobs / 2
    one_level = len(case.accounts.labels) == 1
    if unserved or (one_level and findings["starved_queue"].holds):
        own[STARVED] = own[STARVED] + own[DELAY]
        own[DELAY] = np.zeros_like(own[DELAY])
    queue, poll = own[DELAY] + own[STARVED] + waits[STARVED], own[POLL]
    late = queue >= constants.CLOSE * poll
    delayed = own[DELAY] >= own[STARVED] + waits[STARVED]
    own[DELAY] = own[DELAY] + np.where(late & delayed & (queue > 0), poll, 0)
    waits[STARVED] = waits[STARVED] + np.where(late & ~delayed & (queue > 0), poll, 0)
    own[POLL] = np.where(late & (queue > 0), 0, poll)


def _deadlocks(findings: Findings) -> bool:
    """Deadlocks are a pattern; a rare one is an accident of whatever locks there are."""
    figures = findings["deadlock"].figures
    return findings["deadlock"].holds and bool(figures["deadlocks"] >= constants.DEADLOCK_RATE * figures["attempts"])


def _deadlocked(
    case: Measurements, findings: Findings, own: dict[Name, Floats], waits: dict[Name, Floats], divided: bool
) -> None:
    """A booking is left to the job when its allocation failed: what is paid after the answer began in the database."""
    dead: Name = ("database" if divided else "allocator", "deadlock")
    _rename(own, waits, LOCK, dead)
    left = int((case.accounts.measured["outcome"] != "confirmed_inline_api").sum())
    # Where the server does not tell its waits, those of its statements are in their time.
    told = bool((case.accounts.measured["tier"] <= SERVER_PROFILE).all())
    undivided = [("allocator", "sequential_work"), ("api", "sequential_work")]
    paid = undivided if not divided else [] if told else [("database", "round_trips"), PERMIT, WORKERS]
    if findings["deadlock"].figures["deadlocks"] >= left / 2:
        paid += [DELAY, STARVED, POLL]
        for name in (DELAY, STARVED, POLL):
            waits[dead] = waits[dead] + own[name]
            own[name] = np.zeros_like(own[name])
    for name in paid:
        waits[dead] = waits[dead] + waits[name]
        waits[name] = np.zeros_like(waits[name])


def _carve(own: dict[Name, Floats], waits: dict[Name, Floats], hop: str, mechanism: str, cost_ms: float) -> None:
    """Name a part of a hop's own time for what was found to take it."""
    largest = max((name for name in own if name[0] == hop), key=lambda name: float(own[name][0]))
    part = np.minimum(own[largest], cost_ms)
    own[largest] = own[largest] - part
    own[hop, mechanism] = part
    waits[hop, mechanism] = np.zeros_like(part)
