"""One run or preparation at a time on a database, from whatever folder or machine: a copy of a run knows nothing of the
other's folder, and each would reset what the other books."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from sqlalchemy.engine import URL

from slotfill.database.connect import address, parse_url, unusable
from slotfill.database.url import keywords
from slotfill.errors import BadInput

APPLICATION_NAME = "slotfill run"
WAIT_S = 5.0
"""The server needs a moment to see that a process was killed."""
RETRY_EVERY_S = 0.25
_KEY = int.from_bytes(b"slotfill", "big")
_TAKE = "SELECT pg_try_advisory_lock(%s)"
_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (classid, objid) = (%s, %s)"""


@contextmanager
def alone(database_url: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the database for this run or preparation. Raises BadInput where another one has it after ``wait_s`` seconds.

    It is an advisory lock of a session, which ends with its process. A pooler that shares sessions would hand it on, so
    there is none behind one.
    """
    url, until = parse_url(database_url), time.monotonic() + wait_s
    with _explained(url):
        session = psycopg.connect(**keywords(url, APPLICATION_NAME), autocommit=True)
    with closing(session):
        with _explained(url):
            if _is_direct(session):
                _take(session, until, address(url))
        yield


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise unusable(str(error), url) from None


def _is_direct(session: psycopg.Connection) -> bool:
    """A pooler tells a process id of its own making."""
    return session.execute("SELECT pg_backend_pid()").fetchone() == (session.info.backend_pid,)


def _take(session: psycopg.Connection, until: float, where: str) -> None:
    while session.execute(_TAKE, [_KEY]).fetchone() != (True,):
        if time.monotonic() >= until:
            holder = session.execute(_HOLDER, [_KEY >> 32, _KEY & 0xFFFFFFFF]).fetchone()
            told = f", or end its session there (SELECT pg_terminate_backend({holder[0]}))" if holder else ""
            raise BadInput(f"another slotfill is at work on the database at {where}; wait until it has ended{told}")
        time.sleep(RETRY_EVERY_S)
