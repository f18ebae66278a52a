"""However a platform is started, shared, stopped or killed: it recovers, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import waiting

from whitehorse import postgres, serve
from whitehorse.serve import OtherPlatform, Running, start
from whitehorse.settings import POSTGRES_PORT

Platform = Any  # of conftest.py, which cannot be imported from


@pytest.fixture(scope="module")
def house() -> Iterator[Path]:
    """A home of this module's own: its platforms come and go."""
    with TemporaryDirectory(prefix="whitehorse-") as folder:
        yield Path(folder)


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that works for a home: its path stands in the command line of each one."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = any(str(home) in word for word in process.cmdline())
            if mine and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def gone(home: Path, running: Running) -> bool:
    waiting.until(lambda: not processes_of(home), "its processes have ended")
    ports = [urlsplit(url).port for url in (running.base_url, running.database_url)]
    return not any(is_listening(port) for port in ports) and not (home / "pgdata" / "postmaster.pid").exists()


def is_listening(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port or 0)) == 0


def test_the_announcement_is_there_when_ready_and_only_for_its_owner(house: Path) -> None:
    running = start(house, {})
    try:
        announcement = house / "platform.json"
        assert stat.S_IMODE(announcement.stat().st_mode) == 0o600
        told = json.loads(announcement.read_text())
        assert (told["base_url"], told["database_url"]) == (running.base_url, running.database_url)
        assert psutil.Process(told["pid"]).is_running()
        assert httpx.get(f"{running.base_url}/api/health", timeout=waiting.PATIENCE_S).json()["queue"]["workers"] == 1
        password = urlsplit(running.database_url).password
        assert password
        assert password not in repr(running)
        assert not any(password in word for process in processes_of(house) for word in process.cmdline())
    finally:
        running.close()
    assert gone(house, running)
    assert not announcement.exists()


