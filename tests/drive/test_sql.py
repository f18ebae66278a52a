"""Reading bookings from a real database, whichever of its optional tables there are and however it suffers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
import waiting
from sqlalchemy import Connection

from slotfill.database import connect
from slotfill.drive.sql import FIRST_CONNECTIONS, SqlBookings, open_bookings
from slotfill.drive.state import ReadFailed
from slotfill.errors import BadInput, Unreachable

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

LAST_WORDS = re.compile("terminating connection|server closed the connection|terminated abnorm")
OURS = "FROM pg_stat_activity WHERE application_name = 'slotfill-driver'"


def reading(url: str, work: Callable[[SqlBookings], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with open_bookings(url, workers=4) as bookings:
            return await work(bookings)

    return asyncio.run(run())


@contextmanager
def database(url: str) -> Iterator[Connection]:
    engine = connect.engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def url(level: Any) -> str:
    return level.platform.database_url  # type: ignore[no-any-return]


def test_a_booking_is_found_by_its_key_and_by_its_id_with_its_tables(level: Any, url: str) -> None:
    level.drive()
    summary = level.summaries()[0]

    async def both(bookings: SqlBookings) -> Any:
        return await bookings.find(summary["idempotencyKey"]), await bookings.read(summary["bookingId"])

    found, read = reading(url, both)
    assert found == read
    assert found.confirmed and found.confirmed_by == "api_inline_auto_assign"
    assert [table["tableNumber"] for table in found.assignments] == summary["tableNumbers"]
    assert sum(table["capacity"] for table in found.assignments) == summary["totalCapacity"]


def test_what_is_not_there_is_none(url: str) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"

    async def all_three(bookings: SqlBookings) -> Any:
        return await bookings.find(unknown), await bookings.read(unknown), await bookings.job(unknown)

    assert reading(url, all_three) == (None, None, None)


def test_the_connections_are_taken_at_the_start_and_given_back(url: str) -> None:
    async def count(bookings: SqlBookings) -> Any:
        with database(url) as connection:
            return connection.scalar(sa.text(f"SELECT count(*) {OURS}"))

    with database(url) as connection:
        # The server notices in its own time that a client has left, be it that of an earlier test.
        all_left = partial(waiting.until, lambda: connection.scalar(sa.text(f"SELECT count(*) {OURS}")) == 0)
        all_left("those of others are given back")
        assert reading(url, count) == FIRST_CONNECTIONS
        all_left("all were given back")


def test_a_connection_the_server_ended_fails_one_read_and_is_replaced(url: str) -> None:
    async def read_around_the_end(bookings: SqlBookings) -> list[str]:
        with database(url) as connection:
            connection.execute(sa.text(f"SELECT pg_terminate_backend(pid, 5000) {OURS}"))
        failures = []
        for _ in range(FIRST_CONNECTIONS + 1):
            try:
                await bookings.find("nobody")
            except ReadFailed as error:
                failures.append(str(error))
        await asyncio.gather(*(bookings.find("nobody") for _ in range(FIRST_CONNECTIONS)))
        return failures

    failures = reading(url, read_around_the_end)
    assert 1 <= len(failures) <= FIRST_CONNECTIONS
    # A dying server's last words and the end of its connection race each other: which are heard is the kernel's choice.
    assert all(LAST_WORDS.search(failure) for failure in failures), failures


def test_a_version_without_history_and_events_gives_what_it_has(level: Any, url: str) -> None:
    level.drive()
    summary = level.summaries()[0]
    with database(url) as connection:
        for statement in (
            "CREATE SCHEMA bare",
            *(
                f"CREATE TABLE bare.{table} AS TABLE public.{table}"
                for table in ("bookings", "booking_table_assignments", "table_inventory")
            ),
        ):
            connection.execute(sa.text(statement))
        try:
            bare = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dbare"

            async def read(bookings: SqlBookings) -> Any:
                return await bookings.read(summary["bookingId"]), await bookings.job(summary["bookingId"])

            booking, job = reading(bare, read)
            updated_at = connection.scalar(
                sa.text("SELECT updated_at FROM bookings WHERE id = :id"), {"id": summary["bookingId"]}
            )
        finally:
            connection.execute(sa.text("DROP SCHEMA bare CASCADE"))
    assert booking.confirmed and booking.confirmed_at == updated_at and booking.confirmed_by is None
    assert job is None


def test_a_database_of_something_else_is_bad_input(url: str) -> None:
    elsewhere = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dnowhere"

    async def nothing(bookings: SqlBookings) -> None: ...

    with pytest.raises(BadInput, match="no bookings"):
        reading(elsewhere, nothing)


def test_a_wrong_password_is_bad_input_and_is_not_repeated(url: str) -> None:
    wrong = connect.parse_url(url).set(drivername="postgresql", password="hunter2")

    async def nothing(bookings: SqlBookings) -> None: ...

    with pytest.raises(BadInput, match="refuses the login") as refusal:
        reading(wrong.render_as_string(hide_password=False), nothing)
    assert "hunter2" not in str(refusal.value)


def test_a_database_that_is_not_there_is_unreachable_and_its_password_is_not_told() -> None:
    async def nothing(bookings: SqlBookings) -> None: ...

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9/bookings refuses connections") as refusal:
        reading("postgresql://runner:hunter2@127.0.0.1:9/bookings", nothing)
    assert "hunter2" not in str(refusal.value)
