"""Findings: one small pure function per question, each answering true, false or unknown with its evidence."""

from collections.abc import Callable

from slotfill.analyse.document import Finding
from slotfill.analyse.findings import background, database, evidence, platform, processor
from slotfill.analyse.findings.measurements import Measurements

MECHANISMS: tuple[Callable[[Measurements], Finding], ...] = (
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
QUALITIES: tuple[Callable[[Measurements], Finding], ...] = (
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


def examine(case: Measurements) -> dict[str, Finding]:
    """Every finding by its name."""
    return {check.__name__: check(case) for check in (*MECHANISMS, *QUALITIES)}
