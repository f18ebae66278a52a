"""Connections to the platform's database: how they are opened, and what went wrong in one clear line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from slotfill.database import environment
from slotfill.database.url import (
    APPLICATION_NAME,
    CONNECT_TIMEOUT_S,
    NAME,
    address,
    keywords,
    parse_url,
    without_password,
)
from slotfill.database_errors import NO_CONNECTION_LEFT
from slotfill.errors import BadInput, SlotfillError, Unreachable
from slotfill.network_errors import network_cause

__all__ = ["APPLICATION_NAME", "CONNECT_TIMEOUT_S", "address", "engine", "explain", "keywords", "one_line", "parse_url"]

LOCK_TIMEOUT_S = 15
WRITE_TRIES = 4
# Deadlock, serialisation failure, and a row inserted by the platform between two of our statements, be it in the way
# of ours (a table given away meanwhile).
_CONTENTION = ("40P01", "40001", "23503", "23P01")
STATEMENT_TIMEOUT_S = 120
# Of a session's settings those that the first message of a connection cannot carry; whatever the role's own are.
_SETTINGS = f"""
SELECT set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true),
    set_config('extra_float_digits', '1', true), set_config('statement_timeout', '{STATEMENT_TIMEOUT_S}s', true),
    set_config('idle_in_transaction_session_timeout', '0', true)"""

# SQLSTATE classes: connection, resources, lock not available, operator intervention, poolers' own.
_NOT_ABOUT_THE_STATEMENT = ("08", "53", "55", "57", "XX")

Result = TypeVar("Result")

# psycopg gives no SQLSTATE for a failure during connect, so the text decides. First match wins; what is not about
# databases alone is among the causes of the network.
_PREAMBLE = re.compile(r"^connection (failed|is bad): (connection to server (at|on socket) .*? failed: )?")
_CAUSES: tuple[tuple[str, type[SlotfillError], str], ...] = (
    (
        "|".join(map(re.escape, NO_CONNECTION_LEFT)),
        Unreachable,
        "has no connection left; wait, or raise its connection limit",
    ),
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
    (
        r"invalid (port|connection option|URI)|invalid (\S+ )?value|weak sslmode|local user with ID|channel binding|"
        r"authentication method requirement|GSSAPI encryption required",
        BadInput,
        "cannot be reached with this URL",
    ),
)
_ABOUT_SIGNING_IN = (
    r"ssl|certificate|authentication|password|no pg_hba.conf entry|channel binding|gss|peer|invalid (\S+ )?value"
)


def engine(url: str, *, application_name: str = APPLICATION_NAME, name: str = NAME) -> Engine:
    """An engine for a Postgres URL; nothing connects yet. For its connections see ``url.keywords``.

    Raises BadInput for a URL that is not one of Postgres; ``name`` is what the message calls it.
    """
    parsed = parse_url(url, name)
    return sa.create_engine(
        parsed,
        creator=lambda: psycopg.connect(**keywords(parsed, application_name)),
        use_native_hstore=False,
        pool_size=2,
        pool_pre_ping=True,
    )


@contextmanager
def reading(database: Engine) -> Iterator[Connection]:
    """A read-only transaction; nothing done in it can write, whatever the SQL says."""
    try:
        with database.execution_options(postgresql_readonly=True).begin() as connection:
            connection.execute(sa.text(_SETTINGS))
            yield connection
    except DBAPIError as error:
        raise explain(error, database.url) from error
    except (NotImplementedError, UnicodeDecodeError) as error:  # from below SQLAlchemy
        raise _unreadable(error, database.url) from error


def write(database: Engine, work: Callable[[Connection], Result]) -> Result:
    """Do ``work`` in one transaction: committed whole or rolled back whole.

    It is done again, from the start, where the platform's own transactions came in between.
    """
    for tries_left in reversed(range(WRITE_TRIES)):
        try:
            with database.begin() as connection:
                connection.execute(sa.text(_SETTINGS))
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
                return work(connection)
        except DBAPIError as error:
            if not tries_left or getattr(error.orig, "sqlstate", None) not in _CONTENTION:
                raise explain(error, database.url) from error
        except (NotImplementedError, UnicodeDecodeError) as error:
            raise _unreadable(error, database.url) from error
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
            return _blame_shell(kind(f"{where} {meaning} ({text})"), text)
    return _blame_shell(Unreachable(f"{where} {network_cause(text) or 'does not answer'} ({text})"), text)


def one_line(text: str, url: URL) -> str:
    """A server's or driver's message as one line, with the URL's password masked wherever it stands."""
    return without_password(" ".join(text.split()), url)


def _blame_shell(error: SlotfillError, text: str) -> SlotfillError:
    """Name the variables of the shell that say how to sign in or to encrypt, where that is what failed."""
    variables = environment.heeded()
    if variables and re.search(_ABOUT_SIGNING_IN, text, re.IGNORECASE):
        return BadInput(f"{error}; the environment sets {', '.join(variables)}")
    return error


def _unreadable(error: Exception, url: URL) -> SlotfillError:
    return BadInput(f"the database at {address(url)} gives values that cannot be read ({one_line(str(error), url)})")
