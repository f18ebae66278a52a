"""Plant a cause, run the levels, and see whether the write-up names it.

    python tests/gauntlet.py --seeds 3 --keep DIR
    python tests/gauntlet.py --only api_delay --only db_lock --seeds 1 --shape main
    python tests/gauntlet.py --set misleading
    python tests/gauntlet.py --hop database --no-profiling --tap      # the calls alone tell the database's part
    python tests/gauntlet.py --hop database --no-profiling --trace    # the platform's OpenTelemetry does
    python tests/gauntlet.py --rejudge DIR      # what was kept, by the code as it is now, in seconds

Each cause is planted weak and alone, and strong over a background of others' normal cost; controls have
nothing planted. Prints one line a run, the confusion of planted against named, planted against measured
milliseconds, and how often each word of confidence was right. Exits 1 below the bars: every hop right, 95 % of
mechanisms and kinds, no saturation on controls; of the misleading ones, 95 % of those called high and 75 % of medium.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd
import waiting
from planting import SHAPES, Faults, folder_for, play
from scenarios import BACKGROUND, CONTROL, Cause, cause_named, scenarios

from slotfill.analyse.study import Study, of_run
from slotfill.errors import BadInput

MECHANISM_BAR = 0.95
CONFIDENCE_BARS = {"high": 0.95, "medium": 0.75}


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
    def misleading(self) -> bool:
        return self.cause is not None and self.cause.misleading

    @property
    def named(self) -> tuple[str, str, str]:
        return tuple(str(self.bottleneck.get(key)) for key in ("verdict", "mechanism", "kind"))  # type: ignore[return-value]

    def right(self) -> tuple[bool, bool, bool]:
        """Hop, mechanism and kind; a control is right where no saturation is claimed."""
        if self.cause is None:
            return True, True, self.named[2] != "saturation"
        return self.cause.is_met_by(*self.named)

    def lines(self) -> Iterator[str]:
        """What is told of it: one line, and the first level's times where something is wrong."""
        marks = "".join("." if right else "X" for right in self.right())
        sure = f"{self.bottleneck['confidence']} {self.bottleneck['probability'] or 0:.2f}"
        yield f"{marks} {self.planted:20s} {self.strength:10s} seed {self.seed}: {', '.join(self.named)} ({sure})"
        if self.problem or "X" in marks:
            means = json.dumps({hop: round(ms, 1) for hop, ms in self.first_level_ms.items()})
            yield f"    {self.problem or ''} {means}"


def drive(cause: Cause | None, strength: str, faults: Faults, seed: int, folder: Path, shape: str, **seen: Any) -> Run:
    """All levels of one scenario, in ``folder``; ``seen``: the parameters of what tells the platform's times."""
    chosen: dict[str, Any] = dict(seen)
    if cause:
        chosen |= {"levels": cause.levels, "around": cause.around, "around_levels": cause.around_levels, **cause.grid}
    found, problem = play(folder, faults, seed, shape=shape, **chosen)
    return _run_of(found, cause, strength, seed, problem)


def rejudge(folder: Path) -> Run | None:
    """A kept run by the code as it is now; its folder tells what was planted. ``None`` where it has no level."""
    name, strength, seed = folder.name.rsplit("-", 2)
    try:
        return _run_of(of_run(folder), cause_named(name), strength, int(seed))
    except BadInput:
        return None


def _run_of(found: Study, cause: Cause | None, strength: str, seed: int, problem: str | None = None) -> Run:
    document = found.document.as_json()
    shares = next(iter(document["shares"].values()), {})
    means = {hop: cell["mean_ms"] for hop, cell in shares.items() if cell["mean_ms"] is not None}
    return Run(cause, strength, seed, document, means, problem)


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


