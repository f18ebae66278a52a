"""Reading bookings and their jobs from the platform's Postgres, on few connections and in few round trips."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Composed

from slotfill.database import connect
from slotfill.drive.clock import Clock
from slotfill.drive.state import BookingState, JobState, ReadFailed
from slotfill.errors import BadInput

FIRST_CONNECTIONS = 3
"""The driver's own; every one of them is a connection the platform does not get."""
GROW_AFTER_S = 0.05
"""So long a read waits for one of them before it opens another, up to one a worker: a database far away needs that."""
READ_TIMEOUT_S = 10
"""Of the database's answer; what a read waits for a connection of ours says nothing of the database."""

_BOOKING = SQL("""
    SELECT b.id::text, b.status::text, b.reference, b.booking_date::text, b.start_time::text, b.end_time::text,
        b.auto_assign_last_result, b.updated_at, {confirmed}, (
            SELECT json_agg(json_build_object(
                'id', a.id, 'tableId', a.table_id, 'tableNumber', t.table_number, 'zoneId', t.zone_id,
                'capacity', t.capacity, 'startAt', a.start_at, 'endAt', a.end_at) ORDER BY t.table_number)
            FROM booking_table_assignments a JOIN table_inventory t ON t.id = a.table_id WHERE a.booking_id = b.id
        ) AS assignments
    FROM bookings b {history} WHERE {key} ORDER BY b.created_at""")

_CONFIRMED, _NOT_KNOWN = SQL("h.changed_at, h.reason"), SQL("NULL AS changed_at, NULL AS reason")
_HISTORY = SQL("""LEFT JOIN LATERAL (
    SELECT changed_at, reason FROM booking_state_history
    WHERE booking_id = b.id AND to_status::text = 'confirmed' ORDER BY changed_at DESC LIMIT 1) h ON true""")

_OPTIONAL = SQL("""
    SELECT to_regclass('booking_state_history') IS NOT NULL AS history,
        to_regclass('observability_events') IS NOT NULL AS events,
        to_regclass('bookings') IS NOT NULL AND to_regclass('booking_table_assignments') IS NOT NULL AS core""")

_CLOCK = SQL("SELECT clock_timestamp() AS now")

_JOB = SQL("""
    SELECT context->>'result' AS result, context->>'reason' AS reason FROM observability_events
    WHERE booking_id = %s AND source = 'auto_assign' AND event_type = 'auto_assign.summary'
    ORDER BY created_at DESC LIMIT 1""")


