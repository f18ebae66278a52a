"""Connections to the platform's database: how they are opened, and what went wrong in one clear line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from slotfill.errors import BadInput, SlotfillError, Unreachable
from slotfill.network_errors import network_cause

APPLICATION_NAME = "slotfill"
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 15
WRITE_TRIES = 4
# Deadlock, serialisation failure, and a row inserted by the platform between two of our statements.
_CONTENTION = ("40P01", "40001", "23503")
SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")

# SQLSTATE classes: connection, resources, lock not available, operator intervention, poolers' own.
_NOT_ABOUT_THE_STATEMENT = ("08", "53", "55", "57", "XX")

Result = TypeVar("Result")

# psycopg gives no SQLSTATE for a failure during connect, so the text decides. First match wins; what is not about
# databases alone is among the causes of the network.
_PREAMBLE = re.compile(r"^connection (failed|is bad): (connection to server (at|on socket) .*? failed: )?")
_FULL = r"too many clients|remaining connection slots|too many connections|max client|EMAXCONN|ECHECKOUTTIMEOUT"
_CAUSES: tuple[tuple[str, type[SlotfillError], str], ...] = (
    (_FULL, Unreachable, "has no connection left; wait, or raise its connection limit"),
    (
        r"password authentication failed|no password supplied|SASL authentication failed|SCRAM|"
        r"authentication failed|no pg_hba.conf entry|Tenant or user not found",
        BadInput,
        "refuses the login; check user and password in the database URL",
    ),
    (r"root certificate file .* does not exist|private key file", BadInput, "needs a certificate file not found here"),
    (r"server does not support SSL", BadInput, "does not offer the encryption (sslmode) the database URL asks for"),
    (r"(database|role) \".*\" does not exist", BadInput, "does not have what the database URL names"),
    (r"starting up|shutting down|recovery mode", Unreachable, "is starting or stopping; try again"),
    (r"invalid (port|sslmode|connection option|URI)|invalid value", BadInput, "cannot be reached with this URL"),
)


def engine(url: str, *, application_name: str = APPLICATION_NAME) -> Engine:
    """An engine for a Postgres URL; nothing connects yet.

    Statements are never prepared on the server, so that the same engine works behind a transaction
    pooler (PgBouncer, Supavisor), where a later statement may run in another server process.

    Raises BadInput for a URL that is not one of Postgres.
    """
    return sa.create_engine(
        parse_url(url),
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "prepare_threshold": None,
        },
        use_native_hstore=False,
        pool_size=2,
        pool_pre_ping=True,
    )


def parse_url(url: str) -> URL:
    """The URL with psycopg as its driver. Raises BadInput, which never repeats the URL's password."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in SCHEMES:
        raise BadInput("the database URL must look like postgresql://user:password@host:5432/database")
    try:
        parsed = sa.make_url(f"postgresql+psycopg://{rest}")
        (parsed.host or "").encode("idna")  # psycopg falls over a name that no resolver takes
    except (ArgumentError, ValueError):
        raise BadInput(
            "the database URL is malformed: the host must be a host's name, the port a number, and @ : / in a "
            "password be %-escaped"
        ) from None
    return parsed.set(database=parsed.database or parsed.username or "postgres")


@contextmanager
def reading(database: Engine) -> Iterator[Connection]:
    """A read-only transaction; nothing done in it can write, whatever the SQL says."""
    try:
        with database.execution_options(postgresql_readonly=True).begin() as connection:
            yield connection
    except DBAPIError as error:
        raise explain(error, database.url) from error


def write(database: Engine, work: Callable[[Connection], Result]) -> Result:
    """Do ``work`` in one transaction: committed whole or rolled back whole.

    It is done again, from the start, where the platform's own transactions came in between.
    """
    for tries_left in reversed(range(WRITE_TRIES)):
        try:
            with database.begin() as connection:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
                return work(connection)
        except DBAPIError as error:
            if not tries_left or getattr(error.orig, "sqlstate", None) not in _CONTENTION:
                raise explain(error, database.url) from error
    raise AssertionError("the last try returns or raises")


def explain(error: DBAPIError, url: URL) -> SlotfillError:
    """The error of this project's family that says what happened, in one line and without the password."""
    text = str(error.orig).partition("\n")[0]
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate and sqlstate[:2] not in _NOT_ABOUT_THE_STATEMENT:
        return BadInput(f"the database at {address(url)} rejects the statement: {one_line(text, url)}")
    return unusable(text, url)


def unusable(text: str, url: URL) -> SlotfillError:
    """Why a database cannot be used, from its server's or its driver's message."""
    text, where = _PREAMBLE.sub("", one_line(text, url)), f"the database at {address(url)}"
    for pattern, kind, meaning in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return kind(f"{where} {meaning} ({text})")
    return Unreachable(f"{where} {network_cause(text) or 'does not answer'} ({text})")


def one_line(text: str, url: URL) -> str:
    """A server's or driver's message as one line, with the URL's password masked wherever it stands."""
    line = " ".join(text.split())
    return line.replace(url.password, "***") if url.password else line


def address(url: URL) -> str:
    """``host:port/database``, for people; a Unix socket is named by its folder."""
    host = url.host or url.query.get("host") or "local socket"
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database}"
