"""One platform at a time over a database that others serve: its worker takes up all jobs that run as a dead one's."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

WAIT_S = 5.0
"""The server needs a moment to see that a process was killed."""
RETRY_EVERY_S = 0.25
# Any number will do that nobody else locks, as long as every platform takes the same.
_KEY = 7_403_119
_HOLDER = """
select pid from pg_locks where locktype = 'advisory' and granted and (classid, objid, objsubid) = (0, %s, 1)
  and database = (select oid from pg_database where datname = current_database())"""


class Occupied(Exception):
    """Another platform runs over this database; the message says how to end it."""


@contextmanager
def alone(database_url: str) -> Iterator[None]:
    """Hold the database for this platform. Raises Occupied, psycopg.Error.

    It is an advisory lock of a session, which ends with its process. A pooler that shares sessions would hand it on, so
    there is none behind one, which tells a process id of its own making.
    """
    told: dict[str, Any] = {"application_name": "whitehorse-supervisor", "prepare_threshold": None}
    with closing(psycopg.connect(database_url, autocommit=True, **told)) as session:
        if session.execute("select pg_backend_pid()").fetchone() == (session.info.backend_pid,):
            _take(session)
        yield


def _take(session: psycopg.Connection) -> None:
    until = time.monotonic() + WAIT_S
    while session.execute("select pg_try_advisory_lock(%s)", [_KEY]).fetchone() != (True,):
        if time.monotonic() >= until:
            holder = session.execute(_HOLDER, [_KEY]).fetchone()
            way_on = f", or its session there (select pg_terminate_backend({holder[0]}))" if holder else ""
            raise Occupied(f"another platform runs over this database; end that one first{way_on}")
        time.sleep(RETRY_EVERY_S)
