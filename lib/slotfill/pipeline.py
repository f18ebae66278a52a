"""The whole job: every level, then the report. ``resume`` is the same job on a folder that already holds a part."""

import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from slotfill import run as runs
from slotfill.analyse import thresholds
from slotfill.errors import BadInput, Braked, Refused, SlotfillError, Unreachable
from slotfill.escape import for_terminal
from slotfill.files import require_writable, write_json, write_text
from slotfill.lock import held
from slotfill.params import ROOT, Settings
from slotfill.plan import plan
from slotfill.run import Run

# The rest is imported where it is needed: most of it takes longer than a mistake takes to be told.
if TYPE_CHECKING:
    from slotfill.analyse.study import Study

Say = Callable[[str], None]
BREACHED = 1


def run(settings: Settings, out: Path | None, say: Say, proving: bool = False, junit: Path | None = None) -> int:
    """A new run from beginning to end; the exit code. The run folder is the last thing said.

    ``proving``: its verdict is tested afterwards. ``junit``: a file for thresholds and integrity.
    """
    from slotfill.collect.listeners import require_listenable
    from slotfill.drive.target import require_openable
    from slotfill.homes import discard_unmeasured, discard_useless

    # What cannot be is told before a folder is made.
    thresholds.require_known(settings.thresholds)
    require_openable(settings)
    require_listenable(settings)
    for concurrency in settings.concurrency:
        plan(settings, concurrency)  # its grid is that of every round
    _require_bookable(settings)
    was_there = out is not None and out.exists()
    if settings.embedded:
        discard_useless()
    run = runs.create(settings, out)
    try:
        with runs.at_work(run):
            if junit:
                require_writable(junit, "--junit")
            return _carry_on(run, say, junit, proving)
    except (BadInput, Refused, Unreachable, KeyboardInterrupt) as stop:
        if discard_unmeasured(run, keep_folder=was_there) and isinstance(stop, KeyboardInterrupt):
            print("Nothing was measured, and nothing is left of the run", file=sys.stderr)
        raise


def resume(folder: Path, say: Say, junit: Path | None = None) -> int:
    """Continue a run; one that is done only gets its report again."""
    from slotfill.homes import require_original

    run = runs.open_run(folder)
    with runs.at_work(run):
        if junit:
            require_writable(junit, "--junit")
        if run.record.get("state") != "done":
            require_original(run, run.platform_home)
            run.resumed()
        return _carry_on(run, say, junit)


def prove(folder: Path, say: Say) -> int:
    """Test the verdict of a run that is done; the exit code is that of its report."""
    from slotfill import prove as proof
    from slotfill.progress import following

    run = runs.open_run(folder)
    with runs.at_work(run):
        proof.prove(run, following)
        return _tell(run, say)


def report(
    paths: Sequence[Path],
    server_logs: Sequence[Path],
    out: Path | None,
    say: Say,
    otlp: Sequence[Path] = (),
    postgres_logs: Sequence[Path] = (),
) -> int:
    """The documents of a run folder, or of any logs; the folder they are in is the last thing said.

    ``otlp``: spans that others recorded; a run folder keeps them, stripped. ``postgres_logs``: Postgres' own; a run
    folder keeps them, masked, in place of those it was given before.
    """
    from slotfill.files import write_parquet
    from slotfill.read.kept import POSTGRES_LOG, SPANS
    from slotfill.read.postgres_log import keep_lock_messages
    from slotfill.read.spans import read_spans
    from slotfill.report import documents, terminal

    if len(paths) == 1 and runs.is_run(paths[0]):
        if server_logs or out:
            raise BadInput(f"{paths[0]}: is a run folder: its server logs and its report's place are its own")
        run = runs.open_run(paths[0])
        with runs.at_work(run):
            if otlp:
                told = read_spans(otlp)
                say_passed_over(told.notes)
                write_parquet(run.folder / SPANS, told.spans)
            if postgres_logs:
                keep_lock_messages(postgres_logs, run.folder / POSTGRES_LOG)
            return _tell(run, say)
    was_there = out is not None and out.exists()
    out = runs.new_folder(
        out or ROOT / "artifacts" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-report-{secrets.token_hex(3)}"
    )
    with held(out):
        runs.require_empty(out)
        try:
            study = documents.write_logs_report(paths, server_logs, out, otlp, postgres_logs)
        except BadInput:
            if not was_there and not any(out.iterdir()):
                out.rmdir()
            raise
    say_passed_over(study.notes)
    say(terminal.verdict(study))
    say(str(out))
    return 0


def say_passed_over(notes: Sequence[str]) -> None:
    """What of the spans could not be read, to the terminal."""
    if notes:
        more = f", and {len(notes) - 1} more passed over" if len(notes) > 1 else ""
        print(for_terminal(f"slotfill: {notes[0]}{more}"), file=sys.stderr)


