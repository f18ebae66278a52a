"""What the gauntlet plants, and what has to be named then."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import outside
from outside import Around
from planting import LEVELS, Faults, nothing

EITHER = "constant_cost saturation"
BACKGROUND: Faults = {"api_delay_ms": 10, "db_rtt_ms": 0.5, "allocator_cpu_ms": 2}
CONTROL = "control"


@dataclass(frozen=True)
class Cause:
    """What is planted, weak and strong, and what has to be named (no ``hop``: any).

    ``also`` goes with it in both strengths.
    """

    name: str
    weak: Faults
    strong: Faults
    hop: str
    mechanisms: tuple[str, ...]
    kind: str
    also: Faults = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    adds_ms: str | None = None
    """The fault whose milliseconds its hop's mean grows by at concurrency 1."""
    around: Around = nothing
    """What others do from outside; such a cause has one strength, and either kind may be made of it."""
    around_levels: tuple[int, ...] = LEVELS
    levels: tuple[int, ...] = LEVELS
    misleading: bool = False

    def is_met_by(self, hop: str, mechanism: str, kind: str) -> tuple[bool, bool, bool]:
        """Hop, mechanism and kind."""
        return (
            hop == (self.hop or hop),
            mechanism in (self.mechanisms or (mechanism,)),
            kind in self.kind.split(),
        )


CAUSES = (
    Cause("api_delay", {"api_delay_ms": 60}, {"api_delay_ms": 200}, "api", ("api_delay",), "constant_cost", adds_ms="api_delay_ms"),
    Cause("api_cpu", {"api_cpu_ms": 60}, {"api_cpu_ms": 150}, "api", ("cpu",), "saturation", adds_ms="api_cpu_ms"),
    Cause("api_workers", {"api_workers": 2}, {"api_workers": 1}, "api", ("api_workers",), "saturation", also={"api_delay_ms": 60}),
    Cause("allocator_cpu", {"allocator_cpu_ms": 60}, {"allocator_cpu_ms": 150}, "allocator", ("cpu",), "saturation", adds_ms="allocator_cpu_ms"),
    Cause("allocator_serial", {"db_rtt_ms": 4}, {"db_rtt_ms": 12}, "allocator", ("serialised_allocator",), "saturation", also={"allocator_serial": True}),
    Cause("db_rtt", {"db_rtt_ms": 6}, {"db_rtt_ms": 20}, "database", ("round_trips",), "constant_cost"),
    Cause("round_trips", {"round_trips": 40}, {"round_trips": 80}, "database", ("round_trips",), "constant_cost", also={"db_rtt_ms": 4}),
    Cause("db_slow_query", {"db_slow_query_ms": 60}, {"db_slow_query_ms": 200}, "database", ("slow_query",), "constant_cost", adds_ms="db_slow_query_ms"),
    Cause("db_lock", {"db_lock_ms": 50}, {"db_lock_ms": 120}, "database", ("lock_wait",), "saturation"),
    Cause("restaurant_row_lock", {"restaurant_row_lock": 30}, {"restaurant_row_lock": 90}, "database", ("deadlock", "lock_wait"), "saturation"),
    Cause("db_pool_size", {"db_pool_size": 2}, {"db_pool_size": 1}, "database", ("pool_wait",), "saturation", also={"db_rtt_ms": 6}),
    Cause("db_max_connections", {"db_max_connections": 14}, {"db_max_connections": 12}, "database", ("connection_limit",), "saturation", also={"db_rtt_ms": 6}),
    Cause("queue_delay", {"queue_delay_ms": 500}, {"queue_delay_ms": 1_200}, "queue", ("queue_delay",), "constant_cost", also={"inline_timeout_ms": 0}, adds_ms="queue_delay_ms"),
    Cause("queue_workers", {"db_slow_query_ms": 200}, {"db_slow_query_ms": 350}, "queue", ("starved_queue",), "saturation", also={"inline_timeout_ms": 0, "queue_workers": 1}),
    Cause("rate_limit", {"rate_limit_per_min": 12}, {"rate_limit_per_min": 10}, "api", ("rate_limit",), "saturation", grid={"stress_max": 1}),
    Cause("lock_holder", {}, {}, "database", ("lock_wait",), EITHER, around=outside.lock_holder),
    Cause("cpu_hog", {}, {}, "", ("cpu",), EITHER, around=outside.cpu_hog),
    Cause("loaded_database", {}, {}, "database", ("cpu", "slow_query"), EITHER, around=outside.loaded_database),
    Cause("stopped_worker", {}, {}, "queue", ("starved_queue",), EITHER, also={"inline_timeout_ms": 0}, grid={"timeout_ms": 6_000, "stress_max": 1}, around=outside.stopped_worker),
    Cause("exhaustion", {}, {}, "venue", ("exhaustion",), "constant_cost", grid={"min_party_size": 60, "max_party_size": 80}),
)  # fmt: skip


