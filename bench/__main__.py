"""Ours and its peers in turn, on pinned cores; prints ratios with their spread and writes ``docs/benchmarks.md``.

    .venv/bin/python bench [--repeats 5] [--megabytes 100] [--seconds 5] [NAME…]

The peers are installed into ``bench/.peers`` at the first call. Figures are of one machine at one time: only ratios of
one run are worth comparing, on a machine that does nothing else. All of it takes some twelve minutes; NAMEs are
words of the figures to take, such as ``logs``, and leave the document as it is.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import peers
import reading
from measures import (
    SLOTFILL,
    apart,
    elapsed,
    locust_flows,
    locust_requests,
    our_requests,
    report,
    start_up,
    throughput,
)

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
Measure = Callable[[], dict[str, float]]


@dataclass
class Comparison:
    """Measures taken in turn: ``ours``, and a peer's where there is one."""

    name: str
    target: str
    ours: Measure
    peer: Measure | None = None
    turns: int = 1_000
    """At most so many: some take minutes."""
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


def comparisons(folder: Path, megabytes: int, seconds: int) -> list[Comparison]:
    client = reading.write(folder / "client.log", reading.client_lines(), megabytes * 1_000_000)
    served = reading.write(folder / "server.log", reading.server_lines(), megabytes * 1_000_000)
    few = reading.write(folder / "few.log", reading.client_lines(), 1)
    tools = [peers.command(name) for name in ("rg", "sed", "jq")]
    pipe = reading.PIPE.replace("rg ", f"{tools[0]} ", 1)
    attempts = client.stat().st_size // 1259
    return [
        Comparison(
            *("client − server at 20 ms, 8 workers", "≤ 0.5 ×"),
            *(partial(our_requests, "20", 8, seconds), partial(locust_requests, "20", 8, seconds)),
        ),
        Comparison(
            *("client − server at 20 ± 5 ms, 8 workers", "≤ 0.5 ×"),
            *(partial(our_requests, "20~5", 8, seconds), partial(locust_requests, "20~5", 8, seconds)),
        ),
        Comparison(
            *("POST, 64 workers, no delay", "≥ 1 ×"),
            *(partial(our_requests, "0", 64, seconds), partial(locust_requests, "0", 64, seconds)),
        ),
        Comparison(
            *(f"logs --format json, {megabytes} MB", "≥ 6 ×"),
            partial(throughput, [SLOTFILL, "logs", str(client), "--format", "json"], megabytes),
            partial(throughput, ["sh", "-c", pipe, str(client)], megabytes) if all(tools) else None,
        ),
        Comparison(
            *(f"logs --format json, {megabytes} MB, all cores", "≥ 8 ×"),
            partial(elapsed, [SLOTFILL, "logs", str(client), "--format", "json"], megabytes),
            partial(elapsed, ["sh", "-c", pipe, str(client)], megabytes) if all(tools) else None,
        ),
        Comparison(
            *(f"logs of a server, {megabytes} MB", "≥ 60 MB/s"),
            partial(throughput, [sys.executable, "-c", reading.READ, str(served)], megabytes),
        ),
        Comparison("slotfill --help", "≤ 0.25 s", partial(start_up, [SLOTFILL, "--help"])),
        Comparison("slotfill logs, 1000 attempts", "≤ 0.5 s", partial(start_up, [SLOTFILL, "logs", str(few)])),
        Comparison(
            *(f"slotfill report, {attempts:,} attempts", "10⁶ in ≤ 60 s, ≤ 3 GB"),
            partial(report, client, folder),
        ),
        Comparison(
            "a level, 64 workers at 20 ms",
            "≥ 57.6; ≥ 1 ×",
            partial(apart, "driven", 64, 0),
            partial(locust_flows, 64, seconds),
        ),
        Comparison("a level, 8 workers, database 330 ms away", "≥ 7.2", partial(apart, "driven", 8, 330)),
        Comparison("run -f params/base.yaml", "≤ 8 s", partial(apart, "run_overhead", folder), turns=1),
    ]


def document(done: Sequence[Comparison], repeats: int) -> str:
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, text=True)
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; do not edit. Ours and a peer take turns, each on one core, a server on another; figures",
        "are the median of the repeats (least to most), the ratio is ours by the peer's of the same turn. Times and",
        "rates of logs, reports and flows are by processor time but where it says all cores, memory is of the largest",
        "process. The first three are the measuring client by itself, a level's figures hold journal and reading back,",
        "start-up and what it measures of itself before; its peer makes a POST and a GET and keeps no journal.",
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
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    peers.install()
    with TemporaryDirectory() as folder:
        known = comparisons(Path(folder), options.megabytes, options.seconds)
        chosen = [each for each in known if not options.names or any(name in each.name for name in options.names)]
        for turn in range(options.repeats):
            for each in (each for each in chosen if turn < each.turns):
                each.take()
                print(f"{turn + 1}/{options.repeats} {each.name}: {each.taken[-1]}", flush=True)
    text = document(chosen, options.repeats)
    print(text)
    if not options.names:
        DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
