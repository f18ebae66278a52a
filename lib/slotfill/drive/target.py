"""The platform a run drives: the embedded one, started here, or a remote one, found by its environment.

The only module of the instrument that knows the embedded platform exists.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from slotfill.database import connect
from slotfill.errors import BadInput, Refused, Unreachable
from slotfill.params import ROOT, Settings

BASE_URL, DATABASE_URL = "BOOKING_API_BASE_URL", "SUPABASE_DB_URL"


@dataclass(frozen=True)
class Platform:
    """A booking platform that can be driven."""

    name: str
    base_url: str
    database_url: str = field(repr=False)
    server_log: Path | None = None
    embedded: bool = False
    note: str | None = None
    """What a report has to say about the choice of this platform."""
    started_at: datetime | None = None
    """When it was ready, where that is known: no request sent before is still running."""
    lease: int | None = field(default=None, repr=False, compare=False)
    """The open file that keeps the embedded platform running."""


@contextmanager
def open_platform(settings: Settings, home: Path) -> Iterator[Platform]:
    """The platform the settings name, running for as long as the block.

    ``home`` is the folder of the embedded platform; whoever opens it first starts it, the others share it.
    Raises BadInput for settings or an environment file that do not fit, Refused for a load on a platform that the
    settings do not name, Unreachable where it does not start or its name does not resolve.
    """
    if settings.embedded:
        if settings.base_url:
            raise Refused(f"base_url names {settings.base_url}: set target to that platform's name to drive it")
        with _open_embedded(settings, home) as platform:
            yield platform
        return
    platform = _remote(settings)
    problem = _unresolvable(platform.base_url)
    if problem is None:
        yield platform
        return
    if not settings.allow_local_fallback:
        raise Unreachable(f"{problem}; set allow_local_fallback to use the embedded platform instead")
    with _open_embedded(settings, home) as local:
        yield replace(
            local, note=f"{problem}: the embedded platform was driven, which says nothing of {settings.target}"
        )


def _remote(settings: Settings) -> Platform:
    """The remote platform, from the parameters, the process's environment and the environment file, in that order."""
    file = Path(settings.env_file)
    file = file if file.is_absolute() else ROOT / file
    environment = {**dotenv_values(file), **os.environ}
    base_url = settings.base_url or environment.get(BASE_URL)
    database_url = environment.get(DATABASE_URL)
    for name, value in ((BASE_URL, base_url), (DATABASE_URL, database_url)):
        if not value:
            raise BadInput(f"{settings.env_file}: {name} is missing, and the target {settings.target!r} needs it")
    assert base_url and database_url
    connect.parse_url(database_url)
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
        raise BadInput(f"{settings.env_file}: {BASE_URL} must look like https://host or http://host:port")
    log = Path(settings.server_log) if settings.server_log else None
    return Platform(settings.target, base_url.rstrip("/"), database_url, server_log=log)


def _unresolvable(base_url: str) -> str | None:
    host = urlsplit(base_url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return f"the host {host} of the base URL does not resolve"
    return None


@contextmanager
def _open_embedded(settings: Settings, home: Path) -> Iterator[Platform]:
    raise NotImplementedError(home)
    yield
