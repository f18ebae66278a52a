"""Requests in flight, from the instants at the wire."""

from datetime import UTC, datetime, timedelta

from slotfill.analyse.in_flight import in_flight
from slotfill.attempt import Attempt, frame

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def attempt(sent_ms: float, answered_ms: float, total_ms: float | None = None, folder: str = "a") -> Attempt:
    at = [START + timedelta(milliseconds=ms) for ms in (sent_ms, answered_ms)]
    total_ms = answered_ms - sent_ms if total_ms is None else total_ms
    return Attempt(
        "concurrency-2", 2, None, "confirmed_inline_api", f"{folder}/x.log", 1, 2,
        sent_at=at[0], answered_at=at[1], submit_ms=answered_ms - sent_ms, total_ms=total_ms,
    )  # fmt: skip


def test_two_workers_without_a_break_have_two_in_flight() -> None:
    attempts = [attempt(0, 100), attempt(0, 50), attempt(50, 100)]

    assert in_flight(frame(attempts)) == {"mean": 2.0, "max": 2.0}


def test_waiting_out_a_booking_is_time_without_a_request_and_a_pause_is_not() -> None:
    attempts = [attempt(0, 100, total_ms=400), attempt(100_000, 100_100)]

    assert in_flight(frame(attempts)) == {"mean": 200 / 500, "max": 1.0}


def test_the_rounds_of_a_level_do_not_overlap() -> None:
    attempts = [attempt(0, 100), attempt(50, 150, folder="b")]

    assert in_flight(frame(attempts)) == {"mean": 1.0, "max": 1.0}


def test_a_log_of_others_is_read_by_its_lines() -> None:
    attempts = [
        Attempt("x", None, None, "exhausted", "x.log", 1, 2, submitted_at=START, submit_ms=20.0, total_ms=20.0),
        Attempt("x", None, None, "aborted", "x.log", 3, 4, submitted_at=START),
    ]

    assert in_flight(frame(attempts)) == {"mean": 1.0, "max": 1.0}
    assert in_flight(frame(attempts[1:])) == {"mean": None, "max": None}
    assert in_flight(frame([])) == {"mean": None, "max": None}
