"""Calls joined to the attempts that made them: by trace, by time, and where neither is sure as an estimate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from slotfill import attempt, call
from slotfill.analyse.estimate import with_calls
from slotfill.analyse.hops import CLIENT_LOG, SERVER_PROFILE, TRACES
from slotfill.analyse.inside import look_inside
from slotfill.attempt import Attempt
from slotfill.call import Call
from slotfill.read import spans

T0 = datetime(2026, 11, 27, 12, tzinfo=UTC)
TRACE_A, TRACE_B = "a" * 32, "b" * 32


def at(ms: float) -> datetime:
    return T0 + timedelta(milliseconds=ms)


def booked(name: str, start_ms: float, ms: float, trace_id: str | None = None) -> Attempt:
    return Attempt(
        label="concurrency-1",
        concurrency=1,
        correlation_id=name,
        outcome="confirmed_inline_api",
        file="log",
        first_line=1,
        last_line=2,
        trace_id=trace_id,
        sent_at=at(start_ms),
        answered_at=at(start_ms + ms),
    )


def asked(start_ms: float, ms: float, target: str = "bookings", **facts: Any) -> Call:
    facts = {"method": "SELECT", "border": "database", "failed": False, "to_database": True, **facts}
    return Call("tap", "postgres", at(start_ms), ms, target, **facts)


def inside(attempts: list[Attempt], calls: list[Call]) -> Any:
    return look_inside(attempt.frame(attempts), spans.frame([]), call.frame(calls))


def test_a_call_belongs_to_the_one_attempt_in_flight() -> None:
    found = inside(
        [booked("a", 0, 100), booked("b", 200, 100)],
        [asked(10, 20), asked(40, 10, fingerprint="x"), asked(60, 10, fingerprint="x"), asked(150, 5), asked(290, 30)],
    )
    rows = found.attempts.set_index("correlation_id")
    assert list(rows["joined"]) == ["time", "time"]
    assert list(rows["calls"]) == [3, 1]
    assert rows.loc["a", "union_ms"] == pytest.approx(40, abs=0.01)
    assert rows.loc["a", "gaps_ms"] == pytest.approx(60, abs=0.01)
    assert (rows.loc["a", "chain_len"], rows.loc["a", "duplicates"]) == (3, 1)
    assert rows.loc["b", "union_ms"] == pytest.approx(10, abs=0.01)  # what ends after the answer is clipped


def test_a_call_before_the_latest_instant_at_which_the_answer_came_is_the_attempts() -> None:
    [kept_waiting, next_one] = booked("a", 0, 100), booked("b", 110, 50)
    calls = [asked(10, 20), asked(101, 2), asked(104, 2), asked(120, 5)]
    assert list(inside([replace(kept_waiting, lag_ms=2.7), next_one], calls).attempts["calls"]) == [2, 1]
    assert list(inside([kept_waiting, next_one], calls).attempts["calls"]) == [1, 1]


def test_where_several_are_in_flight_a_call_is_shared_out_and_is_an_estimate() -> None:
    found = inside([booked("a", 0, 100), booked("b", 50, 100)], [asked(10, 20), asked(60, 10), asked(70, 10)])
    rows = found.attempts.set_index("correlation_id")
    assert list(rows["joined"]) == ["estimate", "estimate"]
    assert list(rows["calls"]) == [2, 1]
    assert rows["calls"].sum() == 3
    assert rows["sum_ms"].sum() == pytest.approx(40)
    assert rows["chain_len"].isna().all()
    assert found.shown() == {}


def test_calls_in_several_blocks_are_shared_out_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = [booked("a", 0, 100), booked("b", 50, 100), booked("c", 400, 50)]
    calls = [asked(ms, 10) for ms in (10, 60, 70, 210, 120, 420, 95)]
    whole = inside(attempts, calls)
    monkeypatch.setattr("slotfill.analyse.joined_calls._BLOCK", 2)
    parts = inside(attempts, calls)
    assert list(whole.attempts["calls"]) == [1 + 3 / 2, 1 + 3 / 2, 1]
    pd.testing.assert_frame_equal(parts.calls, whole.calls)


def test_a_trace_says_whose_call_it_is_whatever_the_time() -> None:
    found = inside(
        [booked("a", 0, 100, TRACE_A), booked("b", 0, 100, TRACE_B)],
        [asked(10, 20, trace_id=TRACE_A), asked(20, 10, trace_id=TRACE_B), asked(150, 10, trace_id=TRACE_B)],
    )
    rows = found.attempts.set_index("correlation_id")
    assert list(rows["joined"]) == ["trace", "trace"]
    assert (rows.loc["b", "calls"], rows.loc["b", "after_answer_calls"]) == (1, 1)


def test_where_traces_are_passed_on_a_call_of_another_trace_is_another_requests() -> None:
    found = inside(
        [booked("a", 0, 100, TRACE_A)],
        [asked(10, 20, trace_id=TRACE_A), asked(40, 10, trace_id=TRACE_B), asked(60, 10)],
    )
    (row,) = found.attempts.to_dict("records")
    assert (row["calls"], row["joined"]) == (2, "time")


def test_the_tap_in_front_of_the_platform_sees_no_call_of_it() -> None:
    assert not inside([booked("a", 0, 100)], [asked(1, 98, "/api/bookings", border="web")]).known


def test_targets_and_waterfall() -> None:
    found = inside(
        [booked("a", 0, 100)],
        [asked(10, 10, fingerprint="x"), asked(15, 30, "customers"), asked(50, 20, fingerprint="x", failed=True)],
    )
    targets = found.targets().set_index("target")
    assert targets.loc["bookings", "calls_per_attempt"] == 2
    assert targets.loc["bookings", "share"] == pytest.approx(0.5)
    assert (targets.loc["bookings", "repeats"], targets.loc["bookings", "errors"]) == (1, 1)
    drawn = found.waterfall(found.shown()["median"])
    assert list(drawn["on_chain"]) == [False, True, True]  # 10 ms beside 30 ms
    assert (targets.loc["bookings", "chain_share"], targets.loc["customers", "chain_share"]) == (0.4, 0.6)
    assert targets.loc["bookings", "in_a_row"] == 2
    assert list(drawn["repeat"]) == [1, 1, 2]
    assert drawn["offset_ms"].tolist() == pytest.approx([10, 15, 50])


def test_reads_that_follow_one_another_could_be_made_at_once() -> None:
    reads = [asked(0, 10), asked(10, 30, "customers"), asked(41, 5, method="INSERT"), asked(50, 20), asked(70, 8)]
    beside = [asked(12, 5, "venues")]  # it runs beside another already
    found = inside([booked("a", 0, 100)], [*reads, *beside])
    (row,) = found.attempts.to_dict("records")
    assert row["together_ms"] == pytest.approx(10 + 8)
    assert found.view().together_ms == pytest.approx(10 + 8)


def test_nothing_seen_is_nothing_known() -> None:
    found = inside([booked("a", 0, 100)], [])
    assert not found.known
    assert found.targets().empty and found.shown() == {}


def hops_of(*tiers: int) -> pd.DataFrame:
    """Attempts a, b … of 100 ms, of which the server had 80."""
    profiled = [tier == SERVER_PROFILE for tier in tiers]
    return pd.DataFrame(
        {
            "correlation_id": [chr(ord("a") + number) for number in range(len(tiers))],
            "tier": list(tiers),
            "client_ms": [20.0] * len(tiers),
            "api_ms": [30.0 if known else 60.0 for known in profiled],
            "allocator_ms": [10.0 if known else 20.0 for known in profiled],
            "database_ms": [40.0 if known else float("nan") for known in profiled],
            "database_calls": [7.0 if known else float("nan") for known in profiled],
            "pool_wait_ms": [8.0 if known else float("nan") for known in profiled],
            "estimated": [False] * len(tiers),
        }
    )


HOP_COLUMNS = ["client_ms", "api_ms", "allocator_ms", "database_ms"]


def test_calls_say_the_databases_part_and_outrank_a_profile() -> None:
    found = inside([booked("a", 0, 100), booked("b", 200, 100)], [asked(10, 40), asked(210, 24)])
    bare, profiled = with_calls(hops_of(CLIENT_LOG, SERVER_PROFILE), found.attempts).to_dict("records")
    assert [bare[name] for name in HOP_COLUMNS] == pytest.approx([20, 30, 10, 40], abs=0.01)
    assert (bare["tier"], bare["database_calls"], bare["estimated"]) == (TRACES, 1, False)
    # The wait for a connection lies outside of every call, and only the profile knows it.
    assert [profiled[name] for name in HOP_COLUMNS] == pytest.approx([20, 36, 12, 24 + 8], abs=0.01)
    assert (profiled["tier"], profiled["database_calls"], profiled["estimated"]) == (TRACES, 1, False)


def test_calls_of_anything_but_the_database_stay_the_apis() -> None:
    mail = asked(20, 60, "emails", method="POST", border="mailer", to_database=False)
    found = inside(
        [booked("a", 0, 100), booked("b", 200, 100)], [asked(10, 14), mail, replace(mail, started_at=at(220))]
    )
    first, _ = found.attempts.to_dict("records")
    assert (first["calls"], first["database_calls"]) == (2, 1)
    assert (first["union_ms"], first["database_ms"]) == (pytest.approx(70, abs=0.01), pytest.approx(14, abs=0.01))
    both = with_calls(hops_of(CLIENT_LOG, CLIENT_LOG), found.attempts).to_dict("records")
    assert [row["database_ms"] for row in both] == pytest.approx([14, 0], abs=0.01)
    assert [row["database_calls"] for row in both] == [1, 0]
    shared = inside([booked("a", 0, 100), booked("b", 0, 100)], [asked(10, 14), mail])
    assert shared.attempts["database_ms"].tolist() == [7, 7]
    rest = replace(mail, border="database")  # whatever its paths are, this border is the database's
    assert inside([booked("a", 0, 100)], [rest]).attempts["database_ms"].tolist() == pytest.approx([60], abs=0.01)
    # A tap in front of the mailer alone tells nothing of the database.
    mailed = inside([booked("a", 0, 100)], [mail])
    assert mailed.attempts["database_ms"].isna().all()
    (row,) = with_calls(hops_of(SERVER_PROFILE), mailed.attempts).to_dict("records")
    assert (row["database_ms"], row["tier"]) == (40, SERVER_PROFILE)


def test_calls_that_are_shared_out_do_not_outrank_a_profile() -> None:
    found = inside([booked("a", 0, 100), booked("b", 50, 100)], [asked(10, 20), asked(60, 10), asked(70, 10)])
    bare, profiled = with_calls(hops_of(CLIENT_LOG, SERVER_PROFILE), found.attempts).to_dict("records")
    assert (bare["tier"], bare["estimated"]) == (TRACES, True)
    assert bare["database_ms"] == pytest.approx(30)
    assert [profiled[name] for name in HOP_COLUMNS] == [20, 30, 10, 40]
    assert (profiled["tier"], profiled["database_calls"]) == (SERVER_PROFILE, 7)


def test_what_the_tap_itself_adds_is_the_clients_as_all_that_measuring_costs() -> None:
    alone, crowd = [booked("a", 0, 100)], [booked("a", 0, 100), booked("b", 50, 100)]
    calls = [asked(10, 22, added_ms=2.0), asked(60, 22, added_ms=2.0)]
    found = inside(alone, calls)
    (row,) = found.attempts.to_dict("records")
    assert (row["taps_ms"], row["gaps_ms"]) == (4, pytest.approx(100 - 40 - 4, abs=0.01))
    (bare,) = with_calls(hops_of(CLIENT_LOG), found.attempts).to_dict("records")
    assert [bare[name] for name in (*HOP_COLUMNS, "taps_ms")] == pytest.approx([24, 27, 9, 40, 4], abs=0.01)
    profiled, _ = with_calls(hops_of(SERVER_PROFILE, SERVER_PROFILE), inside(crowd, calls).attempts).to_dict("records")
    assert [profiled[name] for name in HOP_COLUMNS] == pytest.approx([23, 30, 10, 37], abs=0.01)