def export(paths: Sequence[Path], server_logs: Sequence[Path], out: Path | None, say: Say) -> int:
    """The figures of a run or of any logs for other tools; the folder they are in is the last thing said."""
    from slotfill.analyse import study
    from slotfill.report import exports

    run_folder = runs.open_run(paths[0]).folder if len(paths) == 1 and runs.is_run(paths[0]) else None
    if run_folder is None and out is None:
        raise BadInput("export: name a folder for the files (--out DIR); only a run has one of its own")
    if run_folder and server_logs:
        raise BadInput(f"{paths[0]}: is a run folder: its server logs are its own")
    found = study.of_run(run_folder) if run_folder else study.of_logs(paths, server_logs)
    folder = Path(str(run_folder)) / "exports" if out is None else runs.new_folder(out)
    runs.require_inside(run_folder or folder)
    folder.mkdir(exist_ok=True)
    with held(folder):
        if out is not None:
            runs.require_empty(folder)
        exports.write(found, run_folder, folder)
    say(str(folder))
    return 0


def compare(before: Path, after: Path, out: Path | None = None) -> str:
    """Two runs, or the logs of two, side by side as a text table; with ``out`` also as compare.html and compare.json.

    Raises BadInput for runs that cannot be compared.
    """
    from slotfill.analyse.compare import render
    from slotfill.report import comparison

    folder = runs.new_folder(out) if out else None
    both = comparison.read(before, after)
    if folder:
        with held(folder):
            runs.require_empty(folder)
            write_json(folder / "compare.json", both.as_json())
            write_text(folder / "compare.html", both.page())
    known = "same parameters" if both.recorded else "parameters not recorded, parties drawn anew"
    told = [f"{name}: {old} → {new}" for name, (old, new) in both.parameters.items()] or [known]
    page = ["", str(folder / "compare.html")] if folder else []
    return "\n".join([*told, "", render(both.found), *page])


def _require_bookable(settings: Settings) -> None:
    """Raise BadInput where the venue takes no booking at a time of the grid, as far as that can be known before."""
    from slotfill.database import connect
    from slotfill.database.hours import require_open, require_open_at_baseline
    from slotfill.drive.target import remote, unresolvable

    if settings.embedded:
        if settings.prepare:
            require_open_at_baseline(settings)
        return
    platform = remote(settings)
    if unresolvable(platform.base_url):
        return  # open_platform says so
    engine = connect.engine(platform.database_url)
    try:
        require_open(engine, settings)
    finally:
        engine.dispose()


def _carry_on(run: Run, say: Say, junit: Path | None, proving: bool = False) -> int:
    from slotfill.levels import fill_all
    from slotfill.progress import following

    if sys.stderr.isatty():  # nothing else is to be seen before the first level
        print(f"Setting up {run.settings.target}: platform, database, baseline", file=sys.stderr, flush=True)
    try:
        fill_all(run, following)
        if proving:
            from slotfill import prove as proof
            from slotfill.report import documents

            documents.write_analysis(run.folder)
            proof.prove(run, following)
        return _tell(run, say, junit)
    except (SlotfillError, KeyboardInterrupt) as stop:
        if run.measured:
            if isinstance(stop, Braked):
                # What the brake saw is what the person has to see; it may have been before the first attempt.
                with suppress(BadInput):
                    _tell(run, say)
            print(runs.way_on(run), file=sys.stderr)
        raise


def _tell(run: Run, say: Say, junit: Path | None = None) -> int:
    """Write the documents and each level's notebook; exit code 1: a threshold is breached, or nothing was confirmed."""
    from slotfill.report import documents, terminal
    from slotfill.report import junit as junit_xml

    print("Writing the report", file=sys.stderr)
    levels = [folder for folder in run.level_folders if runs.driven_cells(folder)]
    study = documents.write_report(run.folder, levels)
    checks = thresholds.evaluate(run.settings.thresholds, study.metrics)
    for check in checks:
        limit = f"{check.label} {check.name} {check.value} ({check.limit})"
        print(for_terminal(f"threshold {check.verdict}: {limit}"), file=sys.stderr)
    if junit:
        junit_xml.write(junit, study, checks)
    say(f"\n{terminal.verdict(study)}\n")
    say(str(run.folder))
    return BREACHED if any(check.verdict == "broken" for check in checks) else _exit_code(study)


def _exit_code(study: "Study") -> int:
    """A run that confirmed nothing has measured nothing."""
    from slotfill.attempt import is_confirmed

    if is_confirmed(study.attempts).any():
        return 0
    print(f"Nothing was confirmed: {study.document.mechanism.replace('_', ' ')}", file=sys.stderr)
    return BREACHED
