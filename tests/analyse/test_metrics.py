"""The figures of a level, against the platform's own publication and against other ways to compute them."""

import csv
import io
import json
import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.metrics import attempt_records, metrics, platform_table, render
from slotfill.attempt import Attempt, frame
from slotfill.read import read_logs

START = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)


def _attempt(number: int, outcome: str = "confirmed_inline_api", **more: Any) -> Attempt:
    """The nth attempt of a worker that needs 900 ms for each, one second apart."""
    begun = START + timedelta(seconds=number)
    base = Attempt(
        label="concurrency-2",
        concurrency=2,
        correlation_id=f"c{number}",
        outcome=outcome,
        file="/logs/run/concurrency-2/a.log",
        first_line=1,
        last_line=2,
        booking_date="2026-03-03",
        slot=f"17:{number % 4 * 15:02}",
        started_at=begun,
        ended_at=begun + timedelta(milliseconds=900),
        submit_ms=100.0 + number,
        inline_ms=0.0,
        post_job_ms=0.0,
        total_ms=120.0 + number,
        tables_assigned=1,
        seat_waste=number % 3,
    )
    return replace(base, **more)


def _level(attempts: list[Attempt]) -> dict[str, Any]:
    levels: list[dict[str, Any]] = metrics(frame(attempts))["levels"]
    assert len(levels) == 1
    return levels[0]


def test_the_platforms_published_metrics_come_out_exactly(corpus: Path) -> None:
    published = json.loads((corpus / "slot-fill-metrics.json").read_text())["metrics"]
    attempts = read_logs([corpus / f"slot-fill-concurrency{level}.log" for level in (8, 1, 4)]).attempts
    assert platform_table(attempts) == published


@pytest.mark.parametrize(
    ("folder", "level", "count", "submit_ms"),
    [("near", 1, 27, 265), ("near", 4, 32, 955), ("near", 8, 52, 1428), ("far", 1, 8, 12054), ("far", 4, 16, 12211)],
)
def test_the_local_runs_have_their_submit_means(
    corpus: Path, folder: str, level: int, count: int, submit_ms: float
) -> None:
    figures = metrics(read_logs([corpus / "local" / folder]).attempts)
    found = next(each for each in figures["levels"] if each["concurrency"] == level)
    assert found["attempts"] == count
    assert round(found["submit_ms_of_all_attempts"]) == submit_ms


def test_workers_beyond_the_slots_do_not_count_as_concurrency(corpus: Path) -> None:
    figures = metrics(read_logs([corpus / f"slot-fill-concurrency{level}.log" for level in (1, 4, 8)]).attempts)
    assert [level["effective_concurrency"] for level in figures["levels"]] == [1, 4, 5]


def test_the_throughput_of_a_recorded_run_is_its_bookings_over_its_time(corpus: Path) -> None:
    log = corpus / "slot-fill-concurrency4.log"
    stamps = [line[1:25] for line in log.read_text().splitlines() if line.startswith("[2025-")]
    minutes = (datetime.fromisoformat(stamps[-1]) - datetime.fromisoformat(stamps[0])) / timedelta(minutes=1)
    [level] = metrics(read_logs([log]).attempts)["levels"]
    assert level["throughput_per_min"] == pytest.approx(20 / minutes, rel=1e-3)


def test_means_are_over_confirmed_attempts_and_counts_over_all() -> None:
    confirmed = [_attempt(number) for number in range(30)]
    failed = [_attempt(number, "failed_background_timeout", submit_ms=9e6, reason="no table") for number in (30, 31)]
    level = _level(confirmed + failed)
    submits = [each.submit_ms or 0 for each in confirmed]
    assert (level["attempts"], level["confirmed"]) == (32, 30)
    assert level["outcomes"] == {"confirmed_inline_api": 30, "failed_background_timeout": 2}
    assert level["submit_ms"]["mean"] == pytest.approx(statistics.mean(submits))
    assert level["submit_ms"]["p50"] == pytest.approx(statistics.median(submits))
    assert level["submit_ms"]["max"] == max(submits)
    assert level["submit_ms"]["ci95"] is None  # too few for an interval
    assert level["seat_waste"] == {"mean": 1.0, "total": 30, "max": 2}


def test_a_percentile_that_the_sample_does_not_carry_is_none() -> None:
    for count, carried in ((19, ("p50",)), (20, ("p50", "p95")), (100, ("p50", "p95", "p99"))):
        submit = _level([_attempt(number) for number in range(count)])["submit_ms"]
        assert tuple(name for name in ("p50", "p95", "p99") if submit[name] is not None) == carried


def test_a_level_without_a_confirmed_booking_has_counts_and_no_means() -> None:
    failed = _attempt(0, "api_timeout", submit_ms=None, total_ms=None, reason="Booking request timed out")
    level = _level([failed])
    assert level["submit_ms"] == {"mean": None, "ci95": None, "p50": None, "p95": None, "p99": None, "max": None}
    assert level["inline_poll_rate"] is None and level["throughput_per_min"] == 0
    assert level["failure_reasons"] == {"Booking request timed out": 1}


