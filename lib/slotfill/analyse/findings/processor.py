"""Processor time: who used it, and whether the attempts waited for it."""

from collections.abc import Mapping

from slotfill.analyse.findings.finding import Case, Finding, truth
from slotfill.analyse.pressure import Pressure

BUSY = 0.8
"""A core (or the machine) this busy makes work wait: at 0.8 a single queue already waits four service times."""
DOMINATES = 0.6
_HOPS = {"web": ("api", "allocator"), "worker": ("queue",), "postgres": ("database",), "driver": ("client",)}


def cpu(case: Case) -> Finding:
    """One kind of process computes so much that requests wait for its turn."""
    pressure = case.pressure
    if pressure is None or not pressure.cores:
        return Finding("cpu", "unknown", "processor time was not sampled", needs="sample the processes where they run")
    kind = busiest(pressure.cores)
    cost = cpu_ms(pressure, kind)
    hop = max(_HOPS.get(kind, ("database",)), key=lambda name: case.accounts.mean_ms(name, case.accounts.labels[0]))
    saturated = is_saturated(case, kind)
    figures = {
        "process": kind,
        "saturated": saturated,
        "cpu_ms_per_attempt": cost,
        "cores": pressure.cores,
        "busiest_process_cores": pressure.busiest_process_cores,
        "cpus": case.cpus,
    }
    claim = (
        f"the {kind} process computes {cost:.0f} ms for each attempt and keeps {pressure.cores[kind]:.2f} cores busy"
    )
    lowest = case.pressures.get(case.accounts.labels[0], pressure)
    alone = cpu_ms(lowest, kind) if kind in lowest.cores else cost
    heavy = alone >= 0.5 * case.accounts.total_ms(case.accounts.labels[0])
    verdict = truth(heavy or saturated)
    return Finding("cpu", verdict, claim, figures, hop=hop, cost_ms=cost)


def host_cpu(case: Case) -> Finding:
    """The machine that carries client, platform and database alike is out of processor time."""
    pressure = case.pressure
    if pressure is None or case.cpus is None or not pressure.cores:
        return Finding(
            "host_cpu", "unknown", "processor time was not sampled", needs="sample the processes where they run"
        )
    used = sum(pressure.cores.values())
    busy = used / case.cpus if pressure.host_busy is None else pressure.host_busy
    others = max(0.0, busy * case.cpus - used)
    figures = {"busy_share": busy, "cpus": case.cpus, "cores": pressure.cores, "cores_of_others": others}
    claim = f"the machine was {busy:.0%} busy"
    if others > BUSY * case.cpus / 2:
        claim += f", {others:.1f} cores of it by processes that have nothing to do with the platform"
    return Finding("host_cpu", truth(busy >= BUSY), claim, figures)


def is_saturated(case: Case, kind: str) -> bool:
    """The processes of one kind wait for a processor because of their own computing.

    Either one of them keeps its core busy while the machine has others to spare (a single-threaded
    limit), or together they use most of a busy machine. A machine kept busy by all parts alike, the
    load generator among them, is no limit of the platform's: another machine for the load moves it.
    """
    pressure = case.pressure
    if pressure is None or kind not in pressure.cores:
        return False
    used = sum(pressure.cores.values())
    cpus = case.cpus or max(1, round(used))
    if used / cpus >= BUSY:
        return pressure.cores[kind] >= DOMINATES * used
    return pressure.busiest_process_cores.get(kind, 0.0) >= BUSY


def busiest(cores: Mapping[str, float]) -> str:
    """The kind of process that used most."""
    return max(cores, key=lambda kind: cores[kind])


def cpu_ms(pressure: Pressure, kind: str) -> float:
    """Processor time of one kind of process per attempt."""
    return pressure.cores[kind] * pressure.seconds * 1000 / max(pressure.attempts, 1)
