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
from slotfill.read.spans import SpanRow
from slotfill.report import calls as told

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


def served(start_ms: float, ms: float, trace_id: str = TRACE_A, number: int = 1, method: str = "POST") -> SpanRow:
    """The server span of a request."""
    facts = {"method": method, "path": "/api/bookings"}
    return _span(trace_id, number, "f" * 16, "server", start_ms, ms, **facts)


def called(number: int, start_ms: float, ms: float, trace_id: str = TRACE_A, parent: int = 1) -> SpanRow:
    url = f"http://db.example/rest/v1/bookings?id=eq.{number}"
    facts = {"method": "GET", "url": url, "status_code": "200"}
    return _span(trace_id, number, f"{parent:016x}", "client", start_ms, ms, **facts)


def _span(trace_id: str, number: int, parent: str, kind: str, start_ms: float, ms: float, **facts: Any) -> SpanRow:
    start_ns = round((T0.timestamp() * 1e3 + start_ms) * 1e6)
    return SpanRow(
        trace_id, f"{number:016x}", parent, kind, "a span", None, start_ns, start_ns + round(ms * 1e6), False, **facts
    )


def traced(attempts: list[Attempt], rows: list[SpanRow]) -> Any:
    return look_inside(attempt.frame(attempts), spans.frame(rows), call.frame([]))


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


def test_a_waterfall_is_drawn_as_it_would_be_without_the_tap() -> None:
    # Each of the calls was held up by 5 ms: the third began after two of them, the fourth beside the third.
    calls = [asked(start, 10, added_ms=5) for start in (10, 20, 40, 41)]
    found = inside([booked("a", 0, 60)], calls)
    drawn = found.waterfall("a")
    assert drawn["offset_ms"].tolist() == pytest.approx([10, 15, 30, 31])
    assert drawn["duration_ms"].tolist() == pytest.approx([5, 5, 5, 5])
    (shown,) = [each for each in found.view().waterfalls if each.which == "median"]
    assert shown.request_ms == pytest.approx(60 - 4 * 5)
    assert max(bar.offset_ms + bar.duration_ms for bar in shown.bars) <= shown.request_ms


@pytest.mark.parametrize("ahead_ms", [0, 60, 2_000, -2_000, 86_400_000])
def test_a_platforms_clock_need_not_agree_with_ours(ahead_ms: float) -> None:
    job = called(4, ahead_ms + 130, 20)
    rows = [served(ahead_ms, 100), called(2, ahead_ms + 10, 30), called(3, ahead_ms + 50, 30), job]
    found = traced([booked("a", -2, 104, TRACE_A)], rows)
    (row,) = found.attempts.to_dict("records")
    assert (row["joined"], row["calls"], row["after_answer_calls"]) == ("trace", 2, 1)
    assert (row["union_ms"], row["gaps_ms"]) == (pytest.approx(60, abs=0.01), pytest.approx(44, abs=0.01))
    assert found.waterfall("a")["offset_ms"].tolist() == pytest.approx([12, 52])
    assert ("clock and ours differ" in told.summary(found.view())) == bool(ahead_ms)


def test_a_request_that_outlasts_its_clients_patience_is_no_other_clocks() -> None:
    found = traced([booked("a", 0, 50, TRACE_A)], [served(1, 300), called(2, 10, 20), called(3, 150, 20)])
    (row,) = found.attempts.to_dict("records")
    assert (row["calls"], row["after_answer_calls"], row["union_ms"]) == (1, 1, pytest.approx(20, abs=0.01))
    assert found.view().moved == 0


def test_an_end_that_a_busy_platform_notes_late_is_no_other_clocks() -> None:
    found = traced([booked("a", 0, 1000, TRACE_A)], [served(20, 992), called(2, 30, 200)])
    assert found.view().moved == 0
    assert found.waterfall("a")["offset_ms"].tolist() == pytest.approx([30])


def test_an_attempt_whose_server_span_is_lost_is_in_no_time() -> None:
    whole = [served(0, 100, TRACE_B, 11), called(12, 10, 40, TRACE_B, 11), called(13, 60, 20, TRACE_B, 11)]
    rows = [*whole, called(2, 210, 30)]  # of the first attempt one call came
    attempts = [booked("a", 200, 100, TRACE_A), booked("b", 0, 100, TRACE_B), booked("c", 400, 100, "c" * 32)]
    found = traced(attempts, rows)
    table = found.attempts.set_index("correlation_id")
    assert table["joined"].to_dict() == {"a": "incomplete", "b": "trace"}
    assert table.loc["a", ["union_ms", "gaps_ms", "chain_len", "together_ms", "database_ms"]].isna().all()
    assert found.shown() == {"median": "b", "slowest": "b"}
    assert found.targets()["calls_per_attempt"].tolist() == [2]
    # The few that were seen tell how their level's time divides, an estimate; a level with none stays as it was.
    table = with_calls(hops_of(CLIENT_LOG, CLIENT_LOG, CLIENT_LOG), found.attempts)
    assert table["estimated"].tolist() == [True, False, True]
    assert table["database_ms"].tolist() == pytest.approx([60, 60, 60], abs=0.01)
    assert table[HOP_COLUMNS].sum(axis=1).tolist() == pytest.approx([100, 100, 100])
    assert table["database_calls"].tolist() == [2, 2, 2]
    two = hops_of(CLIENT_LOG, CLIENT_LOG)
    for levels in (["concurrency-1"] * 2, ["concurrency-4", "concurrency-1"]):  # half is enough; another level is none
        lost, _ = with_calls(two.assign(label=levels), found.attempts).to_dict("records")
        assert (lost["tier"], lost["api_ms"]) == (CLIENT_LOG, 60)
    text = told.summary(found.view())
    assert "1 attempt joined by their trace" in text and "1 attempt incomplete" in text
    assert "1 attempt of which no span came" in text
    alone = traced(attempts[:1], rows[3:])  # then the calls that came are all that is known
    assert alone.targets()["calls_per_attempt"].tolist() == [1] and alone.targets()["in_a_row"].isna().all()


