"""Driving the real embedded platform from a process of its own: fills, stops, crashes, and going on."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
import waiting

from slotfill import events
from slotfill.database import connect
from slotfill.drive.driver import run_level
from slotfill.drive.target import Platform, open_platform
from slotfill.errors import BadInput, Braked, Refused, SlotfillError, Unreachable
from slotfill.outcomes import CONFIRMED_OUTCOMES, OUTCOMES
from slotfill.plan import plan

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

PACED = {"max_rate_per_min": 120}
"""So that a load is not over before this side, on a busy machine, has seen its first attempts and acted."""
HELD = {**PACED, "submit_timeout_ms": 60_000}


def test_a_small_fill_is_in_the_logs_as_it_is_in_the_database(level: Any) -> None:
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
        assert wire_ms == pytest.approx(summary["submitDurationMs"], abs=0.01)  # each rounded to microseconds
        assert 0 < summary["submitDurationMs"] <= summary["totalDurationMs"]
        assert len(summary["traceId"]) == 32


def test_a_healthy_fill_trips_no_brake_however_sharp_the_watch(level: Any) -> None:
    level.drive(brakes={"database_errors": 1, "error_rate": 0.01, "rate_limited": 1, "integrity_every_s": 0.1})

    level.check_books()


def test_driving_a_finished_level_again_changes_nothing(level: Any) -> None:
    level.drive()
    before = {file.name: file.read_bytes() for file in level.folder.glob("*.log")}
    level.drive()

    assert {file.name: file.read_bytes() for file in level.folder.glob("*.log")} == before


def test_a_folder_is_not_driven_with_another_plan(level: Any) -> None:
    level.drive()
    level.plan = plan(level.settings.model_copy(update={"seed": 12}), 4)

    with pytest.raises(BadInput, match="another plan"):
        level.drive()


def test_a_slot_without_tables_is_exhausted_long_before_its_timeout(level: Any) -> None:
    large = {"min_party_size": 60, "max_party_size": 60, "end": "16:00"}
    level.plan = plan(level.settings.model_copy(update=large), 4)

    level.drive(timeout_ms=600_000, inline_window_ms=300_000)

    assert level.ends() == {"exhausted": 1}
    [summary] = level.summaries()
    assert summary["status"] == "exhausted" and summary["durationMs"] < 60_000


def test_an_impossible_limit_on_p95_brakes_and_the_level_goes_on_later(level: Any) -> None:
    with pytest.raises(Braked, match="p95"):
        level.drive(brakes={"p95_ms": 0.001, "error_window": 3}, **PACED)

    assert 3 <= len(level.summaries()) < 18
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)  # drained, nothing cut
    level.drive()
    level.check_books()


def test_a_planted_violation_brakes_the_load(level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check rests in proportion to what it costs; a load of a few seconds has no time for that.
    monkeypatch.setattr("slotfill.drive.integrity_monitor.SHARE", 1.0)
    engine = connect.engine(level.platform.database_url)
    plant = "DELETE FROM booking_table_assignments a USING bookings b WHERE b.id = a.booking_id AND b.source = 'api'"

    def untable(report: dict[str, Any]) -> None:
        with engine.begin() as connection:
            connection.execute(sa.text(plant))

    with pytest.raises(Braked, match="integrity violation"):
        level.drive(untable, brakes={"integrity_every_s": 0.2}, drain_ms=500, max_rate_per_min=60)
    engine.dispose()


class Hold:
    """Keeps the platform from making a booking, so that attempts stay in flight for as long as a test wants."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._engine = connect.engine(world.platform.database_url)
        self._lock = self._engine.connect()

    def take(self) -> None:
        """Returns when an attempt is held."""
        self._lock.execute(sa.text("LOCK TABLE customers IN SHARE MODE"))
        held = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'whitehorse-web'"
        waiting.until(lambda: self._world.sql(held), "an attempt is held")

    def let_go(self) -> None:
        self._lock.close()
        self._engine.dispose()


@pytest.fixture
def hold(level: Any) -> Iterator[Hold]:
    hold = Hold(level)
    yield hold
    hold.let_go()


