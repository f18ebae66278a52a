"""Compare what is alike, and what differs by a known amount: how often `slotfill compare` is right.

    python tests/aa.py worlds --pairs 40                          # simulated smoke jobs, rounds drift by 2 to 10 %
    python tests/aa.py worlds --size main --plant api --pairs 10  # simulated main jobs, one of which waits longer
    python tests/aa.py runs --pairs 10 --keep DIR                 # runs of the embedded platform; 40 s a pair
    python tests/aa.py runs --size main --plant database --pairs 10 --keep DIR
    python tests/aa.py runs --rejudge DIR --plant database        # those kept, by the code as it is now

Unchanged pairs: exits 1 where more than 5 % of the differences are called changed. With `--plant HOP` the second run
of each pair takes a fifth of the first one's time longer there: exits 1 where that hop is called changed in fewer than
9 of 10 pairs, or another hop in more than 1 of 10.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
from planting import folder_for, play

sys.path.insert(0, str(Path(__file__).parent / "worlds"))
from simulation import Grid, Planted
from worlds import World, build

from slotfill.analyse.compare import Comparison, Measured, compare
from slotfill.analyse.study import of_run
from slotfill.attempt import is_confirmed

FLAGGED_BAR, FOUND_BAR, ELSEWHERE_BAR = 0.05, 0.9, 0.1
ADDED = 0.2
"""Of the first run's mean time, planted in one hop of the second."""
DRIFTS = (0.02, 0.05, 0.10)


@dataclass(frozen=True)
class Size:
    """A job: what is driven, and what a world of that size is."""

    levels: tuple[int, ...]
    parameters: Mapping[str, Any]
    grid: Grid


SIZES = {
    "smoke": Size(
        (1, 4),
        {"start": "17:00", "end": "18:00", "stress_max": 2, "rounds": 3},
        Grid((1, 4), rounds=3, slots=5, per_slot=2),
    ),
    # A slot of the main job seats five parties or so.
    "main": Size((1, 4, 8), {}, Grid((1, 4, 8), rounds=3, slots=17, per_slot=5)),
}
ORDINARY = Planted(calls=20, distance_ms=0.3, slow_query_ms=5, lock_held_ms=3, api_cpu_ms=4, allocator_cpu_ms=4)
IN_WORLDS = {"network": "network_ms", "api": "api_delay_ms", "database": "slow_query_ms"}
IN_RUNS = {"api": "api_delay_ms", "database": "db_slow_query_ms"}
"""What adds a constant time to a hop, simulated and on the embedded platform."""

size_option = click.option("--size", type=click.Choice(list(SIZES)), default="smoke", show_default=True)
Pairs = Iterator[tuple[Measured, Measured]]


@click.group()
def main() -> None:
    """See the top of this file."""


@main.command()
@size_option
@click.option("--plant", type=click.Choice(list(IN_WORLDS)), help="Where the second of each pair takes longer.")
@click.option("--pairs", default=40, show_default=True, help="Of each drift.")
@click.option("--first-seed", default=1, show_default=True)
def worlds(size: str, plant: str | None, pairs: int, first_seed: int) -> None:
    """Pairs of simulated runs of one plan, another draw of all else."""
    jobs = [(size, plant, drift, first_seed + number) for drift in DRIFTS for number in range(pairs)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_world_pair, jobs))
    named = [(f"drift {drift:.0%}", each) for (_, _, drift, _), each in zip(jobs, found, strict=True)]
    sys.exit(not (_found(named, plant) if plant else _quiet(named)))


