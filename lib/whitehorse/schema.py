"""The database's schema: made where it is missing, never dropped."""

from importlib.resources import files

import psycopg
from procrastinate import App, PsycopgConnector
from psycopg import sql

from whitehorse.postgres import DATABASE, ROLE

# Any number will do, as long as every platform that shares the database takes the same lock.
_CREATION_LOCK = 7_403_118
# A type that no other platform has: this one makes do without the extension that the others use in its place.
_PRESENT = "select to_regtype('table_occupancy') is not null"
_TABLES = """
select c.relname from pg_class c
where c.relkind in ('r', 'p') and c.relnamespace = any(current_schemas(false)::text[]::regnamespace[])
  and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e') order by 1"""


class ForeignSchema(Exception):
    """The database holds tables of somebody else; nothing was written."""


def embedded_url(port: int, password: str, role: str = ROLE, database: str = DATABASE) -> str:
    """The URL of a database of the embedded server."""
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}"


def create_database(port: int, password: str) -> str:
    """Make the embedded server's role and database if they are missing; returns the database's URL.

    The role is no superuser, so that the server's connection limit holds for it; it may see everybody's
    activity, which is what samples of the database are made of.
    """
    administrator = embedded_url(port, password, "postgres", "postgres")
    with psycopg.connect(administrator, autocommit=True) as connection:
        if connection.execute("select from pg_roles where rolname = %s", [ROLE]).fetchone() is None:
            role, secret = sql.Identifier(ROLE), sql.Literal(password)
            connection.execute(sql.SQL("create role {} login password {}").format(role, secret))
            connection.execute(sql.SQL("grant pg_monitor to {}").format(role))
        if connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
            )
    return embedded_url(port, password)


def create_schema(database_url: str) -> None:
    """Make the platform's tables and the queue's, in one transaction, unless they are there.

    Only an empty database is moved into. Raises ForeignSchema.
    """
    queue = App(connector=PsycopgConnector()).schema_manager.get_schema()
    tables = files("whitehorse").joinpath("schema.sql").read_text()
    with psycopg.connect(database_url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
        if connection.execute(_PRESENT).fetchone() == (True,):
            return
        if others := [name for (name,) in connection.execute(_TABLES)]:
            some = ", ".join([*others[:3], *(["…"] if len(others) > 3 else [])])
            raise ForeignSchema(f"the database holds tables of another platform or program ({some}); give an empty one")
        connection.execute(tables.encode())
        connection.execute(queue.encode())
        connection.execute("create index on procrastinate_jobs (lock)")
