"""Taps around the embedded platform: every call of a booking is seen, and a tap that fails stops the load."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pandas as pd
import psycopg
import pytest
import waiting
from psycopg import sql
from sqlalchemy import make_url

from slotfill.analyse.inside import Inside, look_inside
from slotfill.cell import Cell, fill
from slotfill.collect.listeners import Listeners, listening
from slotfill.drive.client import Client
from slotfill.drive.clock import SystemClock
from slotfill.drive.connection import MeasuringTransport
from slotfill.drive.session import Session
from slotfill.drive.submit import prepare
from slotfill.drive.target import Platform, open_platform, require_answer
from slotfill.errors import BadInput, Braked
from slotfill.params import Settings, validate
from slotfill.plan import plan
from slotfill.read import read_logs, spans
from slotfill.read.kept import read_kept_calls
from slotfill.read.taps import read_taps

SETTINGS = validate(
    {
        "start": "17:00",
        "end": "18:45",
        "concurrency": [1, 8],
        "stress_max": 2,
        "rounds": 1,
        "min_party_size": 2,
        "max_party_size": 2,
        "taps": {"database": None, "web": None},
    },
    "test",
)
# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listeners, Platform]]:
    home = tmp_path_factory.mktemp("platform")
    with (
        listening(SETTINGS) as listeners,
        open_platform(SETTINGS, home, listeners.detour) as untapped,
        listeners.in_front_of(untapped, SETTINGS) as platform,
    ):
        yield listeners, platform


@pytest.fixture(scope="module")
def levels(
    tapped: tuple[Listeners, Platform], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[Path, Inside, pd.DataFrame]]:
    """By concurrency: the folder, what was seen inside, and the attempts beside the server's own profile."""
    listeners, platform = tapped
    found = {}
    for concurrency in SETTINGS.concurrency:
        folder = tmp_path_factory.mktemp("run") / f"concurrency-{concurrency}"
        fill(Cell(folder, SETTINGS.only(concurrency)), platform, None, listeners)
        reading = read_logs([folder])
        inside = look_inside(reading.attempts, spans.frame([]), read_kept_calls([folder]))
        server = reading.server.set_index("booking_id")
        both = inside.attempts.merge(reading.attempts[["correlation_id", "booking_id"]], on="correlation_id")
        found[concurrency] = folder, inside, both.join(server, on="booking_id")
    return found


def test_alone_every_call_of_a_booking_is_seen(levels: dict[int, tuple[Path, Inside, pd.DataFrame]]) -> None:
    _, inside, both = levels[1]
    assert len(both) == 16
    assert list(both["calls"]) == list(both["profile_database_calls"])
    assert set(both["joined"]) == {"time"}
    # Whatever the machine does meanwhile, a call lies inside its handler.
    assert (both["union_ms"] <= both["profile_handler_ms"].astype(float)).all()
    assert (both["taps_ms"] > 0).all()
    assert {"bookings", "customers", "restaurants"} <= set(inside.targets()["target"])


def test_at_eight_the_calls_are_seen_in_sum(levels: dict[int, tuple[Path, Inside, pd.DataFrame]]) -> None:
    folder, _, both = levels[8]
    calls = read_kept_calls([folder])
    # A client that polls makes calls of its own, which nothing tells apart from a booking's.
    polls = int(((calls["border"] == "web") & (calls["method"] == "GET")).sum())
    assert 0 <= round(both["calls"].sum()) - both["profile_database_calls"].sum() <= 3 * polls


def test_what_a_tap_wrote_holds_no_guest(levels: dict[int, tuple[Path, Inside, pd.DataFrame]]) -> None:
    folder, _, _ = levels[8]
    kept = "".join(file.read_text() for file in (folder / "taps").glob("*.calls"))
    assert '"target": "bookings"' in kept
    assert "@" not in kept and "example.com" not in kept


def test_what_a_delay_really_was_is_counted_anew_for_each_folder(
    tapped: tuple[Listeners, Platform], tmp_path: Path
) -> None:
    listeners, platform = tapped
    tap = listeners.taps["web"]
    for delay_ms, asked in ((20.0, 2), (0.0, 1)):
        tap.ask(folder=str(tmp_path / str(asked)), delay_ms=delay_ms)
        for _ in range(asked):
            httpx.get(f"{platform.base_url}/api/health", trust_env=False, timeout=waiting.PATIENCE_S)
        counted = tap.ask(folder=None)
        if delay_ms:
            assert counted["held"] == asked and counted["held_ms"] >= asked * delay_ms
        else:
            assert (counted["held"], counted["held_ms"]) == (0, 0)


