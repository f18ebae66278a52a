"""The fill: slots in order, each to its end; stops that lose nothing; going on without booking twice."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from slotfill import events
from slotfill.drive.client import Client
from slotfill.drive.fill import Fill
from slotfill.drive.journal import Journal
from slotfill.drive.state import BookingState, JobState
from slotfill.drive.watch import LevelContext
from slotfill.events import Event
from slotfill.params import Settings
from slotfill.plan import Plan
from slotfill.read import read_logs

GRID = {"start": "17:00", "end": "18:00"}  # five slots


class Load:
    """Runs fills over one folder, as a run and its resumptions do."""

    def __init__(self, platform: Any, folder: Path, make_level: Any, make_plan: Any, make_settings: Any) -> None:
        self.platform, self.folder = platform, folder
        self._make_level, self._make_plan, self._make_settings = make_level, make_plan, make_settings
        self.reports: list[dict[str, Any]] = []
        self.plan: Plan

    def fill(self, plan: Plan | None = None, **changes: Any) -> Fill:
        settings: Settings = self._make_settings(**{**GRID, **changes})
        self.plan = plan or self._make_plan(settings)
        level: LevelContext = self._make_level(settings)

        async def open_client() -> Client:
            return self.platform.client()

        return Fill(self.plan, level, Journal(self.folder, level.clock), open_client, self.note, "run-1")

    def note(self, line: dict[str, Any]) -> None:
        if "outcome" in line:
            self.reports.append(line)

    def run(self, **changes: Any) -> Fill:
        async def work() -> Fill:
            fill = self.fill(**changes)
            await fill.run()
            return fill

        return self.platform.clock.run(work())

    def run_and(self, act: Callable[[Fill], Any], after_ms: float, **changes: Any) -> Fill:
        async def work() -> Fill:
            fill = self.fill(**changes)
            running = asyncio.create_task(fill.run())
            await self.platform.clock.sleep(after_ms)
            act(fill)
            await running
            return fill

        return self.platform.clock.run(work())

    def lines(self, time: str | None = None) -> list[Event]:
        stem = f"*-{time.replace(':', '-')}-*.log" if time else "*.log"
        texts = [text for file in sorted(self.folder.glob(stem)) for text in file.read_text().splitlines()]
        lines = [events.parse_event(text) for text in texts]
        return [line for line in lines if line]

    def outcomes(self, time: str | None = None) -> list[str]:
        """In the order of the attempts; what is read back behind a worker may end after the next one."""
        ended = [line.fields for line in self.lines(time) if line.phase == events.FINAL_SUMMARY]
        return [fields["status"] for fields in sorted(ended, key=lambda fields: (fields["slot"], fields["iteration"]))]

    def ends(self) -> dict[str, str]:
        finished = [line.fields for line in self.lines() if line.message == events.SLOT_FINISHED]
        return {fields["slot"]: fields["state"] for fields in finished}

    def posted_keys(self) -> Counter[str]:
        return Counter(request.headers["Idempotency-Key"] for request in self.platform.posts)

    def planned_keys(self) -> set[str]:
        return {attempt.idempotency_key for slot in self.plan.slots for attempt in slot.attempts}


@pytest.fixture
def load(platform: Any, tmp_path: Path, make_level: Any, make_plan: Any, make_settings: Any) -> Load:
    return Load(platform, tmp_path, make_level, make_plan, make_settings)


def at_time(request: httpx.Request, time: str) -> bool:
    return f'"{time}"'.encode() in request.content


def test_every_slot_is_filled_attempt_after_attempt(load: Load) -> None:
    fill = load.run(stress_max=3)

    assert fill.stopped is None
    assert load.ends() == {slot.time: "filled" for slot in load.plan.slots}
    assert load.outcomes() == ["confirmed_inline_api"] * 15
    assert load.posted_keys() == Counter(load.planned_keys())
    assert [report["slot"] for report in load.reports] == sorted(report["slot"] for report in load.reports)


def test_each_slots_log_begins_with_its_plan_and_ends_with_its_end(load: Load) -> None:
    load.run(concurrency=8)

    for slot in load.plan.slots:
        first, *_, last = load.lines(slot.time)
        assert first.message == events.SLOT_PLANNED
        assert (first.fields["concurrency"], first.fields["effectiveConcurrency"]) == (8, 5)
        assert first.fields["runId"] == "run-1"
        assert last.message == events.SLOT_FINISHED and last.fields["confirmed"] == 3


@pytest.mark.parametrize(("concurrency", "at_once"), [(1, 1), (4, 4), (8, 5)])
def test_no_more_requests_are_under_way_than_there_are_workers(load: Load, concurrency: int, at_once: int) -> None:
    under_way, most = 0, 0

    async def count(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        response = await load.platform.accept(request)
        under_way -= 1
        return response  # type: ignore[no-any-return]

    load.platform.answer_ms, load.platform.handler = 500, count
    load.run(concurrency=concurrency)

    assert most == at_once


def test_a_slot_that_runs_out_of_tables_ends_as_exhausted_and_the_next_begins(load: Load) -> None:
    load.platform.status = "pending"
    load.platform.jobs = [(0, JobState("exhausted", "No tables available for requested window"))]

    load.run()

    assert set(load.ends().values()) == {"exhausted"}
    assert load.outcomes() == ["exhausted"] * 5  # one attempt a slot


def test_a_slot_that_fails_does_not_stop_the_fill(load: Load) -> None:
    async def refuse_one(request: httpx.Request) -> httpx.Response:
        if at_time(request, "17:15"):
            return httpx.Response(400, json={"error": "Invalid payload"})
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.handler = refuse_one
    load.run()

    assert load.ends() == {
        "17:00": "filled",
        "17:15": "failed",
        "17:30": "filled",
        "17:45": "filled",
        "18:00": "filled",
    }
    assert load.outcomes("17:15") == ["api_rejected"]


def test_after_a_429_the_load_pauses_as_told_and_goes_on(load: Load) -> None:
    sent_at: list[float] = []

    async def limit_the_second(request: httpx.Request) -> httpx.Response:
        sent_at.append(load.platform.clock.ms())
        if len(sent_at) == 2:
            return httpx.Response(429, headers={"Retry-After": "20"}, json={"error": "Too many"})
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.handler = limit_the_second
    load.run()

    assert sent_at[2] - sent_at[1] >= 20_000
    assert load.outcomes("17:00") == ["confirmed_inline_api", "rate_limited", "confirmed_inline_api"]
    assert load.ends()["17:00"] == "failed" and load.ends()["17:15"] == "filled"


def test_a_platform_that_is_gone_stops_the_load_instead_of_failing_slot_after_slot(load: Load) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    load.platform.handler = refuse
    fill = load.run()

    assert fill.stopped is not None and fill.stopped.exit_code == 5
    assert load.outcomes() == ["api_unreachable"]


def test_a_platform_that_comes_back_costs_the_attempts_that_were_in_flight(load: Load) -> None:
    async def fall_and_rise(request: httpx.Request) -> httpx.Response:
        if load.platform.clock.ms() < 3_000:
            raise httpx.ConnectError("refused")
        if request.method == "GET":
            return httpx.Response(404)
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.handler = fall_and_rise
    fill = load.run()

    assert fill.stopped is None
    assert load.outcomes("17:00") == ["api_unreachable"]
    assert [time for time, end in load.ends().items() if end != "filled"] == ["17:00"]


def test_a_platform_that_dies_after_booking_is_waited_for_and_its_slot_goes_on(load: Load) -> None:
    died_at_ms: list[float] = []

    async def book_and_die(request: httpx.Request) -> httpx.Response:
        if not died_at_ms:
            await load.platform.accept(request)
            died_at_ms.append(load.platform.clock.ms())
            raise httpx.RemoteProtocolError("gone")
        if load.platform.clock.ms() < died_at_ms[0] + 5_000:
            raise httpx.ConnectError("refused")
        if request.method == "GET":
            return httpx.Response(404)
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.handler = book_and_die
    fill = load.run()

    assert fill.stopped is None
    assert set(load.outcomes()) == {"confirmed_inline_api"}
    assert load.platform.booked.keys() == load.planned_keys()


def test_a_lost_answer_that_cannot_be_looked_up_stops_the_load_and_is_settled_when_it_goes_on(load: Load) -> None:
    async def book_and_fail(request: httpx.Request) -> httpx.Response:
        await load.platform.accept(request)
        return httpx.Response(500, json={"error": "Internal Server Error"})

    load.platform.handler, load.platform.readable = book_and_fail, False
    fill = load.run()
    assert fill.stopped is not None and "nothing was repeated" in fill.stopped.reason
    assert load.outcomes() == ["aborted"]

    load.platform.handler, load.platform.readable = None, True
    load.run()
    assert load.posted_keys() == Counter(load.planned_keys())
    assert load.outcomes("17:00") == ["aborted", *["confirmed_inline_api"] * 3]


def test_the_rate_is_capped(load: Load) -> None:
    load.run(concurrency=4, max_rate_per_min=60)

    began = [line.at for line in load.lines() if line.message == events.SUBMITTING and line.at]
    began.sort()
    assert len(began) == 15
    assert all((later - earlier).total_seconds() >= 0.999 for earlier, later in pairwise(began))


def test_the_cap_on_time_stops_the_load(load: Load) -> None:
    fill = load.run(max_duration_s=0.2)

    assert fill.stopped is not None and fill.stopped.exit_code == 3
    assert "max_duration_s" in fill.stopped.reason
    assert 0 < len(load.outcomes()) < 15


def test_the_cap_on_attempts_holds_whatever_the_plan_asks_for(load: Load) -> None:
    load.run(max_duration_s=0.001)
    fill = load.run(plan=load.plan, max_attempts=7, stress_max=1)

    assert fill.stopped is not None and "max_attempts" in fill.stopped.reason
    assert len(load.platform.posts) == 7


def test_a_brake_stops_new_attempts_and_lets_the_others_end(load: Load) -> None:
    async def fail_one(request: httpx.Request) -> httpx.Response:
        if at_time(request, "17:00"):
            await load.platform.clock.sleep(100)
            return httpx.Response(500, json={"error": "sorry, too many clients already"})
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.answer_ms, load.platform.handler = 400, fail_one
    fill = load.run(concurrency=2, brakes={"database_errors": 1})

    assert fill.stopped is not None and fill.stopped.exit_code == 3
    assert "too many clients" in fill.stopped.reason
    assert load.outcomes() == ["api_error", "confirmed_inline_api"]
    assert load.ends() == {"17:00": "failed", "17:15": "aborted"}


def test_an_interrupt_drains_what_is_in_flight(load: Load) -> None:
    load.platform.answer_ms = 500
    fill = load.run_and(lambda fill: fill.stopping.interrupt(), after_ms=700, concurrency=4)

    assert fill.stopped is not None and fill.stopped.exit_code == 130
    assert set(load.outcomes()) == {"confirmed_inline_api"}
    assert load.posted_keys().keys() == load.platform.booked.keys()
    assert set(load.ends().values()) == {"aborted"}


def test_what_does_not_end_within_the_drain_is_aborted_with_its_summary(load: Load) -> None:
    load.platform.answer_ms = 20_000
    load.run_and(lambda fill: fill.stopping.interrupt(), after_ms=700, concurrency=4, drain_ms=1_000)

    assert load.outcomes() == ["aborted"] * 4
    assert load.platform.clock.ms() < 2_500


def test_a_second_interrupt_ends_at_once_with_nothing_lost(load: Load) -> None:
    def twice(fill: Fill) -> None:
        fill.stopping.interrupt()
        fill.stopping.interrupt()

    load.platform.answer_ms = 20_000
    load.run_and(twice, after_ms=700, concurrency=4)

    assert load.outcomes() == ["aborted"] * 4
    assert load.platform.clock.ms() < 1_500


def test_a_finished_fill_has_nothing_left_to_do(load: Load) -> None:
    load.run()
    before = load.lines()
    load.run()

    assert load.lines() == before


@pytest.mark.parametrize("answer_ms", [300, 5_000])
def test_going_on_after_a_stop_books_every_planned_attempt_once(load: Load, answer_ms: float) -> None:
    def twice(fill: Fill) -> None:
        fill.stopping.interrupt()
        fill.stopping.interrupt()

    load.platform.answer_ms = answer_ms
    load.run_and(twice, after_ms=700, concurrency=4)
    load.run(concurrency=4)

    assert set(load.ends().values()) == {"filled"}
    assert load.platform.booked.keys() == load.planned_keys()
    decided = [line.fields for line in load.lines() if line.phase == events.FINAL_SUMMARY]
    decided = [fields for fields in decided if fields["status"] != "aborted"]
    assert Counter(fields["idempotencyKey"] for fields in decided) == Counter(load.planned_keys())


def test_the_seam_is_marked_in_every_log_that_is_taken_up_again(load: Load) -> None:
    load.run_and(lambda fill: fill.stopping.interrupt(), after_ms=50, concurrency=2)
    load.run(concurrency=2)

    resumed = [line.fields["slot"] for line in load.lines() if line.message == events.RESUMING]
    assert resumed == ["17:00", "17:15"]


def test_a_booking_the_platform_made_before_the_stop_is_settled_and_not_posted_again(load: Load) -> None:
    """The driver dies between the platform's commit and its answer."""

    async def book_and_never_answer(request: httpx.Request) -> httpx.Response:
        await load.platform.accept(request)
        await load.platform.clock.sleep(1e6)
        raise AssertionError("the driver is gone by now")

    def twice(fill: Fill) -> None:
        fill.stopping.interrupt()
        fill.stopping.interrupt()

    load.platform.handler = book_and_never_answer
    load.run_and(twice, after_ms=700)
    load.platform.handler = None
    load.run()

    assert max(load.posted_keys().values()) == 1
    settled = [line.fields for line in load.lines("17:00") if line.fields.get("settled")]
    assert [(fields["iteration"], fields["status"]) for fields in settled] == [(1, "confirmed_inline_api")]


