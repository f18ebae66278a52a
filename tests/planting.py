"""Run levels of the embedded platform with something planted in it; what the gauntlet and the accuracy checks share."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from outside import Around

from slotfill.analyse.bottleneck import Observed, measure
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.study import Study, of_run
from slotfill.cell import Cell, fill
from slotfill.collect.listeners import listening
from slotfill.drive.target import Platform, open_platform
from slotfill.errors import SlotfillError
from slotfill.files import write_json
from slotfill.levels import fingerprint
from slotfill.params import Settings
from slotfill.plan import level_orders
from slotfill.run import Run, stamp

Faults = Mapping[str, float | bool]
LEVELS = (1, 4, 8)
# Eight slots with room for four small parties each: nothing runs out of tables.
GRID: Mapping[str, Any] = {
    "start": "16:00", "end": "19:30", "interval_minutes": 30, "rounds": 1,
    "stress_max": 4, "min_party_size": 2, "max_party_size": 4,
}  # fmt: skip
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "roomy": GRID,
    # The main job's grid, parties and three rounds, which are the defaults. Of "main" only the second half of the day:
    # slots run out of tables there as they do in the whole.
    "main": {"start": "18:00"},
    "whole": {},
}
NO_BRAKES = {"error_rate": 0, "database_errors": 0, "rate_limited": 0}


def nothing(_: Platform) -> AbstractContextManager[None]:
    return nullcontext()


def play(
    folder: Path,
    faults: Faults,
    seed: int,
    levels: Sequence[int] = LEVELS,
    around: Around = nothing,
    around_levels: Sequence[int] = LEVELS,
    shape: str = "roomy",
    **parameters: Any,
) -> tuple[Study, str | None]:
    """All levels of all rounds in ``folder``, read and analysed; and what went wrong, where something did.

    ``around`` is what others do while each of ``around_levels`` is driven.
    """
    settings = Settings(
        concurrency=list(levels), seed=seed, faults=dict(faults), brakes=NO_BRAKES, **{**SHAPES[shape], **parameters}
    )
    problem = None
    run = Run(folder, settings)
    write_json(folder / "run.json", stamp(settings))
    try:
        with (
            listening(settings) as listeners,
            open_platform(settings, folder / "platform", listeners.detour) as untapped,
            listeners.in_front_of(untapped, settings) as platform,
        ):
            run.note(target=fingerprint(untapped))
            for round_number, order in enumerate(level_orders(settings), 1):
                for concurrency in order:
                    cell = Cell(run.cell_folder(concurrency, round_number), settings.only(concurrency), round_number)
                    with (around if concurrency in around_levels else nothing)(platform) as detour:
                        fill(cell, detour or platform, None, listeners)
    except SlotfillError as error:
        problem = str(error)
    return of_run(folder), problem


def case_of(study: Study) -> Measurements:
    """The frames the verdict was made from."""
    samples = {str(label): rows for label, rows in study.samples.groupby("label")}
    reading = study.reading
    observed = Observed(
        samples, study.record["host"]["cpus"], sessions=study.record.get("target", {}).get("sessions", ())
    )
    return measure(reading.attempts, reading.server, reading.error_lines, observed)


@contextmanager
def folder_for(name: str, keep: Path | None) -> Iterator[Path]:
    """Where a run lives: in ``keep``, or nowhere once it is analysed."""
    if keep:
        folder = keep / name
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="planted-") as scratch:
        yield Path(scratch)
