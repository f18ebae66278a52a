"""What a database is and offers, for ``doctor``: version, rights, limits, pooler, distance, and what is missing."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from slotfill.database.connect import explain, reading
from slotfill.database.guard import Marker, marker_of, production_sign
from slotfill.database.schema import CONTRACT, Schema, discover

TRANSACTION_POOLER_PORT = 6543
_ROUND_TRIPS = 7

_FACTS = """
SELECT current_setting('server_version') AS version, current_user::text AS role,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all_sessions,
    has_database_privilege(current_database(), 'CREATE') AS may_mark,
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only,
    current_setting('max_connections')::int AS max_connections,
    (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL
        AND coalesce(backend_type, 'client backend') = 'client backend') AS connections,
    to_regclass('pg_stat_statements') IS NOT NULL AS has_statements"""
_RIGHTS = """
SELECT c.relname, has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
    AND has_table_privilege(c.oid, 'DELETE')
FROM pg_class c WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND c.relname = ANY(:tables)"""


@dataclass(frozen=True)
class Gap:
    """Something of the contract that this database lacks, and what does not work without it."""

    missing: str
    disables: str


@dataclass(frozen=True)
class Facts:
    """What was found; ``clock_skew_ms`` is the server's clock minus ours, ``hidden`` and ``unwritable`` are tables."""

    version: str
    role: str
    superuser: bool
    sees_all_sessions: bool
    may_mark: bool
    read_only: bool
    max_connections: int
    connections: int
    has_statements: bool
    pooler: str
    """``none``, ``session`` or ``transaction``."""
    round_trip_ms: float
    clock_skew_ms: float
    gaps: tuple[Gap, ...]
    hidden: Mapping[str, str]
    unwritable: tuple[str, ...]
    marker: Marker | None
    production_sign: str | None


def describe(database: Engine) -> Facts:
    """Look, and write nothing. Raises Unreachable or BadInput with what hinders the connection."""
    with reading(database) as connection:
        facts = connection.execute(sa.text(_FACTS)).one()._asdict()
        round_trip_ms, clock_skew_ms = _clock(connection)
        schema = discover(connection)
        rights = connection.execute(sa.text(_RIGHTS), {"tables": list(CONTRACT)}).all()
        marker = marker_of(connection, database.url)
    return Facts(
        **facts,
        pooler=pooler_mode(database),
        round_trip_ms=round_trip_ms,
        clock_skew_ms=clock_skew_ms,
        gaps=tuple(gaps(schema)),
        hidden={name: why for name, why in schema.hidden.items() if name in CONTRACT},
        unwritable=tuple(sorted(name for name, writable in rights if not writable)),
        marker=marker,
        production_sign=production_sign(database.url),
    )


def gaps(schema: Schema) -> list[Gap]:
    """What the contract promises and the schema does not have."""
    found = ((schema.missing(table, expected.columns), expected) for table, expected in CONTRACT.items())
    return [Gap(missing, expected.disables) for missing, expected in found if missing]


def pooler_mode(database: Engine) -> str:
    """Whether a pooler stands in between, and how it hands out server connections.

    A pooler gives the client a process id of its own making, not that of the server process. In
    transaction mode a second client gets the server process the first one has just let go; in session
    mode the first keeps it.
    """
    if database.url.port == TRANSACTION_POOLER_PORT:
        return "transaction"
    try:
        with ExitStack() as stack:
            # Two clients at once: the first has ended its transaction, but not its session, when the second begins.
            first, second = (stack.enter_context(database.connect()) for _ in range(2))
            one, other = _backend(first), _backend(second)
            told = first.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    except DBAPIError as error:
        raise explain(error, database.url) from error
    if one == other:
        return "transaction"
    return "none" if told == one else "session"


def _backend(connection: Connection) -> int:
    with connection.begin():
        return int(connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)


def _clock(connection: Connection) -> tuple[float, float]:
    """Round trip (median) and clock skew (at the quickest round trip, taken at its middle), both ms."""
    trips = []
    for _ in range(_ROUND_TRIPS):
        asked_at, started = datetime.now(UTC), time.perf_counter()
        server_at = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        trip_ms = (time.perf_counter() - started) * 1000
        trips.append((trip_ms, (server_at - asked_at).total_seconds() * 1000 - trip_ms / 2))
    return median(trip for trip, _ in trips), min(trips)[1]
