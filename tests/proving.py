"""Plant a cause, let ``slotfill prove`` test the verdict, then have it test a wrong verdict on the same run.

    python tests/proving.py --seeds 3
    python tests/proving.py --causes db_rtt --causes api_delay --seeds 1 --keep DIR

The right verdict has to be confirmed; the verdict file edited to a hop of another part has to be refuted, by an
experiment of its own. Where a constant cost is confirmed, the delay's effect has to be within 15 % of the predicted
one. Prints a line a proof and a table. Exits 1 below the bars: 95 % confirmed, 95 % refuted, 95 % predicted.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd
from planting import GRID, LEVELS, NO_BRAKES, Faults, folder_for
from scenarios import CAUSES, Cause

from slotfill import prove
from slotfill import run as runs
from slotfill.analyse.judgement import part_of
from slotfill.analyse.proof import TOLERANCE, Proof
from slotfill.analyse.tapped_parts import CALLS, PARTS
from slotfill.drive.driver import Progress
from slotfill.errors import SlotfillError
from slotfill.files import read_json, write_json
from slotfill.levels import fill_all
from slotfill.params import Settings
from slotfill.plan import Plan
from slotfill.report import documents
from slotfill.run import Run

BAR = 0.95
_HOPS = [hop for hops in PARTS.values() for hop in hops]
TESTABLE = {each.name: each for each in CAUSES if each.hop in _HOPS and each.weak and each.name != "rate_limit"}
"""Where bookings are turned away there is nothing to delay."""
WRONG: Mapping[bool, tuple[str, str]] = {True: ("api", "api_delay"), False: ("database", "round_trips")}
"""The hop and mechanism that a verdict is edited to: of the handler where it lies in the calls, else of the calls."""


@dataclass(frozen=True)
class Tried:
    """One proof and what it should have been."""

    cause: str
    seed: int
    expected: str
    verdict: str
    found: Proof

    @property
    def right(self) -> bool:
        return self.found.status == self.expected

    @property
    def predicted_over_measured(self) -> float | None:
        total = next((effect for effect in self.found.effects if effect.part == "total"), None)
        known = total is not None and total.predicted_ms is not None and total.measured_ms
        return total.predicted_ms / total.measured_ms if known else None

    def __str__(self) -> str:
        mark = "." if self.right else "X"
        told = f"{self.verdict}: {self.found.status}: {self.found.reason}"
        return f"{mark} {self.cause:20s} seed {self.seed}: {told}"

    def row(self) -> dict[str, Any]:
        total = next((effect for effect in self.found.effects if effect.part == "total"), None)
        return {
            "cause": self.cause,
            "seed": self.seed,
            "verdict": self.verdict,
            "expected": self.expected,
            "status": self.found.status,
            "right": self.right,
            "predicted_ms": total and total.predicted_ms and round(total.predicted_ms, 1),
            "measured_ms": total and round(total.measured_ms, 1),
            "as_predicted": total and total.as_predicted,
            "reason": self.found.reason,
        }


@contextmanager
def unseen(_: Plan) -> Iterator[Progress]:
    yield lambda line: None


# Eight slots, which an experiment drives all, with room for two small parties each.
SHORT = {**GRID, "interval_minutes": 15, "end": "17:45", "stress_max": 2}


def drive(folder: Path, faults: Faults, seed: int, grid: Mapping[str, Any]) -> Run:
    """A run with its analysis, as ``slotfill run`` makes it."""
    settings = Settings(concurrency=list(LEVELS), seed=seed, faults=dict(faults), brakes=NO_BRAKES, **{**SHORT, **grid})
    run = runs.create(settings, folder)
    fill_all(run, unseen)
    documents.write_analysis(run.folder)
    return run


def try_both(cause: Cause, strength: str, seed: int, folder: Path) -> Iterator[Tried]:
    """The run's own verdict, and the one that the file is edited to."""
    planted = cause.strong if strength == "strong" else cause.weak
    run = drive(folder / "run", {**cause.also, **planted}, seed, cause.grid)
    file = run.folder / "bottleneck.json"
    own = read_json(file)
    named = f"{own['verdict']}, {own['mechanism']}, {own['kind']}"
    yield Tried(cause.name, seed, "confirmed", named, prove.prove(run, unseen))
    hop, mechanism = WRONG[part_of(own["verdict"], own["mechanism"]) == CALLS]
    write_json(file, {**own, "verdict": hop, "mechanism": mechanism})
    yield Tried(cause.name, seed, "refuted", f"{hop}, {mechanism} (edited)", prove.prove(run, unseen))


def met(tried: list[Tried]) -> bool:
    """Print the table, and say whether the bars are met."""
    table = pd.DataFrame([each.row() for each in tried])
    print(f"\n{table.drop(columns='reason').to_string(index=False)}\n")
    shares = table.groupby("expected")["right"].agg(proofs="size", right="sum", share="mean")
    print(shares.round(3).to_string())
    constant = [
        each.predicted_over_measured
        for each in tried
        if each.expected == "confirmed" and each.right and each.verdict.endswith("constant_cost")
    ]
    # Bookings that are decided long after their answer have no predicted effect.
    near = [abs(ratio - 1) <= TOLERANCE for ratio in constant if ratio is not None]
    print(f"\nconstant costs: effect within {TOLERANCE:.0%} of the predicted in {sum(near)} of {len(near)}")
    return bool((shares["share"] >= BAR).all()) and sum(near) >= BAR * len(near)


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--causes", multiple=True, type=click.Choice(sorted(TESTABLE)), help="May be given again; else all.")
@click.option("--strength", type=click.Choice(["weak", "strong"]), default="weak", show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
def main(seeds: int, first_seed: int, causes: tuple[str, ...], strength: str, keep: Path | None) -> None:
    tried: list[Tried] = []
    problems = 0
    for seed in range(first_seed, first_seed + seeds):
        for name in causes or TESTABLE:
            with folder_for(f"{name}-{seed}", keep) as folder:
                try:
                    for each in try_both(TESTABLE[name], strength, seed, folder):
                        mark = "." if each.right else "X"
                        print(
                            f"{mark} {name:20s} seed {seed}: {each.verdict}: {each.found.status}: {each.found.reason}"
                        )
                        sys.stdout.flush()
                        tried.append(each)
                except SlotfillError as error:
                    problems += 1
                    print(f"X {name:20s} seed {seed}: {error}", flush=True)
    sys.exit(not (tried and met(tried) and not problems))


if __name__ == "__main__":
    main()
