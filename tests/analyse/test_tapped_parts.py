"""What taps tell of an attempt without a word of the server's."""

import pandas as pd
import pytest

from slotfill import call
from slotfill.analyse.tapped_parts import measured_parts
from slotfill.call import Call

AT = pd.Timestamp("2026-12-15T17:00:00Z")


def tapped(
    border: str, offset_ms: float, duration_ms: float, trace_id: str | None = None, added_ms: float | None = None
) -> Call:
    began = (AT + pd.Timedelta(offset_ms, "ms")).to_pydatetime()
    method = "POST" if border == "web" else "SELECT"
    own = {"border": border, "added_ms": added_ms}
    return Call(
        "tap", "postgres", began, duration_ms + (added_ms or 0), "bookings", method, True, False, trace_id, **own
    )


def booked(**began_ms: float) -> pd.DataFrame:
    """Attempts of 100 ms by their trace ids."""
    columns = {
        "label": "concurrency-1",
        "round_number": 1,
        "slot": "17:00",
        "outcome": "confirmed_inline_api",
        "total_ms": 100.0,
        "submit_ms": 100.0,
        "lag_ms": 0.0,
    }
    at = {trace_id: AT + pd.Timedelta(ms, "ms") for trace_id, ms in began_ms.items()}
    rows = [
        {"trace_id": name, "correlation_id": name, "sent_at": sent, "submitted_at": sent, **columns}
        for name, sent in at.items()
    ]
    return pd.DataFrame(rows).assign(answered_at=lambda table: table["sent_at"] + pd.Timedelta(100, "ms"))


@pytest.mark.parametrize("added_ms", [None, 1.0])
def test_an_attempts_parts_add_up_and_its_own_calls_are_counted_once(added_ms: float | None) -> None:
    calls = call.frame(
        [
            tapped("web", 10, 80, "a", added_ms),
            *(tapped("database", start, 15, None, added_ms) for start in (15, 35, 60)),
            tapped("database", 500, 15, None, added_ms),  # nobody was answered then
        ]
    )
    # What the taps themselves add is in no part: one for the answer, one for each of its calls.
    web_ms, database_ms = (0, 0) if added_ms is None else (1, 3)
    [row] = measured_parts(booked(a=0), calls).to_dict("records")
    assert (row["others"], row["made"], row["in_a_row"]) == (0, 3, 3)
    assert (row["around"], row["handler"], row["calls"]) == pytest.approx((20 - web_ms, 35 - database_ms, 45))
    assert row["total_ms"] == pytest.approx(100 - web_ms - database_ms)
    [row] = measured_parts(booked(a=0), calls, web_delay_ms=5).to_dict("records")
    assert (row["around"], row["handler"] + row["calls"]) == pytest.approx((25 - web_ms, 75 - database_ms))


def test_calls_beside_one_another_take_their_time_once() -> None:
    calls = call.frame([tapped("web", 0, 100, "a"), *(tapped("database", 10, 20) for _ in range(4))])
    [row] = measured_parts(booked(a=0), calls).to_dict("records")
    assert (row["handler"], row["calls"], row["made"], row["in_a_row"]) == pytest.approx((80, 20, 4, 1))
    # Two in flight together have half of what both spent, and calls are beside one another as they are alone.
    crowd = call.frame(
        [
            *(tapped("web", start, 100, name) for name, start in (("a", 0), ("b", 1_000), ("c", 1_000))),
            *(tapped("database", start, 20) for start in (10, 1_010, 1_050) for _ in range(4)),
        ]
    )
    rows = measured_parts(booked(a=0, b=1_000, c=1_000), crowd).set_index(pd.Index(["a", "b", "c"]))
    assert rows["calls"].to_list() == pytest.approx([20, 20, 20])
    assert rows["in_a_row"].isna().to_list() == [False, True, True]
    assert rows["made"].to_list() == [4, 4, 4]


def test_a_call_that_carries_anothers_trace_is_not_ones_own() -> None:
    # The job of the booking before goes on while the next one is answered.
    job = [tapped("database", start, 10, "a") for start in (110, 130, 150)]
    job.append(tapped("database", 155, 10, "of nobody's booking"))
    answers = [tapped("web", 0, 100, "a"), tapped("web", 100, 100, "b")]
    own = [tapped("database", 10, 20, "a"), tapped("database", 170, 20, "b")]
    rows = measured_parts(booked(a=0, b=100), call.frame([*answers, *own, *job]))
    assert rows["calls"].to_list() == pytest.approx([20, 20])
    assert rows["in_a_row"].to_list() == [1, 1]


@pytest.mark.parametrize("trace_id", ["a", None])
def test_a_booking_that_is_decided_later_has_the_calls_that_carry_its_trace(trace_id: str | None) -> None:
    attempts = booked(a=0).assign(total_ms=520.0, submit_ms=100.0, outcome="confirmed_background")
    job = [tapped("database", start, 38, trace_id) for start in range(120, 500, 40)]
    calls = call.frame([tapped("web", 0, 100, "a"), tapped("database", 20, 40, trace_id), *job])
    [row] = measured_parts(attempts, calls).to_dict("records")
    assert len(job) == 10
    job_ms = 380 if trace_id else 0  # without, they may be a worker's that looks for jobs
    assert (row["handler"], row["calls"], row["around"]) == pytest.approx((60, 40 + job_ms, 420 - job_ms))
    told = (row["in_a_row"], row["later_ms"], row["untold_ms"])
    assert told == pytest.approx((11, 0, 0) if trace_id else (1, 420, 380))
