"""What notebooks ask before they show anything: which parameters stand, which run or level is meant, is it driven."""

import ast
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from slotfill import params
from slotfill import run as runs
from slotfill.cell import prepare
from slotfill.complaint import shown
from slotfill.database import connect
from slotfill.database.alone import alone
from slotfill.database.guard import authorise
from slotfill.database.integrity import check
from slotfill.drive.driver import Progress
from slotfill.drive.target import open_platform
from slotfill.errors import BadInput, SlotfillError, Stopped
from slotfill.homes import discard_unmeasured
from slotfill.levels import fill_all
from slotfill.outcomes import CONFIRMED_OUTCOMES
from slotfill.params import ROOT, Settings
from slotfill.plan import Plan
from slotfill.report import comparison, results, tables
from slotfill.report.comparison import Compared
from slotfill.report.results import Results
from slotfill.run import Run

SMALL_RUN = ROOT / "params" / "smoke.yaml"
PLATFORM_HOME = ROOT / "artifacts" / ".platform" / "notebooks"
"""The embedded platform that notebooks share when they only look around."""

PREPARED_BY_OTHERS_S = 60.0
"""Another notebook may be preparing the shared platform; that takes seconds."""

REFRESH_S = 0.5
_INTO_SIGHT = "<script>document.currentScript.parentElement.scrollIntoView({block: 'center'})</script>"
"""Run All scrolls JupyterLab to the last cell; the level that fills is to be seen. Gone with the first refresh."""
_INJECTED = "# Parameters"
"""The first line of the cell that papermill injects; our own cells of parameters say more on theirs."""


def read_parameters(**types: type) -> dict[str, Any]:
    """The notebook's own parameters by name. Raises BadInput for an unknown name or a value of the wrong type."""
    values = _assigned()
    for name, value in values.items():
        if name not in types:
            raise BadInput(f"parameters: unknown parameter {name}; known: {', '.join(types)}")
        _require_texts(name, value, types[name])
    return values


def _require_texts(name: str, value: object, kind: type) -> None:
    """Raise BadInput for what is no text, or where ``kind`` is a list, no list of texts."""
    texts = value if isinstance(value, list) else [value]
    if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
        what = "list of texts" if kind is list else "text"
        raise BadInput(f"parameters: {name} must be a {what}, not {shown(value)}")


def read_settings(*beside: str) -> Settings:
    """A run's settings: what the parameters cell assigns, and the defaults of all it leaves out.

    ``beside`` names texts that belong to the notebook itself. Raises BadInput as ``params.validate`` does.
    """
    values = _assigned()
    for name in beside:
        _require_texts(name, values.pop(name, ""), str)
    settings = params.validate(values, "parameters")
    params.require_day_to_come(settings, "parameters")
    return settings


def _assigned() -> dict[str, Any]:
    """What the parameters cell assigns, and after it papermill's injected one, with the values of now.

    The names come from the text of the cells that ran last, not from what is new in the namespace: so a notebook
    runs any number of times, beside any other variables, and a misspelt name is still seen.
    """
    shell = get_ipython()
    if shell is None or not (_cells.own or _cells.injected):
        raise BadInput(f"parameters: run the cell of parameters first; its first line must begin with {_INJECTED!r}")
    names = dict.fromkeys([*_names(_cells.own), *_names(_cells.injected)])
    return {name: shell.user_ns[name] for name in names if name in shell.user_ns}


class _ParameterCells:
    """The text of the cell of parameters that ran last, and of the one that papermill injected after it."""

    own = injected = ""

    def take(self, source: str) -> None:
        first_line = source.partition("\n")[0].rstrip()
        if first_line == _INJECTED:
            self.injected = source
        elif first_line.startswith(_INJECTED):
            self.own, self.injected = source, ""

    def watch(self, shell: InteractiveShell) -> None:
        """See the cells that run from now on, and those that ran before this module was imported."""
        for source in shell.history_manager.input_hist_raw if shell.history_manager else ():
            self.take(source)
        shell.events.register("pre_run_cell", lambda info: self.take(info.raw_cell))


_cells = _ParameterCells()
if (_shell := get_ipython()) is not None:
    _cells.watch(_shell)


def _names(source: str) -> Iterator[str]:
    """The variables that a cell of plain assignments sets."""
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        yield from (target.id for target in targets if isinstance(target, ast.Name))


@contextmanager
def _stoppable() -> Iterator[None]:
    """The stop button ends in one line, wherever it meets the cell."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("stopped by hand") from None


@dataclass(frozen=True)
class Prepared:
    """What preparing the database did: ``rows`` of its tables and ``integrity``, before and after."""

    rows: pd.DataFrame
    integrity: pd.DataFrame


@_stoppable()
def prepare_database(settings: Settings) -> Prepared:
    """Reset and seed the target's venue. Raises Refused where the guard says no, BadInput while a run drives it."""
    with open_platform(settings, PLATFORM_HOME) as platform:
        database = connect.engine(platform.database_url)
        try:
            authorise(database, platform.target)
            with alone(platform.database_url, PREPARED_BY_OTHERS_S):
                before = check(database)
                prepare(database, settings, platform.target)
                after = check(database)
        finally:
            database.dispose()
    reports = {"before": {"database": before.as_dict()}, "after": {"database": after.as_dict()}}
    return Prepared(tables.counts(before.counts, after.counts), tables.integrity(reports))


