"""A database of somebody's own under the embedded platform: DATABASE_URL leads to a server that others run."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import waiting

from slotfill import run
from slotfill.analyse import study
from slotfill.drive.driver import Progress
from slotfill.levels import fill_all
from slotfill.outcomes import CONFIRMED_OUTCOMES, EXHAUSTED
from slotfill.params import Settings
from slotfill.plan import Plan
from slotfill.read import read_logs

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture
def crowded() -> Iterator[str]:
    """A distribution's Postgres with three connections for all, behind a transaction pooler that wants more.

    Neither program runs as root, so that their files belong to another account there.
    """
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="slotfill-crowded-"))
    password, port, pooler_port = secrets.token_hex(8), waiting.free_port(), waiting.free_port()
    (folder / "password").write_text(password)
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={port} user=runner password={password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {pooler_port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 20\nserver_login_retry = 1\n"
    )
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, user) if user else None
    as_user: dict[str, Any] = {"user": user, "cwd": folder}
    initdb = [f"{POSTGRES_BIN}/initdb", "-D", folder / "data", "-U", "postgres", "--pwfile", folder / "password"]
    subprocess.run([*initdb, "--auth=scram-sha-256", "--no-sync"], check=True, capture_output=True, **as_user)
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    settings |= {"max_connections": "4", "superuser_reserved_connections": "1", "max_wal_senders": "0"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log, ExitStack() as stack:
        for command in (
            [f"{POSTGRES_BIN}/postgres", "-D", folder / "data", "-p", str(port), *options],
            [PGBOUNCER, folder / "pgbouncer.ini"],
        ):
            process = subprocess.Popen(command, stdout=log, stderr=log, **as_user)
            stack.callback(process.wait, waiting.PATIENCE_S)
            stack.callback(process.send_signal, signal.SIGINT)
        administrator = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        waiting.until(lambda: create_database(administrator, password), "Postgres starts")
        yield f"postgresql://runner:any@127.0.0.1:{pooler_port}/bookings"
    shutil.rmtree(folder)


def create_database(administrator: str, password: str) -> bool:
    """Whether the server has started, and then with a role and a database of its own."""
    with suppress(psycopg.OperationalError), psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE runner LOGIN PASSWORD '{password}'")
        connection.execute("GRANT pg_monitor TO runner")
        connection.execute("CREATE DATABASE bookings OWNER runner")
        return True
    return False


@contextmanager
def quietly(plan: Plan) -> Iterator[Progress]:
    yield lambda line: None


@pytest.mark.skipif(POSTGRES_BIN is None or PGBOUNCER is None, reason="no Postgres of a distribution, or no pgbouncer")
def test_too_few_connections_behind_a_pooler_end_in_named_outcomes_and_show_in_the_findings(
    crowded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", crowded)
    grid = {"start": "17:00", "end": "18:45", "concurrency": [1, 8], "rounds": 1, "stress_max": 3, "max_party_size": 4}
    far = {"db_rtt_ms": 5}  # a database that is not next door: its connections are held longer than they work
    settings = Settings.model_validate({**grid, "faults": far, "sample_interval_ms": 50})
    driven = run.create(settings, tmp_path / "run")
    fill_all(driven, quietly)
    assert driven.record["state"] == "done"
    told = read_logs(driven.level_folders).attempts
    assert set(told["outcome"]) <= {*CONFIRMED_OUTCOMES, EXHAUSTED}
    assert len(told[told["concurrency"] == 8]) >= 8
    findings = {found["name"]: found for found in study.of_run(driven.folder).document.as_json()["findings"]}
    assert findings["connection_limit"]["verdict"] == "true"
    assert findings["connection_limit"]["figures"]["connections_limit"] == 3
    assert not list(tmp_path.rglob("pgdata")), "no server of its own"
