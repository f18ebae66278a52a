"""The database's schema: made where it is missing, never dropped."""

from importlib.resources import files

import psycopg
from procrastinate import App, PsycopgConnector
from psycopg import sql

from whitehorse.postgres import DATABASE, ROLE

# Any number will do, as long as every platform that shares the database takes the same lock.
_CREATION_LOCK = 7_403_118
_PRESENT = "select to_regclass('bookings') is not null, to_regclass('booking_idempotency_keys') is not null"


class ForeignSchema(Exception):
    """The database holds another platform's tables."""


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
    """Make the platform's tables and the queue's, in one transaction, unless they are there. Raises ForeignSchema."""
    queue = App(connector=PsycopgConnector()).schema_manager.get_schema()
    tables = files("whitehorse").joinpath("schema.sql").read_text()
    with psycopg.connect(database_url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
        present = connection.execute(_PRESENT).fetchone()
        if present == (True, False):
            raise ForeignSchema("the database already holds bookings of another platform; give an empty one")
        if present == (False, False):
            connection.execute(tables.encode())
            connection.execute(queue.encode())
            connection.execute("create index on procrastinate_jobs (lock)")
