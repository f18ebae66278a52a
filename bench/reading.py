"""How fast logs are read: megabytes a second of processor time, and the memory that it takes.

    .venv/bin/python bench/reading.py [MB]

Makes a client's and a server's log of that size (50 by default), plain and in a wrapper, reads each in a process of its
own on one core, five times in turn, and prints median, least and most. Where ``rg``, ``sed`` and ``jq`` are installed,
what a person would pipe together to get the summaries out of a client's log is timed beside it.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from slotfill.events import Event, format_event
from whitehorse.server_log import INLINE, inspect

REPEATS = 5
READ = "import sys; from slotfill.read import read_logs; print(len(read_logs(sys.argv[1:]).files))"
PIPE = (
    r"""rg -F '[final_summary]' "$0" | sed -E 's/^\[[^]]*\] \[[A-Z]+\] \[final_summary\] [^{]*//' """
    r"""| jq -c '[.correlationId, .status, .submitDurationMs, .totalDurationMs]'"""
)
START = datetime(2026, 3, 3, 17, tzinfo=UTC)


def client_lines(seed: int = 1) -> Iterator[str]:
    """Confirmed attempts, one after another, as the platform's script prints them."""
    rng = random.Random(seed)
    for number in count():
        names = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3)]
        known = {"correlationId": names[0], "bookingId": names[1]}
        begun, took = START + timedelta(seconds=20 * number), rng.uniform(18_000, 22_000)
        last = {
            "source": "inline",
            "success": True,
            "durationMs": round(took / 2),
            "attemptId": names[2],
            "alternates": 0,
        }
        summary = {"iteration": number % 4 + 1, "submitDurationMs": round(took), "inlineDurationMs": 0, "seatWaste": 1}
        summary |= {"totalDurationMs": round(took) + 600, "status": "confirmed_inline_api", "tablesAssigned": 1}
        submit = {"date": "2026-03-10", "time": "18:00", "party": 4, "bookingType": "dinner", "seating": "any"}
        yield from (
            format_event(Event(begun + timedelta(milliseconds=after_ms), "INFO", phase, message, fields))
            for after_ms, phase, message, fields in (
                (0, "bootstrap", "Starting booking flow", {**known, "iteration": number % 4 + 1, "timeoutMs": 180_000}),
                (1, "submit", "Submitting booking request", {**known, **submit}),
                (took, "submit", "Booking created", {**known, "initialStatus": "confirmed", "durationMs": round(took)}),
                (
                    took + 600,
                    "final_summary",
                    "Booking confirmed inline (API response)",
                    {**known, **submit, **summary, "autoAssignLastResult": last},
                ),
            )
        )


def server_lines(seed: int = 1) -> Iterator[str]:
    """Bookings as the platform's server prints them."""
    rng = random.Random(seed)
    while True:
        known = {name: str(uuid.UUID(int=rng.getrandbits(128))) for name in ("bookingId", "attemptId")}
        took = {"durationMs": rng.randint(100, 6000)}
        for what, fields in (
            ("start", {"timeoutMs": 12_000}),
            ("quote result", {**took, "hasHold": True, "reason": None, "alternates": 0}),
            ("confirm completed", {"holdId": str(uuid.UUID(int=rng.getrandbits(128))), **took}),
        ):
            yield from f"{INLINE} {what} {inspect({**known, **fields})}".split("\n")
        yield " POST /api/bookings 201 in 5.0s (compile: 4ms, render: 4.9s)"


def write(path: Path, lines: Iterator[str], size: int, prefix: str = "") -> Path:
    """The first ``size`` bytes of the lines, to the next line's end."""
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.writelines(f"{prefix}{next(lines)}\n" for _ in range(1000))
    return path


def cost(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds of processor time of a command and its children, and the largest one's memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{command}: exit code {process.returncode}")
    largest = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return used.ru_utime + used.ru_stime, largest


def main() -> None:
    """Make the logs, time each reader in turn, and print the table."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 50) * 1_000_000
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TemporaryDirectory() as folder:
        made: dict[str, Callable[[], Iterator[str]]] = {"client": client_lines, "server": server_lines}
        jobs = {"start-up alone": [sys.executable, "-c", "import slotfill.read"]}
        for kind, lines in made.items():
            for form, prefix in (("plain", ""), ("in a wrapper", "web-1  | ")):
                log = write(Path(folder, f"{kind}{len(prefix)}.log"), lines(), size, prefix)
                jobs[f"{kind}, {form}"] = [sys.executable, "-c", READ, str(log)]
        if all(map(shutil.which, ("rg", "sed", "jq"))):
            jobs["client, rg | sed | jq"] = ["sh", "-c", PIPE, str(Path(folder, "client0.log"))]
        took: dict[str, list[float]] = {name: [] for name in jobs}
        memory: dict[str, float] = {}
        for _ in range(REPEATS):
            for name, command in jobs.items():
                seconds, largest = cost(command)
                took[name].append(seconds)
                memory[name] = largest
        print(f"{'':24}{'MB/s':>8}{'least':>8}{'most':>8}")
        for name, seconds in took.items():
            rates = sorted(size / 1e6 / each for each in seconds)
            shown = [statistics.median(rates), rates[0], rates[-1]]
            print(
                f"{name:24}"
                + ("".join(f"{rate:8.1f}" for rate in shown) if "alone" not in name else f"{seconds[0]:7.2f}s")
            )
        print(f"largest process: {max(memory.values()):.0f} MB")


if __name__ == "__main__":
    main()
