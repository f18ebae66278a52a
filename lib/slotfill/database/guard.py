"""Which databases may be changed: the embedded platform's, and those a person has marked as test targets.

The embedded platform moves only into an empty database, so what lies in its tables is its own wherever they are.

The marker is a row in a schema of its own, so that no reset and no migration of the platform
touches it. It carries the database's identity: a dump of a marked database that is restored
elsewhere brings the row along, but does not match it.
"""

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from slotfill.database.connect import address, reading, write
from slotfill.database.schema import CONTRACT
from slotfill.database.url import hosts, reached
from slotfill.errors import BadInput, Refused

EMBEDDED = "embedded"
_PRODUCTION = re.compile(r"(?<![a-z])(prod|production|live|primary|master)(?![a-z])", re.IGNORECASE)
_MANAGED = re.compile(r"\.(supabase\.(co|com)|rds\.amazonaws\.com|neon\.tech|azure\.com|render\.com|fly\.dev)$", re.I)

# The marker is no secret, and a role that only reads has to see it too.
_CREATE = (
    "CREATE SCHEMA IF NOT EXISTS slotfill",
    """CREATE TABLE IF NOT EXISTS slotfill.target_marker (
        name text NOT NULL, project text PRIMARY KEY, marked_by text NOT NULL, marked_at timestamptz NOT NULL)""",
    "GRANT USAGE ON SCHEMA slotfill TO PUBLIC",
    "GRANT SELECT ON slotfill.target_marker TO PUBLIC",
)
_UPSERT = """
INSERT INTO slotfill.target_marker (name, project, marked_by, marked_at) VALUES (:name, :project, :marked_by, now())
ON CONFLICT (project) DO UPDATE SET name = excluded.name, marked_by = excluded.marked_by, marked_at = now()"""
_RIGHTS = """
SELECT c.relname FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND c.relname = ANY(:tables)
  AND NOT (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'DELETE')) ORDER BY 1"""
# A type that no other platform has: this one makes do without the extension that the others use in its place.
_LAID_OUT = "SELECT to_regtype('table_occupancy') IS NOT NULL"
_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = ANY(current_schemas(false)::text[]::regnamespace[])
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"""


@dataclass(frozen=True)
class Target:
    """What the parameters name. ``embedded`` is the platform that this project starts, on whatever database."""

    name: str
    embedded: bool = False


@dataclass(frozen=True)
class Marker:
    """The row that names a database as a test target."""

    name: str
    project: str
    marked_by: str
    marked_at: datetime


def authorise(database: Engine, target: Target) -> None:
    """Return where the target may be changed; otherwise raise Refused with the reason, having written nothing."""
    with reading(database) as connection:
        reason = reason_to_refuse(connection, database.url, target)
    if reason:
        raise Refused(f"{address(database.url)}: {reason}; nothing was written")


def admit(database: Engine) -> None:
    """Return where the embedded platform may move in: into an empty database, or back into its own.

    Otherwise raise Refused, having written nothing: a DATABASE_URL can be there for something else entirely.
    """
    with reading(database) as connection:
        reason = _production(database.url)
        if reason is None and not connection.scalar(sa.text(_LAID_OUT)):
            tables = connection.scalars(sa.text(_TABLES)).all()
            if tables:
                some = ", ".join([*tables[:3], *(["…"] if len(tables) > 3 else [])])
                reason = f"it holds tables that are not the embedded platform's ({some})"
    if reason:
        raise Refused(
            f"{address(database.url)}: {reason}; give the embedded platform an empty database, or unset DATABASE_URL. "
            "Nothing was written"
        )


def reason_to_refuse(connection: Connection, url: URL, target: Target) -> str | None:
    """Why the target's database may not be reset and seeded; None where it may."""
    if not target.embedded:
        return _reason_without_trust(connection, url, target.name)
    if not connection.scalar(sa.text(_LAID_OUT)):
        return "the embedded platform did not lay this database out, so its rows may be anybody's"
    return _production(url)


def _production(url: URL) -> str | None:
    sign = production_sign(url)
    return f"this looks like a PRODUCTION database ({sign})" if sign else None


def _reason_without_trust(connection: Connection, url: URL, name: str) -> str | None:
    project, found = identity(connection, url), markers(connection)
    marker = found.get(project)
    if marker is None and (production := _production(url)):
        return (
            f"{production} and carries no marker as a test target. It is never reset or seeded. "
            "If it truly is a test database, a person says so with: slotfill db mark"
        )
    if marker is None and found:
        names = ", ".join(repr(marker.name) for marker in found.values())
        return f"its marker {names} was made in another database (this is a copy); mark it anew with: slotfill db mark"
    if marker is None:
        return "it carries no marker as a test target; if it is one, a person says so with: slotfill db mark"
    if marker.name != name:
        return f"it is marked as {marker.name!r}, but the parameters name the target {name!r}"
    if connection.scalar(
        sa.text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool")
    ):
        return "it takes no writes: it is a standby, or the role is set to read only"
    barred = connection.scalars(sa.text(_RIGHTS), {"tables": list(CONTRACT)}).all()
    if barred:
        return f"the role {url.username} may not change {', '.join(barred)} (INSERT and DELETE are needed)"
    return None


def markers(connection: Connection) -> dict[str, Marker]:
    """The marker rows by the project they were made for; empty where the database was never marked."""
    if connection.scalar(sa.text("SELECT to_regclass('slotfill.target_marker')")) is None:
        return {}
    rows = connection.execute(sa.text("SELECT name, project, marked_by, marked_at FROM slotfill.target_marker"))
    return {row.project: Marker(*row) for row in rows}


def mark(database: Engine, name: str, marked_by: str) -> Marker:
    """Write the marker row; only ever called because a person typed the name. Raises BadInput for a bad name."""
    if not re.fullmatch(r"[\w.-]{1,63}", name) or name == EMBEDDED:
        raise BadInput(f"{name!r} is no name for a target: use letters, digits, . _ - and not {EMBEDDED!r}")

    def work(connection: Connection) -> Marker:
        project = identity(connection, database.url)
        for statement in _CREATE:
            connection.execute(sa.text(statement))
        connection.execute(sa.text(_UPSERT), {"name": name, "project": project, "marked_by": marked_by})
        return markers(connection)[project]

    return write(database, work)


def identity(connection: Connection, url: URL) -> str:
    """Which database this is, by whatever name or pooler it is reached; a restored dump has another identity."""
    name = connection.scalar(
        sa.text("SELECT datname || '#' || oid FROM pg_database WHERE datname = current_database()")
    )
    if connection.scalar(sa.text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")):
        server = connection.scalar(sa.text("SELECT system_identifier FROM pg_control_system()"))
    else:
        server = url.host
    return f"{name}@{server}"


def production_sign(url: URL) -> str | None:
    """What in a URL's hosts, database or user looks like production; None for a local database."""
    if is_local(url):
        return None
    names = [host.name for host in (*hosts(url), *reached(url))]
    named = next((part for part in (*names, url.database, url.username) if part and _PRODUCTION.search(part)), None)
    return named or next((name for name in names if _MANAGED.search(name)), None)


def is_local(url: URL) -> bool:
    """Whether the URL leads to this machine and nowhere else: Unix sockets or loopback addresses."""
    return all(host.is_local for host in reached(url))
