"""Passwords, keys and guests' addresses leave the machine in nothing that a run leaves behind or says.

They are planted where a person has them, in environment files and URLs, and looked for everywhere afterwards.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import psutil
import psycopg
import pytest
import sqlalchemy as sa

from slotfill import pipeline, run
from slotfill.database import connect, guard
from slotfill.drive.driver import Progress
from slotfill.drive.target import BASE_URL, DATABASE_URL, Platform, open_platform
from slotfill.errors import SlotfillError
from slotfill.levels import fill_all
from slotfill.params import ROOT, Settings
from slotfill.plan import Plan, plan

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SLOTFILL = Path(sys.executable).with_name("slotfill")
PASSWORD, LOGIN = "planted-Vk7-password", "planted-Qz4-login"
KEY = "eyJhbGciOiJIUzI1NiJ9.cGxhbnRlZC1zZXJ2aWNlLXJvbGU.planted-Ws9-key"
GUEST_IN_THE_SERVER_LOG = "planted.Jt5.guest@pub.example"
SMALL: dict[str, Any] = {
    "target": "staging",
    "start": "18:00",
    "end": "18:00",
    "concurrency": [2],
    "stress_max": 2,
    "rounds": 1,
    "min_party_size": 4,
    "max_party_size": 4,
    "sample_interval_ms": 50,
    # So slow that whoever looks on, on a busy machine, sees it.
    "max_rate_per_min": 30,
}


@dataclass(frozen=True)
class Household:
    """A platform, the file with its secrets, and all that must not be found."""

    platform: Platform
    env_file: Path
    secrets: tuple[str, ...]

    def words(self, **changes: Any) -> list[str]:
        told = {**SMALL, "env_file": self.env_file, **changes}
        return [word for name, value in told.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def household() -> Iterator[Household]:
    with TemporaryDirectory(prefix="slotfill-test-") as home, open_platform(Settings(), Path(home)) as platform:
        url = sa.make_url(platform.database_url).set(drivername="postgresql")
        administrator = url.set(username="postgres").render_as_string(hide_password=False)
        with psycopg.connect(administrator, autocommit=True) as connection:
            connection.execute("GRANT CREATE ON DATABASE whitehorse TO whitehorse")
            connection.execute(f"CREATE ROLE runner LOGIN PASSWORD '{PASSWORD}' IN ROLE whitehorse, pg_monitor")
        runner = url.set(username="runner", password=PASSWORD).render_as_string(hide_password=False)
        engine = connect.engine(runner)
        guard.mark(engine, "staging", "a tester")
        engine.dispose()
        env_file = Path(home) / "env"
        write_env(env_file, platform.base_url, runner)
        yield Household(platform, env_file, (PASSWORD, LOGIN, KEY, str(url.password), *guests()))


def write_env(file: Path, base_url: str, database_url: str) -> None:
    file.write_text(
        f"{BASE_URL}={base_url}\n{DATABASE_URL}={database_url}\nSUPABASE_SERVICE_ROLE_KEY={KEY}\n", encoding="utf-8"
    )


def guests() -> list[str]:
    """Addresses and numbers of the guests a run makes up, and of one whom the platform's own log names."""
    attempts = [
        attempt
        for concurrency in (1, 2)
        for slot in plan(Settings.model_validate(SMALL), concurrency).slots
        for attempt in slot.attempts
    ]
    return [GUEST_IN_THE_SERVER_LOG, *(each for attempt in attempts for each in (attempt.email, attempt.phone))]


def slotfill(*words: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in (BASE_URL, DATABASE_URL)}
    return subprocess.run(
        [SLOTFILL, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**clean, "SUPABASE_SERVICE_ROLE_KEY": KEY},
    )


