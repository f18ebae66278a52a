"""Driving the real embedded platform from a process of its own: fills, stops, crashes, and going on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from slotfill import events
from slotfill.attempt import CONFIRMED_OUTCOMES, OUTCOMES
from slotfill.database import connect
from slotfill.database.guard import Target
from slotfill.database.reset import reset
from slotfill.database.seed import seed_intelligent
from slotfill.drive.level import run_level
from slotfill.drive.target import Platform, open_platform
from slotfill.errors import BadInput, Braked, Refused, SlotfillError, Unreachable
from slotfill.events import Event
from slotfill.params import Settings
from slotfill.plan import Plan, plan

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SMALL = {"start": "16:00", "end": "17:15", "stress_max": 3, "max_party_size": 4, "concurrency": [4], "seed": 11}
SMALL_BUT_SLOW = {**SMALL, "faults": {"api_delay_ms": 120}}
"""Each booking takes long enough to be stopped in the middle."""

# Runs a level as the command line does, in a process that can be interrupted or killed; says when it progresses.
PARENT = """
import json, sys
from pathlib import Path
from slotfill import params
from slotfill.drive.level import run_level
from slotfill.drive.target import open_platform
from slotfill.errors import SlotfillError
from slotfill.plan import plan
settings = params.validate(json.loads(sys.argv[1]), "test")
try:
    with open_platform(settings, Path(sys.argv[2])) as platform:
        run_level(plan(settings, 4), settings, platform, Path(sys.argv[3]), lambda line: print(line, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
except SlotfillError as error:
    sys.exit(error.exit_code)
"""


class World:
    """A running platform, a level's folder, and what both say."""

    def __init__(self, platform: Platform, settings: Settings, home: Path, folder: Path) -> None:
        self.platform, self.settings, self.home, self.folder = platform, settings, home, folder
        self.plan: Plan = plan(settings, 4)
        self.reports: list[dict[str, Any]] = []

    def drive(self, on_progress: Callable[[dict[str, Any]], None] | None = None, **changes: Any) -> None:
        settings = Settings.model_validate({**self.settings.model_dump(), **changes})
        run_level(self.plan, settings, self.platform, self.folder, on_progress or self.reports.append)

    def lines(self) -> list[Event]:
        texts = [text for file in sorted(self.folder.glob("*.log")) for text in file.read_text().splitlines()]
        parsed = [events.parse_event(text) for text in texts]
        return [line for line in parsed if line]

    def summaries(self) -> list[dict[str, Any]]:
        """The last summary of each attempt: what was settled later replaces what was aborted."""
        last = {line.fields["correlationId"]: line.fields for line in self.lines() if line.phase == "final_summary"}
        return list(last.values())

    def ends(self) -> Counter[str]:
        ends = {line.fields["slot"]: line.fields["state"] for line in self.lines() if line.message == "Slot finished"}
        return Counter(ends.values())

    def sql(self, query: str) -> list[Any]:
        engine = connect.engine(self.platform.database_url)
        try:
            with connect.reading(engine) as connection:
                return list(connection.execute(sa.text(query)).all())
        finally:
            engine.dispose()

    def booked(self) -> dict[str, tuple[str, int]]:
        """The bookings of this load by idempotency key: status, and how many there are of the key."""
        keys = {attempt.idempotency_key for slot in self.plan.slots for attempt in slot.attempts}
        rows = self.sql(
            "SELECT idempotency_key, max(status::text), count(*) FROM bookings WHERE source = 'api' GROUP BY 1"
        )
        return {key: (status, count) for key, status, count in rows if key in keys}

    def check_books(self) -> None:
        """Every planned attempt ended once, and log and database agree on each."""
        summaries, booked = self.summaries(), self.booked()
        assert self.ends() == {"filled": len(self.plan.slots)}
        planned = {attempt.idempotency_key for slot in self.plan.slots for attempt in slot.attempts}
        assert {summary["idempotencyKey"] for summary in summaries} == planned == booked.keys()
        assert len(summaries) == len(planned)
        assert all(status == "confirmed" and count == 1 for status, count in booked.values())
        overlaps = self.sql(
            "SELECT 1 FROM booking_table_assignments a JOIN booking_table_assignments b ON a.table_id = b.table_id"
            " AND a.id < b.id AND tstzrange(a.start_at, a.end_at) && tstzrange(b.start_at, b.end_at)"
        )
        assert overlaps == []

    def start_parent(self) -> "subprocess.Popen[str]":
        """The level in a process of its own, up to its third finished attempt."""
        command = [sys.executable, "-c", PARENT, self.settings.model_dump_json(), str(self.home), str(self.folder)]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline()
        return parent


def put_venue(platform: Platform, settings: Settings) -> None:
    engine, target = connect.engine(platform.database_url), Target("embedded", embedded=True)
    reset(engine, settings.restaurant_slug, target=target)
    seed_intelligent(engine, settings.seed, settings.restaurant_slug, target=target)
    engine.dispose()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def shared(homes: Path) -> Iterator[Platform]:
    """One platform for the whole module; each test finds its venue as new."""
    with open_platform(Settings.model_validate(SMALL_BUT_SLOW), homes / "shared") as platform:
        yield platform


@pytest.fixture
def level(shared: Platform, homes: Path, tmp_path: Path) -> World:
    settings = Settings.model_validate(SMALL_BUT_SLOW)
    put_venue(shared, settings)
    folder = tmp_path / "run" / "concurrency-4"
    folder.mkdir(parents=True)
    return World(shared, settings, homes / "shared", folder)


def children(process: psutil.Process | None = None) -> list[psutil.Process]:
    """The driver processes a process started."""
    mine = (process or psutil.Process()).children()
    return [child for child in mine if "slotfill.drive" in child.cmdline()]


def test_a_small_fill_is_in_the_logs_as_it_is_in_the_database(level: World) -> None:
    level.drive()

    level.check_books()
    assert len(level.reports) == 18
    assert {report["outcome"] for report in level.reports} <= set(CONFIRMED_OUTCOMES)
    rows = level.sql(
        "SELECT h.booking_id::text, max(h.changed_at), count(DISTINCT a.id) FROM booking_state_history h"
        " JOIN booking_table_assignments a USING (booking_id) WHERE h.to_status = 'confirmed' GROUP BY 1"
    )
    found = {booking_id: (at, tables) for booking_id, at, tables in rows}
    for summary in level.summaries():
        at, tables = found[summary["bookingId"]]
        assert summary["confirmedAt"] == events.format_instant(at)
        assert summary["tablesAssigned"] == tables
        wire_ms = summary["connectMs"] + summary["sendMs"] + summary["waitMs"] + summary["receiveMs"]
        assert 0 < wire_ms <= summary["submitDurationMs"] <= summary["totalDurationMs"]


def test_a_healthy_fill_trips_no_brake_however_sharp_the_watch(level: World) -> None:
    level.drive(brakes={"database_errors": 1, "error_rate": 0.01, "rate_limited": 1, "integrity_every_s": 0.1})

    level.check_books()


def test_driving_a_finished_level_again_changes_nothing(level: World) -> None:
    level.drive()
    before = {file.name: file.read_bytes() for file in level.folder.glob("*.log")}
    level.drive()

    assert {file.name: file.read_bytes() for file in level.folder.glob("*.log")} == before


def test_a_folder_is_not_driven_with_another_plan(level: World) -> None:
    level.drive()
    level.plan = plan(level.settings.model_copy(update={"seed": 12}), 4)

    with pytest.raises(BadInput, match="another plan"):
        level.drive()


def test_a_slot_without_tables_is_exhausted_long_before_its_timeout(level: World) -> None:
    large = {"min_party_size": 60, "max_party_size": 60, "end": "16:00"}
    level.plan = plan(Settings.model_validate({**SMALL_BUT_SLOW, **large}), 4)

    level.drive(timeout_ms=600_000, inline_window_ms=300_000)

    assert level.ends() == {"exhausted": 1}
    [summary] = level.summaries()
    assert summary["status"] == "exhausted" and summary["durationMs"] < 60_000


def test_an_impossible_limit_on_p95_brakes_and_the_level_goes_on_later(level: World) -> None:
    with pytest.raises(Braked, match="p95"):
        level.drive(brakes={"p95_ms": 0.001, "error_window": 3})

    assert 3 <= len(level.summaries()) < 18
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)  # drained, nothing cut
    level.drive()
    level.check_books()


def test_a_planted_violation_brakes_the_load(level: World) -> None:
    engine = connect.engine(level.platform.database_url)
    plant = "DELETE FROM booking_table_assignments a USING bookings b WHERE b.id = a.booking_id AND b.source = 'api'"

    def untable(report: dict[str, Any]) -> None:
        with engine.begin() as connection:
            connection.execute(sa.text(plant))

    with pytest.raises(Braked, match="integrity violation"):
        level.drive(untable, brakes={"integrity_every_s": 0.2}, drain_ms=500)
    engine.dispose()


def interrupt_after(world: World, times: int) -> Callable[[dict[str, Any]], None]:
    """Ctrl+C, so many times, once the third attempt is done."""

    def act(report: dict[str, Any]) -> None:
        world.reports.append(report)
        if len(world.reports) == 3:
            for number in range(times):
                threading.Timer(0.02 + 0.03 * number, os.kill, (os.getpid(), signal.SIGINT)).start()

    return act


def test_ctrl_c_drains_what_is_in_flight_and_keeps_it(level: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        level.drive(interrupt_after(level, times=1))

    assert children() == []
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)
    assert level.booked().keys() == {summary["idempotencyKey"] for summary in level.summaries()}
    assert level.ends()["aborted"] > 0
    level.drive()
    level.check_books()


def test_a_second_ctrl_c_stops_at_once_and_what_was_in_flight_is_settled_later(level: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        level.drive(interrupt_after(level, times=2), drain_ms=20_000)

    assert children() == []
    assert "aborted" in {summary["status"] for summary in level.summaries()}
    level.drive(submit_timeout_ms=1_000)
    level.check_books()


def test_a_killed_driver_is_said_so_and_its_level_goes_on_where_it_was(level: World) -> None:
    def kill(report: dict[str, Any]) -> None:
        level.reports.append(report)
        if len(level.reports) == 5:
            [driver] = children()
            driver.kill()

    with pytest.raises(SlotfillError, match="SIGKILL"):
        level.drive(kill, submit_timeout_ms=1_000)
    level.drive(submit_timeout_ms=1_000)

    level.check_books()
    assert any(line.message == events.RESUMING for line in level.lines())


def test_a_killed_parent_leaves_no_driver_and_no_platform_before_it_has_drained(homes: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate(SMALL_BUT_SLOW)
    with open_platform(settings, homes / "own") as platform:
        put_venue(platform, settings)
    level = World(platform, settings, homes / "own", tmp_path)
    parent = level.start_parent()
    [driver] = children(psutil.Process(parent.pid))
    supervisor = psutil.Process(json.loads((homes / "own" / "platform.json").read_text())["pid"])
    parent.kill()
    parent.communicate()

    driver.wait(timeout=30)
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)
    psutil.wait_procs([supervisor], timeout=30)
    assert not supervisor.is_running()
    with open_platform(settings, homes / "own") as level.platform:
        level.drive()
        level.check_books()


def test_an_interrupted_parent_passes_it_on_and_says_130(level: World) -> None:
    parent = level.start_parent()
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=30)

    assert parent.returncode == 130
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_killed_process_of_the_platform_ends_in_named_outcomes(level: World, role: str) -> None:
    def kill(report: dict[str, Any]) -> None:
        level.reports.append(report)
        if len(level.reports) == 4:
            os.kill(level.platform.pids()[role], signal.SIGKILL)

    level.drive(kill, brakes={"error_rate": 0})

    summaries = level.summaries()
    assert {summary["status"] for summary in summaries} <= set(OUTCOMES) - {"aborted"}
    assert sum(level.ends().values()) == len(level.plan.slots)
    booked = level.booked()
    assert all(count == 1 for _, count in booked.values())
    confirmed = {summary["idempotencyKey"] for summary in summaries if summary["status"] in CONFIRMED_OUTCOMES}
    assert confirmed <= booked.keys()
    assert booked.keys() <= {summary["idempotencyKey"] for summary in summaries}


def test_a_platform_that_is_gone_is_unreachable(level: World) -> None:
    gone = Platform("embedded", "http://127.0.0.1:9", level.platform.database_url, embedded=True)

    with pytest.raises(Unreachable, match="does not answer"):
        run_level(level.plan, level.settings, gone, level.folder)


def test_a_platform_the_parameters_do_not_name_is_refused(level: World) -> None:
    other = Platform("staging", level.platform.base_url, level.platform.database_url)

    with pytest.raises(Refused, match="staging"):
        run_level(level.plan, level.settings, other, level.folder)
    assert list(level.folder.iterdir()) == []


def test_the_databases_password_is_in_no_file_and_no_argument(level: World) -> None:
    password = connect.parse_url(level.platform.database_url).password
    assert password
    arguments: list[str] = []

    def look(report: dict[str, Any]) -> None:
        arguments.extend(word for driver in children() for word in driver.cmdline())

    level.drive(look)

    assert arguments and not [word for word in arguments if password in word]
    assert not [file for file in level.folder.iterdir() if password.encode() in file.read_bytes()]
    assert password not in repr(level.platform)
