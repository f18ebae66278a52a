"""Compare what is alike: how often `slotfill compare` calls a difference of two unchanged runs a change.

    python tests/aa.py worlds --pairs 40           # simulated smoke jobs whose rounds drift by 2 to 10 %
    python tests/aa.py runs --pairs 10 --keep DIR  # runs of the embedded platform; 20 s each
    python tests/aa.py runs --rejudge DIR          # those kept, by the code as it is now

Exits 1 where more than 5 % of the differences are called changed.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import pandas as pd
from planting import folder_for, play

sys.path.insert(0, str(Path(__file__).parent / "worlds"))
from simulation import Grid, Planted
from worlds import World, build

from slotfill.analyse.compare import Comparison, Measured, compare
from slotfill.analyse.study import of_run

FLAGGED_BAR = 0.05
DRIFTS = (0.02, 0.05, 0.10)
LEVELS, ROUNDS = (1, 4), 3
SMOKE = {"start": "17:00", "end": "18:00", "stress_max": 2, "rounds": ROUNDS}
ORDINARY = Planted(calls=20, distance_ms=0.3, slow_query_ms=5, lock_held_ms=3, api_cpu_ms=4, allocator_cpu_ms=4)


@click.group()
def main() -> None:
    """See the top of this file."""


@main.command()
@click.option("--pairs", default=40, show_default=True, help="Of each drift.")
@click.option("--first-seed", default=1, show_default=True)
def worlds(pairs: int, first_seed: int) -> None:
    """Pairs of simulated runs of one plan, another draw of all else."""
    jobs = [(drift, first_seed + number) for drift in DRIFTS for number in range(pairs)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_world_pair, jobs))
    sys.exit(not _met([(f"drift {drift:.0%}", each) for (drift, _), each in zip(jobs, found, strict=True)]))


@main.command()
@click.option("--pairs", default=4, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
@click.option(
    "--rejudge", "kept", type=click.Path(path_type=Path, exists=True), help="Judge the pairs kept there anew."
)
def runs(pairs: int, first_seed: int, keep: Path | None, kept: Path | None) -> None:
    """Pairs of runs of the embedded platform with nothing planted, one after the other."""
    driven = _kept(kept) if kept else _driven(range(first_seed, first_seed + pairs), keep)
    found = []
    for before, after in driven:
        found.append(("runs", compare(before, after)))
        print(", ".join(_flags(found[-1][1])) or "nothing changed", flush=True)
    sys.exit(not _met(found))


def _world_pair(job: tuple[float, int]) -> Comparison:
    drift, seed = job
    grid = Grid(LEVELS, ROUNDS, slots=5, per_slot=2, drift=drift, plan_seed=seed)
    return compare(_world(grid, 2 * seed), _world(grid, 2 * seed + 1), seeded=False)


def _world(grid: Grid, seed: int) -> World:
    return build("a/a", ORDINARY, grid, seed, sampled=False, truth=False)


def _driven(seeds: Sequence[int], keep: Path | None) -> Iterator[tuple[Measured, Measured]]:
    for seed in seeds:
        sides = []
        for side in ("before", "after"):
            with folder_for(f"{seed}-{side}", keep) as folder:
                study, problem = play(folder, {}, seed, LEVELS, shape="whole", **SMOKE)
            if problem:
                raise click.ClickException(problem)
            sides.append(study.reading)
        yield sides[0], sides[1]


def _kept(folder: Path) -> Iterator[tuple[Measured, Measured]]:
    for before in sorted(folder.glob("*-before")):
        yield of_run(before).reading, of_run(folder / before.name.replace("before", "after")).reading


def _flags(found: Comparison) -> list[str]:
    return [f"{change.figure} at {change.label}" for change in found.changes if change.verdict == "changed"]


def _met(found: Sequence[tuple[str, Comparison]]) -> bool:
    """Print how often each sort of pair was called changed, or unsure, and whether that is seldom enough."""
    rows = [(name, each.verdict) for name, comparison in found for each in comparison.changes]
    table = pd.crosstab(*zip(*rows, strict=True), rownames=["pairs"], colnames=["called"])
    pairs = pd.DataFrame([(name, bool(_flags(each))) for name, each in found], columns=["pairs", "flagged"])
    print(
        f"differences\n{table.to_string()}\n\nshare of pairs with any flag\n{pairs.groupby('pairs')['flagged'].mean()}"
    )
    called = table.get("changed", pd.Series(0, index=table.index)) / table.sum(axis=1)
    return bool((called <= FLAGGED_BAR).all())


if __name__ == "__main__":
    main()