def confidence(runs: list[Run]) -> pd.DataFrame:
    """How often each word of confidence was right in everything, for plain and for misleading scenarios."""
    rows = [
        ("misleading" if run.misleading else "plain", run.bottleneck["confidence"], all(run.right())) for run in runs
    ]
    table = pd.DataFrame(rows, columns=["set", "confidence", "right"])
    return table.groupby(["set", "confidence"])["right"].agg(runs="size", right="sum", share="mean").round(3)


def met(runs: list[Run]) -> bool:
    """Print the tables, and say whether the bars are met."""
    for part, title in enumerate(("hop", "mechanism", "kind")):
        print(f"\n{title}: planted against named\n{confusion(runs, part).to_string()}")
    if not (table := added(runs)).empty:
        print(f"\nmilliseconds: planted against measured\n{table.round(2).to_string(index=False)}")
    words = confidence(runs)
    print(f"\nhow often each word was right\n{words.to_string()}")
    fulfilled = all(
        share >= CONFIDENCE_BARS.get(word, 0)
        for (chosen, word), share in words["share"].items()
        if chosen == "misleading"
    )
    if plain := [run for run in runs if not run.misleading]:
        rates = [sum(run.right()[part] for run in plain) / len(plain) for part in range(3)]
        controls = all(run.right()[2] for run in plain if run.cause is None)
        print(
            f"\n{len(plain)} plain runs: hop {rates[0]:.1%}, mechanism {rates[1]:.1%}, kind {rates[2]:.1%}; "
            f"controls {'clean' if controls else 'NOT clean'}"
        )
        fulfilled = fulfilled and rates[0] == 1 and min(rates[1:]) >= MECHANISM_BAR and controls
    return fulfilled


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--only", multiple=True, help="A cause by name, or control; may be given again.")
@click.option("--hop", help="Only the causes of one hop, and the controls.")
@click.option("--set", "chosen", type=click.Choice(["plain", "misleading", "all"]), default="plain", show_default=True)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="roomy", show_default=True)
@click.option("--profiling/--no-profiling", default=True, help="Whether the server tells its own times.")
@click.option("--tap", is_flag=True, help="A tap between the web process and Postgres sees its calls.")
@click.option("--trace", is_flag=True, help="The platform's own OpenTelemetry tells its calls.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder; those there are not redone."
)
@click.option("--rejudge", "kept", type=click.Path(path_type=Path, exists=True), help="Judge the runs kept there anew.")
def main(
    seeds: int,
    first_seed: int,
    only: tuple[str, ...],
    hop: str | None,
    chosen: str,
    shape: str,
    profiling: bool,
    tap: bool,
    trace: bool,
    keep: Path | None,
    kept: Path | None,
) -> None:
    runs: list[Run] = []
    seen: dict[str, Any] = {"profiling": profiling, "taps": {"database": {}} if tap else {}}
    if trace:
        seen |= {"telemetry": True, "otlp_listen": f"127.0.0.1:{waiting.free_port()}"}
    if kept:
        wanted = {
            f"{cause.name if cause else CONTROL}-{strength}" for cause, strength, _ in scenarios(chosen, only, hop)
        }
        folders = [folder for folder in sorted(kept.iterdir()) if folder.name.rsplit("-", 1)[0] in wanted]
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for folder, judged in zip(folders, pool.map(rejudge, folders), strict=True):
                print("\n".join(judged.lines() if judged else [f"    {folder}: no level was driven"]), flush=True)
                runs += [judged] if judged else []
        sys.exit(not met(runs))
    for seed in range(first_seed, first_seed + seeds):
        for cause, strength, faults in scenarios(chosen, only, hop):
            name = f"{cause.name if cause else CONTROL}-{strength}-{seed}"
            if keep and (keep / name).exists():
                continue
            with folder_for(name, keep) as folder:
                run = drive(cause, strength, faults, seed, folder, shape, **seen)
            runs.append(run)
            print("\n".join(run.lines()), flush=True)
    sys.exit(not (runs and met(runs)))


if __name__ == "__main__":
    main()
