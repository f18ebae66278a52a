"""The run folder: what one run leaves behind, and where.

run.json                parameters, seed, git commit, versions, host, target, stops
integrity-before.json   the integrity check before each level
integrity-after.json    the integrity check after each level
concurrency-N/          a level: its notebook, and with one round its logs, samples and attempts
concurrency-N/round-R/  with more rounds, these of each
metrics.json  bottleneck.json  report.html  verification.md
"""

import os
import platform as host
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from slotfill import params
from slotfill.errors import BadInput
from slotfill.files import Shape, read_json, read_parquet, write_json
from slotfill.lock import held
from slotfill.outcomes import CONFIRMED_OUTCOMES
from slotfill.params import ROOT, Settings

SLOT_LOGS = "slot-fill-*.log"
LONGEST_NAME = 60
_HOME = re.compile(r"[^/\0]+-[0-9a-f]{8}")
_SHARED_HOMES = ("serve", "notebooks")
"""Of the platforms that commands and notebooks share."""
PACKAGES = ("slotfill", "httpx", "pandas", "numpy", "scipy", "sqlalchemy", "psycopg", "papermill", "nbconvert")


class _Stop(Shape):
    reason: str


class _Host(Shape):
    system: str | None = None
    machine: str | None = None
    cpus: int | None = Field(None, ge=1, le=100_000)


class _Target(Shape):
    name: str | None = None
    base_url: str | None = None
    note: str | None = None
    sessions: list[str] = Field(default_factory=list)
    database: str | None = None


