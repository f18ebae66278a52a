"""A platform of somebody's own: refused while unmarked, marked by a person, driven within its caps, and put back.

The remote platform is an embedded one that the commands know only by its addresses.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pexpect
import psycopg
import pytest
import sqlalchemy as sa
import waiting

from slotfill import pipeline, prove, run
from slotfill.analyse import study
from slotfill.attempt import is_confirmed
from slotfill.database import connect, guard
from slotfill.database.alone import alone
from slotfill.database.guard import Target
from slotfill.database.reset import checksum, reset
from slotfill.database.seed import seed_today
from slotfill.drive.driver import Progress
from slotfill.drive.target import BASE_URL, DATABASE_URL, LAYOUT, Platform, open_platform
from slotfill.errors import BadInput, Braked, Refused, Unreachable
from slotfill.files import read_json, write_json
from slotfill.levels import fill_all
from slotfill.params import ROOT, Settings
from slotfill.plan import Plan
from slotfill.read import read_logs
from slotfill.report import documents, narrative
from slotfill.run import Run

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SLOTFILL = Path(sys.executable).with_name("slotfill")
EMBEDDED = Target("embedded", LAYOUT)
SMALL: dict[str, Any] = {
    "target": "staging",
    "start": "18:00",
    "end": "18:15",
    "concurrency": [2],
    "stress_max": 2,
    "rounds": 1,
    # A size with tables enough, so that every attempt is confirmed.
    "min_party_size": 4,
    "max_party_size": 4,
    "sample_interval_ms": 100,
}


@dataclass
class Remote:
    """The platform, the file that leads to it, and what its server has logged of the statements sent to it."""

    platform: Platform
    env_file: Path
    log: Path
    engine: sa.Engine

    def settings(self, **changes: Any) -> Settings:
        return Settings.model_validate({**SMALL, "env_file": str(self.env_file), **changes})

    def words(self, **changes: Any) -> list[str]:
        """The same settings as words of a command."""
        told = {**SMALL, "env_file": self.env_file, **changes}
        return [word for name, value in told.items() for word in ("--set", f"{name}={value}")]

    def lead_to(self, database: sa.URL, folder: Path) -> Path:
        """An environment file with this platform and another way to a database."""
        file = folder / "env"
        url = database.render_as_string(hide_password=False)
        file.write_text(f"{BASE_URL}={self.platform.base_url}\n{DATABASE_URL}={url}\n")
        return file

    def written(self) -> list[str]:
        """The statements that this project's own connections sent and Postgres counts as changing something."""
        return re.findall(r"^slotfill[^|]*\|LOG:  (?:statement|execute [^:]+):\s*(\S.*)", self.log.read_text(), re.M)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def unmark(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA IF EXISTS slotfill CASCADE"))


@pytest.fixture(scope="module")
def running() -> Iterator[Remote]:
    with TemporaryDirectory(prefix="slotfill-test-") as folder, open_platform(Settings(), Path(folder)) as platform:
        home = Path(folder)
        url = sa.make_url(platform.database_url).set(drivername="postgresql", username="postgres")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as administrator:
            administrator.execute("ALTER SYSTEM SET log_line_prefix = '%a|'")
            administrator.execute("ALTER ROLE whitehorse SET log_statement = 'mod'")
            administrator.execute("GRANT CREATE ON DATABASE whitehorse TO whitehorse")
            administrator.execute("CREATE ROLE onlooker LOGIN PASSWORD 'look' IN ROLE pg_read_all_data, pg_monitor")
            administrator.execute("SELECT pg_reload_conf()")
        env_file = home / "env"
        env_file.write_text(f"{BASE_URL}={platform.base_url}\n{DATABASE_URL}={platform.database_url}\n")
        engine = connect.engine(platform.database_url, application_name="the test itself")
        yield Remote(platform, env_file, home / "postgres.log", engine)
        engine.dispose()


@pytest.fixture
def remote(running: Remote, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The platform with the venue and a day's bookings, not marked."""
    for name in (BASE_URL, DATABASE_URL, "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    running.unmark()
    reset(running.engine, target=EMBEDDED)
    seed_today(running.engine, pd.Timestamp(running.settings().date).date(), 7, target=EMBEDDED)
    return running


def slotfill(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SLOTFILL, *map(str, words)], check=False, capture_output=True, text=True, cwd=ROOT)


@contextmanager
def quietly(plan: Plan) -> Iterator[Progress]:
    yield lambda line: None


def drive(settings: Settings, folder: Path) -> Run:
    """A run without its report."""
    driven = run.create(settings, folder)
    fill_all(driven, quietly)
    return driven


def attempts(driven: Run) -> pd.DataFrame:
    return read_logs(driven.level_folders).attempts


@pytest.mark.parametrize("command", ["db reset", "db reset --dry-run", "db seed-today"])
def test_an_unmarked_target_is_refused_and_nothing_is_written(remote: Remote, command: str) -> None:
    before, written = checksum(remote.engine), remote.written()
    answer = slotfill(*command.split(), *remote.words())
    assert answer.returncode == 4
    assert "carries no marker" in answer.stderr and "nothing was written" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert checksum(remote.engine) == before
    assert remote.written() == written


def test_a_run_on_an_unmarked_target_is_refused_before_any_request(remote: Remote, tmp_path: Path) -> None:
    before, written = checksum(remote.engine), remote.written()
    with pytest.raises(Refused, match="carries no marker"):
        pipeline.run(remote.settings(), tmp_path / "run", print)
    assert checksum(remote.engine) == before
    assert remote.written() == written


def test_a_marked_target_whose_web_is_dead_is_told_before_anything_is_reset(remote: Remote, tmp_path: Path) -> None:
    guard.mark(remote.engine, "staging", "a tester")
    before, written = checksum(remote.engine), remote.written()
    with pytest.raises(Unreachable, match="refuses connections") as dead:
        pipeline.run(remote.settings(base_url="http://127.0.0.1:1"), tmp_path / "run", print)
    assert dead.value.exit_code == 5
    assert checksum(remote.engine) == before
    assert remote.written() == written


def test_a_target_marked_by_another_name_is_refused_and_nothing_is_written(remote: Remote) -> None:
    guard.mark(remote.engine, "playground", "a tester")
    before, written = checksum(remote.engine), remote.written()
    answer = slotfill("db", "reset", *remote.words())
    assert answer.returncode == 4
    assert "marked as 'playground'" in answer.stderr and "'staging'" in answer.stderr
    assert checksum(remote.engine) == before
    assert remote.written() == written


def test_a_target_that_looks_like_production_is_refused_in_its_own_words(remote: Remote, tmp_path: Path) -> None:
    url = sa.make_url(remote.platform.database_url).set(drivername="postgresql", username="postgres")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE bookings_production OWNER whitehorse")
    # 127.1 is this machine too, but does not look like it.
    lookalike = sa.make_url(remote.platform.database_url).set(database="bookings_production", host="127.1")
    answer = slotfill("db", "reset", *remote.words(env_file=remote.lead_to(lookalike, tmp_path)))
    assert answer.returncode == 4
    assert "looks like a PRODUCTION database (bookings_production)" in answer.stderr


def type_mark(remote: Remote, name: str) -> tuple[int, str]:
    """A person at a terminal who is asked for the name of the target."""
    child = pexpect.spawn(
        str(SLOTFILL), ["db", "mark", *remote.words()], encoding="utf-8", timeout=waiting.PATIENCE_S, cwd=str(ROOT)
    )
    child.expect("Type the name of the target")
    child.sendline(name)
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before


def test_only_a_person_who_types_the_name_marks_a_target(remote: Remote) -> None:
    by_no_one = slotfill("db", "mark", *remote.words())
    assert by_no_one.returncode == 4 and "needs a person at a terminal" in by_no_one.stderr
    code, said = type_mark(remote, "something-else")
    assert code == 4 and "nothing was written" in said
    assert remote.rows("SELECT to_regclass('slotfill.target_marker')") == [(None,)]
    code, said = type_mark(remote, "staging")
    assert code == 0 and "marked as staging" in said
    assert remote.rows("SELECT name FROM slotfill.target_marker") == [("staging",)]


def test_a_marked_target_is_driven_with_its_server_log_and_put_back_exactly(remote: Remote, tmp_path: Path) -> None:
    guard.mark(remote.engine, "staging", "a tester")
    reset(remote.engine, target=EMBEDDED)
    baseline, server_log = checksum(remote.engine), str(remote.platform.server_log)
    driven = drive(remote.settings(server_log=server_log), tmp_path / "run")
    assert driven.record["target"]["name"] == "staging"
    reading = read_logs(driven.level_folders)
    booked = set(reading.attempts.loc[is_confirmed(reading.attempts), "booking_id"])
    assert len(booked) == 4
    assert set(reading.server["booking_id"]) == booked, "the remote's log, from where the level began"
    assert checksum(remote.engine) != baseline
    assert slotfill("db", "reset", *remote.words()).returncode == 0
    assert checksum(remote.engine) == baseline
    assert remote.rows("SELECT name FROM slotfill.target_marker") == [("staging",)]
    assert remote.written(), "the statement log does show what is written"


def test_an_experiment_whose_tap_nothing_passes_says_so_and_proves_nothing(remote: Remote, tmp_path: Path) -> None:
    guard.mark(remote.engine, "staging", "a tester")
    # The platform is not sent through the tap, as somebody's is before it was told to.
    upstream = f"postgresql://127.0.0.1:{sa.make_url(remote.platform.database_url).port}"
    driven = drive(remote.settings(taps={"database": {"upstream": upstream}}, concurrency=[1]), tmp_path / "run")
    documents.write_analysis(driven.folder)
    file = driven.folder / "bottleneck.json"
    write_json(file, {**read_json(file), "verdict": "database", "mechanism": "round_trips", "kind": "constant_cost"})
    found = prove.prove(driven, quietly)
    assert found.status == "asserted"
    assert "no call passed the tap database" in found.reason and "address" in found.reason
    assert (found.delay_ms, found.effects) == (None, ())
    driven.note(target={**driven.record["target"], "database": "another"})
    with pytest.raises(Refused, match="another"):
        prove.prove(driven, quietly)
    driven.note(state="stopped")
    with pytest.raises(BadInput, match="slotfill resume"):
        prove.prove(driven, quietly)


@pytest.mark.parametrize("command", ["reset", "seed-today"])
def test_nothing_is_written_while_a_run_has_the_database(remote: Remote, command: str) -> None:
    guard.mark(remote.engine, "staging", "a tester")
    before = checksum(remote.engine)
    with alone(remote.platform.database_url):
        answer = slotfill("db", command, *remote.words())
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
    assert "another slotfill is at work on the database" in answer.stderr
    assert checksum(remote.engine) == before


def test_without_preparing_an_unmarked_target_is_driven_by_a_role_that_only_reads(
    remote: Remote, tmp_path: Path
) -> None:
    onlooker = sa.make_url(remote.platform.database_url).set(username="onlooker", password="look")
    file = remote.lead_to(onlooker, tmp_path)
    before = remote.rows("SELECT id, status, updated_at FROM bookings ORDER BY id")
    driven = attempts(drive(remote.settings(prepare=False, env_file=str(file)), tmp_path / "run"))
    assert is_confirmed(driven).all() and len(driven) == 4
    after = remote.rows("SELECT id, status, updated_at FROM bookings WHERE source <> 'api' ORDER BY id")
    assert after == before


def test_bookings_left_by_an_earlier_run_are_told_before_any_request(remote: Remote, tmp_path: Path) -> None:
    drive(remote.settings(prepare=False), tmp_path / "first")
    assert remote.platform.server_log is not None
    served = remote.platform.server_log.stat().st_size
    with pytest.raises(BadInput, match="4 of the 4 bookings of concurrency-2 are in the database already"):
        drive(remote.settings(prepare=False), tmp_path / "second")
    assert remote.platform.server_log.stat().st_size == served
    again = drive(remote.settings(prepare=False, seed=2), tmp_path / "third")
    assert len(attempts(again)) == 4


def test_a_server_log_that_is_not_there_is_told_before_any_request(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        drive(remote.settings(prepare=False, server_log="/no/such/server.log"), tmp_path / "run")
    assert remote.rows("SELECT count(*) FROM bookings WHERE source = 'api'") == [(0,)]


def test_the_caps_on_rate_and_time_hold_and_resume_goes_on_within_them(remote: Remote, tmp_path: Path) -> None:
    per_min = 45  # so that not even four attempts in a row fit into the time
    settings = remote.settings(prepare=False, max_duration_s=3, max_rate_per_min=per_min, drain_ms=30_000)
    driven = run.create(settings, tmp_path / "run")
    with pytest.raises(Braked, match="max_duration_s"):
        fill_all(driven, quietly)
    sent = attempts(driven)["submitted_at"]
    assert 0 < len(sent) < 4
    # A turn is what is kept; how long after it a line is written is the machine's.
    late_s = 0.5
    assert (sent.max() - sent.min()).total_seconds() >= (len(sent) - 1) * 60 / per_min - late_s
    for _ in range(20):
        try:
            fill_all(driven, quietly)
            break
        except Braked:
            continue
    assert driven.record["state"] == "done"
    told = attempts(driven)
    assert is_confirmed(told).all()
    booked = remote.rows("SELECT idempotency_key FROM bookings WHERE source = 'api' ORDER BY 1")
    assert booked == sorted((key,) for key in told["idempotency_key"])


def test_the_cap_on_attempts_is_held_by_the_plan(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="asks for 4 attempts a level, above max_attempts 3"):
        pipeline.run(remote.settings(max_attempts=3), tmp_path / "run", print)
    assert not (tmp_path / "run").exists()


def test_the_fallback_is_stated_with_what_it_means_before_any_figure(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(f"{BASE_URL}=http://platform.invalid\n{DATABASE_URL}=postgresql://u:p@platform.invalid/d\n")
    settings = Settings.model_validate({**SMALL, "env_file": str(file), "allow_local_fallback": True})
    found = study.of_run(drive(settings, tmp_path / "run").folder)
    headline = narrative.verdict(found)
    first = headline.splitlines()[0]
    assert "platform.invalid" in first and "says nothing of staging" in first
    assert "Verdict, figures and advice are the embedded platform's" in first
    assert study.of_level(tmp_path / "run" / "concurrency-2").document.caveats == found.document.caveats