def test_a_worker_goes_on_while_its_booking_is_read_back(load: Load) -> None:
    load.platform.answer_ms, load.platform.read_ms = 20, 600
    load.run(end="17:00", stress_max=30)

    sent = sorted(line.at for line in load.lines() if line.message == events.SUBMITTING and line.at)
    assert (sent[-1] - sent[0]).total_seconds() == pytest.approx(29 * 0.020)
    summaries = [line.fields for line in load.lines() if line.phase == events.FINAL_SUMMARY]
    assert len(summaries) == 30
    assert all(fields["tablesAssigned"] == 1 and fields["totalDurationMs"] == 20 for fields in summaries)


def test_a_database_that_is_slow_to_be_read_trips_no_brake(load: Load) -> None:
    load.platform.answer_ms, load.platform.read_ms = 20, 9_000
    fill = load.run(concurrency=4, stress_max=20, brakes={"database_errors": 1, "error_rate": 0.01})

    assert fill.stopped is None
    assert Counter(load.outcomes()) == {"confirmed_inline_api": 100}


def test_the_first_booking_is_found_before_other_workers_begin(load: Load) -> None:
    fill = load.fill(concurrency=4)
    fill._level.found.clear()
    load.platform.clock.run(fill.run())

    begun = [line for line in load.lines() if line.message == events.SUBMITTING]
    [first, second, *_] = sorted(line.at for line in begun if line.at)
    found_ms = 30 + 25 + 2  # the answer, the gathering of a batch, the read
    assert (second - first).total_seconds() * 1e3 >= found_ms
    assert set(load.ends().values()) == {"filled"}