def said(answer: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in answer.stderr
    return answer.stdout + answer.stderr


def leaks(secrets: tuple[str, ...], folder: Path) -> list[tuple[str, str]]:
    """Which secret stands in which file; Parquet is read, because its bytes are compressed."""
    found = []
    for file in (file for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += pd.read_parquet(file).to_csv().encode()
        found += [(secret, str(file)) for secret in secrets if secret.encode() in content]
    return found


@contextmanager
def watching_arguments() -> Iterator[Callable[[], str]]:
    """The arguments of all processes that were seen while the block ran."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for process in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(process.info["cmdline"] or []))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: "\n".join(seen)
    finally:
        over.set()
        thread.join()


def test_a_whole_run_on_a_remote_target_leaves_no_secret_anywhere(household: Household, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "next-server.log"
    log.write_text("")

    def platform_talks() -> None:
        """Somebody's platform that says too much, while the run goes on."""
        for _ in iter(lambda: over.wait(0.05), True):
            with log.open("a") as file:
                file.write(f"[mail] sent {{ to: '{GUEST_IN_THE_SERVER_LOG}', apiKey: '{KEY}' }}\n")

    over = threading.Event()
    talking = threading.Thread(target=platform_talks)
    talking.start()
    with watching_arguments() as arguments:
        answer = slotfill("run", *household.words(server_log=log), "--out", out)
    over.set()
    talking.join()
    assert answer.returncode == 0, answer.stderr
    assert "[mail] sent" in (out / "concurrency-2" / "server.log").read_text(), "the log was taken along"
    assert "slotfill.drive" in arguments(), "the run's processes were seen"
    assert leaks(household.secrets, out) == []
    assert not [secret for secret in household.secrets if secret in said(answer) + arguments()]


def test_the_embedded_platforms_own_password_stays_in_its_home(tmp_path: Path) -> None:
    embedded = {**SMALL, "target": "embedded"}
    driven = run.create(Settings.model_validate(embedded), tmp_path / "run")
    passwords: set[str] = set()

    @contextmanager
    def peeping(level: Plan) -> Iterator[Progress]:
        passwords.add((driven.platform_home / "password").read_text())
        yield lambda line: None

    with watching_arguments() as arguments:
        fill_all(driven, peeping)
    [password] = passwords
    assert len(password) > 20
    assert leaks((password,), driven.folder) == []
    assert password not in arguments() and "whitehorse" in arguments()
    assert not driven.platform_home.exists(), "gone with the run"


def test_the_search_would_find_a_leak(household: Household, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes.log").write_text(f"password={PASSWORD}")
    pd.DataFrame({"query": [f"x{KEY}x"] * 3}).to_parquet(tmp_path / "samples.parquet")
    assert {secret for secret, _ in leaks(household.secrets, tmp_path)} == {PASSWORD, KEY}


@pytest.mark.parametrize("command", ["doctor", "db reset", "db mark"])
def test_commands_on_the_target_repeat_no_secret(household: Household, command: str) -> None:
    answer = slotfill(*command.split(), *household.words())
    assert answer.returncode == (4 if command == "db mark" else 0)
    assert not [secret for secret in household.secrets if secret in said(answer)]


@pytest.mark.parametrize(
    ("base_url", "database_url", "code"),
    [
        (f"https://runner:{LOGIN}@127.0.0.1", "{database_url}", 2),
        ("{base_url}", "postgresql://nobody:" + PASSWORD + "@{host}/whitehorse", 2),
        ("{base_url}", f"postgresql://runner:{PASSWORD}@127.0.0.1:1/whitehorse", 5),
        ("{base_url}", f"postgresql://runner:{PASSWORD}@127.0.0.1:port/whitehorse", 2),
    ],
    ids=["login in the base URL", "wrong login", "no database", "malformed"],
)
def test_what_fails_repeats_no_secret(
    household: Household,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    base_url: str,
    database_url: str,
    code: int,
) -> None:
    url = sa.make_url(household.platform.database_url)
    real = {
        "base_url": household.platform.base_url,
        "database_url": url.set(drivername="postgresql").render_as_string(hide_password=False),
        "host": f"{url.host}:{url.port}",
    }
    file, out = tmp_path / "env", tmp_path / "run"
    write_env(file, base_url.format(**real), database_url.format(**real))
    answer = slotfill("db", "reset", *household.words(env_file=file))
    assert answer.returncode == code, answer.stderr
    for name in (BASE_URL, DATABASE_URL):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SlotfillError) as failure:
        pipeline.run(Settings.model_validate({**SMALL, "env_file": str(file)}), out, print)
    assert failure.value.exit_code == code
    everything = said(answer) + str(failure.value) + "".join(capfd.readouterr())
    assert not [secret for secret in household.secrets if secret in everything]
    assert leaks(household.secrets, out) == []


def test_a_login_in_the_parameters_base_url_is_refused_before_it_is_written_down(
    household: Household, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    answer = slotfill("run", *household.words(base_url=f"http://runner:{LOGIN}@127.0.0.1"), "--out", out)
    assert answer.returncode == 2
    assert "must hold no login" in answer.stderr and LOGIN not in said(answer)
    assert not out.exists()
