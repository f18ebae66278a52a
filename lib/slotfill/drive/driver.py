"""Driving one level: the driver runs as its own process, and this side waits for it, shows it and stops it.

Plain blocking calls, so that a notebook cell can make them whatever its event loop does.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

from slotfill.database import connect
from slotfill.database.url import without_password
from slotfill.drive.integrity_monitor import monitor_integrity
from slotfill.drive.target import Platform
from slotfill.errors import BadInput, Braked, Refused, SlotfillError, Stopped, Unreachable
from slotfill.files import read_json, write_json, write_text
from slotfill.lock import held
from slotfill.params import Settings
from slotfill.plan import Plan

Progress = Callable[[dict[str, Any]], None]
Alarm = Callable[[], str | None]
"""Why the load has to stop, asked several times a second; ``None`` while it has not."""
ALARM_EVERY_S = 0.25
DRIVER = "driver"
MODULE = ["-P", "-m", "slotfill.drive"]
"""-P: without it, a module in the working folder would be taken for one of ours or of Python's."""
END_GRACE_S = 10
"""Past the drain, for writing the last lines."""
_ERRORS = {kind.exit_code: kind for kind in (BadInput, Braked, Refused, Unreachable)}


def run_level(
    plan: Plan,
    settings: Settings,
    platform: Platform,
    folder: Path,
    on_progress: Progress | None = None,
    alarm: Alarm | None = None,
) -> None:
    """Drive what the folder's logs do not hold yet; called again after a stop or crash it goes on.

    The folder gets ``plan.json``, ``drive.json`` and the slot logs. ``on_progress`` is called with one dict
    (``slot, iteration, outcome, totalMs``) for each finished attempt, and with one that has a ``text`` for people: on
    what measuring costs, before, and on the requests in flight, at the end. Ctrl+C stops cleanly, twice at once.
    A reason that ``alarm`` gives is a brake.
    Raises Braked, Unreachable, BadInput, Refused, KeyboardInterrupt; SlotfillError where the driver died.
    """
    if not platform.embedded and platform.name != settings.target:
        raise Refused(f"the parameters name the target {settings.target!r}, but this platform is {platform.name!r}")
    # A driver whose parent was killed still drains: it holds the folder until its last line is written.
    with held(folder, settings.drain_ms / 1e3 + END_GRACE_S) as lock, tempfile.TemporaryFile() as stderr_file:
        _write_orders(plan, settings, platform, folder)
        driver = _start(platform, folder, stderr_file, lock)
        monitored = monitor_integrity(platform.database_url, settings.brakes.integrity_every_s, partial(_brake, driver))
        with _ended(driver, settings), monitored, _alarmed(alarm, partial(_brake, driver)):
            last = _follow(driver, on_progress or (lambda line: None), settings.drain_ms)
            code = driver.wait()
        _raise_for(code, last)
        if code:
            raise _crash(stderr_file, platform, folder)
        if alarm is not None and (reason := alarm()):  # since it was last asked
            raise Braked(reason)


