"""CPU time of local processes and of all they have started."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import psutil

HOST = "host"
Processes = Mapping[str, int] | Callable[[], Mapping[str, int]]


class CpuMeter:
    """Reads cumulative CPU time (user and system) of named processes, each with its descendants.

    ``processes`` names them, name → pid, or is a function that names them as they are now, so that one
    that was started again is followed. A process that is gone is told once, in its last row.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes if callable(processes) else lambda: processes
        self._gone: set[int] = set()

    def read(self) -> list[dict[str, Any]]:
        """One row a process: pid, application_name, metric ``cpu_ms`` and its value, or metric ``gone``.

        Where processes are named, the machine they run on is one more row, ``host``: what all processes used.
        """
        named = {name: pid for name, pid in self._processes().items() if pid not in self._gone}
        children = _children() if named else {}
        rows = []
        for name, pid in named.items():
            cpu_ms = _tree_ms(pid, children)
            if cpu_ms is None:
                self._gone.add(pid)
            metric = "gone" if cpu_ms is None else "cpu_ms"
            rows.append({"pid": pid, "application_name": name, "metric": metric, "value": cpu_ms})
        if named:
            rows.append({"pid": None, "application_name": HOST, "metric": "cpu_ms", "value": _host_ms()})
        return rows


def _host_ms() -> float:
    """What all processes of this machine used, summed over its cores; what the system does not count is 0."""
    times = psutil.cpu_times()
    return 1000 * sum(getattr(times, part, 0.0) for part in ("user", "nice", "system", "irq", "softirq"))


def _children() -> dict[int, list[int]]:
    children = defaultdict(list)
    for process in psutil.process_iter(["pid", "ppid"]):
        children[process.info["ppid"]].append(process.info["pid"])
    return children


def _tree_ms(pid: int, children: Mapping[int, list[int]]) -> float | None:
    """CPU of a process, of the children it has buried, and of those alive; None where the process is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    own = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return own * 1000 + sum(_tree_ms(child, children) or 0.0 for child in children.get(pid, []))
