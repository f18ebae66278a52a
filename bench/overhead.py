"""What taps and OpenTelemetry cost: the same level with them off and on in turn, median of the booking's total.

python bench/overhead.py --pairs 5
python bench/overhead.py --pairs 5 --seen taps      # taps alone, or: otlp
"""

import socket
import statistics
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from slotfill.cell import Cell, fill
from slotfill.collect.listeners import listening
from slotfill.drive.target import open_platform
from slotfill.params import Settings
from slotfill.read import read_logs

GRID: dict[str, Any] = {"start": "16:00", "end": "17:45", "stress_max": 4, "max_party_size": 2, "rounds": 6}


def settings(concurrency: int, seen: str, round_number: int) -> Settings:
    """``seen``: ``nothing``, ``taps``, ``otlp`` or ``all``."""
    more: dict[str, Any] = {}
    if seen in ("taps", "all"):
        more["taps"] = {"web": {}, "database": {}}
    if seen in ("otlp", "all"):
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            more |= {"otlp_listen": f"127.0.0.1:{free.getsockname()[1]}", "telemetry": True}
    return Settings(concurrency=[concurrency], seed=round_number, sample_interval_ms=0, **GRID, **more)


def drive(wanted: Settings, folder: Path) -> tuple[float, float]:
    """Median total of the bookings in ms, and the database calls of one."""
    cells = [Cell(folder / f"round-{number}", wanted, number) for number in range(1, wanted.rounds + 1)]
    with (
        listening(wanted) as listeners,
        open_platform(wanted, folder / "home", listeners.detour) as untapped,
        listeners.in_front_of(untapped, wanted) as platform,
    ):
        for cell in cells:
            fill(cell, platform, None, listeners)
    reading = read_logs([cell.folder for cell in cells])
    return float(reading.attempts["total_ms"].median()), float(reading.server["profile_database_calls"].mean())


@click.command()
@click.option("--pairs", default=5, show_default=True)
@click.option("--concurrency", default=1, show_default=True)
@click.option("--seen", type=click.Choice(["taps", "otlp", "all"]), default="all", show_default=True)
def main(pairs: int, concurrency: int, seen: str) -> None:
    arms = ["nothing", seen]
    totals: dict[str, list[float]] = {arm: [] for arm in arms}
    calls = 0.0
    for number in range(1, pairs + 1):
        for arm in arms if number % 2 else arms[::-1]:
            with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
                total_ms, calls = drive(settings(concurrency, arm, number), Path(folder))
            totals[arm].append(total_ms)
            print(f"{arm:8s} pair {number}: {total_ms:.1f} ms", flush=True)
    off, on = (statistics.median(totals[arm]) for arm in arms)
    allowed = 0.02 * off + 0.2 * calls
    print(f"off {off:.1f} ms, on {on:.1f} ms: {on - off:+.1f} ms; allowed {allowed:.1f} ms ({calls:.0f} calls)")


if __name__ == "__main__":
    main()