@pytest.mark.parametrize(("answer_ms", "within_ms"), [(20, 20), (200, 3 * 40), (2_000, 3 * 40)])
def test_workers_begin_one_after_another_within_the_time_of_a_booking(
    load: Load, answer_ms: float, within_ms: float
) -> None:
    load.platform.answer_ms = answer_ms
    fill = load.fill(concurrency=4)
    fill._level.found.clear()
    load.platform.clock.run(fill.run())

    begun = [line.at for line in load.lines() if line.message == events.STARTING and line.fields["iteration"] == 1]
    _, second, *_, fourth = sorted(at for at in begun if at)[:4]
    assert 0 < (fourth - second).total_seconds() * 1e3 <= within_ms


@pytest.mark.parametrize("status", ["confirmed", "pending"])
def test_a_database_that_does_not_hold_what_the_platform_booked_stops_the_load(load: Load, status: str) -> None:
    async def nowhere(booking_id: str) -> None:
        return None

    async def none_of(booking_ids: Any) -> dict[str, Any]:
        return {}

    load.platform.status = status
    load.platform.read, load.platform.read_many = nowhere, none_of
    load.platform.jobs = []
    fill = load.fill(concurrency=4)
    fill._level.found.clear()
    load.platform.clock.run(fill.run())

    assert fill.stopped is not None and fill.stopped.exit_code == 4
    assert "do not belong together" in fill.stopped.reason
    assert len(load.platform.posts) == 1
    assert load.outcomes() == ["aborted"]