def _misleading(
    name: str, planted: Faults, hop: str, mechanisms: str, kind: str, around: Around = nothing, **more: Any
) -> Cause:
    named = tuple(mechanisms.split())
    return Cause(name, {}, {}, hop, named, kind, also=planted, around=around, misleading=True, **more)


# Each breaks a rule of thumb: the larger hop, the outer queue, the mean, the lowest level. The truth is what taking one
# resource away at a time has shown: an outer queue limits only where the time it is held, less the waits inside, fills it.
MISLEADING = (
    _misleading("cpu_in_smaller_hop", {"api_delay_ms": 100, "allocator_cpu_ms": 60}, "allocator", "cpu", "saturation"),
    _misleading("workers_around_lock", {"api_workers": 3, "db_lock_ms": 40}, "database", "lock_wait", "saturation"),
    _misleading("pool_around_lock", {"db_pool_size": 2, "db_lock_ms": 40}, "database", "lock_wait", "saturation"),
    _misleading("pool_beside_cpu", {"db_pool_size": 3, "allocator_cpu_ms": 10}, "allocator", "cpu", "saturation"),
    _misleading("permit_around_pool", {"allocator_serial": True, "db_pool_size": 1}, "database", "pool_wait", "saturation"),
    _misleading("permit_around_cpu", {"allocator_serial": True, "allocator_cpu_ms": 30}, "allocator", "serialised_allocator", "saturation"),
    _misleading("one_computing_worker", {"api_workers": 1, "api_cpu_ms": 100}, "api", "api_workers", "saturation"),
    # A moment is no saturation: what costs every booking is the answer.
    _misleading("stalled_api", {"db_slow_query_ms": 80}, "database", "slow_query", "constant_cost", outside.stalled_api),
    _misleading("stalled_lock", {"api_delay_ms": 80}, "api", "api_delay", "constant_cost", outside.stalled_lock),
    _misleading("stall_at_highest", {"api_delay_ms": 80}, "api", "api_delay", "constant_cost", outside.stalled_lock, around_levels=(8,)),
    _misleading("lock_outlier", {"api_delay_ms": 150}, "api", "api_delay", "constant_cost", outside.lock_outlier),
    _misleading("hogs_at_four", {"db_slow_query_ms": 80}, "database", "slow_query", "constant_cost", outside.cpu_hog, around_levels=(4,)),
    _misleading("network_outlier", {"db_slow_query_ms": 10}, "network", "", "constant_cost", outside.network_outlier),
    _misleading("fading_start", {"db_slow_query_ms": 60}, "database", "slow_query", "constant_cost", outside.fading_start),
    _misleading("one_level", {"api_delay_ms": 200}, "api", "api_delay", "unknown", levels=(4,)),
)  # fmt: skip


def scenarios(chosen: str, only: tuple[str, ...], hop: str | None) -> Iterator[tuple[Cause | None, str, Faults]]:
    """Cause (``None``: a control), strength and faults of each; ``chosen`` is ``plain``, ``misleading`` or ``all``."""
    if chosen != "misleading":
        for background in ("alone", "background"):
            if not only or CONTROL in only:
                yield None, background, BACKGROUND if background == "background" else {}
    for cause in CAUSES + MISLEADING:
        if (only and cause.name not in only) or hop not in (None, cause.hop):
            continue
        if chosen != "all" and not only and cause.misleading != (chosen == "misleading"):
            continue
        if cause.misleading:
            yield cause, "given", cause.also
            continue
        if cause.around is nothing:
            yield cause, "weak", {**cause.also, **cause.weak}
        yield cause, "strong", {**BACKGROUND, **cause.also, **cause.strong}


def cause_named(name: str) -> Cause | None:
    """The cause of a name, ``None`` for a control. Raises StopIteration where there is none."""
    return None if name == CONTROL else next(cause for cause in CAUSES + MISLEADING if cause.name == name)
