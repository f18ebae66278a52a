"""A Postgres of somebody else's, given by DATABASE_URL: here another platform's server, behind a counting proxy."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from whitehorse.serve import CannotServe, OtherPlatform, start

Platform = Any  # of conftest.py, which cannot be imported from


class TurnCounter:
    """Forwards connections to a server and counts the web process's turns: bytes to the server after bytes from it."""

    def __init__(self, server_port: int) -> None:
        self.turns = 0
        self.port = 0
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._forwarding: set[Any] = set()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def forwarding(self) -> Iterator["TurnCounter"]:
        self._thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._forwarding:
            task.cancel()
        await asyncio.gather(*self._forwarding, return_exceptions=True)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._forwarding.add(asyncio.current_task())
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        answered, is_web = True, False

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
            nonlocal answered, is_web
            while data := await source.read(65536):
                is_web = is_web or b"whitehorse-web" in data
                self.turns += is_web and asks and answered
                answered = not asks
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(client, to_server, asks=True), pump(server, to_client, asks=False))
        finally:
            for writer in (to_server, to_client):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()


@pytest.fixture
def empty_database(platform: Platform) -> Iterator[str]:
    """The URL of a new database on the running platform's server."""
    administrator = platform.running.database_url.replace("whitehorse:", "postgres:", 1)
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute("create database elsewhere owner whitehorse")
        yield platform.running.database_url.removesuffix("whitehorse") + "elsewhere"
        connection.execute("drop database elsewhere with (force)")


@pytest.fixture
def house() -> Iterator[Path]:
    with TemporaryDirectory(prefix="whitehorse-") as folder:
        yield Path(folder)


def test_every_round_trip_is_counted_and_nothing_is_made_twice_or_dropped(
    platform: Platform, launch: Any, empty_database: str, house: Path
) -> None:
    with TurnCounter(urlsplit(empty_database).port or 0).forwarding() as proxy:
        url = empty_database.replace(f":{urlsplit(empty_database).port}/", f":{proxy.port}/")
        with launch(house, DATABASE_URL=url) as other:
            other.book()
            before = proxy.turns
            booking = other.book()
            turns = proxy.turns - before
            (told,) = other.profiles("request", booking["id"])
            assert told["databaseCalls"] == turns
        assert not (house / "pgdata").exists()
        with launch(house, DATABASE_URL=url) as other:
            with TemporaryDirectory() as elsewhere, pytest.raises(OtherPlatform, match="runs over this database"):
                start(Path(elsewhere), {"DATABASE_URL": empty_database})
            assert other.booking(booking["id"])["booking"]["status"] == "confirmed"


@pytest.mark.parametrize("tables", [["bookings"], ["invoices"], ["bookings", "booking_idempotency_keys"]])
def test_a_database_with_somebody_elses_tables_is_left_alone(
    empty_database: str, house: Path, tables: list[str]
) -> None:
    there = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        for table in tables:
            connection.execute(f"create table {table} (id integer)".encode())
        with pytest.raises(CannotServe, match=f"another platform or program .*{tables[0]}") as refusal:
            start(house, {"DATABASE_URL": empty_database})
        assert "\n" not in str(refusal.value)
        assert connection.execute(there).fetchall() == [(table,) for table in sorted(tables)]


def test_a_database_that_is_not_there_is_one_clear_line_without_the_password(house: Path) -> None:
    with pytest.raises(CannotServe) as raised:
        start(house, {"DATABASE_URL": "postgresql://somebody:sesame@127.0.0.1:1/none"})
    assert "127.0.0.1" in str(raised.value)
    assert "sesame" not in str(raised.value)
    assert "sesame" not in (house / "serve.log").read_text()