def test_a_booking_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(load: Load) -> None:
    load.platform.readable = False
    fill = load.run(end="17:00", brakes={"database_errors": 0})

    assert fill.stopped is None
    assert load.outcomes() == ["confirmed_inline_api"] * 3


def test_slots_that_failed_in_the_outage_before_a_brake_are_driven_again(load: Load) -> None:
    async def fail(request: httpx.Request) -> httpx.Response:
        if len(load.platform.posts) <= 3:
            return await load.platform.accept(request)  # type: ignore[no-any-return]
        return httpx.Response(500, json={"error": "RESTAURANT_LOOKUP_FAILED"})

    load.platform.handler = fail
    fill = load.run(brakes={"database_errors": 3})
    assert fill.stopped is not None and fill.stopped.exit_code == 3
    assert Counter(load.outcomes())["api_error"] == 3

    load.platform.handler = None
    assert load.run().stopped is None
    assert set(load.ends().values()) == {"filled"}
    assert load.platform.booked.keys() == load.planned_keys()
    attempts = read_logs([load.folder]).attempts
    assert (len(attempts), set(attempts["outcome"])) == (15, {"confirmed_inline_api"})
    assert set(attempts["total_ms"]) == {30.0}


def test_a_slot_that_failed_for_itself_is_not_driven_again_after_a_brake(load: Load) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        if at_time(request, "17:00"):
            return httpx.Response(400, json={"error": "Invalid payload"})
        return httpx.Response(500, json={"error": "boom"})

    load.platform.handler = refuse
    load.run(brakes={"error_rate": 0.1, "error_window": 20})
    load.platform.handler = None
    load.run()

    assert load.ends() == {"17:00": "failed", **{slot.time: "filled" for slot in load.plan.slots[1:]}}


