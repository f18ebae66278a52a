"""Processor time: who used it, and whether the attempts waited for it.

A machine's utilisation is what all the run's processes computed over what the cores left to the run could have
(P. Denning, J. Buzen, Computing Surveys 10, 1978). It cannot be above 1; one that is shows an error of ours.
"""

from collections.abc import Mapping

from slotfill.analyse.constants import BUSY, HOG_SHARE, IMPOSSIBLE, MACHINE_SHARE
from slotfill.analyse.document import Finding
from slotfill.analyse.findings.measurements import Measurements, truth
from slotfill.analyse.utilisation import Utilisation

_SAMPLE = "sample the processes where they run"
_HOPS = {"postgres": "database", "driver": "client"}


def cpu(case: Measurements) -> Finding:
    """One kind of process computes so much that attempts wait for its turn, or last as long as it computes."""
    needed = demands(case)
    if needed is None:
        return Finding("cpu", "unknown", "processor time was not sampled", needs=_SAMPLE)
    kind = max(needed, key=lambda name: needed[name])
    lowest = case.accounts.labels[0]
    hop = _computing_hop(case, kind, needed[kind])
    saturated = is_saturated(case, kind)
    cost = needed[kind] * stretch(case, lowest)
    heavy = cost >= 0.5 * case.accounts.total_ms(lowest)
    claim = f"the {kind} process computes {needed[kind]:.1f} ms for each attempt"
    if saturated:
        claim += f", which {case.workers} workers need more of than there is"
    figures = {"process": kind, "saturated": saturated, "cpu_ms_per_attempt": needed, "cpus": case.cpus}
    if kind == "postgres" and case.utilisation is not None and case.utilisation.foreign_running >= 0.5:
        claim += (
            f"; {case.utilisation.foreign_running:.1f} sessions that are not the platform's were running statements"
        )
        figures["sessions_of_others"] = case.utilisation.foreign_running
    return Finding("cpu", truth(heavy or saturated), claim, figures, hop=hop, cost_ms=cost)


def host_cpu(case: Measurements) -> Finding:
    """The machine that carries client, platform and database alike is out of processor time."""
    needed, utilisation = demands(case), case.utilisation
    if needed is None or utilisation is None:
        return Finding("host_cpu", "unknown", "processor time was not sampled", needs=_SAMPLE)
    busy = utilisation.busy(case.cpus or 1)
    figures = {"utilisation": busy, "cpus": case.cpus, "cpu_ms_per_attempt": needed}
    if busy > IMPOSSIBLE:
        claim = f"a utilisation of {busy:.2f} cannot be: processor time and time do not belong together here"
        return Finding("host_cpu", "unknown", claim, figures, needs="report this as an error of Slotfill's")
    claim = f"the cores left to the run were {busy:.0%} busy while requests were in flight"
    return Finding("host_cpu", truth(busy >= BUSY), claim, figures)


def cpu_hog(case: Measurements) -> Finding:
    """Processes that have nothing to do with the run take the machine's time.

    ``cost_ms`` is how long the run's own computing lasts beside them at the lowest level, where its
    attempts are least in each other's way.
    """
    lowest = case.accounts.labels[0]
    utilisation, cpus = case.utilisations.get(lowest), case.cpus or 1
    if utilisation is None or utilisation.host_cores is None:
        return Finding("cpu_hog", "unknown", "the machine as a whole was not sampled", needs=_SAMPLE)
    others = utilisation.others_cores
    claim = f"processes that have nothing to do with the run kept {others:.1f} of {cpus} cores busy"
    cost = computing_ms(utilisation) * stretch(case, lowest)
    figures = {"cores_of_others": others, "cpus": cpus, "computing_ms": cost}
    return Finding("cpu_hog", truth(others >= HOG_SHARE * cpus), claim, figures, cost_ms=cost)


def is_saturated(case: Measurements, kind: str) -> bool:
    """Attempts wait for a processor because of what this kind of process computes.

    Either its own core is the busiest resource there is, or the machine is, and it is this kind that
    fills it. A machine filled by all parts alike, the load generator among them, is no limit of the
    platform: driving the load from another machine moves it.
    """
    needed, utilisation = demands(case), case.utilisation
    if needed is None or utilisation is None or kind not in needed:
        return False
    return utilisation.busy(case.cpus or 1) >= BUSY and needed[kind] >= MACHINE_SHARE * sum(needed.values())


def _computing_hop(case: Measurements, kind: str, needed_ms: float) -> str:
    """The hop that a process's time is computed in. The allocator's own time is computing, the rest is the api's."""
    if kind not in ("web", "worker"):
        return _HOPS.get(kind, "database")
    allocator = min(case.accounts.mean_ms("allocator", case.accounts.labels[0]), needed_ms)
    return "allocator" if allocator >= needed_ms / 2 else "api"


def demands(case: Measurements) -> Mapping[str, float] | None:
    """Processor time of each kind of process per attempt, at the highest level; ``None`` where not sampled."""
    utilisation = case.utilisation
    if utilisation is None or not utilisation.cores:
        return None
    return {kind: cores * utilisation.ms_per_core for kind, cores in utilisation.cores.items()}


def computing_ms(utilisation: Utilisation) -> float:
    """Processor time of all the run's processes per attempt."""
    return sum(utilisation.cores.values()) * utilisation.ms_per_core


def stretch(case: Measurements, label: str) -> float:
    """How much longer computing lasts at a level because others use the machine as well."""
    utilisation, cpus = case.utilisations.get(label), case.cpus or 1
    return cpus / utilisation.capacity(cpus) if utilisation is not None else 1.0
