"""Everything also works behind PgBouncer."""

import os
import shutil
import subprocess

import pytest
import waiting

from slotfill.database import guard
from slotfill.database.alone import alone
from slotfill.database.describe import describe
from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import checksum, reset
from slotfill.database.samples import Sampler
from slotfill.database.seed import seed_intelligent, seed_today

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
STAGING = Target("staging")


@pytest.fixture
def pooled(server, seeded, request):
    """The seeded database through a PgBouncer in the mode the test asks for."""
    port = waiting.free_port()
    folder = server.folder / f"pgbouncer-{port}"
    folder.mkdir()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres password={server.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {request.param}\ndefault_pool_size = 4\n"
    )
    if server.user:
        for path in (folder, settings):
            shutil.chown(path, server.user)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, settings], user=server.user, stdout=log, stderr=log, cwd=folder)
    url = f"postgresql://postgres:any@127.0.0.1:{port}/{seeded.url.database}"
    try:
        server.wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(waiting.PATIENCE_S)


both = pytest.mark.parametrize("pooled", ["transaction", "session"], indirect=True)


@both
def test_reset_seeds_and_checks_work_behind_it(pooled, seeded, template, connected, new_database, day):
    guard.mark(seeded, "staging", "a tester")
    database = connected(pooled)
    reset(database, target=STAGING)
    assert checksum(database) == checksum(connected(new_database(template)))
    for _ in range(3):  # often enough for psycopg to prepare statements, were it allowed to
        seed_intelligent(database, 1, target=STAGING)
        seed_today(database, day, 1, target=STAGING)
    assert check(database).passed


@both
def test_its_mode_is_recognised(pooled, connected, request):
    assert describe(connected(pooled)).pooler == request.node.callspec.params["pooled"]


@both
def test_sampler_works_behind_it(pooled, tmp_path, until):
    path = tmp_path / "samples.parquet"
    with Sampler(pooled, path, 20) as sampler:
        frame = until(sampler, lambda frame: (frame["metric"] == "connections").sum() > 8)
    assert (frame["kind"] != "error").all()


@both
def test_no_lock_is_left_in_a_session_that_a_pooler_gives_to_others(pooled):
    with alone(pooled), alone(pooled, wait_s=0):
        pass
