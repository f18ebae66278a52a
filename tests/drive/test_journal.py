"""The slot logs as a journal: appended line by line, and read back after a stop or crash."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slotfill import events
from slotfill.drive.journal import Journal, SlotLog
from slotfill.events import Event
from slotfill.params import Settings
from slotfill.plan import Plan, SlotPlan

SENT_AT = datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)


@pytest.fixture
def slot(make_settings: Callable[..., Settings], make_plan: Callable[[Settings], Plan]) -> SlotPlan:
    return make_plan(make_settings()).slots[0]


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Journal:
    return Journal(tmp_path, clock)


def line(phase: str, message: str, **fields: Any) -> Event:
    return Event(SENT_AT, "INFO", phase, message, fields)


STARTING = line(events.BOOTSTRAP, events.STARTING, iteration=1)
SUBMITTING = line(events.SUBMIT, events.SUBMITTING, url="http://platform/api/bookings")
CREATED = line(events.SUBMIT, events.CREATED, initialStatus="pending", durationMs=31.5)
CONFIRMED = line(events.FINAL_SUMMARY, events.CONFIRMED_INLINE, iteration=1, status="confirmed_inline_poll")
ABORTED = line(events.FINAL_SUMMARY, events.FAILED_TO_CONFIRM, iteration=1, status="aborted")


def written(journal: Journal, slot: SlotPlan, *lines: Event) -> SlotLog:
    async def write() -> SlotLog:
        log = journal.open(slot)
        for event in lines:
            log.write(event)
        journal.close()
        return log

    return asyncio.run(write())


def test_a_slot_without_a_log_has_no_past(journal: Journal, slot: SlotPlan) -> None:
    past = journal.past(slot)

    assert (past.outcomes, past.in_flight, past.done) == ({}, {}, False)


def test_a_log_taken_up_again_is_the_same_file(journal: Journal, slot: SlotPlan, tmp_path: Path) -> None:
    written(journal, slot, STARTING)
    written(journal, slot, CONFIRMED)

    [file] = tmp_path.iterdir()
    assert [events.parse_event(text) for text in file.read_text().splitlines()] == [STARTING, CONFIRMED]


def test_a_decided_attempt_is_not_in_flight(journal: Journal, slot: SlotPlan) -> None:
    written(journal, slot, STARTING, SUBMITTING, CREATED, CONFIRMED)

    past = journal.past(slot)
    assert past.outcomes == {1: "confirmed_inline_poll"}
    assert past.in_flight == {}


@pytest.mark.parametrize("end", [[], [ABORTED]], ids=["log ends", "aborted"])
def test_an_attempt_without_an_outcome_is_in_flight_with_what_is_known(
    journal: Journal, slot: SlotPlan, end: list[Event]
) -> None:
    written(journal, slot, STARTING, SUBMITTING, CREATED, *end)

    [flight] = journal.past(slot).in_flight.values()
    assert (flight.iteration, flight.sent_at, flight.initial_status) == (1, SENT_AT, "pending")
    assert flight.created["durationMs"] == 31.5


def test_attempts_that_are_read_back_while_the_next_is_under_way_are_kept_apart(
    journal: Journal, slot: SlotPlan
) -> None:
    def of(number: int, event: Event) -> Event:
        iteration = {"iteration": number} if "iteration" in event.fields else {}
        return Event(
            event.at, event.level, event.phase, event.message, event.fields | iteration | {"correlationId": str(number)}
        )

    first = [of(1, each) for each in (STARTING, SUBMITTING, CREATED)]
    second = [of(2, each) for each in (STARTING, SUBMITTING)]
    written(journal, slot, *first, *second)

    past = journal.past(slot)
    assert {flight.iteration: flight.initial_status for flight in past.in_flight.values()} == {1: "pending", 2: None}
    written(journal, slot, of(1, CONFIRMED))
    past = journal.past(slot)
    assert (past.outcomes, list(past.in_flight)) == ({1: "confirmed_inline_poll"}, [2])


def test_whatever_a_text_of_the_platforms_holds_its_line_is_one(journal: Journal, slot: SlotPlan) -> None:
    odd = line(events.FINAL_SUMMARY, "no", iteration=1, status="api_error", reason="a\u2028b\u0085c\x0cd\re\nf")
    written(journal, slot, STARTING, SUBMITTING, odd)

    past = journal.past(slot)

    assert (past.outcomes, past.in_flight, past.lines) == ({1: "api_error"}, {}, 3)


def test_a_slot_that_has_lost_the_outcome_of_an_attempt_is_not_done(journal: Journal, slot: SlotPlan) -> None:
    end = line(events.DIAGNOSTICS, events.SLOT_FINISHED, slot=slot.time, state="filled", confirmed=1)
    written(journal, slot, STARTING, SUBMITTING, CREATED, end)
    assert (journal.past(slot).done, list(journal.past(slot).in_flight)) == (False, [1])
    written(journal, slot, CONFIRMED, end)
    assert journal.past(slot).done


def test_a_reopened_slot_goes_on_and_looks_its_failed_attempts_up_first(journal: Journal, slot: SlotPlan) -> None:
    failed = line(events.FINAL_SUMMARY, events.FAILED_TO_CONFIRM, iteration=1, status="api_error")
    end = line(events.DIAGNOSTICS, events.SLOT_FINISHED, slot=slot.time, state="failed", confirmed=0)
    written(journal, slot, STARTING, SUBMITTING, failed, end)
    written(journal, slot, line(events.DIAGNOSTICS, events.SLOT_REOPENED, slot=slot.time, iterations=[1]))

    past = journal.past(slot)
    assert (past.done, past.outcomes) == (False, {})
    assert past.in_flight[1].sent_at == SENT_AT


def test_an_attempt_that_was_announced_but_not_sent_says_so(journal: Journal, slot: SlotPlan) -> None:
    written(journal, slot, STARTING)

    [flight] = journal.past(slot).in_flight.values()
    assert flight.sent_at is None


@pytest.mark.parametrize(
    ("state", "done"), [("filled", True), ("exhausted", True), ("failed", True), ("aborted", False)]
)
def test_only_an_aborted_slot_goes_on(journal: Journal, slot: SlotPlan, state: str, done: bool) -> None:
    written(journal, slot, line(events.DIAGNOSTICS, events.SLOT_FINISHED, slot=slot.time, state=state, confirmed=0))

    assert journal.past(slot).done is done


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_line_is_ended_and_neither_counted_nor_grown(
    journal: Journal, slot: SlotPlan, tmp_path: Path, cut: int
) -> None:
    written(journal, slot, STARTING, SUBMITTING, CREATED, CONFIRMED)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])

    past = written(journal, slot, STARTING).past

    assert file.read_bytes() == whole[:-cut] + b"\n" + events.format_event(STARTING).encode() + b"\n"
    # Cut by its newline alone the line is whole, and counts.
    assert (past.in_flight == {}) is (cut == 1)


def test_lines_that_are_no_events_are_passed_over(journal: Journal, slot: SlotPlan, tmp_path: Path) -> None:
    written(journal, slot, STARTING)
    [file] = tmp_path.iterdir()
    file.write_bytes(b"\xff\xfe noise\n" + file.read_bytes() + b"[stress] Summary {\n")

    assert list(journal.past(slot).in_flight) == [1]