def interrupt_in_flight(
    world: Any, hold: Hold, capsys: pytest.CaptureFixture[str], then: Callable[[], Any]
) -> Callable[[dict[str, Any]], None]:
    """Ctrl+C after the third attempt, while others are held in flight; ``then`` is called when that was passed on."""
    followers = []

    def follow() -> None:
        told: list[str] = []
        waiting.until(lambda: told.append(capsys.readouterr().err) or "Stopping: waiting" in "".join(told))
        then()

    def act(report: dict[str, Any]) -> None:
        world.note(report)
        if len(world.reports) == 3 and not followers:
            hold.take()
            followers.append(threading.Thread(target=follow))
            followers[0].start()
            os.kill(os.getpid(), signal.SIGINT)

    return act


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_drains_what_is_in_flight_and_keeps_it(
    level: Any, hold: Hold, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        level.drive(interrupt_in_flight(level, hold, capsys, hold.let_go), **HELD, drain_ms=120_000)

    assert level.drivers() == []
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)
    assert level.booked().keys() == {summary["idempotencyKey"] for summary in level.summaries()}
    assert level.ends()["aborted"] > 0
    level.drive()
    level.check_books()


def test_a_second_ctrl_c_stops_at_once_and_what_was_in_flight_is_settled_later(
    level: Any, hold: Hold, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        level.drive(interrupt_in_flight(level, hold, capsys, ctrl_c), **HELD, drain_ms=20_000)
    hold.let_go()

    assert level.drivers() == []
    assert "aborted" in {summary["status"] for summary in level.summaries()}
    level.drive()
    level.check_books()


def test_a_killed_driver_is_said_so_and_its_level_goes_on_where_it_was(level: Any) -> None:
    def kill(report: dict[str, Any]) -> None:
        level.note(report)
        if len(level.reports) == 5:
            [driver] = level.drivers()
            driver.kill()

    with pytest.raises(SlotfillError, match="SIGKILL"):
        level.drive(kill, **PACED)
    level.drive()

    level.check_books()
    assert any(line.message == events.RESUMING for line in level.lines())


def test_a_killed_parent_leaves_no_driver_and_no_platform_before_it_has_drained(own_level: Any) -> None:
    level = own_level
    parent = level.start_parent(**PACED)
    [driver] = level.drivers(psutil.Process(parent.pid))
    supervisor = psutil.Process(json.loads((level.home / "platform.json").read_text())["pid"])
    parent.kill()
    parent.communicate()

    driver.wait(timeout=waiting.PATIENCE_S)
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)
    psutil.wait_procs([supervisor], timeout=waiting.PATIENCE_S)
    assert not supervisor.is_running()
    with open_platform(level.settings, level.home) as level.platform:
        level.drive()
        level.check_books()


def test_an_interrupted_parent_passes_it_on_and_says_130(level: Any) -> None:
    parent = level.start_parent(**PACED)
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=waiting.PATIENCE_S)

    assert parent.returncode == 130
    assert {summary["status"] for summary in level.summaries()} <= set(CONFIRMED_OUTCOMES)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_killed_process_of_the_platform_ends_in_named_outcomes(level: Any, role: str) -> None:
    def kill(report: dict[str, Any]) -> None:
        level.note(report)
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


def test_a_platform_that_is_gone_is_unreachable(level: Any) -> None:
    gone = Platform("embedded", "http://127.0.0.1:9", level.platform.database_url, embedded=True)

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 refuses connections"):
        run_level(level.plan, level.settings, gone, level.folder)


def test_a_platform_the_parameters_do_not_name_is_refused(level: Any) -> None:
    other = Platform("staging", level.platform.base_url, level.platform.database_url)

    with pytest.raises(Refused, match="staging"):
        run_level(level.plan, level.settings, other, level.folder)
    assert list(level.folder.iterdir()) == []


def test_the_databases_password_is_in_no_file_and_no_argument(level: Any) -> None:
    password = connect.parse_url(level.platform.database_url).password
    assert password
    arguments: list[str] = []

    def look(report: dict[str, Any]) -> None:
        if not arguments:  # at the last report it has ended
            arguments.extend(word for driver in level.drivers() for word in driver.cmdline())

    level.plan = plan(level.settings.model_copy(update={"end": "16:15"}), 4)
    level.drive(look, **PACED)

    assert arguments and not [word for word in arguments if password in word]
    assert not [file for file in level.folder.iterdir() if password.encode() in file.read_bytes()]
    assert password not in repr(level.platform)