def test_a_booking_made_long_after_its_request_was_given_up_is_found_at_the_levels_end(load: Load) -> None:
    late: list[asyncio.Task[httpx.Response]] = []

    async def book_late(request: httpx.Request) -> httpx.Response:
        if at_time(request, "18:00"):
            load.platform.answer_ms = 3_000
            late.append(asyncio.create_task(load.platform.accept(request)))
            raise httpx.ReadTimeout("slow")
        return await load.platform.accept(request)  # type: ignore[no-any-return]

    load.platform.handler = book_late
    load.run(stress_max=1)

    attempts = read_logs([load.folder]).attempts
    confirmed = attempts[attempts["outcome"] == "confirmed_inline_api"]
    assert set(confirmed["idempotency_key"]) == set(load.platform.booked)
    assert len(attempts) == 5


def test_a_platform_that_is_silent_at_the_levels_end_is_waited_for_until_it_has_taken_up_what_queued(
    load: Load,
) -> None:
    frozen_ms, waiting = 40_000.0, list[asyncio.Task[httpx.Response]]()

    async def freeze(request: httpx.Request) -> httpx.Response:
        clock = load.platform.clock
        if clock.ms() < frozen_ms:
            if request.method == "POST":
                waiting.append(asyncio.create_task(load.platform.accept(request)))
            await clock.sleep(min(5_000, frozen_ms - clock.ms()))
            raise httpx.ReadTimeout("frozen")
        return httpx.Response(404)

    load.platform.handler, load.platform.answer_ms = freeze, frozen_ms + 1_000
    fill = load.run(stress_max=1, concurrency=5)

    attempts = read_logs([load.folder]).attempts
    assert fill.stopped is None
    assert set(attempts["outcome"]) == {"confirmed_inline_api"} and attempts["total_ms"].isna().all()
    assert set(attempts["idempotency_key"]) == set(load.platform.booked)


def test_answers_that_were_lost_before_a_kill_are_looked_up_when_the_level_goes_on(load: Load) -> None:
    async def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    load.platform.handler = lose
    load.run_and(lambda fill: fill.stopping.interrupt(), after_ms=2_000, stress_max=1)
    lost = [line.fields["idempotencyKey"] for line in load.lines() if line.phase == events.FINAL_SUMMARY]
    table = {"id": "a", "tableNumber": "X", "capacity": 8}
    for number, key in enumerate(lost):
        booking = BookingState(id=f"late-{number}", status="confirmed", assignments=(table,))
        load.platform.booked[key] = (0, booking)
    load.platform.handler = None
    load.run(stress_max=1)

    attempts = read_logs([load.folder]).attempts
    assert len(lost) and set(attempts["outcome"]) == {"confirmed_inline_api"}


def test_a_second_interrupt_leaves_a_summary_of_what_could_not_be_read_back(load: Load) -> None:
    def twice(fill: Fill) -> None:
        fill.stopping.interrupt()
        fill.stopping.interrupt()

    load.platform.read_ms = 60_000
    load.run_and(twice, after_ms=100, end="17:00")

    summaries = [line.fields for line in load.lines() if line.phase == events.FINAL_SUMMARY]
    measured = [fields for fields in summaries if fields["status"] == "confirmed_inline_api"]
    assert len(measured) == 3
    assert all(fields["totalDurationMs"] == 30 and "seatWaste" not in fields for fields in measured)


@pytest.mark.parametrize("retry_after", ["inf", "1e308", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_is_not_longer_than_the_level(load: Load, retry_after: str) -> None:
    async def limit(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": retry_after}, json={"error": "Too many"})

    load.platform.handler = limit
    fill = load.run(max_duration_s=100)

    assert fill.stopped is not None and "max_duration_s" in fill.stopped.reason
    assert load.platform.clock.ms() <= 101_000
