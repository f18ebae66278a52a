"""Ours and its peers in turn, on pinned cores; prints ratios with their spread and writes ``docs/benchmarks.md``.

    .venv/bin/python bench [--repeats 5] [--megabytes 200] [--seconds 5] [NAME…]

The peers are installed into ``bench/.peers`` at the first call. Figures are of one machine at one time: only ratios of
one run are worth comparing, on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import peers
import reading

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
SLOTFILL = str(Path(sys.executable).with_name("slotfill"))
Measure = Callable[[], dict[str, float]]


@dataclass
class Comparison:
    """Measures taken in turn: ``ours``, and a peer's where there is one."""

    name: str
    target: str
    ours: Measure
    peer: Measure | None = None
    peer_name: str = ""
    taken: list[tuple[dict[str, float], dict[str, float]]] = field(default_factory=list)

    def take(self) -> None:
        self.taken.append((self.ours(), self.peer() if self.peer else {}))

    def rows(self) -> Iterator[str]:
        """A line of the table for each figure: ours, the peer's, their ratio, each as median (least to most)."""
        for figure in self.taken[0][0]:
            ours = [first[figure] for first, _ in self.taken]
            theirs = [second[figure] for _, second in self.taken if figure in second]
            ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b]
            shown = [spread(each) for each in (ours, theirs, ratios)]
            yield f"| {self.name}: {figure} | {shown[0]} | {shown[1]} | {shown[2]} | {self.target} |"


def spread(values: Sequence[float]) -> str:
    """Median (least to most)."""
    if not values:
        return "–"
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """A command on one core, where ``taskset`` is and there are that many."""
    can_pin = shutil.which("taskset") and (os.cpu_count() or 1) > core
    return ["taskset", "-c", str(core), *command] if can_pin else list(command)


def throughput(command: Sequence[str], megabytes: float) -> dict[str, float]:
    """MB a second of processor time, and the memory of the largest process."""
    seconds, largest_mb = reading.cost(pinned(0, command))
    return {"MB/s": megabytes / seconds, "memory, MB": largest_mb}


def start_up(command: Sequence[str]) -> dict[str, float]:
    return {"s of processor time": reading.cost(pinned(0, command))[0]}


@contextmanager
def server() -> Iterator[int]:
    """The server that does nothing, on a core of its own."""
    command = pinned(1, [sys.executable, "-m", "slotfill.drive.noop"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def our_requests(delay_ms: int, workers: int, seconds: int) -> dict[str, float]:
    with server() as port:
        arguments = [str(port), str(delay_ms), str(workers), str(seconds)]
        command = pinned(0, [sys.executable, str(HERE / "ours.py"), *arguments])
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return _figures(told, delay_ms)


def locust_requests(delay_ms: int, workers: int, seconds: int) -> dict[str, float]:
    locust = peers.command("locust")
    assert locust is not None
    command = [locust, "-f", str(HERE / "locustfile.py"), "--headless", "-u", str(workers), "-r", str(workers)]
    with server() as port:
        environment = os.environ | {"BENCH_URL": f"http://127.0.0.1:{port}/{delay_ms}"}
        done = subprocess.run(
            pinned(0, [*command, "-t", f"{seconds}s", "--only-summary"]),
            env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"requests"')))
    return _figures(told | {"per_s": told["requests"] / seconds}, delay_ms)


def _figures(told: dict[str, float], delay_ms: int) -> dict[str, float]:
    """At a delay what was added counts, at none how many there were."""
    if not delay_ms:
        return {"requests/s": told["per_s"]}
    return {"p50, ms": told["p50"], "p99, ms": told["p99"]}


def comparisons(folder: Path, megabytes: int, seconds: int) -> list[Comparison]:
    client = reading.write(folder / "client.log", reading.client_lines(), megabytes * 1_000_000)
    served = reading.write(folder / "server.log", reading.server_lines(), megabytes * 1_000_000)
    few = reading.write(folder / "few.log", reading.client_lines(), 1)
    tools = [peers.command(name) for name in ("rg", "sed", "jq")]
    pipe = reading.PIPE.replace("rg ", f"{tools[0]} ", 1)
    report = [SLOTFILL, "report", str(client), "--out"]
    attempts = client.stat().st_size // 1259
    return [
        Comparison(
            *("client − server at 20 ms, 8 workers", "≤ 0.5 ×"),
            *(partial(our_requests, 20, 8, seconds), partial(locust_requests, 20, 8, seconds), "Locust"),
        ),
        Comparison(
            *("POST, 64 workers, no delay", "≥ 1 ×"),
            *(partial(our_requests, 0, 64, seconds), partial(locust_requests, 0, 64, seconds), "Locust"),
        ),
        Comparison(
            *(f"logs --format json, {megabytes} MB", "≥ 6 ×"),
            partial(throughput, [SLOTFILL, "logs", str(client), "--format", "json"], megabytes),
            partial(throughput, ["sh", "-c", pipe, str(client)], megabytes) if all(tools) else None,
            "rg, sed, jq",
        ),
        Comparison(
            *(f"logs of a server, {megabytes} MB", "≥ 60 MB/s"),
            partial(throughput, [sys.executable, "-c", reading.READ, str(served)], megabytes),
        ),
        Comparison("slotfill --help", "≤ 0.25 s", partial(start_up, [SLOTFILL, "--help"])),
        Comparison("slotfill logs, 1000 attempts", "≤ 0.5 s", partial(start_up, [SLOTFILL, "logs", str(few)])),
        Comparison(
            *(f"slotfill report, {attempts:,} attempts", "10⁶ in ≤ 60 s, ≤ 3 GB"),
            lambda: _report(report, folder),
        ),
    ]


def _report(command: Sequence[str], folder: Path) -> dict[str, float]:
    out = folder / "report"
    shutil.rmtree(out, ignore_errors=True)
    seconds, largest_mb = reading.cost(pinned(0, [*command, str(out)]))
    return {"s": seconds, "memory, MB": largest_mb}


def document(done: Sequence[Comparison], repeats: int) -> str:
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, text=True)
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; do not edit. Ours and a peer take turns, each on one core, a server on another; figures",
        "are the median of the repeats (least to most), the ratio is ours by the peer's of the same turn. Times and",
        "rates of logs and reports are by processor time, memory is of the largest process. Ours is the measuring",
        "client as a level uses it, without journal and reading back (`bench/in_flight.py` has these).",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}, {repeats} repeats, {platform.machine()},"
        f" {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end.",
        "Peers: Locust's FastHttpUser; `rg | sed | jq`.",
        "",
        "| figure | ours | peer | ratio | to reach |",
        "|---|---|---|---|---|",
        *(row for each in done for row in each.rows()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="ours and its peers in turn")
    parser.add_argument("names", nargs="*", help="words of the figures to take; all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    peers.install()
    with TemporaryDirectory() as folder:
        known = comparisons(Path(folder), options.megabytes, options.seconds)
        chosen = [each for each in known if not options.names or any(name in each.name for name in options.names)]
        for turn in range(options.repeats):
            for each in chosen:
                each.take()
                print(f"{turn + 1}/{options.repeats} {each.name}: {each.taken[-1]}", flush=True)
    text = document(chosen, options.repeats)
    print(text)
    if not options.names:
        DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