@contextmanager
def _alarmed(alarm: Alarm | None, brake: Callable[[str], None]) -> Iterator[None]:
    over = threading.Event()

    def watch(alarm: Alarm) -> None:
        while not over.wait(ALARM_EVERY_S):
            if reason := alarm():
                brake(reason)
                return

    if alarm is not None:
        threading.Thread(target=watch, args=(alarm,), name="alarm", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def driver_pids() -> dict[str, int]:
    """The driver that this process has started, by name, while it runs."""
    return {DRIVER: child.pid for child in psutil.Process().children() if _is_driver(child)}  # noqa: B035 (at most one)


def _is_driver(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()[1 : 1 + len(MODULE)] == MODULE
    return False


def _write_orders(plan: Plan, settings: Settings, platform: Platform, folder: Path) -> None:
    file, content = folder / "plan.json", json.loads(json.dumps(plan.dump()))
    if file.exists() and read_json(file) != content:
        raise BadInput(f"{folder}: holds another plan; a level is only ever driven with the plan it began with")
    write_json(file, content)
    # The URLs go by environment: they can hold secrets, and this file is kept.
    plain = settings.model_dump(mode="json", exclude={"base_url"})
    started_at = platform.started_at.isoformat() if platform.started_at else None
    run_folder = folder.parents[1] if folder.name.startswith("round-") else folder.parent
    orders = {
        "settings": plain,
        "embedded": platform.embedded,
        "platform_started_at": started_at,
        "run_id": run_folder.name,
    }
    write_json(folder / "drive.json", orders)


def _start(platform: Platform, folder: Path, stderr_file: IO[bytes], lock: int) -> "subprocess.Popen[bytes]":
    """The driver in a session of its own: a terminal's Ctrl+C reaches it through us only. It shares our lock."""
    told = {"SLOTFILL_BASE_URL": platform.base_url, "SLOTFILL_DATABASE_URL": platform.database_url}
    if platform.headers:
        told["SLOTFILL_HEADERS"] = json.dumps(dict(platform.headers))
    if platform.lease is not None:
        told["SLOTFILL_LEASE"] = str(platform.lease)
    return subprocess.Popen(
        [sys.executable, *MODULE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr_file,
        env={**os.environ, **told},
        pass_fds=[lock],
        start_new_session=True,
    )


def _follow(driver: "subprocess.Popen[bytes]", on_progress: Progress, drain_ms: int) -> dict[str, Any]:
    """Hand on the driver's lines until it ends; its last one where that says why it stopped."""
    told = iter(
        (
            f"Stopping: waiting up to {drain_ms / 1e3:g} s for what is in flight; stop again (Ctrl+C) to stop at once",
            "Stopping at once: what is in flight is looked up in the database when the run is resumed",
        )
    )
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(driver, lines), daemon=True).start()
    last: dict[str, Any] = {}
    interrupts = 0
    while True:
        try:
            # Here and not where it is caught: one that comes while another is passed on is one like it.
            while interrupts:
                driver.send_signal(signal.SIGINT)
                interrupts -= 1
                if line_of_stop := next(told, None):
                    print(f"\n{line_of_stop}", file=sys.stderr, flush=True)
            line = lines.get()
            if not line:
                return last
            last = json.loads(line)
            if "outcome" in last or "text" in last:
                on_progress(last)
        except KeyboardInterrupt:
            interrupts += 1


def _read(driver: "subprocess.Popen[bytes]", lines: "queue.SimpleQueue[bytes]") -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        lines.put(line)
    lines.put(b"")


@contextmanager
def _ended(driver: "subprocess.Popen[bytes]", settings: Settings) -> Iterator[None]:
    """However this ends, the driver has ended after it; closing its input makes it drain."""
    try:
        yield
    finally:
        assert driver.stdin is not None and driver.stdout is not None
        driver.stdin.close()
        try:
            driver.wait(settings.drain_ms / 1e3 + END_GRACE_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
        driver.stdout.close()


def _brake(driver: "subprocess.Popen[bytes]", reason: str) -> None:
    """Tell the driver to stop for a reason it cannot see itself."""
    assert driver.stdin is not None
    with suppress(OSError, ValueError):  # it has ended by itself, and its input is closed
        driver.stdin.write(f"{' '.join(reason.split())}\n".encode())
        driver.stdin.flush()


def _crash(stderr_file: IO[bytes], platform: Platform, folder: Path) -> SlotfillError:
    """A fault of the driver itself: its traceback is kept beside the logs, without the database's password."""
    stderr_file.seek(0)
    text = stderr_file.read().decode(errors="replace")
    write_text(folder / "driver.log", without_password(text, connect.parse_url(platform.database_url)))
    return SlotfillError(
        f"the driver failed, see {folder / 'driver.log'}; slotfill resume goes on from what it measured"
    )


def _raise_for(code: int, last: dict[str, Any]) -> None:
    """Turn the driver's exit code back into the error it stands for."""
    if code in (Stopped.exit_code, -signal.SIGINT):  # or before it heeded signals
        raise KeyboardInterrupt
    if code in _ERRORS:
        raise _ERRORS[code](last.get("stopped") or last.get("error"))
    if code < 0:
        name = signal.Signals(-code).name
        raise SlotfillError(f"the driver was killed ({name}); slotfill resume goes on from what it measured")
