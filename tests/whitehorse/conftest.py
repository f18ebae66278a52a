"""A real platform for tests: Postgres, web and worker processes over one home, restarted for each set of settings."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import waiting
from psycopg.rows import dict_row

from slotfill.database import connect, reset, schema, venue
from whitehorse.serve import Running, start

RETRY_DELAYS_MS = [0, 300]
_IN_A_MONTH = datetime.now(UTC).date() + timedelta(days=30)
MONDAY = _IN_A_MONTH - timedelta(days=_IN_A_MONTH.weekday())
_DAYS = count(1)


@dataclass
class Platform:
    """A running platform and the ways a test looks at it."""

    running: Running
    client: httpx.Client

    def post(self, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        sent = {"Idempotency-Key": key or str(uuid4()), **headers}
        return self.client.post("/api/bookings", json=body, headers=sent)

    def book(self, **wishes: Any) -> dict[str, Any]:
        """Book and return the booking as answered."""
        answer = self.post(self.request(**wishes))
        assert answer.status_code == 201, answer.text
        booking: dict[str, Any] = answer.json()["booking"]
        return booking

    def booking(self, id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(f"/api/bookings/{id}").json()
        return answer

    def job(self, id: str) -> dict[str, Any] | None:
        answer = self.client.get(f"/api/bookings/{id}/job")
        return answer.json()["job"] if answer.status_code == 200 else None

    def sql(self, query: str, **params: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.running.database_url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def locked(self, lock: str) -> Iterator[None]:
        """Hold a lock in the database, so that whoever needs it is caught in the act."""
        with psycopg.connect(self.running.database_url) as connection:
            connection.execute(lock)
            yield

    @contextmanager
    def without_worker(self) -> Iterator[None]:
        """Stop the process that runs the jobs for as long as the block."""
        worker = self.running.pids()["worker"]
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def waiting_for_locks(self, application_name: str) -> int:
        waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and application_name = %(name)s"
        return len(self.sql(waiting, name=application_name))

    def log(self) -> str:
        return self.running.server_log.read_text()

    def profiles(self, kind: str, booking_id: str, *, at_least: int = 1) -> list[dict[str, Any]]:
        """The profile blocks of a booking, once they are there: they are written after the answer has left."""

        def find() -> list[dict[str, Any]]:
            found = [fields for label, fields in self.blocks(self.log()) if label == f"[capacity.profile] {kind}"]
            return [fields for fields in found if fields["bookingId"] == booking_id]

        waiting.until(lambda: len(find()) >= at_least, "the profile is in the log")
        return find()

    @staticmethod
    def a_weekday() -> date:
        """A day no other test books: every caller gets another."""
        weeks, weekday = divmod(next(_DAYS), 4)
        return MONDAY + timedelta(weeks=weeks, days=weekday)

    @staticmethod
    def request(**wishes: Any) -> dict[str, Any]:
        """The body of a booking request by a new guest, on a day of its own unless it names one."""
        name = uuid4().hex[:12]
        return {
            "restaurantSlug": venue.SLUG,
            "date": wishes.get("date") or Platform.a_weekday().isoformat(),
            "time": "18:00",
            "party": 2,
            "bookingType": "dinner",
            "seating": "any",
            "notes": None,
            "name": f"Guest {name}",
            "email": f"{name}@example.com",
            "phone": f"+44{int(name, 16)}",
            "marketingOptIn": False,
        } | wishes

    @staticmethod
    def blocks(log: str) -> list[tuple[str, dict[str, Any]]]:
        """The labelled objects of a server log, read in the simplest way that can work: flat, one entry a line."""
        found: list[tuple[str, dict[str, Any]]] = []
        lines = iter(log.splitlines())
        for line in lines:
            if line.startswith("[") and line.endswith(" {"):
                body = []
                for inner in lines:
                    if inner == "}":  # a block without its end is being written at this moment
                        found.append((line.removesuffix(" {"), dict(map(_pair, body))))
                        break
                    body.append(inner.strip().removesuffix(","))
            elif line.startswith("[") and line.endswith(" }"):
                label, _, inside = line.removesuffix(" }").partition(" { ")
                found.append((label, dict([_pair(inside)])))
        return found


def _pair(text: str) -> tuple[str, Any]:
    name, _, value = text.partition(": ")
    if value[:1] in "'\"`":
        return name, value[1:-1]
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@contextmanager
def running_platform(home: Path, faults: Mapping[str, Any], flags: Mapping[str, str]) -> Iterator[Platform]:
    environ = {
        "DEBUG_CAPACITY_PROFILING": "true",
        "WHITEHORSE_JOB_RETRY_DELAYS_MS": json.dumps(RETRY_DELAYS_MS),
        "WHITEHORSE_FAULTS": json.dumps(dict(faults)),
        **flags,
    }
    running = start(home, environ)
    try:
        put_venue(running.database_url)
        with httpx.Client(base_url=running.base_url, timeout=waiting.PATIENCE_S) as client:
            yield Platform(running, client)
    finally:
        running.close()


def put_venue(database_url: str) -> None:
    engine = connect.engine(database_url)
    try:
        with engine.begin() as connection:
            if connection.exec_driver_sql("select count(*) from restaurants").scalar() == 0:
                reset.put_venue(connection, schema.discover(connection), venue.SLUG)
    finally:
        engine.dispose()


@contextmanager
def a_home() -> Iterator[Path]:
    # Not pytest's own temporary folder: it takes back the right to pass that the server's user needs there.
    with TemporaryDirectory(prefix="whitehorse-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def launch() -> Callable[..., Any]:
    """``with launch(fault=…, FLAG="…") as platform``: a platform with faults (lower case) and variables (upper case).

    Over a home of its own, or over the one it is given first.
    """

    @contextmanager
    def run(home: Path | None = None, **wishes: Any) -> Iterator[Platform]:
        faults = {name: value for name, value in wishes.items() if name.islower()}
        environ = {name: value for name, value in wishes.items() if name.isupper()}
        with a_home() if home is None else nullcontext(home) as folder, running_platform(folder, faults, environ) as it:
            yield it

    return run


@pytest.fixture(scope="session")
def platform(launch: Callable[..., Any]) -> Iterator[Platform]:
    """A platform with nothing planted, for every test that leaves it as it was."""
    with launch() as running:
        yield running


@pytest.fixture(scope="session")
def planted(launch: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """As ``launch``, for one platform after the other over one home, so that the database is made once."""
    with a_home() as home:
        yield partial(launch, home)