def test_no_attempts_at_all_give_no_levels() -> None:
    assert metrics(frame([])) == {"closed_loop": True, "levels": []}
    assert platform_table(frame([])) == []


def test_rates_are_shares_of_the_confirmed() -> None:
    outcomes = ["confirmed_inline_api"] * 5 + ["confirmed_inline_poll"] * 2 + ["confirmed_background"] + ["aborted"] * 4
    level = _level([_attempt(number, outcome) for number, outcome in enumerate(outcomes)])
    assert (level["inline_poll_rate"], level["background_rate"]) == (0.25, 0.125)


def test_a_slot_ends_as_its_last_attempt_did() -> None:
    ends = {0: "confirmed_inline_api", 1: "exhausted", 2: "failed_inline_timeout", 3: "aborted"}
    attempts = [_attempt(number) for number in range(4)]
    attempts += [_attempt(4 + slot, outcome) for slot, outcome in ends.items()]
    assert _level(attempts)["slots"] == {"planned": 4, "filled": 1, "exhausted": 1, "failed": 2}


def test_reasons_that_differ_in_an_id_only_are_one_reason() -> None:
    tables = ["17719291-b8fb-440f-88e9-3d33bb3dc900", "04bc201e-56f2-4246-9ad7-73ced4f20385"]
    failed = [_attempt(n, "exhausted", reason=f"Table {table} is not adjacent") for n, table in enumerate(tables)]
    assert _level(failed)["failure_reasons"] == {"Table <id> is not adjacent": 2}


@pytest.mark.parametrize("step_s", [-3600, -20, 3600])
@pytest.mark.parametrize("at", [2.95, 3.5])
def test_a_clock_that_steps_changes_no_throughput(step_s: float, at: float) -> None:
    """Six bookings of 0.9 s one after another; the clock steps between two of them, or within one."""

    def shown(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds + (step_s if seconds > at else 0.0))

    times = [(n, {"started_at": shown(n), "ended_at": shown(n + 0.9), "total_ms": 900.0}) for n in range(6)]
    booked = [_attempt(n, first_line=4 * n + 1, last_line=4 * n + 4, **facts) for n, facts in times]
    assert _level(booked)["throughput_per_min"] == pytest.approx(6 / (5.9 / 60), rel=0.05)


def test_runs_of_one_level_with_time_between_them_stay_apart(corpus: Path) -> None:
    names = ("slot-fill-concurrency1.log", "slot-fill-concurrency1-postfix.log", "slot-fill-concurrency4.log")
    levels = metrics(read_logs([corpus / name for name in names]).attempts)["levels"]
    assert [(level["label"], level["concurrency"], level["attempts"]) for level in levels] == [
        ("concurrency-1 run 1", 1, 20),
        ("concurrency-1 run 2", 1, 20),
        ("concurrency-4", 4, 20),
    ]


def test_a_log_cut_in_two_stays_one_run(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "slot-fill-concurrency1.log").read_text().splitlines(keepends=True)
    half = next(n for n, line in enumerate(lines) if n > len(lines) / 2 and "Starting booking flow" in line)
    for name, part in (("slot-fill-concurrency1.log.1", lines[:half]), ("slot-fill-concurrency1.log", lines[half:])):
        (tmp_path / name).write_text("".join(part))
    [level] = metrics(read_logs([tmp_path]).attempts)["levels"]
    assert (level["label"], level["attempts"]) == ("concurrency-1", 20)


def test_time_between_the_logs_of_a_level_is_no_running_time() -> None:
    first = [_attempt(number, concurrency=10) for number in range(10)]
    hours_later = START + timedelta(hours=5)
    end = hours_later + timedelta(seconds=20.1)
    second = [
        _attempt(number, concurrency=10, file="/logs/b.log", started_at=hours_later, ended_at=end)
        for number in range(10, 20)
    ]
    level = _level(first + second)  # 9.9 s and 20.1 s
    assert level["throughput_per_min"] == pytest.approx(20 / 0.5)
    assert level["effective_concurrency"] == 10


def test_there_are_never_more_workers_than_the_level_has() -> None:
    read_back = [_attempt(number, ended_at=START + timedelta(seconds=number + 9)) for number in range(4)]
    assert _level(read_back)["effective_concurrency"] == 2


def _slot(number: int, at_s: float, took_s: float = 1.0, **facts: Any) -> Attempt:
    """Attempt ``number`` of a slot's own log, six lines long, its first line after those of the one before."""
    began = START + timedelta(seconds=at_s)
    facts = {"first_line": 2 + 6 * number, "last_line": 7 + 6 * number, "worker": 1, **facts}
    times = {"started_at": began, "ended_at": began + timedelta(seconds=took_s), "total_ms": 1000.0}
    return replace(_attempt(number), **(times | facts))