@_stoppable()
def open_results(run_folder: str = "", paths: Sequence[str] = (), server_logs: Sequence[str] = ()) -> Results:
    """The logs a person names, else the run, else the newest run of several levels, else the newest.

    Where there is no run at all, a small one is driven now. All paths are from the root of the checkout.
    """
    if paths:
        return results.open_logs([ROOT / path for path in paths], [ROOT / path for path in server_logs])
    if run_folder:
        return results.open_run(ROOT / run_folder)
    if runs.newest() is None:
        _drive(runs.create(params.load([SMALL_RUN])))
    newest = runs.newest(levels=2) or runs.newest()
    assert newest is not None, "the small run has just been driven"
    return results.open_run(newest)


@_stoppable()
def compare_runs(before: str = "", after: str = "") -> Compared:
    """Two run folders, or two log files, from the root of the checkout. Raises BadInput for two that are unlike."""
    if not before or not after:
        raise BadInput("parameters: name two runs, before and after, such as artifacts/20261127T025300Z-embedded")
    return comparison.read(ROOT / before, ROOT / after)


@_stoppable()
def run_level(settings: Settings, level_folder: str = "") -> Results:
    """The level in the folder named; without one, a new run of this one level is driven now.

    Raises BadInput where the settings name several levels, and Stopped, with the way on, where driving ends early.
    """
    if level_folder:
        return results.open_level(ROOT / level_folder)
    if len(settings.concurrency) != 1:
        raise BadInput(f"parameters: concurrency must be one level here, not {settings.concurrency}")
    run = runs.create(settings)
    _drive(run)
    return results.open_level(run.level_folders[0])


def _drive(run: Run) -> None:
    """Fill every level of a run in sight of the cell; a stop says where the measurements are and how to go on."""
    try:
        with runs.at_work(run):
            fill_all(run, live_progress)
    except (KeyboardInterrupt, SlotfillError) as stop:
        if run.measured:
            raise Stopped(f"{str(stop).rstrip('.') or 'stopped by hand'}. {runs.way_on(run)}") from None
        discard_unmeasured(run)
        if isinstance(stop, SlotfillError):
            raise
        raise Stopped("stopped by hand before anything was measured; nothing is kept") from None


@contextmanager
def live_progress(plan: Plan) -> Iterator[Progress]:
    """A bar with elapsed time under the cell that drives; one line of summary when the level is done."""
    view = _LiveView(plan)
    context = contextvars.copy_context()  # it knows the cell that output belongs to
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(REFRESH_S):
            view.refresh()

    clock = threading.Thread(target=context.run, args=(refresh,), daemon=True)
    clock.start()
    try:
        yield view.count
    finally:
        ended.set()
        clock.join()
        view.finish()


class _LiveView:
    """One display of a level under way, updated in place."""

    def __init__(self, plan: Plan) -> None:
        self._label, self._slots = plan.name, len(plan.slots)
        self._per_slot = {slot.time: len(slot.attempts) for slot in plan.slots}
        self._planned = sum(self._per_slot.values())
        self._outcomes: Counter[str] = Counter()
        self._texts: list[str] = []
        self._skipped = 0
        self._started = time.monotonic()
        first = self._bar()
        first["text/html"] += _INTO_SIGHT
        self._handle = display(first, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def count(self, line: Mapping[str, Any]) -> None:
        """Take in a finished attempt; where it ends its slot, what was still planned there is not asked for.

        A line of the driver's with a ``text`` is for people: it is shown at the end.
        """
        if "text" in line:
            self._texts.append(line["text"])
            return
        self._outcomes[line["outcome"]] += 1
        if line["outcome"] not in CONFIRMED_OUTCOMES:
            self._skipped += self._per_slot.get(line["slot"], line["iteration"]) - line["iteration"]

    def refresh(self) -> None:
        self._handle.update(self._bar(), raw=True)

    def finish(self) -> None:
        lines = [f"{self._label}: {text}" for text in (self._counts(), *self._texts)]
        self._handle.update({"text/plain": "\n".join(lines)}, raw=True)

    def _bar(self) -> dict[str, str]:
        done = self._outcomes.total() + self._skipped
        bar = f'<progress value="{done}" max="{self._planned}" style="width:16em"></progress>'
        text = f"{self._label}: {self._counts() if done else self._preparing()}"
        return {"text/html": f"{bar} {text}", "text/plain": text}

    def _preparing(self) -> str:
        return f"preparing the database and warming up, {self._elapsed_s:.0f} s"

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def _counts(self) -> str:
        confirmed = sum(self._outcomes[outcome] for outcome in CONFIRMED_OUTCOMES)
        return (
            f"{self._outcomes.total()} attempts of at most {self._planned} over {self._slots} slots, "
            f"{confirmed} confirmed, {self._elapsed_s:.0f} s"
        )
