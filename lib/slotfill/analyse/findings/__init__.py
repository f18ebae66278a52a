"""Findings: one small pure function per question, each answering true, false or unknown with its evidence."""

from collections.abc import Callable

from slotfill.analyse.findings import background, database, evidence, platform, processor
from slotfill.analyse.findings.finding import Evidence, Finding, Source

MECHANISMS: tuple[Callable[[Evidence], Finding], ...] = (
    database.pool_wait,
    database.connection_limit,
    database.lock_wait,
    database.deadlock,
    database.slow_query,
    database.round_trips,
    processor.cpu,
    platform.api_workers,
    platform.api_delay,
    platform.rate_limit,
    platform.serialised_allocator,
    platform.enumeration,
    platform.sequential_work,
    platform.cold_start,
    background.starved_queue,
    background.queue_delay,
    background.poll_interval,
)
QUALITIES: tuple[Callable[[Evidence], Finding], ...] = (
    processor.host_cpu,
    processor.cpu_hog,
    background.inline_timeout,
    evidence.exhaustion,
    evidence.database_errors,
    evidence.seat_waste,
    evidence.noise,
    evidence.warm_up,
    evidence.few_samples,
)


__all__ = ["Evidence", "Finding", "Source", "examine"]


def examine(case: Evidence) -> dict[str, Finding]:
    """Every finding by its name; one that fails on these data is unknown, and says so."""
    return {check.__name__: _answer(check, case) for check in (*MECHANISMS, *QUALITIES)}


def _answer(check: Callable[[Evidence], Finding], case: Evidence) -> Finding:
    try:
        return check(case)
    except Exception as error:
        return Finding(check.__name__, "unknown", f"could not be answered ({type(error).__name__}: {error})")
