"""Connections to Postgres. A ``Session`` is the one place where round trips are made, timed and delayed."""

import logging
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from whitehorse.profile import Hop, Stopwatch
from whitehorse.settings import Settings

DEFAULT_POOL_SIZE = 10
POOL_TIMEOUT_S = 10
Row = dict[str, Any]


class Connection(psycopg.Connection[Row]):
    """Tells when a question is on its way: from when it is sent until its answer is read.

    What the client library does before and after is the work of whoever asks.
    """

    on_its_way: Callable[[], AbstractContextManager[None]] = nullcontext
    travel: Callable[[], None] | None = None
    """The planted way to the database, which a call takes inside the client library, as a real one does."""

    def wait(self, gen: PQGen[RV], *timing: Any, **times: Any) -> RV:
        if self.travel is not None:
            self.travel()
        return super().wait(self._told(gen), *timing, **times)

    def _told(self, gen: PQGen[RV]) -> PQGen[RV]:
        try:
            awaited = next(gen)
            while True:
                with self.on_its_way():
                    ready = yield awaited
                awaited = gen.send(ready)
        except StopIteration as done:
            answer: RV = done.value
            return answer


class Database:
    """A pool of connections; each process has one."""

    def __init__(self, url: str, settings: Settings, application_name: str, *, by_proxy: bool = False) -> None:
        # The way to a database behind a proxy is long behind the proxy, which keeps the distance itself.
        self._rtt_s = 0.0 if by_proxy else settings.faults.db_rtt_ms / 1000
        size = settings.faults.db_pool_size or DEFAULT_POOL_SIZE
        # autocommit: BEGIN and COMMIT are sent, and counted, where a Session says so.
        # prepare_threshold None: preparing a statement would add an uncounted round trip.
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "row_factory": dict_row,
                "application_name": application_name,
            },
            min_size=1,
            max_size=size,
            timeout=POOL_TIMEOUT_S,
            open=False,
        )

    def open(self) -> None:
        """Connect. Raises PoolTimeout when the server does not let us in."""
        self._pool.open(wait=True, timeout=POOL_TIMEOUT_S)

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def session(self, watch: Stopwatch) -> Iterator["Session"]:
        """A connection for the body, waiting for a free one if need be. Raises PoolTimeout after 10 s."""
        with watch.measuring("pool"):
            connection = self._live_connection()
        try:
            yield Session(connection, watch, self._rtt_s)
        finally:
            self._pool.putconn(connection)

    def _live_connection(self) -> Connection:
        """A connection the server has not closed meanwhile, which costs no round trip to see.

        Not by the pool's own ``check``: it waits longer and longer between one dead connection and the next.
        """
        while _is_closed(connection := self._pool.getconn()):
            connection.close()
            self._pool.putconn(connection)
        return connection


class Session:
    """One conversation with the database on one connection."""

    def __init__(self, connection: Connection, watch: Stopwatch, rtt_s: float) -> None:
        self._connection = connection
        self._watch = watch
        self._rtt_s = rtt_s
        self.calls = 0

    def rows(self, sql: str, params: Mapping[str, Any] | None = None, *, hop: Hop = "database") -> list[Row]:
        """Run one statement: one round trip. ``hop="lock"`` marks a statement that only takes a lock."""
        self.calls += 1
        self._watch.count_call()
        self._connection.on_its_way = partial(self._watch.measuring, hop)
        self._connection.travel = self._travel if self._rtt_s else None
        try:
            cursor = self._connection.execute(sql, params)
        finally:
            self._connection.on_its_way, self._connection.travel = nullcontext, None
        return cursor.fetchall() if cursor.description else []

    def _travel(self) -> None:
        with self._watch.measuring("database"):
            time.sleep(self._rtt_s)

    def one(self, sql: str, params: Mapping[str, Any] | None = None) -> Row | None:
        """The first row, or None."""
        return next(iter(self.rows(sql, params)), None)

    def lock(self, sql: str, params: Mapping[str, Any]) -> None:
        """Run a statement whose only purpose is the lock it takes."""
        self.rows(sql, params, hop="lock")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN … COMMIT around the body, ROLLBACK if it raises."""
        self.rows("begin isolation level read committed")
        try:
            yield
        except BaseException:
            if not self._connection.closed:
                self.rows("rollback")
            raise
        self.rows("commit")

    def pad(self, calls: int) -> None:
        """Make cheap calls until this session has made ``calls`` of them."""
        while self.calls < calls:
            self.rows("select 1")


def why(error: Exception) -> str:
    """What went wrong in one line, in the database's words where it was the database."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or next(iter(str(error).splitlines()), "") or type(error).__name__


def report_pool_to(write: logging.Handler) -> None:
    """Send the pool's own stderr_file, such as a refused connection, to a handler."""
    logger = logging.getLogger("psycopg.pool")
    logger.addHandler(write)
    logger.setLevel(logging.WARNING)


def _is_closed(connection: psycopg.Connection[Row]) -> bool:
    """Whether the server has hung up: an idle socket with something to read is dead."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