@pytest.mark.parametrize(
    "after",
    [
        # Stopped between two attempts: a line of the resumed run stands between them.
        [_slot(2, 3600, first_line=16, last_line=21), _slot(3, 3601, first_line=22, last_line=27)],
        # Killed in the second one, which was made again: first begun before the gap, measured after it.
        [_slot(2, 2, took_s=3599), _slot(3, 3601)],
    ],
)
def test_the_time_between_a_kill_and_the_resumed_run_is_no_running_time(after: list[Attempt]) -> None:
    attempts = [_slot(0, 0), _slot(1, 1), *after]
    assert _level(attempts)["throughput_per_min"] == pytest.approx(60)  # four bookings in 2 s + 2 s


def test_an_attempt_settled_after_a_kill_is_a_booking_without_a_time() -> None:
    settled = _slot(2, 2, took_s=3598, total_ms=None, seams=1)
    attempts = [_slot(0, 0), _slot(1, 1), settled, _slot(3, 3600), _slot(4, 3601)]
    assert _level(attempts)["throughput_per_min"] == pytest.approx(5 / 4 * 60)


def test_a_pause_that_the_platform_asked_for_is_running_time() -> None:
    refused = _slot(1, 1, outcome="rate_limited")
    attempts = [_slot(0, 0), refused, _slot(2, 29, first_line=15, last_line=20)]
    assert _level(attempts)["throughput_per_min"] == pytest.approx(2 / 0.5)


def test_levels_come_in_the_order_of_their_concurrency_and_logs_from_their_common_folder() -> None:
    attempts = [_attempt(0, label=f"concurrency-{n}", concurrency=n, file=f"/r/{n}/x.log") for n in (16, 2, 8)]
    attempts.append(_attempt(1, label="a folder", concurrency=None, file="/r/other.log"))
    levels = metrics(frame(attempts))["levels"]
    assert [level["label"] for level in levels] == ["concurrency-2", "concurrency-8", "concurrency-16", "a folder"]
    assert [level["logs"] for level in levels] == [["2/x.log"], ["8/x.log"], ["16/x.log"], ["other.log"]]


def test_means_are_rounded_half_up_as_the_platform_does() -> None:
    # 19850.55 is stored as 19850.5499…, 0.25 exactly: half of the one is below, of the other is half.
    pair = [_attempt(0, submit_ms=19850.5, inline_ms=0.2), _attempt(1, submit_ms=19850.6, inline_ms=0.3)]
    [row] = platform_table(frame(pair))
    assert (row["avgSubmitMs"], row["avgInlineMs"]) == (19850.5, 0.3)


def test_json_holds_the_figures_and_one_flat_record_an_attempt(corpus: Path) -> None:
    attempts = read_logs(sorted(corpus.glob("*.log"))).attempts
    read = json.loads("".join(render(metrics(attempts), attempts, "json")), parse_constant=pytest.fail)
    assert len(read["attempts"]) == 127
    assert all(not isinstance(value, dict | list) for record in read["attempts"] for value in record.values())
    first = read["attempts"][0]
    assert datetime.fromisoformat(first["started_at"]).tzinfo is not None
    assert sum(level["attempts"] for level in read["levels"]) == 127


@pytest.mark.parametrize("text", ["plain", 'a "quoted" \\ path', "line\nend", "Réservé ✓", "\x7f\u202e", ""])
def test_json_holds_any_text_as_it_is_and_nothing_a_terminal_obeys(text: str) -> None:
    attempts = frame([_attempt(0), _attempt(1, "api_rejected", reason=text, submit_ms=0.1)])
    written = "".join(render(metrics(attempts), attempts, "json"))
    assert "\x7f" not in written and "\u202e" not in written
    assert json.loads(written)["attempts"] == attempt_records(attempts)


def test_csv_has_a_header_and_a_line_an_attempt() -> None:
    attempts = frame([_attempt(0), _attempt(1, "api_rejected", reason='"quoted", with a comma')])
    rows = list(csv.DictReader(io.StringIO("".join(render(metrics(attempts), attempts, "csv")))))
    assert [row["outcome"] for row in rows] == ["confirmed_inline_api", "api_rejected"]
    assert rows[1]["reason"] == '"quoted", with a comma' and rows[0]["reason"] == ""


def test_records_are_json_of_any_missing_value() -> None:
    [record] = attempt_records(frame([_attempt(0, submit_ms=None, started_at=None, reason=None, worker=None)]))
    assert [record[name] for name in ("submit_ms", "started_at", "reason", "worker")] == [None] * 4
    assert record["ended_at"] == "2026-03-03T17:00:00.900Z"
    assert not any(isinstance(value, pd.Timestamp) for value in record.values())
