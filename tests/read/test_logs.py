"""Whole logs, recorded and made up: what comes out as attempts, runs and lines not read."""

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slotfill.events import Event, format_event, parse_event
from slotfill.read import read_logs

START = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
PLACE = ["file", "first_line", "last_line", "summary_line", "label", "concurrency", "worker"]


def _event(seconds: float, phase: str, message: str, severity: str = "INFO", **fields: Any) -> str:
    return format_event(Event(START + timedelta(seconds=seconds), severity, phase, message, fields))


def _attempt(
    name: str, at: float = 0, took: float = 0.3, slot: str = "17:00", party: int = 2, **more: Any
) -> list[str]:
    """The lines of a confirmed attempt, as the platform prints them."""
    took = 0.3
    known = {"correlationId": name, "bookingId": f"booking-{name}"}
    summary = {"submitDurationMs": took * 1000, "totalDurationMs": took * 1000 + 10, "inlineDurationMs": 0}
    summary |= {"status": "confirmed_inline_api", "tablesAssigned": 1, "seatWaste": 0, "iteration": 1}
    return [
        _event(at, "bootstrap", "Starting booking flow", correlationId=name, iteration=1, **more),
        _event(at, "submit", "Submitting booking request", correlationId=name, time=slot, party=party),
        _event(at + took, "submit", "Booking created", **known, durationMs=took * 1000, initialStatus="confirmed"),
        _event(at + took + 0.01, "final_summary", "Booking confirmed inline (API response)", **known, **summary),
    ]


