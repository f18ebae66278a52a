"""Plant a cause, run the levels, and see whether the write-up names it.

    python tests/gauntlet.py --seeds 3
    python tests/gauntlet.py --only api_delay --seeds 1

Each cause is planted weak and alone, and strong over a background of others' normal cost; controls have
nothing planted. Prints one line a run, the confusion of planted against named, and planted against measured
milliseconds. Exits 1 below the bars: every hop right, 95 % of mechanisms and kinds, no saturation on controls.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import outside
import pandas as pd
from outside import Around
from planting import Faults, folder_for, nothing, play

MECHANISM_BAR = 0.95
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


@dataclass(frozen=True)
class Run:
    """One scenario with one seed, and what came of it."""

    cause: Cause | None
    strength: str
    seed: int
    bottleneck: Mapping[str, Any]
    first_level_ms: Mapping[str, float]
    problem: str | None = None

    @property
    def planted(self) -> str:
        return self.cause.name if self.cause else CONTROL

    @property
    def named(self) -> tuple[str, str, str]:
        return tuple(str(self.bottleneck.get(key)) for key in ("verdict", "mechanism", "kind"))  # type: ignore[return-value]

    def right(self) -> tuple[bool, bool, bool]:
        """Hop, mechanism and kind; a control is right where no saturation is claimed."""
        hop, mechanism, kind = self.named
        if self.cause is None:
            return True, True, kind == "constant_cost"
        return hop == (self.cause.hop or hop), mechanism in self.cause.mechanisms, kind in self.cause.kind.split()


def scenarios(only: str | None, hop: str | None) -> Iterator[tuple[Cause | None, str, Faults]]:
    for background in ("alone", "background"):
        if only in (None, CONTROL):
            yield None, background, BACKGROUND if background == "background" else {}
    for cause in CAUSES:
        if only in (None, cause.name) and hop in (None, cause.hop):
            if cause.around is nothing:
                yield cause, "weak", {**cause.also, **cause.weak}
            yield cause, "strong", {**BACKGROUND, **cause.also, **cause.strong}


def run_one(cause: Cause | None, strength: str, faults: Faults, seed: int, profiling: bool, folder: Path) -> Run:
    """All levels of one scenario, in ``folder``."""
    grid, around = (cause.grid, cause.around) if cause else ({}, nothing)
    found, problem = play(folder, faults, seed, around=around, profiling=profiling, **grid)
    shares = next(iter(found.document.as_json()["shares"].values()), {})
    means = {hop: cell["mean_ms"] for hop, cell in shares.items() if cell["mean_ms"] is not None}
    return Run(cause, strength, seed, found.document.as_json(), means, problem)


def added(runs: list[Run]) -> pd.DataFrame:
    """Planted against measured at concurrency 1: how much its hop costs above the control of the same seed."""
    controls = {(run.strength, run.seed): run.first_level_ms for run in runs if run.cause is None}
    rows = []
    for run in runs:
        base = controls.get(("alone" if run.strength == "weak" else "background", run.seed))
        if run.cause is None or run.cause.adds_ms is None or base is None:
            continue
        hop, fault = run.cause.hop, run.cause.adds_ms
        of = run.cause.weak if run.strength == "weak" else run.cause.strong
        hidden = BACKGROUND.get(fault, 0) if run.strength == "strong" else 0
        measured = run.first_level_ms.get(hop, 0) - base.get(hop, 0)
        planted = float(of[fault]) - float(hidden)
        rows.append(
            {"fault": fault, "strength": run.strength, "seed": run.seed, "planted_ms": planted, "measured_ms": measured}
        )
    table = pd.DataFrame(rows, columns=["fault", "strength", "seed", "planted_ms", "measured_ms"])
    return table.assign(ratio=table["measured_ms"] / table["planted_ms"])


def confusion(runs: list[Run], part: int) -> pd.DataFrame:
    """Planted (rows) against named (columns): hop 0, mechanism 1, kind 2."""
    table = pd.DataFrame({"planted": [run.planted for run in runs], "named": [run.named[part] for run in runs]})
    return pd.crosstab(table["planted"], table["named"])


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--only", help="One cause by name, or control.")
@click.option("--hop", help="Only the causes of one hop, and the controls.")
@click.option("--profiling/--no-profiling", default=True, help="Whether the server tells its own times.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
def main(seeds: int, first_seed: int, only: str | None, hop: str | None, profiling: bool, keep: Path | None) -> None:
    runs: list[Run] = []
    for seed in range(first_seed, first_seed + seeds):
        for cause, strength, faults in scenarios(only, hop):
            with folder_for(f"{cause.name if cause else CONTROL}-{strength}-{seed}", keep) as folder:
                run = run_one(cause, strength, faults, seed, profiling, folder)
            runs.append(run)
            marks = "".join("." if right else "X" for right in run.right())
            print(f"{marks} {run.planted:20s} {run.strength:10s} seed {seed}: {', '.join(run.named)}", flush=True)
            if run.problem or "X" in marks:
                means = json.dumps({hop: round(ms, 1) for hop, ms in run.first_level_ms.items()})
                print(f"    {run.problem or ''} {means}", flush=True)
    for part, title in enumerate(("hop", "mechanism", "kind")):
        print(f"\n{title}: planted against named\n{confusion(runs, part).to_string()}")
    print(f"\nmilliseconds: planted against measured\n{added(runs).round(2).to_string(index=False)}")
    rates = [sum(run.right()[part] for run in runs) / len(runs) for part in range(3)]
    controls = all(run.right()[2] for run in runs if run.cause is None)
    print(
        f"\n{len(runs)} runs: hop {rates[0]:.1%}, mechanism {rates[1]:.1%}, kind {rates[2]:.1%}; controls {'clean' if controls else 'NOT clean'}"
    )
    sys.exit(0 if rates[0] == 1 and min(rates[1:]) >= MECHANISM_BAR and controls else 1)


if __name__ == "__main__":
    main()
