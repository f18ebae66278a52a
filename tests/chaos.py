"""Disturb a run at a random moment, continue it until the level is done, and count what was lost.

    python tests/chaos.py --runs 100 --seed 1

A process is killed (SIGKILL) or stopped for a while (SIGSTOP), or the clock of all of them is set back (where parent or
driver is drawn, it is killed then); after a kill of the parent the files are torn, the folder is moved, or two
processes continue it at once; as root on Linux, the disk under the level is full. What cannot be done here (clocks need
libfaketime) is said, and a kill takes its place.

Prints one line a run and exits 1 where a planned attempt did not end exactly once, where bookings in the
database and attempts in the logs differ, or where a table is booked twice.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import click
import pandas as pd
import psutil
import sqlalchemy as sa
from other_days import library, loads

from slotfill.attempt import is_confirmed
from slotfill.cell import DRIVEN, Cell, fill
from slotfill.database import connect
from slotfill.drive.clock import SystemClock
from slotfill.drive.journal import Journal
from slotfill.drive.target import Platform, open_platform
from slotfill.errors import SlotfillError
from slotfill.lock import held
from slotfill.outcomes import EXHAUSTED
from slotfill.params import Settings
from slotfill.read import read_logs

VICTIMS = ("parent", "driver", "web", "worker", "postgres")
DISTURBANCES = ("kill", "kill", "stop", "clock", "torn", "moved", "double", "full")
SMALL_DISK_KB = 96
"""Room for a level's first files and a part of its logs."""
MOST_STARTS = 6
MOST_WAIT_S = 1.6
"""About as long as the level takes."""
MOST_BACK_S = 7_200
SETTINGS = Settings(
    start="18:00",
    end="19:00",
    concurrency=4,
    stress_max=4,
    max_party_size=8,
    sample_interval_ms=0,
    submit_timeout_ms=5_000,
    timeout_ms=15_000,
    drain_ms=5_000,
    # Slow enough that a kill falls into a request now and then, quick enough for a hundred runs.
    faults={"api_delay_ms": 80, "db_rtt_ms": 4},
    brakes={"error_rate": 0, "database_errors": 0, "integrity_every_s": 0},  # type: ignore[arg-type]
)


@dataclass
class Outcome:
    """What a killed and resumed run came to."""

    disturbance: str
    victim: str
    after_s: float
    starts: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def play(folder: Path, disturbance: str, victim: str, after_s: float, stop_s: float) -> Outcome:
    """One run in ``folder``: start, disturb it after a while, continue until the level is done, check."""
    home, level = folder / "platform", Cell(folder / "concurrency-4", SETTINGS)
    clock = folder / "clock"
    if disturbance == "clock":
        clock.write_text("+0")
    # The platform is ours, so that the check finds the database running.
    with _clock_of(clock), open_platform(SETTINGS, home), ExitStack() as stack:
        if disturbance == "full":
            level.folder.mkdir()
            _mount(level.folder, f"size={SMALL_DISK_KB}k")
            stack.callback(subprocess.run, ["umount", "--lazy", level.folder], check=True)
        starts = 1
        with _filling(folder) as parent:
            _wait_until_driving(level, parent, after_s)
            if disturbance == "stop":
                _stop(home, parent, victim, stop_s)
            elif disturbance == "clock":
                clock.write_text(f"-{random.Random(after_s).randint(1, MOST_BACK_S)}")
                if victim in ("parent", "driver"):
                    _kill(home, parent, victim)
            elif disturbance != "full":
                _kill(home, parent, victim)
            parent.wait(180)
        kept = _measured(level)
        if disturbance == "torn":
            _tear(level)
        if disturbance == "full":
            _mount(level.folder, "remount,size=64m")
        if disturbance == "moved":
            folder = folder.with_name(f"{folder.name} – moved")
            folder.mkdir()
            level.folder.rename(folder / level.folder.name)
            level = Cell(folder / "concurrency-4", SETTINGS)
        while level.record.get("state") != DRIVEN and starts < MOST_STARTS:
            starts += 1
            with ExitStack() as several:
                count = 2 if disturbance == "double" else 1
                for parent in [several.enter_context(_filling(folder, home)) for _ in range(count)]:
                    parent.wait(180)
        with open_platform(SETTINGS, home) as platform:
            outcome = Outcome(disturbance, victim, after_s, starts)
            _check(level, platform, outcome)
        lost = sorted(key for key, total_ms in kept.items() if _measured(level).get(key) != total_ms)
        if lost:
            outcome.faults.append(f"measurements that were on disk and are gone: {lost}")
    return outcome


