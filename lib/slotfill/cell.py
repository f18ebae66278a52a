"""One level of one round, from a clean database to its attempts: prepare, sample, drive, collect.

The folder remembers how far it came, so that the same call starts a level, goes on with one that
stopped, and does nothing to one that is done.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import pandas as pd
from pydantic import AfterValidator, Field
from sqlalchemy import Engine

from slotfill.attempt import frame
from slotfill.collect.listeners import Listeners
from slotfill.database import connect
from slotfill.database.bookings import bookings_by_keys
from slotfill.database.guard import Target, authorise
from slotfill.database.integrity import IntegrityReport, Scope, check, check_unless_it_hangs
from slotfill.database.reset import reset
from slotfill.database.samples import Sampler
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.drive.driver import Progress, driver_pids, run_level
from slotfill.drive.target import Platform, require_answer
from slotfill.errors import BadInput, Braked
from slotfill.files import Shape, read_json, write_json, write_parquet
from slotfill.masking import mask
from slotfill.params import Settings
from slotfill.plan import Plan, plan
from slotfill.read import read_logs
from slotfill.read.kept import POSTGRES_LOG
from slotfill.read.text import LONGEST_LINE
from slotfill.run import SLOT_LOGS

DRIVING, DRIVEN = "driving", "driven"


def _instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("is an instant without its zone")
    return text


class _Tap(Shape):
    connections: int = Field(1, ge=0)
    calls: int = Field(0, ge=0)
    unreadable: int = Field(0, ge=0)
    encrypted: int = Field(0, ge=0)


class _Heard(Shape):
    taps: dict[str, _Tap] = Field(default_factory=dict)


class _Record(Shape):
    """``level.json``, as far as anything relies on it."""

    state: Literal["driving", "driven"]
    started_at: Annotated[str, AfterValidator(_instant)]
    resumes: int = Field(ge=0)
    server_log_starts: int = Field(ge=0, lt=2**63)
    postgres_log_starts: int = Field(0, ge=0, lt=2**63)
    heard: _Heard = _Heard()


@dataclass(frozen=True)
class Cell:
    """Its folder, its plan, and the settings with this one level."""

    folder: Path
    settings: Settings
    round_number: int = 1

    @property
    def plan(self) -> Plan:
        return plan(self.settings, self.settings.concurrency[0], self.round_number)

    @property
    def record(self) -> dict[str, Any]:
        """``level.json``: state, instants, and where the level begins in the platform's log; empty before it began.

        Raises BadInput where it is gone, or was changed, since the level began: what was driven would be driven again.
        """
        file = self.folder / "level.json"
        if file.exists():
            record: dict[str, Any] = read_json(file, _Record)
            return record
        if any(self.folder.glob(SLOT_LOGS)):
            raise BadInput(f"{file}: is missing, and this level was driven; put it back, or begin a new run")
        return {}

    def note(self, **values: Any) -> None:
        write_json(self.folder / "level.json", {**self.record, **values})


def fill(
    cell: Cell, platform: Platform, on_progress: Progress | None = None, listeners: Listeners | None = None
) -> None:
    """Bring a level to its end. Raises what ``run_level`` and the guard raise; what was measured is kept."""
    listeners = listeners or Listeners()
    if cell.record.get("state") == DRIVEN:
        return
    engine = connect.engine(platform.database_url)
    try:
        if not cell.record:
            _begin(cell, platform, engine)
        else:
            _require_own(cell.folder)
            cell.note(resumes=cell.record["resumes"] + 1)
        try:
            _drive(cell, platform, on_progress, listeners)
        except Braked:  # the database may be what the brake saw
            if report := check_unless_it_hangs(engine, _scope(cell)):
                _keep_after(cell, report)
            raise
        _keep_after(cell, check(engine, _scope(cell)))
        cell.note(state=DRIVEN, ended_at=_now())
    finally:
        engine.dispose()


def _require_own(folder: Path) -> None:
    """Raise BadInput for a file that has another name as well: what is appended to it would change that one, too."""
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_nlink > 1:
            raise BadInput(f"{file}: is a hard link, so that another file would change with it; make it a copy first")


def prepare(engine: Engine, settings: Settings, target: Target) -> dict[str, int]:
    """Baseline venue, guests and history, and the day's other bookings; rows put in, per table.

    Every level starts from this same state. Raises Refused where the guard says no.
    """
    slug, day = settings.restaurant_slug, date.fromisoformat(settings.date)
    reset(engine, slug, target=target)
    history = seed_intelligent(engine, settings.seed, slug, target=target)
    others = seed_today(engine, day, settings.seed, slug, target=target)
    return dict(Counter(history) + Counter(others))


def _begin(cell: Cell, platform: Platform, engine: Engine) -> None:
    cell.folder.mkdir(parents=True, exist_ok=True)
    if platform.server_log is not None and not platform.embedded and not platform.server_log.is_file():
        raise BadInput(f"server_log {platform.server_log}: no such file; name the platform's standard output")
    if cell.settings.prepare:
        authorise(engine, platform.target)
        # A database is not reset for a load that cannot begin.
        require_answer(platform, cell.settings.submit_timeout_ms)
        prepare(engine, cell.settings, platform.target)
    _require_unbooked(cell.plan, engine)
    started_at = _now()
    scope = Scope(since=datetime.fromisoformat(started_at))
    write_json(cell.folder / "integrity-before.json", check(engine, scope).as_dict())
    cell.note(
        state=DRIVING,
        started_at=started_at,
        label=cell.plan.label,
        concurrency=cell.plan.concurrency,
        round_number=cell.round_number,
        effective_concurrency=cell.plan.effective_concurrency,
        server_log_starts=_size(platform.server_log),
        postgres_log_starts=_size(platform.postgres_log),
        resumes=0,
    )


def _require_unbooked(plan: Plan, engine: Engine) -> None:
    """The platform answers a key it knows with the old booking, which would pass for a new one, quickly made."""
    keys = [attempt.idempotency_key for slot in plan.slots for attempt in slot.attempts]
    booked = bookings_by_keys(engine, keys)
    if booked:
        raise BadInput(
            f"{len(booked)} of the {len(keys)} bookings of {plan.label} are in the database already, from an earlier "
            "run with this seed; reset it (slotfill db reset), or give another seed. Nothing was booked"
        )


def _drive(cell: Cell, platform: Platform, on_progress: Progress | None, listeners: Listeners) -> None:
    samples, interval_ms = cell.folder / "samples.parquet", cell.settings.sample_interval_ms
    sampler = Sampler(
        platform.database_url, samples, interval_ms, lambda: {**platform.pids(), **driver_pids()}, platform.queue
    )
    listeners.begin(cell.folder)
    with _collected(cell, platform, listeners), sampler:
        run_level(cell.plan, cell.settings, platform, cell.folder, on_progress, listeners.problem)


def _scope(cell: Cell) -> Scope:
    return Scope(since=datetime.fromisoformat(cell.record["started_at"]))


def _keep_after(cell: Cell, report: IntegrityReport) -> None:
    write_json(cell.folder / "integrity-after.json", report.as_dict())


@contextmanager
def _collected(cell: Cell, platform: Platform, listeners: Listeners) -> Iterator[None]:
    """However the driving ends, the server's log, the attempts and what was heard are in the folder afterwards."""
    try:
        yield
    finally:
        if platform.server_log is not None and platform.server_log.is_file():
            copy = _copied if platform.embedded else _masked
            copy(platform.server_log, cell.record["server_log_starts"], cell.folder / "server.log")
        if platform.postgres_log is not None and platform.postgres_log.is_file():
            starts = cell.record.get("postgres_log_starts", 0)
            _masked(platform.postgres_log, starts, cell.folder / POSTGRES_LOG)
        driven = any(cell.folder.glob(SLOT_LOGS))
        attempts = read_logs([cell.folder]).attempts if driven else frame([])
        write_parquet(cell.folder / "attempts.parquet", attempts)
        listeners.end(cell.folder, _answered(attempts), cell.note)


def _answered(attempts: pd.DataFrame) -> set[str]:
    """The traces of the attempts whose request the platform has answered."""
    return set(attempts.loc[attempts["http_status"].notna(), "trace_id"].dropna())


def _size(file: Path | None) -> int:
    return file.stat().st_size if file is not None and file.is_file() else 0


def _copied(source: Path, offset: int, copy: Path) -> None:
    with source.open("rb") as log, copy.open("wb") as out:
        log.seek(offset)
        shutil.copyfileobj(log, out)


def _masked(source: Path, offset: int, copy: Path) -> None:
    """Nobody knows what a platform of others prints; its lines stay lines, so that they can be cited."""
    with source.open("rb") as log, copy.open("wb") as out:
        log.seek(offset)
        for line in _lines(log):
            out.write(mask(line.decode(errors="surrogateescape")).encode(errors="surrogateescape"))


def _lines(log: BinaryIO) -> Iterator[bytes]:
    """A log's lines; one that is longer than any that is read is left out, for it may be the whole of a large file."""
    while line := log.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = log.readline(LONGEST_LINE)
            line = b"(left out: a line of more than %d MiB)\n" % (LONGEST_LINE >> 20)
        yield line


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