def test_users_share_a_platform_and_the_last_one_ends_it(house: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        users = list(pool.map(lambda _: start(house, {}), range(3)))
    assert len({user.pid for user in users}) == 1
    for user in users[:2]:
        user.close()
        assert httpx.get(f"{user.base_url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200
    with pytest.raises(OtherPlatform, match="other settings"):
        start(house, {"DEBUG_CAPACITY_PROFILING": "true"})
    with pytest.raises(OtherPlatform, match="another database") as refusal:
        start(house, {"DATABASE_URL": "postgresql://somebody:sesame@127.0.0.1:1/none"})
    assert "sesame" not in str(refusal.value)
    users[2].close()
    assert gone(house, users[2])


def test_a_platform_behind_the_taps_of_a_killed_run_is_waited_for_and_not_joined(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, looked = [waiting.free_port() for _ in range(2)], threading.Event()
    users = start(house, {POSTGRES_PORT: str(ports[0])})
    announced = serve._announced
    monkeypatch.setattr(serve, "_announced", lambda home: (looked.set(), announced(home))[1])
    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(start, house, {POSTGRES_PORT: str(ports[1])})
        looked.wait(waiting.PATIENCE_S)
        users.lease.close()  # as its driver does in the end
        again = resumed.result()
    again.close()
    assert urlsplit(again.database_url).port == ports[1]
    assert gone(house, again)


def test_killing_the_only_user_ends_the_platform(house: Path) -> None:
    user = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from whitehorse.serve import start
        running = start(Path(sys.argv[1]), {})
        print(running.base_url, flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", user, str(house)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("http://")
        running = start(house, {})
        running.lease.close()
        process.kill()
    assert gone(house, running)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_runs_until_it_is_told_to_stop(house: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "whitehorse", "serve", "--home", str(house)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "ready at http://127.0.0.1:" in process.stderr.readline()
        running = start(house, {})
        running.close()
        assert httpx.get(f"{running.base_url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 75
        assert str(house) in again.stderr
        process.send_signal(number)
        assert process.wait(waiting.PATIENCE_S) == 0
    assert gone(house, running)


def test_a_killed_supervisor_takes_everything_with_it_and_the_next_start_is_clean(house: Path) -> None:
    running = start(house, {})
    os.kill(running.pid, signal.SIGKILL)
    assert gone(house, running)
    running.close()
    again = start(house, {})
    assert httpx.get(f"{again.base_url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200
    again.close()
    assert gone(house, again)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a stopped process with its parent")
def test_a_stopped_worker_goes_down_with_a_killed_supervisor(house: Path) -> None:
    running = start(house, {})
    os.kill(running.pids()["worker"], signal.SIGSTOP)
    os.kill(running.pid, signal.SIGKILL)
    assert gone(house, running)
    running.close()


def test_a_server_that_outlived_its_keeper_is_stopped_by_the_supervisor(house: Path) -> None:
    running = start(house, {})
    (keeper,) = (
        process for process in processes_of(house) if process.cmdline()[2:5] == ["-m", "whitehorse", "postgres"]
    )
    keeper.kill()
    assert gone(house, running)
    running.close()


@pytest.fixture(scope="module")
def queueing(launch: Any) -> Iterator[Platform]:
    """A platform whose bookings are all left to their jobs."""
    with launch(inline_timeout_ms=0) as platform:
        yield platform


def kill(platform: Platform, name: str) -> None:
    os.kill(platform.running.pids()[name], signal.SIGKILL)


def test_a_killed_web_process_is_back_on_the_same_port(queueing: Platform) -> None:
    body = queueing.request()
    posting = threading.Thread(target=post_in_vain, args=(queueing, body))
    with queueing.locked("lock table procrastinate_jobs in exclusive mode"):
        posting.start()
        waiting.until(lambda: queueing.waiting_for_locks("whitehorse-web"))
        kill(queueing, "web")
        posting.join()
    assert waiting.until(lambda: answers(queueing))
    (made,) = queueing.sql("select id from bookings where customer_email = %(email)s", email=body["email"])
    booking = waiting.until(lambda: confirmed(queueing, str(made["id"])))
    assert len(booking["assignments"]) == 1
    assert "the web process ended with -9" in (queueing.running.home / "serve.log").read_text()


def post_in_vain(platform: Platform, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.HTTPError):
        platform.post(body)


def answers(platform: Platform) -> bool:
    try:
        return bool(platform.post(platform.request()).status_code == 201)
    except httpx.HTTPError:
        return False


def confirmed(platform: Platform, booking_id: str) -> dict[str, Any] | None:
    read: dict[str, Any] = platform.booking(booking_id)
    return read if read["booking"]["status"] == "confirmed" else None


def test_a_job_killed_with_its_worker_is_taken_up_again(queueing: Platform) -> None:
    with queueing.locked("select id from table_inventory for update"):
        booking = queueing.book()
        waiting.until(lambda: queueing.waiting_for_locks("whitehorse-worker"))
        assert queueing.job(booking["id"])["state"] == "running"
        kill(queueing, "worker")
    job = waiting.until(lambda: (found := queueing.job(booking["id"]))["finishedAt"] and found)
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    assert len(queueing.booking(booking["id"])["assignments"]) == 1


def test_a_killed_postgres_comes_back_on_the_same_port_with_everything_committed(queueing: Platform) -> None:
    booking = queueing.book()
    waiting.until(lambda: confirmed(queueing, booking["id"]))
    killed = queueing.running.pids()["postgres"]
    kill(queueing, "postgres")
    # A backend can outlive it by a moment, and answer.
    waiting.until(lambda: queueing.running.pids().get("postgres") not in (None, killed), "another one has come")
    assert waiting.until(lambda: answers(queueing))
    assert len(queueing.booking(booking["id"])["assignments"]) == 1
    another = queueing.book()
    assert waiting.until(lambda: confirmed(queueing, another["id"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a place for the server's user")
def test_folders_above_a_closed_home_are_left_as_they_are(tmp_path: Path) -> None:
    closed = tmp_path / "closed – to others"
    closed.mkdir(0o700)
    home = closed / "platform"
    running = start(home, {})
    try:
        assert running.pids()["postgres"]
    finally:
        running.close()
    outside = (home / "outside").resolve()
    assert closed.stat().st_mode & 0o777 == 0o700 and (outside / "pgdata").is_dir()
    home.rename(closed / "deleted")
    os.utime(outside / "pgdata", (0, 0))
    another = closed / "another"
    another.mkdir()
    postgres.prepare(another)
    assert not outside.exists(), "swept up, for its home is gone"
    shutil.rmtree((another / "outside").resolve())
    postgres.prepare(another)
    assert (another / "pgdata" / "PG_VERSION").is_file(), "made anew where what lay outside was cleaned away"
    postgres.discard(another)
    assert not another.exists() and not (another / "outside").exists()


def test_a_checkout_whose_name_a_shell_would_read_otherwise_has_its_database_all_the_same(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.chmod(0o711)  # so that it is the name alone that is in the way, also as root
    odd = house / 'the pub\'s "checkout" in $HOME & `here`'
    package, home = postgres._programs().parent, odd / "platform"
    programs = odd / package.name / postgres.PROGRAMS
    shutil.copytree(package / postgres.PROGRAMS, programs, symlinks=True)
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, odd / libraries.name, symlinks=True)
    home.mkdir()
    monkeypatch.setattr(postgres, "_programs", lambda: programs)
    try:
        postgres.prepare(home)
        assert (home / "pgdata" / "PG_VERSION").is_file()
    finally:
        postgres.discard(home)
    assert not (home / "outside").exists()
