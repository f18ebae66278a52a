"""Which databases may be changed: the embedded platform's, and those a person has marked as test targets.

The embedded platform moves only into an empty database, so what lies in its tables is its own wherever they are.

The marker is a row in a schema of its own, so that no reset and no migration of the platform
touches it. It carries the database's identity and the address it was marked under: a dump or a
copy of the files that is brought up elsewhere brings the row along, but does not match it.
"""

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from slotfill.database.connect import address, reading, write
from slotfill.database.schema import CONTRACT
from slotfill.database.url import Host, hosts, reached
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
_MARKER_OID = "SELECT coalesce(to_regclass('slotfill.target_marker')::oid::bigint, 0)"
_HAS_TYPE = "SELECT to_regtype(:name) IS NOT NULL"
_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = ANY(current_schemas(false)::text[]::regnamespace[])
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"""


@dataclass(frozen=True)
class Layout:
    """What the platform that this project starts has in its database, whichever that is, and no other platform has."""

    type_name: str
    """A type by which its database is known."""
    queue: str
    """The table of its background jobs, with columns args and status."""


@dataclass(frozen=True)
class Target:
    """What the parameters name; with a layout it is the embedded platform."""

    name: str
    layout: Layout | None = None


@dataclass(frozen=True)
class Marker:
    """The row that names a database as a test target."""

    name: str
    project: str
    marked_by: str
    marked_at: datetime


def authorise(database: Engine, target: Target) -> None:
    """Return where the target may be changed; otherwise raise Refused with the reason, having written nothing."""
    if production := _named_production(database.url):  # not even looked at
        raise Refused(f"{address(database.url)}: {_never(production)}; nothing was written")
    with reading(database) as connection:
        reason = reason_to_refuse(connection, database.url, target)
    if reason:
        raise Refused(f"{address(database.url)}: {reason}; nothing was written")


def admit(database: Engine, layout: Layout) -> None:
    """Return where the embedded platform may move in: into an empty database, or back into its own.

    Otherwise raise Refused, having written nothing: a DATABASE_URL can be there for something else entirely.
    """
    with reading(database) as connection:
        reason = _production(database.url)
        if reason is None and not _laid_out(connection, layout):
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
    if target.layout is None:
        return _reason_without_trust(connection, url, target.name)
    if not _laid_out(connection, target.layout):
        return "the embedded platform did not lay this database out, so its rows may be anybody's"
    return _production(url)


def _laid_out(connection: Connection, layout: Layout) -> bool:
    return bool(connection.scalar(sa.text(_HAS_TYPE), {"name": layout.type_name}))


def _production(url: URL) -> str | None:
    sign = production_sign(url)
    return f"this looks like a PRODUCTION database ({sign})" if sign else None


def _reason_without_trust(connection: Connection, url: URL, name: str) -> str | None:
    if production := _named_production(url):
        return _never(production)
    found = markers(connection)
    marker = found.get(_binding(connection, url))
    if marker is None and (production := _production(url)) and not found:
        return (
            f"{production} and carries no marker as a test target. It is never reset or seeded. "
            "If it truly is a test database, a person says so with: slotfill db mark"
        )
    if marker is None and found:
        names = ", ".join(repr(marker.name) for marker in found.values())
        return (
            f"its marker {names} was made in another database or under another address (this is a copy, or it is "
            "reached by another way); mark it anew with: slotfill db mark"
        )
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


def marker_of(connection: Connection, url: URL) -> Marker | None:
    """The marker that was made for this database under this address."""
    return markers(connection).get(_binding(connection, url))


def mark(database: Engine, name: str, marked_by: str) -> Marker:
    """Write the marker row; only ever called because a person typed the name.

    Raises BadInput for a bad name, Refused for an address that looks like production: a marker would be of no use.
    """
    if not re.fullmatch(r"[\w.-]{1,63}", name) or name == EMBEDDED:
        raise BadInput(f"{name!r} is no name for a target: use letters, digits, . _ - and not {EMBEDDED!r}")
    if production := _named_production(database.url):
        raise Refused(
            f"{address(database.url)}: this looks like a PRODUCTION database ({production}); nothing was written"
        )

    def work(connection: Connection) -> Marker:
        for statement in _CREATE:
            connection.execute(sa.text(statement))
        project = _binding(connection, database.url)
        connection.execute(sa.text(_UPSERT), {"name": name, "project": project, "marked_by": marked_by})
        return markers(connection)[project]

    return write(database, work)


def identity(connection: Connection, url: URL) -> str:
    """Which database this is, by whatever name or pooler it is reached; a restored dump has another identity."""
    name = connection.scalar(
        sa.text("SELECT datname || '#' || oid FROM pg_database WHERE datname = current_database()")
    )
    return f"{name}@{_server_identifier(connection) or _reached_by(url)}"


def _binding(connection: Connection, url: URL) -> str:
    """The identity, and where it is: as the server sees itself, behind whatever pooler, and as the URL names it.

    A copy of a server's files has the server's identifier, but not its address. Where the role may not read the
    identifier, the number of the marker's own table stands in: a restored dump has another.
    """
    host, port = connection.execute(sa.text("SELECT host(inet_server_addr()), current_setting('port')")).one()
    where = "local" if Host(host or "", None).is_local else host
    table = "" if _server_identifier(connection) else f" {connection.scalar(sa.text(_MARKER_OID))}"
    return f"{identity(connection, url)} at {where}:{port} by {_reached_by(url)}{table}"


def _server_identifier(connection: Connection) -> int | None:
    if not connection.scalar(sa.text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")):
        return None
    found: int = connection.execute(sa.text("SELECT system_identifier FROM pg_control_system()")).scalar_one()
    return found


def _reached_by(url: URL) -> str:
    return ",".join(sorted({"local" if host.is_local else host.name for host in reached(url)}))


def _never(production: str) -> str:
    return f"this looks like a PRODUCTION database ({production}), which is never reset or seeded, marked or not"


def _named_production(url: URL) -> str | None:
    """What in a URL is named after production; None for a local database, whatever its name."""
    if is_local(url):
        return None
    parts = (*(host.name for host in (*hosts(url), *reached(url))), url.database, url.username)
    return next((part for part in parts if part and _PRODUCTION.search(part)), None)


def production_sign(url: URL) -> str | None:
    """What in a URL's hosts, database or user looks like production; None for a local database.

    A name says so for certain; a managed server's address may be a test project's, which a marker can say.
    """
    if is_local(url):
        return None
    names = [host.name for host in (*hosts(url), *reached(url))]
    return _named_production(url) or next((name for name in names if _MANAGED.search(name)), None)


def is_local(url: URL) -> bool:
    """Whether the URL leads to this machine and nowhere else: Unix sockets or loopback addresses."""
    return all(host.is_local for host in reached(url))
