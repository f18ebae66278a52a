"""A distribution's Postgres as it comes where LANG is unset and a person is German, with a schema as the real one's."""

import os  # noqa: I001
import secrets
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import waiting

from slotfill import run
from slotfill.outcomes import CONFIRMED_OUTCOMES, EXHAUSTED
from slotfill.database import guard
from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import plan_reset, reset
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.files import read_json
from slotfill.levels import fill_all
from slotfill.params import Settings
from slotfill.read import read_logs
from tests.database.conftest import HUNG_BY_OTHERS, SCHEMA, SLUG, Server

POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
pytestmark = pytest.mark.skipif(POSTGRES_BIN is None, reason="no Postgres of a distribution is installed here")
STAGING = Target("staging")
OF_BOOKINGS = {
    "bookings", "bookings_p0", "bookings_p1", "customers", "booking_table_assignments", "allocations", "table_holds",
    "table_hold_members", "table_hold_windows", "booking_state_history", "observability_events", "audit_logs",
    "booking_idempotency_keys",
}  # fmt: skip

HANGING = (
    *HUNG_BY_OTHERS,
    # The owner sees through it, as the real platform's own role does.
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in ("bookings", "customers", "restaurants")),
)


@pytest.fixture
def url():
    """A database of that server, encoded as SQL_ASCII; nothing of it runs as root."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="slotfill-distribution-"))
    server = Server(folder, waiting.free_port(), user, secrets.token_hex(8))
    (folder / "password").write_text(server.password)
    for path in (folder, folder / "password"):
        shutil.chown(path, user) if user else None
    options = ["-U", "postgres", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync", "--no-locale"]
    subprocess.run(
        [f"{POSTGRES_BIN}/initdb", "-D", folder / "data", *options, "--encoding=SQL_ASCII"],
        user=user, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "datestyle": "German"}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [f"{POSTGRES_BIN}/postgres", "-D", folder / "data", "-p", str(server.port), *words],
            user=user, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        server.wait_until_ready(server.url())
        server.execute("CREATE DATABASE pub")
        yield server.url("pub")
    finally:
        process.send_signal(2)
        process.wait(waiting.PATIENCE_S)
        shutil.rmtree(folder)


def test_mark_reset_seeds_and_checks_leave_what_is_no_bookings(url, connected, execute, partition, every_table, day):
    database = connected(url)
    execute(database, SCHEMA.read_text(), f"INSERT INTO restaurants (slug, name) VALUES ('{SLUG}', 'Theirs')")  # noqa: S608
    partition(database)
    guard.mark(database, "staging", "a tester")
    reset(database, target=STAGING)
    execute(database, *HANGING)

    def others():
        return {name: found for name, found in every_table(url).items() if name.split(".")[1] not in OF_BOOKINGS}

    before = others()
    assert before["public.restaurant_memberships"][0] == 1 and before["public.table_inventory"][0] == 40
    for _ in range(2):
        seed_intelligent(database, 1, target=STAGING)
        for later in range(3):
            seed_today(database, day + timedelta(days=later), 1, target=STAGING)
        assert {found.name: found.status for found in check(database).checks if found.status != "passed"} == {}
        plan = plan_reset(database)
        assert plan.deletes["bookings"] > 140 and (plan.adds, plan.replaces, plan.obstacles) == ({}, [], [])
        assert reset(database, target=STAGING) == plan.deletes
        assert others() == before
        assert every_table(url)["public.bookings"][0] == every_table(url)["public.customers"][0] == 0


@pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")
def test_a_small_run_on_such_a_server(url, tmp_path, monkeypatch):
    """The embedded platform moves into the empty database: web, worker and driver all speak to that server."""
    monkeypatch.setenv("DATABASE_URL", url)
    grid = {"start": "18:00", "end": "18:15", "concurrency": [2], "rounds": 1, "stress_max": 2, "max_party_size": 4}
    driven = run.create(Settings.model_validate({**grid, "sample_interval_ms": 50}), tmp_path / "run")

    @contextmanager
    def quietly(plan):
        yield lambda line: None

    fill_all(driven, quietly)
    cell = driven.cell_folder(2, 1)
    assert set(read_logs([cell]).attempts["outcome"]) <= {*CONFIRMED_OUTCOMES, EXHAUSTED}
    assert read_json(cell / "integrity-after.json")["passed"]
    samples = pd.read_parquet(cell / "samples.parquet")
    assert {"activity", "server"} <= set(samples["kind"]) and "error" not in set(samples["kind"])
