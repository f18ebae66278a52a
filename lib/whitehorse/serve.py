"""Start a platform, or join one that runs already; it ends when its last user does."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whitehorse import postgres
from whitehorse.lease import Lease, is_shared, is_taken
from whitehorse.settings import (
    DATABASE_URL,
    FAULTS,
    FLAGS,
    OTLP_ENDPOINT,
    POSTGRES_PORT,
    RETRY_DELAYS,
    WEB_DATABASE,
    from_environment,
    way_to_database,
)

# What libpq hears, and all it hears, of its environment: a session's settings, ahead of what the database has.
POSTGRES = {"PGCLIENTENCODING": "UTF8", "PGDATESTYLE": "ISO, MDY", "PGTZ": "UTC"}
OWN_NAMES = frozenset({*FLAGS, FAULTS, RETRY_DELAYS, DATABASE_URL, OTLP_ENDPOINT, POSTGRES_PORT, WEB_DATABASE})
BUSY, OCCUPIED = 75, 76
START_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 120, 60, 0.05


class CannotServe(Exception):
    """The platform cannot be started or joined; the message is one line."""


class OtherPlatform(CannotServe):
    """A platform with other settings, or over another database, is running there, or another one over the database."""


@dataclass(frozen=True)
class Running:
    """A running platform. Closing it gives it up; the platform ends when nobody uses it any more."""

    home: Path
    base_url: str
    database_url: str = field(repr=False)
    pid: int
    lease: Lease = field(repr=False)

    @property
    def server_log(self) -> Path:
        return self.home / "server.log"

    def pids(self) -> Mapping[str, int]:
        """The process ids of web, worker and Postgres as they are now; they change when one is started again."""
        told = _announced(self.home)
        return {**(told["pids"] if told else {}), **postgres.pid(self.home)}

    def close(self) -> None:
        """Give the platform up and, if nobody else uses it, wait until it is gone."""
        self.lease.close()
        until = time.monotonic() + STOP_TIMEOUT_S
        while is_taken(self.home / "running") and not is_shared(self.home / "lease") and time.monotonic() < until:
            time.sleep(POLL_S)


def start(home: Path, environ: Mapping[str, str]) -> Running:
    """The platform over ``home``, started if need be.

    ``environ`` holds its flags, WHITEHORSE_FAULTS, WHITEHORSE_JOB_RETRY_DELAYS_MS and DATABASE_URL; none of these
    is taken from this process's environment. Several users share one platform as long as they want the same
    settings over the same database. Raises CannotServe, BadSettings.
    """
    settings, way = from_environment(environ), way_to_database(environ)
    home = home.resolve()
    make(home)
    _await_end_of_other_taps(home, way)
    lease = Lease(home / "lease")
    lease.share()
    try:
        told = _join_or_start(home, environ)
        if told["settings"] != settings.model_dump(mode="json"):
            raise OtherPlatform(
                f"a platform with other settings is running over {home}; end that one first, or use its settings"
            )
        if told.get("way_to_database") != way:
            raise OtherPlatform(
                f"a platform over another database, or behind taps, is running over {home}; end it first, or give "
                f"the same {DATABASE_URL}"
            )
        return Running(home, told["base_url"], told["database_url"], told["pid"], lease)
    except BaseException:
        lease.close()
        raise


def make(home: Path) -> None:
    """Make the home, and any folder above it: others may pass through those, and see into none."""
    new = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in new:
        folder.chmod(0o711)
    Lease(home / "lease").close()


def _await_end_of_other_taps(home: Path, way: Mapping[str, str]) -> None:
    """A killed run leaves a platform behind taps that are gone, until its driver has written its last line."""
    until = time.monotonic() + STOP_TIMEOUT_S
    while is_taken(home / "running") and (told := _announced(home)) and time.monotonic() < until:
        theirs = told.get("way_to_database", {})
        if all(theirs.get(name) == way.get(name) for name in (POSTGRES_PORT, WEB_DATABASE)):
            return
        time.sleep(POLL_S)


def _join_or_start(home: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    supervisor: subprocess.Popen[bytes] | None = None
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if is_taken(home / "running"):
            if told := _announced(home):
                return told
        elif supervisor is None or supervisor.poll() == BUSY:
            supervisor = _start_supervisor(home, environ)
        if supervisor and supervisor.poll() not in (None, BUSY):
            kind = OtherPlatform if supervisor.returncode == OCCUPIED else CannotServe
            raise kind(_last_words(home / "serve.log"))
        time.sleep(POLL_S)
    raise CannotServe(f"the platform over {home} is not ready after {START_TIMEOUT_S} s; see the logs there")


def _start_supervisor(home: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name not in OWN_NAMES and name[:2] != "PG"}
    command = [sys.executable, "-P", "-m", "whitehorse", "serve", "--home", str(home), "--until-unused"]
    with (home / "serve.log").open("ab") as log:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        supervisor = subprocess.Popen(
            command, env=inherited | POSTGRES | dict(environ), start_new_session=True, **streams
        )
    # It may outlive its use here, and must not stay a zombie when it ends.
    threading.Thread(target=supervisor.wait, daemon=True).start()
    return supervisor


def _announced(home: Path) -> dict[str, Any] | None:
    """What a platform that is ready says of itself."""
    with suppress(FileNotFoundError, ProcessLookupError):
        told: dict[str, Any] = json.loads((home / "platform.json").read_text())
        os.kill(told["pid"], 0)  # a killed supervisor could not take its announcement back
        return told
    return None


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the platform ended without a word; see {log}"
