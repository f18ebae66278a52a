"""The platform a run drives: the embedded one, started here, or a remote one, found by its environment.

The only module of the instrument that knows the embedded platform exists.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil

from slotfill.database import connect, guard
from slotfill.database.environment import forget
from slotfill.database.url import plain, remark
from slotfill.drive.ask import BoundedTransport
from slotfill.env_file import environment
from slotfill.errors import BadInput, Refused, Unreachable
from slotfill.headers import resolve
from slotfill.network_errors import describe_error, require_usable_environment
from slotfill.params import EMBEDDED, ROOT, Settings
from whitehorse import postgres, telemetry
from whitehorse.lease import is_taken
from whitehorse.serve import CannotServe, OtherPlatform, make, start
from whitehorse.settings import OTLP_ENDPOINT, POSTGRES_PORT, WEB_DATABASE, BadSettings, from_environment

BASE_URL, DATABASE_URL = "BOOKING_API_BASE_URL", "SUPABASE_DB_URL"
HOME = ROOT / "artifacts" / ".platform" / "serve"
"""Where ``slotfill serve`` keeps the embedded platform."""
STARTS_WITHIN_S = 60
"""A file of a lease is made before it is shared."""
WATCH_EVERY_S = 0.5
# The embedded platform's own range type: it makes do without the extension that the others use in its place.
LAYOUT = guard.Layout(type_name="table_occupancy", queue="procrastinate_jobs")


@dataclass(frozen=True)
class Platform:
    """A booking platform that can be driven."""

    name: str
    base_url: str
    database_url: str = field(repr=False)
    server_log: Path | None = None
    postgres_log: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What every request carries beside ours; they can hold secrets."""
    embedded: bool = False
    queue: str = LAYOUT.queue
    """The table its jobs may wait in: a remote platform can be the embedded one, served under another name."""
    sessions: tuple[str, ...] = ()
    """What its database sessions' names begin with, where they are not those of well-known software."""
    note: str | None = None
    """What a report has to say about the choice of this platform."""
    url_remark: str | None = None
    """What of the database's URL was left out or read as something else."""
    started_at: datetime | None = None
    """When it was ready, where that is known: no request sent before is still running."""
    pids: Callable[[], Mapping[str, int]] = field(default=dict, compare=False)
    """The embedded platform's processes by name, as they are now; none where they run elsewhere."""
    lease: Path | None = None
    """The file of which every user of the embedded platform shares a lock; it ends when nobody does."""

    @property
    def target(self) -> guard.Target:
        """What a guard needs to know of it before its database is changed."""
        return guard.Target(self.name, LAYOUT if self.embedded else None)


def require_openable(settings: Settings) -> None:
    """Raise what ``open_platform`` would raise for the settings themselves; nothing is started or reached."""
    if not settings.embedded:
        remote(settings)
        return
    if settings.telemetry and not telemetry.available():
        raise BadInput('telemetry: needs OpenTelemetry\'s Python packages; install them with: pip install -e ".[otel]"')
    try:
        from_environment(_environ(settings))
    except BadSettings as error:
        raise BadInput(f"flags or faults of the embedded platform: {error}") from None


@dataclass(frozen=True)
class Detour:
    """The way of the embedded platform's web process to its database by a proxy, whose upstream this is."""

    upstream: str
    postgres_port: int | None
    """The embedded Postgres is started at this port; ``None`` where the database is an external one."""

    @classmethod
    def to_database(cls) -> "Detour":
        """Where the database will be, before anything is started."""
        if url := os.environ.get("DATABASE_URL"):
            external = connect.parse_url(url)
            return cls(f"postgresql://{external.host}:{external.port or 5432}", None)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        return cls(f"postgresql://127.0.0.1:{port}", port)

    def environ(self, proxy: str) -> dict[str, str]:
        """What the embedded platform is told so that its web process goes by ``proxy`` (``host:port``)."""
        port = {} if self.postgres_port is None else {POSTGRES_PORT: str(self.postgres_port)}
        return {WEB_DATABASE: proxy, **port}


