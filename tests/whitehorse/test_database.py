"""What the platform's own profile counts as the database's: the way of a question and its answer, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.adapt import Dumper, Loader

from whitehorse.database import Database
from whitehorse.profile import Stopwatch
from whitehorse.settings import Settings


class Told:
    """A parameter that tells when it is written into a question."""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order."""
    seen: list[str] = []
    measuring = Stopwatch.measuring

    @contextmanager
    def noting(watch: Stopwatch, hop: Any) -> Iterator[None]:
        seen.append(f"{hop}…")
        with measuring(watch, hop):
            yield
        seen.append(f"…{hop}")

    monkeypatch.setattr(Stopwatch, "measuring", noting)
    return seen


def test_the_clients_own_work_around_a_call_is_not_the_databases(planted: Any, events: list[str]) -> None:
    class Written(Dumper):
        def dump(self, obj: Any) -> bytes:
            events.append("written")
            return b"7"

    class Read(Loader):
        def load(self, data: Any) -> str:
            events.append("read")
            return bytes(data).decode()

    with planted() as platform:
        database = Database(platform.running.database_url, Settings(), "test")
        database.open()
        try:
            watch = Stopwatch("api")
            with database.session(watch) as session:
                session._connection.adapters.register_dumper(Told, Written)
                session._connection.adapters.register_loader("int4", Read)
                events.clear()
                (row,) = session.rows("select %(told)s::int4 as it, pg_sleep(0.5)::text", {"told": Told()}, hop="lock")
                assert row["it"] == "7"
        finally:
            database.close()
    assert [event for event in events if event in ("written", "read")] == ["written", "read"]
    assert events[0] == "written" and events[-1] == "read"
    waits = events[1:-1]
    assert waits and waits == ["lock…", "…lock"] * (len(waits) // 2)
    spent = watch.cut(at=0.0)
    assert spent.calls == 1 and spent.lock_ms >= 400