class SqlBookings:
    """The database reader of a level (see ``state.Bookings``), on at most a connection a worker. Use ``open_bookings``.

    The pool is our own because psycopg's connects in the background: a read that finds no connection would end with
    PoolTimeout there, and the server's words for it ("too many clients"), which brakes and reports need, in a log.
    """

    def __init__(self, url: str, workers: int) -> None:
        parsed = connect.parse_url(url)
        self._url = parsed
        self._most = max(workers, FIRST_CONNECTIONS)
        self._places = 0
        self._idle: asyncio.Queue[psycopg.AsyncConnection[DictRow] | None] = asyncio.Queue()
        self._by_id = self._by_ids = self._by_key = Composed([])
        self._has_events = False

    async def open(self) -> Self:
        """Connect, and see which of the optional tables there are. Raises Unreachable, BadInput."""
        try:
            [there] = await self._rows(_OPTIONAL)
        except ReadFailed as error:
            raise connect.unusable(str(error), self._url) from None
        if not there["core"]:
            where = f"the database at {connect.address(self._url)}"
            raise BadInput(f"{where} is not a booking platform's: it has no bookings or no table assignments")
        await self._connect_first()
        self._has_events = there["events"]
        known = (_CONFIRMED, _HISTORY) if there["history"] else (_NOT_KNOWN, SQL(""))
        parts = dict(zip(("confirmed", "history"), known, strict=True))
        self._by_id = _BOOKING.format(key=SQL("b.id = %s"), **parts)
        self._by_ids = _BOOKING.format(key=SQL("b.id = ANY(%s::uuid[])"), **parts)
        self._by_key = _BOOKING.format(key=SQL("b.idempotency_key = %s"), **parts)
        return self

    async def close(self) -> None:
        while not self._idle.empty():
            connection = self._idle.get_nowait()
            if connection is not None:
                await connection.close()

    async def read(self, booking_id: str) -> BookingState | None:
        return _first(await self._rows(self._by_id, booking_id))

    async def read_many(self, booking_ids: Sequence[str]) -> dict[str, BookingState]:
        found = await self._rows(self._by_ids, list(booking_ids))
        return {booking.id: booking for booking in map(_booking, found)}

    async def find(self, idempotency_key: str) -> BookingState | None:
        return _first(await self._rows(self._by_key, idempotency_key))

    async def job(self, booking_id: str) -> JobState | None:
        if not self._has_events:
            return None
        rows = await self._rows(_JOB, booking_id)
        return JobState(state=rows[0]["result"], reason=rows[0]["reason"]) if rows else None

    async def clock_offset_ms(self, clock: Clock) -> float:
        """The database's clock minus ours, taken at the middle of the quickest of three round trips."""
        best: tuple[float, float] | None = None
        for _ in range(3):
            before, asked_at = clock.ms(), clock.now()
            [row] = await self._rows(_CLOCK)
            trip_ms = clock.ms() - before
            offset_ms = (row["now"] - asked_at).total_seconds() * 1e3 - trip_ms / 2
            best = min(best or (trip_ms, offset_ms), (trip_ms, offset_ms))
        assert best is not None
        return best[1]

    async def _rows(self, query: SQL | Composed, *values: str | list[str]) -> list[DictRow]:
        try:
            async with self._connection() as connection, asyncio.timeout(READ_TIMEOUT_S):
                return await (await connection.execute(query, values)).fetchall()
        except TimeoutError:
            raise ReadFailed(f"no answer within {READ_TIMEOUT_S} s") from None
        except psycopg.Error as error:
            raise ReadFailed(connect.one_line(str(error), self._url)) from None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """An idle connection; one that failed is replaced at its next use."""
        connection = await self._take()
        try:
            connection = connection or await self._connect()
            yield connection
        except BaseException:
            self._idle.put_nowait(None)
            if connection is not None:
                await connection.close()
            raise
        self._idle.put_nowait(connection)

    async def _take(self) -> psycopg.AsyncConnection[DictRow] | None:
        """A connection to use, or ``None``: a place to open one in."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GROW_AFTER_S if self._places < self._most else None):
                if self._places:
                    return await self._idle.get()
        if self._places < self._most:
            self._places += 1
            return None
        return await self._idle.get()

    async def _connect_first(self) -> None:
        """Take our connections before the load does: under pressure there is none left in the middle of it."""
        with suppress(psycopg.Error):
            while self._places < FIRST_CONNECTIONS:
                self._idle.put_nowait(await self._connect())
                self._places += 1

    async def _connect(self) -> psycopg.AsyncConnection[DictRow]:
        return await psycopg.AsyncConnection.connect(
            **connect.keywords(self._url, "slotfill-driver"), autocommit=True, row_factory=dict_row
        )


@asynccontextmanager
async def open_bookings(url: str, workers: int) -> AsyncIterator[SqlBookings]:
    """The reader of a database; its connections close at the end. Raises Unreachable, BadInput."""
    bookings = SqlBookings(url, workers)
    try:
        yield await bookings.open()
    finally:
        await bookings.close()


def _first(rows: list[DictRow]) -> BookingState | None:
    return _booking(rows[0]) if rows else None


def _booking(row: DictRow) -> BookingState:
    confirmed = row["status"] == "confirmed"
    return BookingState(
        id=row["id"],
        status=row["status"],
        reference=row["reference"],
        booking_date=row["booking_date"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        assignments=tuple(row["assignments"] or ()),
        last_result=row["auto_assign_last_result"],
        confirmed_at=(row["changed_at"] or row["updated_at"]) if confirmed else None,
        confirmed_by=row["reason"],
    )