def test_calls_made_at_once_do_not_stand_one_after_another() -> None:
    at_once = [asked(10, 0.8, fingerprint=str(number)) for number in range(10)]
    by_tap = inside([booked("a", 0, 100)], at_once)
    assert by_tap.targets()["in_a_row"].tolist() == [1]
    overlapping = [asked(10 + 0.1 * number, 0.8) for number in range(10)]  # a tap's clock is finer than that
    assert inside([booked("a", 0, 100)], overlapping).targets()["in_a_row"].tolist() == [2]
    by_span = traced(
        [booked("a", 0, 100, TRACE_A)], [served(1, 90), *[called(number, 5, 0.8) for number in range(2, 8)]]
    )
    assert by_span.targets()["in_a_row"].tolist() == [1]
    assert told.step(by_span.view()) == ""
    # Whole milliseconds: the next one began within the same or the following.
    in_a_row = traced([booked("a", 0, 100, TRACE_A)], [served(1, 90), *[called(n, 5 + n, 1.4) for n in range(2, 8)]])
    assert in_a_row.targets()["in_a_row"].tolist() == [6]
    assert "is read about 6 times one after another" in told.step(in_a_row.view())
    finer = traced([booked("a", 0, 100, TRACE_A)], [served(1, 90), *[called(n, 5.1 + 2 * n, 1.4) for n in range(2, 8)]])
    assert "is read 6 times one after another" in told.step(finer.view())


def test_what_reads_made_at_once_would_save_is_the_lowest_levels() -> None:
    busy = replace(booked("x", 0, 200, TRACE_A), label="concurrency-8", concurrency=8)
    alone = booked("y", 1000, 100, TRACE_B)
    own = [served(1005, 90, TRACE_B, 11), called(12, 1010, 10, TRACE_B, 11), called(13, 1030, 10, TRACE_B, 11)]
    view = traced([busy, alone], [served(1, 150), called(2, 5, 40), called(3, 60, 40), *own]).view()
    assert (view.together_level, view.together_ms) == ("concurrency-1", pytest.approx(10))
    assert "up to 10 ms of an attempt at concurrency-1" in told.summary(view)


def test_without_a_trace_in_the_logs_requests_join_by_time() -> None:
    job = called(4, 230, 20)  # begun for the first booking while the second is in flight
    rows = [served(1, 90), called(2, 10, 30), called(3, 50, 30), job]
    other = called(42, 60, 5, "e" * 32, 41)  # of a job whose own span never ended
    poll = [served(20, 10, "d" * 32, 31, "GET"), called(32, 22, 5, "d" * 32, 31)]
    found = traced([booked("a", 0, 100), booked("b", 200, 100)], [*rows, *poll, other])
    (row,) = found.attempts.to_dict("records")
    assert (row["correlation_id"], row["joined"], row["calls"], row["after_answer_calls"]) == ("a", "time", 2, 1)
    shared = traced([booked("a", 0, 100), booked("b", 0, 100)], rows)
    assert shared.attempts["joined"].tolist() == ["estimate", "estimate"]
    assert shared.attempts["calls"].tolist() == [1, 1]
    floored = traced([booked("a", 0.7, 100)], [served(0, 90), called(2, 10, 30)])  # whole milliseconds
    assert floored.attempts["joined"].tolist() == ["time"]
    assert found.foreign_traces == shared.foreign_traces == 0


def test_spans_that_are_no_attempts_are_told_of() -> None:
    rows = [served(0, 100), called(2, 10, 30)]
    assert traced([booked("a", 0, 100, TRACE_B)], rows).foreign_traces == 1  # by its id
    late = traced([booked("a", 5000, 100)], rows)  # by its time
    assert (late.known, late.foreign_traces) == (False, 1)
    both = look_inside(attempt.frame([booked("a", 0, 100, TRACE_B)]), spans.frame(rows), call.frame([asked(10, 20)]))
    assert both.attempts["calls"].tolist() == [1]  # what the tap saw is left


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
            "label": ["concurrency-1"] * len(tiers),
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