def _measured(level: Cell) -> dict[str, float]:
    """The total of each attempt that was confirmed and measured, by key."""
    attempts = read_logs([level.folder]).attempts if any(level.folder.glob("slot-fill-*.log")) else pd.DataFrame()
    if attempts.empty:
        return {}
    whole = attempts[is_confirmed(attempts) & attempts["total_ms"].notna()]
    return dict(zip(whole["idempotency_key"], whole["total_ms"], strict=True))


@contextmanager
def _clock_of(file: Path) -> Iterator[None]:
    """Where there is the file, all processes started here have their clock moved by what it holds, in seconds."""
    preload = library() if file.exists() else None
    if preload is None:
        yield
        return
    told = {"LD_PRELOAD": str(preload), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def _tear(level: Cell) -> None:
    """What a power cut may leave: a line without its end, half a file beside each one that is written whole."""
    for log in level.folder.glob("slot-fill-*.log"):
        first = log.read_bytes().partition(b"\n")[0]
        with log.open("ab") as torn:
            torn.write(first[: len(first) // 2])
    whole = ("level.json", "plan.json", "drive.json", "calibration.json", "integrity-before.json", "attempts.parquet",
             "samples.parquet")  # fmt: skip
    for name in whole:
        (level.folder / f".{name}.partial").write_bytes(b"{")
    for name in ("attempts.parquet", "samples.parquet", "calls.parquet", "spans.parquet"):
        (level.folder / name).write_bytes(b"PAR1")
    (level.folder / "server.log").write_bytes(b"[2026-12-08T16:00:00.000Z] {\n  booking: 'a")


def _stop(home: Path, parent: "subprocess.Popen[bytes]", victim: str, seconds: float) -> None:
    stopped = list(_processes(home, parent, victim))
    for process in stopped:
        process.suspend()
    time.sleep(seconds)
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.resume()


class _filling:
    """A process of this script that fills the level."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self._command = [sys.executable, __file__, "fill", str(folder), str(home or folder / "platform")]
        self._log = folder / "fill.log"

    def __enter__(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _wait_until_driving(level: Cell, parent: "subprocess.Popen[bytes]", after_s: float) -> None:
    while parent.poll() is None and not any(level.folder.glob("slot-fill-*.log")):
        time.sleep(0.01)
    time.sleep(after_s)


def _kill(home: Path, parent: "subprocess.Popen[bytes]", victim: str) -> None:
    for process in _processes(home, parent, victim):
        process.kill()


def _processes(home: Path, parent: "subprocess.Popen[bytes]", victim: str) -> Iterator[psutil.Process]:
    try:
        if victim == "parent":
            yield psutil.Process(parent.pid)
        elif victim == "driver":
            children = psutil.Process(parent.pid).children()
            yield from (child for child in children if "slotfill.drive" in child.cmdline())
        else:
            with open_platform(SETTINGS, home) as platform:
                yield psutil.Process(platform.pids()[victim])
    except (KeyError, psutil.NoSuchProcess):
        return  # it is being started just now


def _check(level: Cell, platform: Platform, outcome: Outcome) -> None:
    attempts = read_logs([level.folder]).attempts
    outcome.outcomes.update(attempts["outcome"])
    bookings, doubles = _database(platform)
    keys = attempts["idempotency_key"]
    confirmed = set(keys[is_confirmed(attempts)])
    booked = set(bookings.loc[bookings["status"] == "confirmed", "idempotency_key"])
    planned = {attempt.idempotency_key: slot for slot in level.plan.slots for attempt in slot.attempts}
    for told, found in (
        ("the level is not done", level.record.get("state") != DRIVEN),
        ("attempts counted twice", sorted(keys[keys.duplicated()])),
        ("attempts nobody planned", sorted(set(keys) - set(planned))),
        ("confirmed in the logs and not in the database", sorted(confirmed - booked)),
        ("confirmed in the database and not in the logs", sorted(booked - confirmed)),
        ("bookings without an attempt", sorted(set(bookings["idempotency_key"]) - set(keys))),
        ("tables booked twice", doubles),
        ("slots that ended early", _early(level, attempts)),
    ):
        if found:
            outcome.faults.append(f"{told}: {found}")


def _early(level: Cell, attempts: pd.DataFrame) -> list[str]:
    """Slots that are neither full nor out of tables nor ended by a failure, also one that was found booked later."""
    early, journal = [], Journal(level.folder, SystemClock())
    for slot in level.plan.slots:
        if journal.past(slot).ended == "failed":
            continue
        ended = attempts[attempts["slot"] == slot.time]
        confirmed = int(is_confirmed(ended).sum())
        other = ended[~is_confirmed(ended)]["outcome"]
        if confirmed < len(slot.attempts) and other.empty and EXHAUSTED not in set(other):
            early.append(slot.time)
    return early


def _database(platform: Platform) -> tuple[pd.DataFrame, list[str]]:
    engine = connect.engine(platform.database_url)
    try:
        bookings = pd.read_sql(
            sa.text("SELECT idempotency_key::text, status::text FROM bookings WHERE source = 'api'"), engine
        )
        kept = pd.read_sql(sa.text("SELECT table_id::text, start_at, end_at FROM booking_table_assignments"), engine)
    finally:
        engine.dispose()
    kept = kept.sort_values(["table_id", "start_at"])
    before = kept.groupby("table_id")["end_at"].shift()
    return bookings, sorted(kept.loc[before > kept["start_at"], "table_id"])


@click.group(invoke_without_command=True)
@click.option("--runs", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--stop-s", default=40.0, show_default=True, help="For how long a process is stopped.")
@click.option("--only", type=click.Choice(sorted(set(DISTURBANCES))), help="This disturbance alone.")
@click.pass_context
def main(context: click.Context, runs: int, seed: int, stop_s: float, only: str | None) -> None:
    if context.invoked_subcommand:
        return
    draw, failed, impossible = random.Random(seed), 0, _impossible()
    for disturbance, reason in impossible.items():
        print(f"{disturbance}: not tried, {reason}", flush=True)
    for number in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            disturbance, victim = only or draw.choice(DISTURBANCES), draw.choice(VICTIMS)
            if disturbance in impossible:
                disturbance = "kill"
            if disturbance in ("torn", "moved", "double"):
                victim = "parent"
            run_folder = Path(folder) / "run"
            run_folder.mkdir()
            outcome = play(run_folder, disturbance, victim, draw.uniform(0, MOST_WAIT_S), stop_s)
        failed += bool(outcome.faults)
        told = ", ".join(f"{count} {name}" for name, count in sorted(outcome.outcomes.items()))
        print(
            f"{number:3d} {outcome.disturbance:6s} {outcome.victim:8s} after {outcome.after_s:.2f} s, "
            f"{outcome.starts} starts: {told}",
            flush=True,
        )
        for fault in outcome.faults:
            print(f"    {fault}", flush=True)
    print(f"{runs - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def _impossible() -> dict[str, str]:
    """The disturbances that cannot be made here, and why."""
    found = {}
    if os.geteuid() != 0 or sys.platform != "linux":
        found["full"] = "a small disk is mounted as root on Linux alone"
    preload = library()
    if preload is None or not loads(preload):
        found["clock"] = "libfaketime does not load here"
    return found


@main.command("fill")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("home", type=click.Path(path_type=Path))
def _fill(folder: Path, home: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held(folder), open_platform(SETTINGS, home) as platform:
            fill(Cell(folder / "concurrency-4", SETTINGS), platform)
    except (SlotfillError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
