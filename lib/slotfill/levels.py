"""All rounds of a run, each with every level, on one platform: driven anew, or continued where they stopped."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from slotfill.cell import DRIVEN, Cell, fill
from slotfill.collect.listeners import listening
from slotfill.collect.unread import unread
from slotfill.database import connect
from slotfill.database.alone import alone
from slotfill.database.guard import identity
from slotfill.drive.driver import Progress
from slotfill.drive.target import Platform, discard_home, make_home, open_platform
from slotfill.errors import Refused, SlotfillError
from slotfill.files import read_json, write_json
from slotfill.homes import claim, owning, owns
from slotfill.plan import Plan, level_orders
from slotfill.run import Run

Following = Callable[[Plan], AbstractContextManager[Progress]]
"""What shows a level's progress while it is driven."""


def fill_all(run: Run, following: Following) -> None:
    """Bring every level of every round to its end. Raises what stops it, and records that in ``run.json``.

    The embedded platform's database is kept until the run is done, so that a stopped run can go on.
    """
    try:
        if not all(Cell(folder, run.settings).record.get("state") == DRIVEN for folder in run.cell_folders):
            _drive(run, following)
    finally:
        _gather_integrity(run)
    run.note(state="done", unread=_unread(run))
    if owns(run, run.platform_home):
        discard_home(run.platform_home)


def _drive(run: Run, following: Following) -> None:
    if run.settings.embedded and not run.platform_home.exists():
        _require_same(run, None)  # before another one is made in its place
    if run.settings.embedded:  # before it starts: a run that is killed then leaves a home that tells whose it is
        make_home(run.platform_home)
        claim(run, run.platform_home)
    with (
        _stop_recorded(run),
        listening(run.settings) as listeners,
        open_platform(run.settings, run.platform_home, listeners.detour) as untapped,
        listeners.in_front_of(untapped, run.settings) as platform,
        owning(run, run.platform_home) if untapped.embedded else alone(untapped.database_url),
    ):
        database = database_identity(untapped)
        _require_same(run, database)
        run.note(state="running", target={**fingerprint(untapped), "database": database})
        for round_number, levels in enumerate(level_orders(run.settings), 1):
            for concurrency in levels:
                folder = run.cell_folder(concurrency, round_number)
                cell = Cell(folder, run.settings.only(concurrency), round_number)
                with following(cell.plan) as on_progress:
                    fill(cell, platform, on_progress, listeners)


@contextmanager
def _stop_recorded(run: Run) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        run.stopped("Ctrl+C")
        raise
    except SlotfillError as error:
        run.stopped(str(error))
        raise


def _gather_integrity(run: Run) -> None:
    """All integrity checks in one file before and one after, by the folder of the level or of its round."""
    for when in ("before", "after"):
        name = f"integrity-{when}.json"
        files = [folder / name for folder in run.cell_folders]
        checks = {str(file.parent.relative_to(run.folder)): read_json(file) for file in files if file.is_file()}
        write_json(run.folder / name, checks)


def _unread(run: Run) -> list[str]:
    """What passed the run's taps unread, by the level that began last: they count on from one level to the next."""
    records = [Cell(folder, run.settings).record for folder in run.cell_folders]
    last = max(records, key=lambda record: str(record["started_at"]))
    taps = last.get("heard", {}).get("taps", {})
    return [f"tap {name}: {told}" for name, counts in taps.items() if (told := unread(counts))]


def database_identity(platform: Platform) -> str:
    """Which database this is, by whatever name it is reached."""
    engine = connect.engine(platform.database_url)
    try:
        with connect.reading(engine) as connection:
            return identity(connection, engine.url)
    finally:
        engine.dispose()


def _require_same(run: Run, database: str | None) -> None:
    """Raise Refused where a run that has driven something would go on with another database: nothing of it is there."""
    began_with = run.record.get("target", {}).get("database", database)
    begun = any((folder / "level.json").is_file() for folder in run.cell_folders)
    if begun and database != began_with and run.record.get("state") != "done":
        now = f" (this is {database})" if database else ""
        raise Refused(
            f"{run.folder}: the run began with the database {began_with}, which was deleted, moved or set up anew{now}"
            "; slotfill report shows what was measured, and a new run begins anew"
        )


def fingerprint(platform: Platform) -> dict[str, object]:
    """What ``run.json`` says of the platform that was driven."""
    return {
        "name": platform.name,
        "base_url": platform.base_url,
        "embedded": platform.embedded,
        "note": platform.note,
        "sessions": list(platform.sessions),
    }