@contextmanager
def open_platform(settings: Settings, home: Path, detour: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """The platform the settings name, running for as long as the block; ``detour`` is a ``Detour``'s environ.

    ``home`` is the folder of the embedded platform; whoever opens it first starts it, the others share it.
    Raises BadInput for settings or an environment file that do not fit, Refused for a load on a platform that the
    settings do not name, Unreachable where it does not start or its name does not resolve.
    """
    if settings.embedded:
        if settings.base_url:
            raise Refused(f"base_url names {settings.base_url}: set target to that platform's name to drive it")
        with _open_embedded(settings, home, detour) as platform:
            yield platform
        return
    platform = remote(settings)
    problem = unresolvable(platform.base_url)
    if problem is None:
        if platform.url_remark:
            print(f"slotfill: {platform.url_remark}", file=sys.stderr)
        yield platform
        return
    if not settings.allow_local_fallback:
        raise Unreachable(f"{problem}; set allow_local_fallback to use the embedded platform instead")
    with _open_embedded(settings, home) as local:
        yield replace(
            local, note=f"{problem}: the embedded platform was driven, which says nothing of {settings.target}"
        )


def remote(settings: Settings) -> Platform:
    """The remote platform, from the parameters, the process's environment and the environment file, in that order."""
    require_usable_environment()
    known = environment(env_file(settings))
    base_url = settings.base_url or known.get(BASE_URL)
    database_url = known.get(DATABASE_URL)
    for name, value in ((BASE_URL, base_url), (DATABASE_URL, database_url)):
        if value and "\ufffd" in value:
            raise BadInput(f"{settings.env_file}: {name} holds bytes that are not UTF-8; save the file as UTF-8")
        if not value:
            raise BadInput(f"{settings.env_file}: {name} is missing, and the target {settings.target!r} needs it")
    assert base_url and database_url
    source = DATABASE_URL if os.environ.get(DATABASE_URL) == database_url else f"{settings.env_file}: {DATABASE_URL}"
    connect.parse_url(database_url, source)
    malformed = BadInput(f"{settings.env_file}: {BASE_URL} must look like https://host or http://host:port")
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # read, because only that finds a port that is no number
    except ValueError:
        raise malformed from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise malformed
    if parts.username or parts.password:
        raise BadInput(f"the base URL of {settings.target!r} holds a login, and logs repeat it; take the login out")
    log = ROOT / settings.server_log if settings.server_log else None
    read_as = remark(database_url)
    return Platform(
        settings.target,
        base_url.rstrip("/"),
        database_url,
        server_log=log,
        headers=resolve(settings.headers, known),
        url_remark=f"{source}: {read_as}" if read_as else None,
    )


def env_file(settings: Settings) -> Path:
    """The environment file; a relative name is looked up in the checkout."""
    return ROOT / settings.env_file


def unresolvable(base_url: str) -> str | None:
    """What to say where the host of a base URL does not resolve."""
    host = urlsplit(base_url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # the latter for a name that no resolver would take
        return f"the host {host} of the base URL does not resolve"
    return None


def require_answer(platform: Platform, timeout_ms: float) -> None:
    """Raise Unreachable where the platform's web server does not answer, whatever it says; nothing is booked."""
    request = httpx.Request("GET", f"{platform.base_url}/api/bookings/{uuid4()}", headers=dict(platform.headers))
    try:
        # Not by way of httpx.Client, which looks at where a redirect leads, and it may be nonsense.
        BoundedTransport(timeout_ms, trust_env=not platform.embedded).handle_request(request)
    except httpx.DecodingError:
        return  # it has answered
    except httpx.HTTPError as error:
        raise Unreachable(f"{platform.base_url} {describe_error(error)}") from None


@contextmanager
def _open_embedded(settings: Settings, home: Path, detour: Mapping[str, str] | None = None) -> Iterator[Platform]:
    forget()
    _admit_to_external_database()
    try:
        running = start(home, _environ(settings) | dict(detour or {}))
    except BadSettings as error:
        raise BadInput(f"flags or faults of the embedded platform: {error}") from None
    except OtherPlatform as error:
        raise BadInput(f"the embedded platform: {error}") from None
    except CannotServe as error:
        raise Unreachable(f"the embedded platform: {error}") from None
    try:
        yield Platform(
            name=EMBEDDED,
            base_url=running.base_url,
            database_url=running.database_url,
            server_log=running.server_log,
            postgres_log=log if (log := home / "postgres.log").is_file() else None,
            embedded=True,
            sessions=("whitehorse",),
            # The supervisor's start and not the web process's: connections queue at the supervisor's socket, and a
            # web process that is started again takes up the requests of the one that died.
            started_at=datetime.fromtimestamp(psutil.Process(running.pid).create_time(), UTC),
            pids=running.pids,
            lease=home / "lease",
        )
    finally:
        running.close()


def _admit_to_external_database() -> None:
    """Raise Refused where DATABASE_URL leads to a database that holds somebody else's tables."""
    if external := os.environ.get("DATABASE_URL"):
        engine = connect.engine(external, name="DATABASE_URL")
        try:
            guard.admit(engine, LAYOUT)
        finally:
            engine.dispose()


def _environ(settings: Settings) -> dict[str, str]:
    """What the embedded platform is told; an external Postgres is taken from this process's environment."""
    external = os.environ.get("DATABASE_URL")
    return {
        **({OTLP_ENDPOINT: f"http://{settings.otlp_listen}"} if settings.telemetry else {}),
        **({"DATABASE_URL": plain(connect.parse_url(external, "DATABASE_URL"))} if external else {}),
        **settings.flags,
        "DEBUG_CAPACITY_PROFILING": str(settings.profiling).lower(),
        "WHITEHORSE_FAULTS": json.dumps(settings.faults),
        "WHITEHORSE_JOB_RETRY_DELAYS_MS": json.dumps(settings.job_retry_delays_ms),
    }


def is_used(home: Path) -> bool:
    """Whether somebody uses the embedded platform of this folder, or it is being made or has not ended yet."""
    lease = home / "lease"
    return not lease.is_file() or is_taken(lease)


def is_new(home: Path) -> bool:
    """Whether the embedded platform of this folder was made so lately that nobody may use it yet."""
    try:
        return time.time() - (home / "lease").stat().st_mtime < STARTS_WITHIN_S
    except FileNotFoundError:  # another one is removing it
        return True


def make_home(home: Path) -> None:
    """Make the folder of an embedded platform that is to be started."""
    make(home)


def discard_home(home: Path) -> None:
    """Remove the folder of an embedded platform that has ended, and what of it lies elsewhere."""
    postgres.discard(home)


def serve(settings: Settings, echo: Callable[[str], None], home: Path = HOME) -> None:
    """Run the embedded platform until Ctrl+C, and say where it is."""
    settings = settings.model_copy(update={"target": EMBEDDED, "base_url": None})
    with open_platform(settings, home) as platform, suppress(KeyboardInterrupt):
        echo(f"White Horse is ready at {platform.base_url}; Ctrl+C stops it")
        echo(f"its server log: {platform.server_log}; its database URL (a secret): {home / 'platform.json'}")
        while platform.pids():
            time.sleep(WATCH_EVERY_S)
        raise Unreachable(f"the embedded platform ended by itself; the logs in {home} say why")
