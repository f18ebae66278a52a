"""From the parts of an attempt to what each resource is worth: the leaves that the verdict is chosen from.

A part's own time is a cost; what others add to it is waiting for something. Waiting is charged to the resource
that limits, which may lie inside the one where the attempt stands: a worker thread, a permit or a connection is
held while its holder waits for a lock or a core, so an outer queue limits only as far as its holders do not wait
inside it, X · (time held − waits inside) / servers ≈ 1. Held ones wait inside nearly always exactly where
nearly every attempt has to queue there, and that is what is looked at (``Queued``).

Processor time is the computing hop's: the allocator's own time is computing, as it has no other work of its own
(its database calls are the database's); the web process's remaining time is the api's, as far as it takes its
time, and then that of handling database calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slotfill.analyse.constants import (
    CPU_BUSY,
    CPU_FULL,
    CROWDED_SHARE,
    MACHINE_SHARE,
    MATERIAL_WAIT,
    MORE_THAN_ONE_CORE,
    ONE_CORE_FULL,
    ONE_CORE_PERHAPS,
    QUEUED,
)
from slotfill.analyse.ledger import PARTS, PARTS_OF, Fit, Ledger
from slotfill.analyse.stats import Floats, ratio

Name = tuple[str, str]
"""Hop and mechanism."""

WORKERS: Name = ("api", "api_workers")
PERMIT: Name = ("allocator", "serialised_allocator")
STARVED: Name = ("queue", "starved_queue")
POOL: Name = ("database", "pool_wait")
LOCK: Name = ("database", "lock_wait")
QUEUES = (
    *("api_workers", "serialised_allocator", "starved_queue"),
    *("pool_wait", "lock_wait", "connection_limit", "deadlock", "cpu"),
)
"""Mechanisms that are a queue for something known."""
NESTED = (WORKERS, STARVED, PERMIT, POOL, LOCK)
"""Queues from the outermost to the innermost; computing lies inside all of them."""
HELD_OVER = {
    WORKERS: ("api", "allocator", "database"),
    STARVED: ("allocator", "database"),
    PERMIT: ("allocator", "database"),
    POOL: ("database",),
}
"""The hops whose time is spent while an attempt holds what others queue for."""


@dataclass(frozen=True)
class Processors:
    """Processor time of an attempt by process (ms), and the cores that others leave; empty where not sampled."""

    demands: Mapping[str, float] = field(default_factory=dict)
    cores: float = 1.0
    web_cores: float = 0.0
    """Cores that the web process kept busy at its busiest level, while requests were in flight."""

    @property
    def one_core_full(self) -> bool:
        """The web process computes all the time on one core and never on more: an interpreter at its limit."""
        return ONE_CORE_FULL <= self.web_cores <= MORE_THAN_ONE_CORE

    @property
    def one_core_perhaps(self) -> bool:
        return ONE_CORE_PERHAPS <= self.web_cores <= MORE_THAN_ONE_CORE

    @property
    def web(self) -> float:
        """Of the processes that handle bookings."""
        return self.demands.get("web", 0.0) + self.demands.get("worker", 0.0)

    @property
    def total(self) -> float:
        return sum(self.demands.values())


@dataclass(frozen=True)
class Leaves:
    """Each resource's cost and the waiting charged to it, ms by resample, at the highest level.

    ``unnamed`` is, by hop, what it grew by and no resource was found for: what all parts of a full machine share.
    ``transferred`` is the share of the outer queues' waiting that was charged to inner ones, in the sample.
    """

    own: dict[Name, Floats]
    waits: dict[Name, Floats]
    unnamed: dict[str, Floats]
    transferred: float
    utilisation: float

    def at(self, name: Name) -> Floats:
        return self.own[name] + self.waits[name]


def leaves(
    book: Ledger, fitted: Fit, cpu: Processors, profiled: bool, slow_share: float, crowded: bool = False
) -> Leaves:
    """All leaves. ``slow_share`` is the part of the statements' time that one long statement takes.

    ``crowded``: processes of others used the machine, so what grows without a queue to name is theirs.
    """
    own = {part: fitted.own[:, place] for place, part in enumerate(PARTS)}
    others = {part: fitted.of_others[:, place] for place, part in enumerate(PARTS)}
    nothing = np.zeros_like(fitted.total)
    computing, stretched, busy = _computing(fitted, own, others, cpu, profiled)
    if cpu.one_core_full:
        for part in ("api", "allocator"):
            stretched[part] = np.where(computing[part] > 0, others[part], stretched[part])
    if crowded:
        # A part that computes lasts as long as others leave it the cores.
        for part in ("api", "allocator"):
            computes = computing[part] >= CROWDED_SHARE * own[part]
            computing[part] = np.where(computes, own[part], computing[part])
            stretched[part] = np.where(computes, others[part], stretched[part])
    # Beside a busy machine every part lasts longer; what is not waiting for a core there is left to be explained. Where
    # processors were not sampled, nobody knows how busy it was, and what all parts grew by alike stays without a name.
    unknown = profiled and not cpu.demands
    shared = _with_dilation(own, others, stretched, np.ones_like(busy)) if unknown else stretched
    rest = {part: np.clip(others[part] - shared[part], 0, None) for part in PARTS}
    if crowded or busy[0] >= CPU_BUSY:
        rest["statements"] = rest["client"] = nothing
    statements = np.clip(own["statements"] - computing["statements"], 0, None)
    mine: dict[Name, tuple[Floats, Floats]] = {
        ("client", "client"): (own["client"], rest["client"]),
        ("client", "poll_interval"): (own["poll"] + others["poll"], nothing),
        ("network", "network"): (own["network"], rest["network"]),
        ("api", "api_delay"): (np.clip(own["api"] - computing["api"], 0, None), nothing),
        ("api", "cpu"): (computing["api"], stretched["api"]),
        WORKERS: (nothing, rest["api"]),
        ("allocator", "cpu"): (computing["allocator"], stretched["allocator"]),
        PERMIT: (np.clip(own["allocator"] - computing["allocator"], 0, None), rest["allocator"]),
        ("queue", "queue_delay"): (own["queue"], nothing),
        STARVED: (nothing, others["queue"]),
        POOL: (own["pool"], others["pool"]),
        LOCK: (own["lock"], others["lock"]),
        ("database", "slow_query"): (statements * slow_share, nothing),
        ("database", "round_trips"): (statements * (1 - slow_share), rest["statements"]),
        ("database", "cpu"): (computing["statements"], stretched["statements"]),
    }
    found = {name: cost for name, (cost, _) in mine.items()}
    waits = {name: wait.copy() for name, (_, wait) in mine.items()}
    if not _dominates(cpu):
        # A machine that all parts fill alike is no limit of the platform, and others' load on it neither.
        for hop in ("api", "allocator", "database"):
            waits[hop, "cpu"] = nothing
    unnamed = {hop: _unnamed(hop, fitted, found, waits) for hop in PARTS_OF}
    moved = _charge_inner(waits, _queued(book), computing, busy)
    return Leaves(found, waits, unnamed, moved, float(busy[0]))


def _unnamed(hop: str, fitted: Fit, found: dict[Name, Floats], waits: dict[Name, Floats]) -> Floats:
    whole = np.asarray(fitted.at[:, [PARTS.index(part) for part in PARTS_OF[hop]]].sum(axis=1))
    for name in found:
        if name[0] == hop:
            whole = whole - found[name] - waits[name]
    return np.asarray(np.clip(whole, 0, None))


def _computing(
    fitted: Fit, own: dict[str, Floats], others: dict[str, Floats], cpu: Processors, profiled: bool
) -> tuple[dict[str, Floats], dict[str, Floats], Floats]:
    """What each part computes, how much longer waiting for a core makes it, and how busy the machine is."""
    nothing = np.zeros_like(fitted.total)
    computing, stretched = dict.fromkeys(PARTS, nothing), dict.fromkeys(PARTS, nothing)
    if not cpu.demands:
        if profiled:
            computing = computing | {"allocator": own["allocator"]}
        return computing, stretched, nothing
    allocator = np.minimum(own["allocator"], cpu.web)
    api = np.minimum(own["api"], cpu.web - allocator)
    statements = np.minimum(own["statements"], cpu.demands.get("postgres", 0.0) + cpu.web - allocator - api)
    client = np.minimum(own["client"], cpu.demands.get("driver", 0.0))
    computing = computing | {"allocator": allocator, "api": api, "statements": statements, "client": client}
    # One queue of c cores as one c times as fast and a delay (A. Seidmann and others, Large Scale Systems 12, 1987);
    # an arrival finds what n others leave there: R = d (1 + n/(n+1) · X R), X = (n + 1) / total.
    demand = cpu.total / max(cpu.cores, 1.0)
    busy = np.clip((fitted.others + 1) * ratio(np.full_like(fitted.total, demand), fitted.total), 0, 1)
    found = np.clip(fitted.others * demand / np.maximum(fitted.total, 1e-9), 0, 0.97)
    waiting = demand / (1 - found) - demand
    together = sum((computing[part] for part in PARTS), nothing)
    for part in PARTS:
        share = ratio(computing[part], together)
        stretched[part] = np.minimum(others[part], waiting * np.nan_to_num(share))
    return computing, _with_dilation(own, others, stretched, busy), busy


def _with_dilation(
    own: dict[str, Floats], others: dict[str, Floats], stretched: dict[str, Floats], busy: Floats
) -> dict[str, Floats]:
    """Beside a busy machine, what a part grew by no more than its fellows did is the machine's as well."""
    hops = ("api", "allocator", "statements")
    raised = dict(stretched)
    for hop in hops:
        fellows = [each for each in hops if each != hop]
        base, grown = own[fellows[0]] + own[fellows[1]], others[fellows[0]] + others[fellows[1]]
        alike = np.minimum(others[hop], own[hop] * np.nan_to_num(ratio(grown, base)))
        tells = (busy >= CPU_BUSY) & (base >= QUEUED * own[hop])
        raised[hop] = np.where(tells, np.maximum(stretched[hop], alike), stretched[hop])
    return raised


