"""The supervisor: starts Postgres, web and worker, says ready when they are, restarts them, stops them all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit, urlunsplit
from urllib.request import ProxyHandler, build_opener

import psycopg

from whitehorse import postgres
from whitehorse.alone import alone
from whitehorse.lease import Lease
from whitehorse.lifeline import die_with_parent, spawn
from whitehorse.schema import create_database, create_schema
from whitehorse.settings import DATABASE_URL, WEB_DATABASE, Settings, way_to_database

SETTINGS = "WHITEHORSE_SETTINGS"
LISTENING_FD, MAX_CONNECTIONS = "WHITEHORSE_LISTENING_FD", "WHITEHORSE_MAX_CONNECTIONS"
READY_TIMEOUT_S, STOP_TIMEOUT_S, POSTGRES_STOP_S = 90, 5, 35
TICK_S, CLAIM_TRIES = 0.1, 10
BACKLOG = 512


class Busy(Exception):
    """Another platform runs over this home."""


class Failed(Exception):
    """The platform did not get ready; the message says which log to read."""


class Supervisor:
    """One platform over one home directory."""

    def __init__(self, home: Path, settings: Settings, database_url: str | None) -> None:
        self._home = home
        self._settings = settings
        self._database_url = database_url
        self._keeper: subprocess.Popen[bytes] | None = None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._announcement = home / "platform.json"
        self._stopping = False

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self, lease: Lease | None) -> None:
        """Serve until SIGINT, SIGTERM or, given a lease, until nobody shares it. Raises Busy, Failed."""
        running = self._claim()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        self._announcement.unlink(missing_ok=True)
        try:
            with self._all_running():
                self._announce()
                self._say(f"ready at {self.base_url}")
                while not self._stopping and not (lease and lease.try_exclusive()):
                    time.sleep(TICK_S)
                    self._restart_fallen()
                self._announcement.unlink()
        finally:
            self._announcement.unlink(missing_ok=True)
            running.close()

    def _claim(self) -> Lease:
        running = Lease(self._home / "running")
        for _ in range(CLAIM_TRIES):  # somebody who only looks whether it is taken has it for a moment
            if running.try_exclusive():
                return running
            time.sleep(TICK_S)
        raise Busy(f"another platform is running over {self._home}")

    @contextmanager
    def _all_running(self) -> Iterator[None]:
        holding = ExitStack()
        try:
            database_url = self._database_url or self._start_postgres()
            try:
                create_schema(database_url)
                if self._database_url:
                    holding.enter_context(alone(database_url))
            except psycopg.Error as error:
                raise Failed(f"cannot use the database: {' '.join(str(error).split())}") from None
            self._environ = {
                **os.environ,
                DATABASE_URL: database_url,
                SETTINGS: self._settings.model_dump_json(),
                LISTENING_FD: str(self._socket.fileno()),
            }
            for role in ("web", "worker"):
                self._start(role)
            self._wait_until_ready()
            yield
        finally:
            self._stop_children()
            holding.close()

    def _start_postgres(self) -> str:
        password = postgres.prepare(self._home)
        limit = {MAX_CONNECTIONS: str(self._settings.faults.db_max_connections)}
        self._keeper = spawn("postgres", self._home, os.environ | limit, stdout=subprocess.PIPE)
        assert self._keeper.stdout
        port = self._keeper.stdout.readline()
        if not port:
            raise Failed(f"Postgres does not start; see {self._home / 'postgres.log'}")
        return create_database(int(port), password)

    def _start(self, role: str) -> None:
        inherited = [self._socket.fileno()] if role == "web" else []
        last_resort = die_with_parent(signal.SIGKILL)
        environ = self._environ
        if role == "web" and (proxy := environ.get(WEB_DATABASE)):
            environ = environ | {DATABASE_URL: _by_way_of(proxy, environ[DATABASE_URL])}
        self._children[role] = spawn(role, self._home, environ, pass_fds=inherited, preexec_fn=last_resort)

    def _wait_until_ready(self) -> None:
        """Until the web process answers and the worker has signed in to the queue."""
        straight = build_opener(ProxyHandler({}))  # a proxy of the environment is not for our own web process
        until = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < until and not self._stopping:
            for role, child in self._children.items():
                if child.poll() is not None:
                    raise Failed(f"the {role} process does not start; see {self._home / f'{role}.log'}")
            with suppress(OSError, ValueError), straight.open(f"{self.base_url}/api/health", timeout=5) as answer:
                if json.load(answer)["queue"]["workers"]:
                    return
            time.sleep(TICK_S / 5)
        if not self._stopping:
            raise Failed(f"the platform is not ready after {READY_TIMEOUT_S} s; see the logs in {self._home}")

    def _announce(self) -> None:
        """Tell the world where to find the platform; only the owner may read the database's password."""
        unfinished = self._announcement.with_suffix(".new")
        unfinished.touch(0o600)
        told = {
            "base_url": self.base_url,
            "database_url": self._environ[DATABASE_URL],
            "pid": os.getpid(),
            "pids": {role: child.pid for role, child in self._children.items()},
            "settings": self._settings.model_dump(mode="json"),
            "way_to_database": way_to_database(os.environ),
        }
        unfinished.write_text(json.dumps(told))
        unfinished.rename(self._announcement)

    def _restart_fallen(self) -> None:
        fallen = [role for role, child in self._children.items() if child.poll() is not None]
        for role in fallen:
            self._say(f"the {role} process ended with {self._children[role].returncode}; starting it again")
            self._start(role)
        if self._keeper and self._keeper.poll() is not None:
            raise Failed(f"the keeper of Postgres ended with {self._keeper.returncode}")
        if fallen:
            self._announce()

    def _stop_children(self) -> None:
        self._socket.close()
        for child in self._children.values():
            child.terminate()
        until = time.monotonic() + STOP_TIMEOUT_S
        for child in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
            child.kill()
            child.wait()
        if self._keeper:
            assert self._keeper.stdin
            self._keeper.stdin.close()
            self._keeper.wait(POSTGRES_STOP_S)
            postgres.stop_leftover(self._home)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", file=sys.stderr, flush=True)


def _by_way_of(proxy: str, database_url: str) -> str:
    """The same database, asked for at another address."""
    parts = urlsplit(database_url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}{proxy}"))
