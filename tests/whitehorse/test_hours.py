"""The window of start times, from rows as the database gives them."""

from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from whitehorse.hours import starts_at, window


def row(**more: Any) -> dict[str, Any]:
    known = {
        "reservation_interval_minutes": 15,
        "last_seating_buffer_minutes": 120,
        "timezone": "Europe/London",
        "opens_at": time(12),
        "closes_at": time(22),
        "is_closed": False,
        "period_start": None,
        "period_end": None,
    }
    return known | more


@pytest.mark.parametrize("clock", [time(12), time(16, 45), time(20)])
def test_a_time_on_the_grid_within_the_window_is_not_refused(clock: time) -> None:
    assert window(row()).refusal(clock, "drinks") is None


@pytest.mark.parametrize("clock", [time(11, 45), time(20, 15), time(18, 10)])
def test_a_time_before_after_or_beside_the_grid_is_outside_the_window(clock: time) -> None:
    details = window(row()).refusal(clock, "drinks")
    assert details
    assert (details["reason"], details["firstAvailableSlot"], details["lastAvailableSlot"]) == (
        "OUTSIDE_WINDOW",
        "12:00",
        "20:00",
    )


def test_a_service_period_narrows_the_window_and_its_end_starts_nothing() -> None:
    lunch = window(row(period_start=time(12), period_end=time(17)))
    assert lunch.refusal(time(16, 45), "lunch") is None
    assert lunch.refusal(time(17), "lunch") is not None


@pytest.mark.parametrize("closed", [{"is_closed": True}, {"opens_at": None, "closes_at": None, "is_closed": None}])
def test_a_day_without_hours_is_closed(closed: dict[str, Any]) -> None:
    details = window(row(**closed)).refusal(time(18), "dinner")
    assert details
    assert (details["reason"], details["opensAt"], details["lastAvailableSlot"]) == ("CLOSED", None, None)


def test_the_venues_clock_follows_summer_time() -> None:
    assert starts_at(date(2027, 1, 13), time(18), "Europe/London") == datetime(2027, 1, 13, 18, tzinfo=UTC)
    assert starts_at(date(2027, 7, 13), time(18), "Europe/London") == datetime(2027, 7, 13, 17, tzinfo=UTC)