def _dominates(cpu: Processors) -> bool:
    """The platform, and not all that shares its machine, fills it."""
    return not cpu.demands or max(cpu.web, cpu.demands.get("postgres", 0.0)) >= MACHINE_SHARE * cpu.total


def _queued(book: Ledger) -> dict[Name, float]:
    """The share of attempts at the highest level that had to queue for each inner resource."""
    top, lowest = book.parts[book.top], book.parts[book.level == 0]
    column = {part: top[:, place] for place, part in enumerate(PARTS)}
    work = np.maximum(column["statements"], 1e-9)
    alone = float(np.median(lowest[:, PARTS.index("allocator")]))
    return {
        PERMIT: float((column["allocator"] >= (1 + QUEUED) * max(alone, 1e-9)).mean()),
        POOL: float((column["pool"] >= QUEUED * work).mean()),
        LOCK: float((column["lock"] >= QUEUED * work).mean()),
    }


def _charge_inner(
    waits: dict[Name, Floats], queued: dict[Name, float], computing: dict[str, Floats], busy: Floats
) -> float:
    """Charge the waiting of outer queues to the innermost resource that nearly always has a queue of its own."""
    hop = {"api": "api", "allocator": "allocator", "statements": "database"}
    most = max(hop, key=lambda part: float(computing[part][0]))
    core: Name = (hop[most], "cpu")
    full = np.clip((busy - CPU_BUSY) / (CPU_FULL - CPU_BUSY), 0, 1) * (float(waits[core][0]) > 0)
    moved = together = 0.0
    for place, outer in enumerate(NESTED[:-1]):
        least = MATERIAL_WAIT * float(waits[outer][0])
        inner = [name for name in NESTED[place + 1 :] if name in queued and float(waits[name][0]) > least]
        best = max(inner, key=lambda name: (round(queued[name], 1), NESTED.index(name)), default=None)
        share = np.full_like(busy, queued[best]) if best is not None else np.zeros_like(busy)
        target = core if best is None or full[0] > share[0] else best
        share = full if target == core else share
        part = waits[outer] * share
        if float(waits[outer][0]) > 0:
            together += float(waits[outer][0])
            moved += float(part[0])
        waits[target] = waits[target] + part
        waits[outer] = waits[outer] - part
    return moved / together if together else 0.0
