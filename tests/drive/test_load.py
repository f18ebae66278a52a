"""Requests in flight as the driver counts them, and what it says of a level that has fewer than its number."""

from typing import Any

import pytest

from slotfill.drive.load import LoadMeter
from slotfill.drive.wire import Wire


def meter(clock: Any, *spans: tuple[float, float, float | None]) -> LoadMeter:
    load = LoadMeter()
    for sent, answered, decided in spans:
        wire = Wire(clock)
        wire.sending_ms, wire.answered_ms = sent, answered
        load.note(wire, decided, answered)
    return load


def test_two_workers_without_a_break(clock: Any) -> None:
    delivered = meter(clock, (0, 50, None), (0, 100, None), (50, 100, None)).delivered(2)

    assert delivered is not None
    assert (delivered.mean, delivered.max, delivered.attempts) == (2.0, 2, 3)
    assert "less than" not in delivered.text()


def test_time_in_which_bookings_were_undecided_is_told(clock: Any) -> None:
    delivered = meter(clock, (0, 100, 500), (0, 100, 500)).delivered(2)

    assert delivered is not None
    assert (delivered.mean, delivered.undecided) == (pytest.approx(0.4), pytest.approx(0.8))
    assert "0.4 of 2 requests in flight" in delivered.text() and "80% went by" in delivered.text()


def test_a_pause_of_the_level_is_no_time_of_its_load(clock: Any) -> None:
    delivered = meter(clock, (0, 100, None), (60_000, 60_100, None)).delivered(1)

    assert delivered is not None and delivered.mean == 1.0


def test_a_transport_that_tells_no_instants_gives_no_figure(clock: Any) -> None:
    load = LoadMeter()
    load.note(Wire(clock), None, 5.0)

    assert load.delivered(1) is None