@main.command()
@size_option
@click.option("--plant", type=click.Choice(list(IN_RUNS)), help="Where the second of each pair takes longer.")
@click.option("--pairs", default=4, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
@click.option(
    "--rejudge", "kept", type=click.Path(path_type=Path, exists=True), help="Judge the pairs kept there anew."
)
def runs(size: str, plant: str | None, pairs: int, first_seed: int, keep: Path | None, kept: Path | None) -> None:
    """Pairs of runs of the embedded platform, one after the other."""
    driven = _kept(kept) if kept else _driven(SIZES[size], plant, range(first_seed, first_seed + pairs), keep)
    found = []
    for before, after in driven:
        found.append(("runs", compare(before, after)))
        print(", ".join(_flags(found[-1][1])) or "nothing changed", flush=True)
    sys.exit(not (_found(found, plant) if plant else _quiet(found)))


def _world_pair(job: tuple[str, str | None, float, int]) -> Comparison:
    size, plant, drift, seed = job
    grid = replace(SIZES[size].grid, drift=drift, plan_seed=seed)
    before = _world(ORDINARY, grid, 2 * seed)
    after = ORDINARY
    if plant:
        name = IN_WORLDS[plant]
        after = replace(ORDINARY, **{name: getattr(ORDINARY, name) + _added_ms(before)})
    return compare(before, _world(after, grid, 2 * seed + 1), seeded=False)


def _world(planted: Planted, grid: Grid, seed: int) -> World:
    return build("a/a", planted, grid, seed, sampled=False, truth=False)


def _added_ms(before: Measured) -> float:
    return ADDED * float(before.attempts.loc[is_confirmed(before.attempts), "total_ms"].mean())


def _driven(size: Size, plant: str | None, seeds: Sequence[int], keep: Path | None) -> Pairs:
    for seed in seeds:
        before = _drive(size, {}, seed, f"{seed}-before", keep)
        faults = {IN_RUNS[plant]: round(_added_ms(before), 1)} if plant else {}
        yield before, _drive(size, faults, seed, f"{seed}-after", keep)


def _drive(size: Size, faults: Mapping[str, float], seed: int, name: str, keep: Path | None) -> Measured:
    with folder_for(name, keep) as folder:
        study, problem = play(folder, faults, seed, size.levels, shape="whole", **size.parameters)
    if problem:
        raise click.ClickException(problem)
    return study.reading


def _kept(folder: Path) -> Pairs:
    for before in sorted(folder.glob("*-before")):
        yield of_run(before).reading, of_run(folder / before.name.replace("before", "after")).reading


def _flags(found: Comparison) -> list[str]:
    return [f"{change.figure} at {change.label}" for change in found.changes if change.verdict == "changed"]


def _quiet(found: Sequence[tuple[str, Comparison]]) -> bool:
    """Print how often each sort of pair was called changed, or unsure, and whether that is seldom enough."""
    rows = [(name, each.verdict) for name, comparison in found for each in comparison.changes]
    table = pd.crosstab(*zip(*rows, strict=True), rownames=["pairs"], colnames=["called"])
    pairs = pd.DataFrame([(name, bool(_flags(each))) for name, each in found], columns=["pairs", "flagged"])
    inside = pd.DataFrame(
        [
            (name, each.low <= 0 <= each.high)
            for name, comparison in found
            for each in comparison.changes
            if each.high > each.low
        ],
        columns=["pairs", "inside"],
    )
    print(f"differences\n{table.to_string()}\n")
    print(f"share of intervals that hold 0, the truth\n{inside.groupby('pairs')['inside'].mean().to_string()}\n")
    print(f"share of pairs with any flag\n{pairs.groupby('pairs')['flagged'].mean().to_string()}")
    called = table.get("changed", pd.Series(0, index=table.index)) / table.sum(axis=1)
    return bool((called <= FLAGGED_BAR).all())


def _found(found: Sequence[tuple[str, Comparison]], plant: str) -> bool:
    """Print how often the planted hop was called changed, and another one, and whether that will do."""
    rows = []
    for name, comparison in found:
        flagged = [(each.hop, each.label) for each in comparison.changes if each.verdict == "changed" and each.hop]
        there = {label for hop, label in flagged if hop == plant}
        levels = {each.label for each in comparison.changes}
        rows.append((name, bool(there), there == levels, any(hop != plant for hop, _ in flagged)))
    table = pd.DataFrame(rows, columns=["pairs", f"{plant} found", "at every level", "elsewhere"])
    shares = table.groupby("pairs").mean()
    print(f"shares of pairs\n{shares.to_string()}")
    return bool((shares[f"{plant} found"] >= FOUND_BAR).all() and (shares["elsewhere"] <= ELSEWHERE_BAR).all())


if __name__ == "__main__":
    main()