def _write(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _recorded(corpus: Path) -> list[Path]:
    return sorted(corpus.glob("*.log"))


def _what_happened(attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts without where they were read."""
    happened = attempts.drop(columns=PLACE).sort_values(["started_at", "correlation_id"], ignore_index=True)
    assert len(happened)
    return happened


# --- the recorded logs


def test_each_recorded_attempt_counts_once_with_its_outcome(corpus: Path) -> None:
    reading = read_logs(_recorded(corpus))
    assert Counter(reading.attempts["outcome"]) == {
        "confirmed_inline_api": 110,
        "confirmed_inline_poll": 5,
        "failed_background_timeout": 7,
        "api_timeout": 1,
        "api_unreachable": 2,
        "aborted": 2,
    }
    assert reading.note is None


def test_recorded_tries_that_died_before_an_attempt_are_reported_with_their_reason(corpus: Path) -> None:
    reading = read_logs([corpus / "manual-slot-2026-04-03-12-15.log"])
    assert reading.attempts.empty
    assert list(reading.runs["party_size"]) == [7, 1, 8, 4, 9, 8, 8, 6]
    assert reading.runs["reason"].str.startswith("Environment validation failed at runtime: NEXT_PUBLIC_SUPABASE").all()


@pytest.mark.parametrize(
    ("folder", "level", "outcomes"),
    [
        ("near", 1, {"confirmed_inline_api": 26, "failed_background_timeout": 1}),
        ("near", 4, {"confirmed_inline_api": 29, "confirmed_inline_poll": 3}),
        ("near", 8, {"confirmed_inline_api": 46, "confirmed_inline_poll": 6}),
        ("far", 1, {"confirmed_inline_api": 8}),
        ("far", 4, {"confirmed_inline_api": 16}),
    ],
)
def test_the_local_runs_have_their_counts(corpus: Path, folder: str, level: int, outcomes: dict[str, int]) -> None:
    attempts = read_logs([corpus / "local" / folder]).attempts
    assert Counter(attempts.loc[attempts["concurrency"] == level, "outcome"]) == outcomes


def test_the_same_level_of_two_folders_stays_two(corpus: Path) -> None:
    labels = set(read_logs([corpus / "local"]).attempts["label"])
    assert labels == {f"near/concurrency-{n}" for n in (1, 4, 8)} | {f"far/concurrency-{n}" for n in (1, 4)}


def test_two_attempts_that_got_the_same_booking_stay_two(corpus: Path) -> None:
    attempts = read_logs([corpus / "booking-flow-stress-20251114T205344Z.log"]).attempts
    assert attempts["booking_id"].nunique() == 1
    assert list(attempts["outcome"]) == ["confirmed_inline_api", "failed_background_timeout"]
    assert list(attempts["correlation_id"].isna()) == [False, True]  # only the confirmed one's summary names it


def test_copies_of_a_log_without_ids_whole_cut_or_doubled_add_no_attempt(corpus: Path, tmp_path: Path) -> None:
    original = corpus / "booking-flow-stress-20251114T205344Z.log"
    content = original.read_text(encoding="utf-8")
    (tmp_path / "cut.log").write_text(content[:5000])
    (tmp_path / "doubled.log").write_text(content + content)
    once = _what_happened(read_logs([original]).attempts)
    pd.testing.assert_frame_equal(_what_happened(read_logs([tmp_path, original]).attempts), once)
    pd.testing.assert_frame_equal(_what_happened(read_logs([tmp_path / "doubled.log"]).attempts), once)


def test_a_failed_attempt_is_rebuilt_from_its_lines(corpus: Path) -> None:
    file = corpus / "slot-fill-2025-11-25-18-00-p12-20251115T093500Z-2t3ws3.log"
    failed = read_logs([file]).attempts.iloc[0]
    at = {
        match[2]: datetime.fromisoformat(match[1])
        for match in re.finditer(r"\[(\S+Z)\] \S+ \S+ ([\w ]+)", file.read_text())
    }

    def between(first: str, last: str) -> float:
        return (at[last] - at[first]) / timedelta(milliseconds=1)

    assert failed["outcome"] == "failed_background_timeout"
    assert failed["inline_ms"] == between("Booking created ", "Inline window expired without confirmation ")
    assert failed["post_job_ms"] == between("Background auto", "Booking failed to confirm ")
    assert (failed["submit_ms"], failed["background_ms"], failed["total_ms"]) == (19559, 14502, 195301)
    assert (failed["inline_polls"], failed["initial_status"], failed["tables_assigned"]) == (11, "pending", 0)
    assert failed["reason"] == "Table 04bc201e-56f2-4246-9ad7-73ced4f20385 is not adjacent to the selected set"
    assert failed["allocator_reason"] == "INLINE_TIMEOUT"


def test_an_aggregate_without_error_lines_gives_the_same_as_the_full_log(corpus: Path, tmp_path: Path) -> None:
    full = corpus / "slot-fill-2025-11-25-18-00-p12-20251115T093500Z-2t3ws3.log"
    alone = read_logs([full]).attempts
    lacking = [line for line in _lines(full) if "[WARN]" not in line and "[ERROR]" not in line and "❌" not in line]
    aggregate = _write(tmp_path / "slot-fill-concurrency4.log", lacking)
    for paths in ([full, aggregate], [aggregate, full]):
        both = read_logs(paths).attempts
        pd.testing.assert_frame_equal(_what_happened(both), _what_happened(alone))
        assert list(both["label"]) == ["concurrency-4"]  # a name that says the level goes before a folder


def test_an_aggregate_that_lacks_the_failed_summary_does_not_pass_for_a_crash(corpus: Path) -> None:
    attempts = read_logs([corpus / "slot-fill-concurrency1-part2.log"]).attempts
    assert list(attempts["outcome"]) == ["failed_background_timeout"]


@pytest.mark.parametrize("seed", range(5))
def test_workers_interleaved_in_one_file_come_apart_again(corpus: Path, tmp_path: Path, seed: int) -> None:
    files = sorted(corpus.glob("slot-fill-2025-11-25-1*-p?-20251115T10*.log"))
    queues = [_lines(file) for file in files]
    pick, mixed = random.Random(seed), list[str]()
    while queues := [queue for queue in queues if queue]:
        mixed.append(pick.choice(queues).pop(0))
    together = read_logs([_write(tmp_path / "mixed.log", mixed)])
    pd.testing.assert_frame_equal(_what_happened(together.attempts), _what_happened(read_logs(files).attempts))
    assert together.note is None


def test_other_forms_of_the_same_logs_read_the_same(corpus: Path, tmp_path: Path) -> None:
    for file in _recorded(corpus):
        text = file.read_text(encoding="utf-8")
        (tmp_path / file.name).with_suffix(".log.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    original = read_logs(_recorded(corpus)).attempts
    pd.testing.assert_frame_equal(_what_happened(read_logs([tmp_path]).attempts), _what_happened(original))


def test_plain_json_lines_read_like_pretty_ones(corpus: Path, tmp_path: Path) -> None:
    pretty = corpus / "slot-fill-concurrency8.log"
    plain = []
    for line in _lines(pretty):
        event = parse_event(line)
        if event is None or event.at is None:
            plain.append(line)
        else:
            head = {"timestamp": event.at.isoformat(), "level": event.level, "phase": event.phase}
            plain.append(json.dumps({**head, "message": event.message, **event.fields}))
    read = read_logs([_write(tmp_path / "plain.log", plain)]).attempts
    pd.testing.assert_frame_equal(_what_happened(read), _what_happened(read_logs([pretty]).attempts))


def test_the_order_of_the_files_changes_nothing_but_where_it_was_read(corpus: Path) -> None:
    forward, backward = read_logs(_recorded(corpus)), read_logs(_recorded(corpus)[::-1])
    pd.testing.assert_frame_equal(_what_happened(forward.attempts), _what_happened(backward.attempts))


# --- outcomes


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        ("❌ Booking request timed out", "api_timeout"),
        ("❌ fetch failed", "api_unreachable"),
        ('❌ Booking request failed (400): {"error":"Invalid payload"}', "api_rejected"),
        ("❌ Booking request failed (404): Restaurant not found", "api_rejected"),
        ("❌ Booking request failed (429): RATE_LIMITED", "rate_limited"),
        ("❌ Booking request failed (503): upstream", "api_error"),
        ("[supabase] strict hold enforcement active", "aborted"),
    ],
)
def test_an_attempt_that_died_has_the_outcome_of_its_last_line(tmp_path: Path, last: str, outcome: str) -> None:
    path = _write(tmp_path / "a.log", [*_attempt("one"), *_attempt("two", at=5)[:2], last])
    attempts = read_logs([path]).attempts
    assert list(attempts["outcome"]) == ["confirmed_inline_api", outcome]
    assert attempts["reason"].iloc[1] == (last.removeprefix("❌ ") if "❌" in last else "the log ends mid-flight")


def test_a_failure_without_id_is_given_to_an_attempt_heard_of_no_more(tmp_path: Path) -> None:
    crashed = _attempt("crashed", at=-60, slot="17:00")[:2]  # the worker of 17:00 was started again
    lines = [*crashed, *_attempt("old", at=0, slot="17:00")[:2], *_attempt("done", at=1, slot="17:15")[:2]]
    lines += _attempt("new", at=20, slot="17:30")[:2]
    lines += ["❌ Booking request timed out", *_attempt("done", at=1, slot="17:15")[2:], "❌ fetch failed"]
    attempts = read_logs([_write(tmp_path / "a.log", lines)]).attempts.set_index("correlation_id")
    assert dict(attempts["outcome"]) == {
        "crashed": "aborted",
        "old": "api_timeout",
        "done": "confirmed_inline_api",
        "new": "api_unreachable",
    }


def test_our_own_failed_request_says_so_in_its_summary(tmp_path: Path) -> None:
    failure = _event(30, "submit", "Booking request timed out", "ERROR", correlationId="a", durationMs=30000)
    summary = {"correlationId": "a", "state": "error", "status": "api_timeout", "durationMs": 30001.5, "worker": 3}
    lines = [*_attempt("a")[:2], failure, _event(30, "final_summary", "Booking failed to confirm", "ERROR", **summary)]
    attempt = read_logs([_write(tmp_path / "a.log", lines)]).attempts.iloc[0]
    assert (attempt["outcome"], attempt["submit_ms"], attempt["total_ms"]) == ("api_timeout", 30000, 30001.5)
    assert (attempt["worker"], attempt["reason"]) == (3, "Booking request timed out")


@pytest.mark.parametrize(
    ("extra", "state", "outcome"),
    [
        ([], "timeout", "failed_inline_timeout"),
        (
            [("inline_poll", "Booking reached terminal status before confirmation")],
            "terminal",
            "failed_inline_terminal",
        ),
        ([("background_job", "Triggering autoAssignAndConfirmIfPossible")], "timeout", "failed_background_timeout"),
        ([("background_job", "Triggering autoAssignAndConfirmIfPossible")], "terminal", "failed_background_terminal"),
        ([("background_job", "Triggering autoAssignAndConfirmIfPossible")], "exhausted", "exhausted"),
    ],
)
def test_a_failed_summary_without_status_gets_its_outcome_from_the_phases(
    tmp_path: Path, extra: list[tuple[str, str]], state: str, outcome: str
) -> None:
    lines = _attempt("a")[:3] + [_event(20, phase, message, correlationId="a") for phase, message in extra]
    lines.append(_event(60, "final_summary", "Booking failed to confirm", "ERROR", correlationId="a", state=state))
    assert list(read_logs([_write(tmp_path / "a.log", lines)]).attempts["outcome"]) == [outcome]


def test_values_of_the_wrong_kind_are_missing_and_raise_nothing(tmp_path: Path) -> None:
    odd = {
        "submitDurationMs": "fast",
        "totalDurationMs": 10**400,
        "seatWaste": 1.5,
        "tablesAssigned": [1],
        "iteration": True,
    }
    odd |= {
        "correlationId": "a",
        "status": "made up",
        "reference": "\ud800",
        "inlineDurationMs": None,
        "partySize": 1e300,
    }
    line = "[2026-03-03T17:00:01.000Z] [INFO] [final_summary] Booking confirmed via inline flow " + json.dumps(odd)
    attempt = read_logs([_write(tmp_path / "a.log", [*_attempt("a")[:2], line])]).attempts.iloc[0]
    assert attempt["outcome"] == "confirmed_inline_poll"
    for column in ("submit_ms", "total_ms", "seat_waste", "tables_assigned", "inline_ms"):
        assert pd.isna(attempt[column])
    attempt["reference"].encode()


def test_an_attempt_settled_after_a_crash_has_the_later_outcome_and_a_seam(tmp_path: Path) -> None:
    known: dict[str, Any] = {"correlationId": "a", "bookingId": "b"}
    stopped = {"state": "aborted", "status": "aborted", "reason": "interrupted"}
    settled = {"status": "confirmed_background", "settled": True, "confirmedAt": "2026-03-03T17:00:30.500Z"}
    lines = [
        *_attempt("a")[:3],
        _event(9, "final_summary", "Booking failed to confirm", "ERROR", **known, **stopped),
        _event(90, "bootstrap", "Resuming slot fill", slot="17:00"),
        _event(91, "final_summary", "Booking confirmed after background job", **known, **settled),
    ]
    attempt = read_logs([_write(tmp_path / "a.log", lines)]).attempts.iloc[0]
    assert (attempt["outcome"], attempt["seams"]) == ("confirmed_background", 1)
    assert attempt["confirmed_at"] == START + timedelta(seconds=30.5)
    assert pd.isna(attempt["reason"]) and pd.isna(attempt["total_ms"])


@pytest.mark.parametrize("measured_first", [True, False])
def test_a_measured_summary_stands_before_one_that_was_only_looked_up(tmp_path: Path, measured_first: bool) -> None:
    *lines, measured = _attempt("a")
    known = {"correlationId": "a", "status": "confirmed_inline_poll", "settled": True, "totalDurationMs": None}
    reconciled = _event(60, "final_summary", "Booking confirmed via inline flow", **known)
    ends = [measured, reconciled] if measured_first else [reconciled, measured]

    [attempt] = read_logs([_write(tmp_path / "a.log", [*lines, *ends])]).attempts.to_dict("records")

    assert (attempt["outcome"], attempt["total_ms"]) == ("confirmed_inline_api", 310)


def test_an_attempt_that_an_outage_failed_and_that_was_made_again_counts_as_the_second_time(tmp_path: Path) -> None:
    failed = [
        *_attempt("a")[:2],
        _event(0.2, "submit", "Booking request failed (500): boom", "ERROR", correlationId="a", durationMs=200),
        _event(
            0.3, "final_summary", "Booking failed to confirm", correlationId="a", status="api_error", durationMs=200
        ),
    ]

    log = _write(tmp_path / "a.log", [*failed, *_attempt("a", at=60)])
    [attempt] = read_logs([log]).attempts.to_dict("records")

    assert (attempt["outcome"], attempt["submit_ms"], attempt["reason"]) == ("confirmed_inline_api", 300, None)
    assert attempt["started_at"] == START + timedelta(seconds=60)


def test_a_confirmed_attempt_whose_answer_was_lost_still_says_how_its_request_failed(tmp_path: Path) -> None:
    known: dict[str, Any] = {"correlationId": "a", "bookingId": "b", "httpStatus": 502}
    text = "Booking request failed (502): bad gateway"
    settled = {"status": "confirmed_background", "settled": True, "reason": "bad gateway", "submitDurationMs": 31}
    lines = [
        *_attempt("a")[:2],
        _event(9, "submit", text, "ERROR", **known, durationMs=31),
        _event(90, "final_summary", "Booking confirmed after background job", **known, **settled),
    ]
    attempt = read_logs([_write(tmp_path / "a.log", lines)]).attempts.iloc[0]
    assert (attempt["outcome"], attempt["seams"], attempt["submit_ms"]) == ("confirmed_background", 1, 31)
    assert (attempt["reason"], attempt["http_status"]) == (text, 502)
    assert pd.isna(attempt["total_ms"])


# --- levels


def test_the_level_recorded_inside_goes_before_name_and_folder(tmp_path: Path) -> None:
    planned = _event(0, "diagnostics", "Slot planned", label="warm cache", concurrency=4, slot="17:00", partySize=2)
    _write(tmp_path / "run" / "concurrency-2" / "slot-fill-concurrency8.log", [planned, *_attempt("a")])
    _write(tmp_path / "run" / "concurrency-2" / "slot-fill-concurrency16.log", _attempt("b"))
    _write(tmp_path / "run" / "concurrency-2" / "slot-fill.log", _attempt("c"))
    _write(tmp_path / "run" / "other" / "slot-fill.log", _attempt("d", level="concurrency-1", concurrency=1))
    _write(tmp_path / "run" / "other" / "more.log", _attempt("e"))
    _write(tmp_path / "run" / "concurrency32" / "slot-fill.log", _attempt("f"))
    attempts = read_logs([tmp_path]).attempts.set_index("correlation_id")
    assert dict(attempts["label"]) == {
        "a": "warm cache",
        "b": "concurrency-16",
        "c": "concurrency-2",
        "d": "concurrency-1",
        "e": "other",
        "f": "concurrency-32",
    }
    assert dict(attempts["concurrency"].dropna()) == {"a": 4, "b": 16, "c": 2, "d": 1, "f": 32}


def test_the_same_level_of_two_runs_is_told_apart_by_their_folders(tmp_path: Path) -> None:
    for run in ("before", "after"):
        _write(tmp_path / run / "concurrency-4" / "slot.log", _attempt(run, level="concurrency-4", concurrency=4))
    _write(tmp_path / "third" / "concurrency-8" / "slot.log", _attempt("third", level="concurrency-8", concurrency=8))
    assert set(read_logs([tmp_path]).attempts["label"]) == {
        "before/concurrency-4",
        "after/concurrency-4",
        "concurrency-8",
    }


def test_two_runs_of_one_plan_share_ids_and_not_attempts(tmp_path: Path) -> None:
    for minutes, run in enumerate(("before", "after")):
        lines = _attempt("same", at=60 * minutes) + _attempt(f"of {run}", at=60 * minutes + 1)
        _write(tmp_path / run / "concurrency-4" / "slot.log", lines)
        _write(tmp_path / run / "concurrency-4" / "all.log", lines)

    attempts = read_logs([tmp_path]).attempts

    assert list(attempts["correlation_id"]) == ["same", "of before", "same~2", "of after"]
    assert [Path(file).parents[1].name for file in attempts["file"]] == ["before", "before", "after", "after"]


# --- runs


def test_of_runs_announced_together_only_the_one_that_never_began_is_reported(tmp_path: Path) -> None:
    def banner(slot: str, party: int) -> str:
        return f"> tsx scripts/run-booking-flow.ts --date 2026-03-03 --time {slot} --party-size {party} --pretty"

    lines = [
        banner(r"17\:00", 2),
        banner(r"17\:15", 4),
        banner("17:30", 6),
        "Error: connect ECONNREFUSED 127.0.0.1:5432",
    ]
    lines += [*_attempt("c", slot="17:30", party=6), *_attempt("a", slot="17:00", party=2)]
    runs = read_logs([_write(tmp_path / "a.log", lines)]).runs
    assert runs[["line", "slot", "booking_date", "party_size"]].values.tolist() == [[2, "17:15", "2026-03-03", 4]]


def test_a_script_that_crashed_without_any_banner_is_a_run_too(tmp_path: Path) -> None:
    lines = ["Error: Cannot find module 'x'", "    at Module._load (node:internal/x:1:2)", "", "Node.js v22.12.0"]
    runs = read_logs([_write(tmp_path / "a.log", lines)]).runs
    assert list(runs["reason"]) == ["Cannot find module 'x'"]


def test_a_planned_slot_that_was_stopped_before_its_first_attempt_is_reported(tmp_path: Path) -> None:
    planned = _event(
        0, "diagnostics", "Slot planned", label="concurrency-4", slot="17:30", date="2026-03-03", partySize=2
    )
    ended = _event(1, "diagnostics", "Slot finished", slot="17:30", state="aborted", confirmed=0, reason="interrupted")
    runs = read_logs([_write(tmp_path / "a.log", [planned, ended])]).runs
    assert runs[["slot", "party_size", "reason"]].values.tolist() == [["17:30", 2, "interrupted"]]


# --- what is not read


def test_what_is_not_understood_is_counted_with_its_first_place(corpus: Path, tmp_path: Path) -> None:
    lines = _lines(corpus / "slot-fill-concurrency4.log")
    cut = next(line for line in lines if "Booking created" in line)[:150]
    for at, garbage in ((90, "%% what is this"), (40, "lorem ipsum dolor"), (20, cut)):
        lines.insert(at, garbage)
    path = _write(tmp_path / "a.log", lines)
    reading = read_logs([path])
    assert len(reading.attempts) == 20
    assert reading.note is not None and reading.note.startswith(f"3 lines not read, first at {path}:21 (")


def test_a_torn_last_line_is_counted_and_the_attempt_before_it_stays(tmp_path: Path) -> None:
    whole = "\n".join([*_attempt("a"), *_attempt("b", at=3)])
    (tmp_path / "a.log").write_text(whole[:-40])
    reading = read_logs([tmp_path])
    assert list(reading.attempts["outcome"]) == ["confirmed_inline_api", "aborted"]
    assert reading.note is not None and reading.note.startswith("1 line not read")
    (tmp_path / "a.log").write_text(whole)
    assert list(read_logs([tmp_path]).attempts["outcome"]) == ["confirmed_inline_api", "confirmed_inline_api"]


def test_an_event_behind_the_rest_of_a_cut_line_still_counts(tmp_path: Path) -> None:
    lines = _attempt("a")
    lines[3] = '{"half": tr' + lines[3]
    reading = read_logs([_write(tmp_path / "a.log", lines)])
    assert list(reading.attempts["outcome"]) == ["confirmed_inline_api"]
    assert reading.note is not None and reading.note.startswith("1 line not read")


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("")
    assert read_logs([tmp_path]).attempts.empty


# --- what may be shown


def test_no_secret_of_a_log_is_in_what_is_read_of_it(tmp_path: Path) -> None:
    secret = "hunter2-Hx7qZ2"
    url = f"postgresql://app:{secret}@db.example.com/app"
    failed = _event(3, "submit", f"Booking request failed (500): {url}", "ERROR", correlationId="b", durationMs=1)
    last = {"success": False, "reason": f"connect {url}", "source": "inline"}
    summary = _event(4, "final_summary", "Booking failed to confirm", "ERROR", correlationId="c", reason=f"at {url}")
    lines = [*_attempt("a"), *_attempt("b", at=2)[:2], failed, *_attempt("c", at=3)[:2], summary]
    lines += [_event(9, "final_summary", "Booking failed to confirm", correlationId="d", autoAssignLastResult=last)]
    lines += [f"%% {url}", f"❌ fetch failed: {url}", f"Error: deadlock detected at {url}"]
    block = ["[bookings][POST][inline-auto-assign] confirm error {", "  bookingId: 'x',", f"  error: '{url}'", "}"]
    _write(tmp_path / "client.log", lines)
    _write(tmp_path / "server.log", [*block, f"deadlock detected in {url}"])
    _write(tmp_path / "dead.log", ["> tsx scripts/run-booking-flow.ts --time 17:00", f"Error: cannot reach {url}"])
    reading = read_logs([tmp_path])
    tables = [reading.attempts, reading.server, reading.runs, reading.error_lines, reading.unread]
    everything = "".join(table.to_csv() for table in tables) + "".join(reading.notes)
    assert secret not in everything and everything.count("***:***@db.example.com") >= 7
