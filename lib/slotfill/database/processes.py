"""CPU time of local processes and of all they have started."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psutil


class CpuMeter:
    """Reads cumulative CPU time (user and system) of named processes, each with its descendants.

    A process that is gone is told once, as its last reading; its name stays free of figures then.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._roots = dict(processes)

    def read(self) -> list[dict[str, Any]]:
        """One row a process: pid, application_name, metric ``cpu_ms`` and its value, or metric ``gone``."""
        if not self._roots:
            return []
        children = _children()
        rows = []
        for name, pid in list(self._roots.items()):
            cpu_ms = _tree_ms(pid, children)
            if cpu_ms is None:
                del self._roots[name]
            metric = "gone" if cpu_ms is None else "cpu_ms"
            rows.append({"pid": pid, "application_name": name, "metric": metric, "value": cpu_ms})
        return rows


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