def test_each_wait_for_an_answer_in_a_pipeline_is_a_call_and_held_back(
    tapped: tuple[Listeners, Platform], tmp_path: Path
) -> None:
    listeners, platform = tapped
    tap = listeners.taps["database"]
    tap.ask(folder=str(tmp_path), delay_ms=5.0)
    url = make_url(platform.database_url).set(drivername="postgresql", port=int(tap.address.rpartition(":")[2]))
    tables = ("bookings", "customers", "restaurants")
    with (
        psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection,
        connection.pipeline(),
    ):
        for table in tables:
            connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    tap.ask(folder=None, delay_ms=0.0)
    seen = read_taps((tmp_path / "taps").glob("database.calls"))
    own = seen[seen["connection"] == seen["connection"].max()]
    assert [target for target in own["target"] if target != "SYNC"] == list(tables)
    assert (own["duration_ms"] >= 5.0).all()


def test_a_tap_that_dies_is_a_brake(tapped: tuple[Listeners, Platform], tmp_path: Path) -> None:
    listeners, platform = tapped
    # One attempt a second: the load is not over before the brake is heard.
    settings = SETTINGS.only(1).model_copy(update={"max_rate_per_min": 60})
    cell = Cell(tmp_path / "concurrency-1", settings)

    def kill_it(line: dict[str, object]) -> None:
        if "outcome" in line:
            listeners.taps["web"]._process.kill()

    with pytest.raises(Braked, match="tap web has ended by itself"):
        fill(cell, platform, kill_it, listeners)
    assert 0 < len(read_logs([cell.folder]).attempts) < 16


def test_a_tap_that_dies_as_the_level_ends_is_told(tmp_path: Path) -> None:
    settings = SETTINGS.only(1)
    with (
        listening(settings) as listeners,
        open_platform(settings, tmp_path / "platform", listeners.detour) as untapped,
        listeners.in_front_of(untapped, settings) as platform,
    ):
        done = []

        def kill_it(line: dict[str, object]) -> None:
            done.append("outcome" in line)
            if sum(done) == 16:
                listeners.taps["web"]._process.kill()
                listeners.taps["web"]._process.wait()

        with pytest.raises(Braked, match="tap web has ended by itself"):
            fill(Cell(tmp_path / "concurrency-1", settings), platform, kill_it, listeners)


class _Asked(BaseHTTPRequestHandler):
    """Answers 404 and keeps what was asked for, of whom."""

    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"]))
        self.send_error(404)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_the_tap_in_front_of_a_platform_keeps_its_path_and_its_host() -> None:
    settings = Settings.model_validate({"target": "mine", "taps": {"web": None}})

    async def post(platform: Platform) -> None:
        slot = plan(settings.only(1), 1).slots[0]
        url = httpx.URL(f"{platform.base_url}/api/bookings")
        transport = MeasuringTransport(httpx.create_ssl_context(trust_env=False), SystemClock())
        async with Client(transport, Session(platform.headers)) as client:
            await client.send(prepare(slot, slot.attempts[0], settings, url, "ab" * 16), waiting.PATIENCE_S * 1e3)

    _Asked.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Asked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"localhost:{server.server_address[1]}"
        with Listeners().in_front_of(Platform("mine", f"http://{host}/app", ""), settings) as platform:
            assert host not in platform.base_url
            require_answer(platform, waiting.PATIENCE_S * 1e3)
            asyncio.run(post(platform))
        server.shutdown()
    (get, got_host), posted = _Asked.seen
    assert get.startswith("/app/api/bookings/") and got_host == host
    assert posted == ("/app/api/bookings", host)


def test_a_platform_behind_tls_cannot_be_tapped_and_is_told_what_to_do() -> None:
    settings = Settings.model_validate({"target": "mine", "taps": {"web": None}})
    platform = Platform("mine", "https://book.example", "")
    with (
        pytest.raises(BadInput, match=r"cannot read https .*upstream: http://"),
        Listeners().in_front_of(platform, settings),
    ):
        pass


@pytest.mark.parametrize(
    ("target", "taps", "complaint"),
    [
        ("embedded", {"rest": None}, "taps.rest: needs an upstream"),
        ("embedded", {"database": {"upstream": "postgresql://db:5432"}}, "taps.database: the embedded platform knows"),
        ("mine", {"database": None}, "taps.database: needs an upstream"),
        ("mine", {"rest": {"upstream": "https://db.example"}}, "taps.rest: must look like http"),
        ("mine", {"web": {"listen": "0.0.0.0:80"}}, "taps.web: must be a port on loopback"),
    ],
)
def test_a_tap_that_cannot_be_is_bad_input(target: str, taps: dict[str, object], complaint: str) -> None:
    settings = Settings.model_validate({"target": target, "taps": taps})
    with pytest.raises(BadInput, match=complaint), listening(settings):
        pass