class _Record(Shape):
    """``run.json``, as far as anything relies on it."""

    parameters: dict[str, Any]
    state: str = ""
    created_at: str = ""
    platform_home: str = ""
    git: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    clock: dict[str, Any] = Field(default_factory=dict)
    host: _Host = _Host()
    target: _Target = _Target()
    stops: list[_Stop] = Field(default_factory=list)
    resumed_at: list[str] = Field(default_factory=list)
    unread: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One run's folder and the settings it was started with."""

    folder: Path
    settings: Settings

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def platform_home(self) -> Path:
        """Where the run's embedded platform keeps its database, until the run is done; also when its folder moves."""
        given = self.record.get("platform_home")
        name = given or self.id  # as runs of before called it
        if name in _SHARED_HOMES or (given and not _HOME.fullmatch(given)):  # it is a folder that will be removed
            where = self.folder / "run.json"
            raise BadInput(f"{where}: platform_home must be a name that a run makes (NAME-0123abcd), not {name!r}")
        return ROOT / "artifacts" / ".platform" / name

    def level_folder(self, concurrency: int) -> Path:
        return self.folder / f"concurrency-{concurrency}"

    def cell_folder(self, concurrency: int, round_number: int) -> Path:
        """Where one round of a level lies; the only round lies in the level's own folder."""
        level = self.level_folder(concurrency)
        return level if self.settings.rounds == 1 else level / f"round-{round_number}"

    @property
    def level_folders(self) -> list[Path]:
        return [self.level_folder(concurrency) for concurrency in self.settings.concurrency]

    @property
    def cell_folders(self) -> list[Path]:
        """Of every round of every level, level by level."""
        rounds = range(1, self.settings.rounds + 1)
        return [self.cell_folder(concurrency, number) for concurrency in self.settings.concurrency for number in rounds]

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` holds now."""
        return read_record(self.folder / "run.json")

    @property
    def measured(self) -> bool:
        """Whether anything was driven."""
        return any(driven_cells(folder) for folder in self.level_folders)

    def note(self, **values: Any) -> None:
        """Write values into ``run.json`` beside what stands there."""
        write_json(self.folder / "run.json", {**self.record, **values})

    def resumed(self) -> None:
        """Record that the run goes on after a stop or crash."""
        self.note(resumed_at=[*self.record.get("resumed_at", []), _now()])

    def stopped(self, reason: str) -> None:
        """Record that the run stopped before its end, and why."""
        stop = {"at": _now(), "reason": reason}
        self.note(state="stopped", stops=[*self.record.get("stops", []), stop])


def create(settings: Settings, out: Path | None = None) -> Run:
    """A new run folder with its ``run.json``. Raises BadInput where ``out`` already holds something."""
    if out is None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        out = ROOT / "artifacts" / f"{started}-{settings.target}-{secrets.token_hex(3)}"
    folder = new_folder(out)
    with held(folder):  # of two that want the same new folder, one gets it
        require_empty(folder)
        home = f"{folder.name[:LONGEST_NAME]}-{secrets.token_hex(4)}"
        record = {"state": "running", **stamp(settings), "platform_home": home, "stops": []}
        write_json(folder / "run.json", record)
    return Run(folder, settings)


def new_folder(out: Path) -> Path:
    """``out``, absolute and made for its owner alone.

    Raises BadInput where it cannot be made, is not empty, or lies in the folder of a run, which may be removed.
    """
    try:
        folder = out.resolve()
        _require_utf8(folder)
        if above := next(filter(is_run, folder.parents), None):
            raise BadInput(f"--out {out}: lies in the run folder {above}; name a place outside of it")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_empty(folder)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError, RuntimeError: no name, or links in a circle
        raise BadInput(f"--out {out}: {getattr(error, 'strerror', None) or error}") from None
    return folder


def _require_utf8(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{folder}: its name must be UTF-8, for the documents name it") from None


def require_empty(folder: Path) -> None:
    """Raise BadInput where a folder holds something."""
    if any(folder.iterdir()):
        raise BadInput(f"--out {folder}: is not empty, and a folder is never reused; name a new one")


def discard(run: Run, keep_folder: bool = False) -> None:
    """Remove what a run that measured nothing wrote, and its folder where it made that."""
    for entry in run.folder.iterdir() if keep_folder else [run.folder]:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def way_on(run: Run) -> str:
    """What a person is told of a run that ended early: what was measured, where it is, and how it continues."""
    outcomes = Counter[str]()
    for file in (folder / "attempts.parquet" for folder in run.cell_folders):
        with suppress(BadInput):  # it is made anew of the logs
            outcomes.update(read_parquet(file, ["outcome"], {"outcome": "string"})["outcome"].dropna())
    confirmed = sum(outcomes[name] for name in CONFIRMED_OUTCOMES)
    measured = f"{outcomes.total()} attempts, {confirmed} confirmed" if outcomes else "what was measured"
    command = "report" if run.record.get("state") == "done" else "resume"
    meaning = "writes its report" if command == "report" else "continues it"
    return f"Kept in {run.folder}: {measured}. `slotfill {command} {shlex.quote(str(run.folder))}` {meaning}"


def open_run(folder: Path) -> Run:
    """The run that lives in a folder. Raises BadInput where there is none."""
    if not is_run(folder):
        raise BadInput(f"{folder}: is not a run folder (it has no run.json)")
    _require_utf8(folder.resolve())
    file = folder / "run.json"
    return Run(folder.resolve(), _settings(read_record(file), file))


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, in whatever state."""
    try:
        return (folder / "run.json").exists()
    except (OSError, ValueError):  # no name that a folder can have
        return False


def read_record(file: Path) -> dict[str, Any]:
    """What a ``run.json`` holds. Raises BadInput where a person's hand has left it as no run writes it."""
    record: dict[str, Any] = read_json(file, _Record)
    _settings(record, file)
    return record


def _settings(record: Mapping[str, Any], file: Path) -> Settings:
    # A run from before there were rounds drove each level once.
    return params.validate({"rounds": 1, **record["parameters"]}, str(file))


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """The run folder, for this process alone, to write into. Raises BadInput where another one is at work in it,
    where something in it leads out of it: nothing outside may be written, and where it goes away meanwhile."""
    with held(run.folder) as descriptor:
        require_inside(run.folder)
        try:
            yield
        except BaseException:
            if _is_at(run.folder, descriptor):
                raise
            raise BadInput(
                f"{run.folder}: was moved or removed while at work; `slotfill resume` continues it where it is now"
            ) from None


def _is_at(folder: Path, descriptor: int) -> bool:
    """Whether an open folder still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError:
        return False


def require_inside(folder: Path) -> None:
    """Raise BadInput where anything in a folder is a link, or neither a file nor a folder.

    A link on the way to the folder is no matter.
    """
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise BadInput(
                        f"{entry.path}: is a link; put what it leads to in its place: a run lies in its folder"
                    )
                if entry.is_dir():
                    folders.append(entry.path)
                elif not entry.is_file():
                    raise BadInput(f"{entry.path}: is a pipe or a device, not a file; remove it")


def driven_cells(level_folder: Path) -> list[Path]:
    """The folders with the logs of a level: its own, or those of its rounds, in order."""
    named = [folder for folder in level_folder.glob("round-*") if folder.name.removeprefix("round-").isdecimal()]
    rounds = sorted(named, key=lambda folder: int(folder.name.removeprefix("round-")))
    return [folder for folder in (level_folder, *rounds) if any(folder.glob(SLOT_LOGS))]


def newest(parent: Path = ROOT / "artifacts", levels: int = 1) -> Path | None:
    """The run that was started last of those in which so many levels were driven; None where there is none yet."""
    driven = Counter(level.parent for level in parent.glob("*/concurrency-*") if driven_cells(level))
    folders = [folder for folder, count in driven.items() if count >= levels]
    started: dict[Path, str] = {}
    for folder in folders:
        if is_run(folder):
            try:
                started[folder] = read_record(folder / "run.json").get("created_at", "")
            except BadInput as error:
                print(f"slotfill: passed over: {error}", file=sys.stderr)
    return max(started, key=lambda folder: started[folder]) if started else None


def stamp(settings: Settings) -> dict[str, Any]:
    """What decides whether two runs can be compared: parameters, code, versions and host."""
    return {
        "created_at": _now(),
        "parameters": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "git": _git(),
        "versions": {"python": host.python_version(), **{name: version(name) for name in PACKAGES}},
        "host": {"system": host.system(), "release": host.release(), "machine": host.machine(), "cpus": os.cpu_count()},
        "clock": {"source": "time.perf_counter", "resolution_ms": time.get_clock_info("perf_counter").resolution * 1e3},
    }


def _git() -> Mapping[str, Any]:
    """Commit and whether the checkout differs from it; empty outside a checkout or without git."""
    try:
        commit = _git_says("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git_says("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git_says(*words: str) -> str:
    answer = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
