"""What concurrency costs in seats is told with intervals, and what full slots cost the workers beside it."""

import pandas as pd
import pytest

from slotfill.analyse.document import Bottleneck
from slotfill.analyse.seat_costs import costs, with_optimum
from slotfill.analyse.seat_optimum import Optimum, SeatOptimum
from slotfill.attempt import Attempt, frame
from slotfill.report import seats

SLOTS = [f"{hour}:{minute:02}" for hour in (16, 17, 18) for minute in (0, 15, 30, 45)]


def attempts(seated) -> pd.DataFrame:
    """Twelve slots of parties of four a level: ``seated`` bookings in each, then one party without a table."""
    return frame(
        Attempt(
            label=f"concurrency-{concurrency}",
            concurrency=concurrency,
            correlation_id=f"{concurrency}-{slot}-{number}",
            outcome="confirmed_inline_api" if number < bookings else "exhausted",
            file="slot.log",
            first_line=1,
            last_line=9,
            slot=slot,
            party_size=4,
            seat_waste=number % 2 if number < bookings else None,
            total_ms=100.0 if number < bookings else 1600.0,
        )
        for concurrency, bookings in seated.items()
        for slot in SLOTS
        for number in range(bookings + 1)
    )


UNTIMED = {"levels": []}
AT_120_A_MINUTE = {"levels": [{"label": "concurrency-1", "throughput_per_min": 120.0}]}


def of(rows: pd.DataFrame, metrics=UNTIMED) -> Bottleneck:
    return Bottleneck("database", "cpu", "saturation", seats=tuple(costs(rows, metrics)))


def test_fewer_guests_at_a_level_are_told_as_beyond_the_interval():
    document = of(attempts({1: 6, 8: 4}))
    text, table = seats.seats(document), seats.table(document)
    assert table["guests seated"].tolist() == ["288", "192"]
    assert table["parties turned away"].tolist() == ["12 (48 guests)"] * 2
    assert "**concurrency-8**: guests seated −96 (−96 to −96)" in text
    assert "Beyond its interval: guests seated at concurrency-8." in text


def test_levels_that_do_not_differ_are_said_not_to():
    text = seats.seats(of(attempts({1: 4, 8: 4})))
    assert "guests seated +0 (+0 to +0)" in text
    assert "no cost of concurrency in seats" in text and "Beyond" not in text


def test_levels_of_other_slots_are_not_set_against_each_other():
    rows = attempts({1: 4, 8: 4})
    rows = rows[~((rows["label"] == "concurrency-8") & (rows["slot"] == "16:00")).to_numpy()]
    assert "Against" not in seats.seats(of(rows))


def test_logs_without_tables_have_no_waste():
    rows = attempts({1: 2})
    rows["seat_waste"] = rows["seat_waste"].mask(rows["seat_waste"].notna())
    nothing = Bottleneck("database", "cpu", "saturation")
    assert seats.table(of(rows)).empty
    assert seats.seats(of(rows)) == seats.seats(nothing) == "The logs do not name tables, so seat waste is not known."


def test_the_time_of_full_slots_is_told_with_the_throughput_without_it():
    document = of(attempts({1: 4}), AT_120_A_MINUTE)  # 400 ms for bookings, 1600 ms for the party without a table
    assert document.seats[0]["seated_per_min"] == pytest.approx(600)
    told = seats.worker_time(AT_120_A_MINUTE, document)
    assert "80 % at concurrency-1" in told
    assert "about 600 instead of 120 at concurrency-1" in told


def test_without_full_slots_nothing_is_said_of_them():
    rows = attempts({1: 4})
    rows = rows[(rows["outcome"] != "exhausted").to_numpy()]
    document = of(rows, AT_120_A_MINUTE)
    assert document.seats[0]["exhausted_share"] == pytest.approx(0)
    assert seats.worker_time(AT_120_A_MINUTE, document) == ""


def test_the_best_seating_stands_beside_the_seats_with_its_gap_where_it_is_not_proven():
    optima = [
        SeatOptimum("concurrency-1", 36, Optimum(20, 0), 288, Optimum(300, 12)),
        SeatOptimum("concurrency-8", 24, None, 192, Optimum(290, 0)),
    ]
    table = seats.table(Bottleneck("database", "cpu", "saturation", seats=_with_optimum(optima)))
    assert table["seats wasted"].tolist() == ["36 (least possible: 20)", "24 (least possible: not found in time)"]
    assert table["most guests that the same requests allow"].tolist() == ["300, not proven, or up to 312", "290"]


def _with_optimum(optima):
    return tuple(with_optimum(costs(attempts({1: 6, 8: 4}), UNTIMED), optima))
