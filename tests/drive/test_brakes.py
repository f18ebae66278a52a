"""Each brake trips at its limit, not before, and never on a healthy load."""

from typing import Any

import pytest

from slotfill.drive.brakes import Brakes
from slotfill.drive.summary import Result
from slotfill.params import Brakes as Limits

FINE = Result("confirmed_inline_api", total_ms=32, submit_ms=30)
EXHAUSTED = Result("exhausted", total_ms=700, submit_ms=30, reason="Insufficient filtered capacity")
FOUND = Result("confirmed_inline_api", submit_ms=5, reason="boom", request_outcome="api_error")
"""A failed request of which the booking was found and is confirmed."""
FAILED = Result("api_error", total_ms=5, submit_ms=5, reason="boom")
NO_CLIENTS = Result("api_error", total_ms=5, submit_ms=5, reason="FATAL: sorry, too many clients already")
UNREADABLE = Result("confirmed_inline_api", total_ms=32, submit_ms=30, read_errors=("connection refused",))
LIMITED = Result("rate_limited", total_ms=5, submit_ms=5, retry_after_ms=1_000)


def tripped(results: list[Result], **limits: Any) -> list[str | None]:
    brakes = Brakes(Limits.model_validate({"error_rate": 0, "rate_limited": 0, "database_errors": 0, **limits}))
    return [brakes.note(result) for result in results]


def test_a_healthy_load_trips_nothing() -> None:
    brakes = Brakes(Limits(p95_ms=31))

    assert not any(brakes.note(result) for result in [FINE, FINE, FINE, EXHAUSTED] * 50)


def test_database_errors_trip_when_they_come_in_a_row() -> None:
    *before, last = tripped([NO_CLIENTS, NO_CLIENTS, NO_CLIENTS], database_errors=3)

    assert before == [None, None]
    assert last is not None and "too many clients" in last


def test_a_good_attempt_between_database_errors_starts_the_count_anew() -> None:
    assert not any(tripped([NO_CLIENTS, NO_CLIENTS, FINE] * 5, database_errors=3))


def test_our_own_failing_reads_count_as_database_errors() -> None:
    assert tripped([UNREADABLE] * 2, database_errors=2)[-1]


def test_errors_of_another_kind_are_no_database_errors() -> None:
    assert not any(tripped([FAILED] * 10, database_errors=2))


@pytest.mark.parametrize(
    ("results", "trips"),
    [
        ([FAILED] * 9, False),
        ([FAILED] * 10, True),
        ([FOUND] * 9, False),
        ([FOUND] * 10, True),
        ([FINE, FAILED] * 9, False),
        ([FINE, FAILED] * 10, True),
        ([FAILED] * 9 + [FINE] * 20 + [FAILED] * 9, False),
        ([EXHAUSTED] * 40, False),
        ([LIMITED] * 40, False),
    ],
)
def test_the_error_rate_counts_failures_over_the_window(results: list[Result], trips: bool) -> None:
    assert any(tripped(results, error_rate=0.5, error_window=20)) is trips


def test_p95_needs_a_full_window_and_then_the_tail_above_the_limit() -> None:
    slow = Result("confirmed_inline_api", total_ms=500, submit_ms=500)

    assert not any(tripped([slow] * 19, p95_ms=100, error_window=20))
    assert tripped([slow] * 20, p95_ms=100, error_window=20)[-1]
    # One slow submit in twenty is the 5 % that p95 leaves out.
    assert not any(tripped([slow] + [FINE] * 19, p95_ms=100, error_window=20))
    assert tripped([slow] * 2 + [FINE] * 18, p95_ms=100, error_window=20)[-1]


def test_429s_in_a_row_trip_and_an_answer_between_them_does_not() -> None:
    assert tripped([LIMITED] * 3, rate_limited=3)[-1]
    assert not any(tripped([LIMITED, LIMITED, FINE] * 5, rate_limited=3))


@pytest.mark.parametrize("results", [[FAILED] * 50, [NO_CLIENTS] * 50, [LIMITED] * 50])
def test_a_limit_of_zero_switches_a_brake_off(results: list[Result]) -> None:
    assert not any(tripped(results, p95_ms=0))
