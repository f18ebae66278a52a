"""What the notebooks ask before they tell: are the parameters known, which run or level is meant, is it driven."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from IPython.display import display

from slotfill import params
from slotfill import run as runs
from slotfill.attempt import CONFIRMED_OUTCOMES
from slotfill.drive.driver import Progress
from slotfill.errors import BadInput
from slotfill.levels import fill_all
from slotfill.params import ROOT, Settings
from slotfill.plan import Plan

SMALL_RUN = ROOT / "params" / "smoke.yaml"
PLATFORM_HOME = ROOT / "artifacts" / ".platform" / "notebooks"
"""The embedded platform that notebooks share when they only look around."""

REFRESH_S = 0.5


def check_parameters(namespace: Mapping[str, Any], known: Collection[str], **types: type) -> None:
    """Raise BadInput for a parameter that the notebook does not have, or one of the wrong type.

    ``known`` holds the names there were before the cell tagged ``parameters``: papermill itself would
    inject a misspelt parameter with no more than a warning.
    """
    for name, value in namespace.items():
        if name in known or name.startswith("_") or name == "known":
            continue
        if name not in types:
            raise BadInput(f"parameters: unknown parameter {name}; known: {', '.join(types)}")
        if not isinstance(value, types[name]):
            raise BadInput(f"parameters: {name} must be a {types[name].__name__}, not {value!r}")


def find_run(run_folder: str) -> Path:
    """The run a person means: the one named, else the newest of several levels, else the newest.

    Where there is none at all, a small one is driven now.
    """
    if run_folder:
        return ROOT / run_folder
    if runs.newest() is None:
        from slotfill import pipeline  # it brings papermill along, which a finished run has no use for

        pipeline.run(params.load([SMALL_RUN]), None, print)
    newest = runs.newest(levels=2) or runs.newest()
    assert newest is not None, "the small run has just been driven"
    return newest


def find_level(level_folder: str, settings: Settings) -> Path:
    """The level a person means: the folder named, or a new run of this one level that is driven now.

    Raises BadInput where the settings name several levels, and what driving raises; ``slotfill resume`` goes on
    with a run that was stopped.
    """
    if level_folder:
        return ROOT / level_folder
    if len(settings.concurrency) != 1:
        raise BadInput(f"parameters: concurrency must be one level here, not {settings.concurrency}")
    run = runs.create(settings)
    fill_all(run, live_progress)
    return run.level_folders[0]


@contextmanager
def live_progress(plan: Plan) -> Iterator[Progress]:
    """One line of output that keeps itself up to date: live in JupyterLab, its last state in a saved notebook."""
    asked = sum(len(slot.attempts) for slot in plan.slots)
    outcomes: Counter[str] = Counter()
    shown_at = time.monotonic()
    handle = display(_line(plan, outcomes, asked), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def on_progress(line: Mapping[str, Any]) -> None:
        nonlocal shown_at
        outcomes[line["outcome"]] += 1
        if time.monotonic() - shown_at > REFRESH_S:
            shown_at = time.monotonic()
            handle.update(_line(plan, outcomes, asked), raw=True)

    yield on_progress
    handle.update(_line(plan, outcomes, asked), raw=True)


def _line(plan: Plan, outcomes: Counter[str], asked: int) -> dict[str, str]:
    confirmed = sum(outcomes[name] for name in CONFIRMED_OUTCOMES)
    told = f"{outcomes.total()} attempts of at most {asked} over {len(plan.slots)} slots, {confirmed} confirmed"
    return {"text/plain": f"{plan.name}: {told}"}
