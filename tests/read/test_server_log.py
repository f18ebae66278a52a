"""The server's log: blocks put together again, joined by booking, and answers given to the right one."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slotfill.read import Reading, read_logs

INLINE = "[bookings][POST][inline-auto-assign]"


def _block(head: str, **fields: Any) -> list[str]:
    """A block as console.log prints it."""
    shown = [f"  {key}: {value if isinstance(value, int | float) else repr(value)}," for key, value in fields.items()]
    return [f"{head} {{", *shown[:-1], shown[-1].removesuffix(","), "}"]


def _booking(name: str, quote: float = 10, confirm: float = 20) -> list[list[str]]:
    known = {"bookingId": name, "attemptId": f"attempt-{name}"}
    return [
        _block(f"{INLINE} start", **known, timeoutMs=12000),
        _block(f"{INLINE} quote result", **known, durationMs=quote, alternates=0),
        _block(f"{INLINE} confirm completed", **known, holdId=f"hold-{name}", durationMs=confirm),
    ]


def _read(path: Path, lines: list[str]) -> Reading:
    path.write_text("\n".join(lines) + "\n")
    return read_logs([path])


def _flat(blocks: list[list[str]]) -> list[str]:
    return [line for block in blocks for line in block]


def _steps(server: pd.DataFrame) -> dict[str, tuple[Any, Any]]:
    steps = server.set_index("booking_id")[["quote_ms", "confirm_ms"]].astype(object).replace({pd.NA: None})
    return {str(name): (row["quote_ms"], row["confirm_ms"]) for name, row in steps.iterrows()}


def test_the_recorded_submit_splits_into_quote_confirm_and_rest(corpus: Path) -> None:
    logs = [corpus / "slot-fill-concurrency1-postfix.log", corpus / "next-dev-server-concurrency1-postfix.log"]
    reading = read_logs(logs[:1], server_logs=logs[1:])
    joined = reading.attempts.merge(reading.server, on="booking_id", validate="one_to_one")
    assert len(joined) == 20
    assert joined["submit_ms"].mean() == pytest.approx(19782, abs=1)
    assert joined["quote_ms"].mean() == pytest.approx(5783, abs=1)
    assert joined["confirm_ms"].mean() == pytest.approx(5868, abs=1)
    rest = joined["submit_ms"] - joined["quote_ms"] - joined["confirm_ms"]
    assert rest.mean() == pytest.approx(8130, abs=1)
    assert joined["confirm_error"].notna().sum() == 6
    assert joined["aborted_ms"].notna().sum() == 20  # the last one's block is cut before its end
    assert (joined["allocator_attempt_id_x"] == joined["allocator_attempt_id_y"]).all()
    assert reading.note is None


def test_a_server_log_in_a_folder_is_known_by_its_content(corpus: Path, tmp_path: Path) -> None:
    for file in (corpus / "local" / "near").glob("*.log"):
        renamed = file.name.replace("next-dev-server", "terminal-2")
        (tmp_path / renamed).write_bytes(file.read_bytes())
    reading = read_logs([tmp_path])
    created = reading.attempts["booking_id"].dropna()
    assert len(created) == 111 and set(created) <= set(reading.server["booking_id"])


@pytest.mark.parametrize("level", [1, 4, 8])
def test_every_answer_of_the_recorded_runs_goes_to_a_booking_it_can_be_of(corpus: Path, level: int) -> None:
    near = corpus / "local" / "near"
    logs = [near / f"slot-fill-concurrency{level}.log", near / f"next-dev-server-concurrency{level}.log"]
    reading = read_logs(logs)
    joined = reading.attempts.merge(reading.server, on="booking_id")
    took = [float(ms) for ms in re.findall(r"POST /api/bookings 201 in ([\d.]+)ms", logs[1].read_text())]
    took += [float(s) * 1000 for s in re.findall(r"POST /api/bookings 201 in ([\d.]+)s", logs[1].read_text())]
    assert sorted(joined["handler_ms"].dropna()) == sorted(took)  # none lost, none given twice
    gap = joined["submit_ms"] - joined["handler_ms"]
    assert gap.min() > -60 and gap.median() < 50  # seconds are printed with one decimal
    assert joined["handler_ms"].corr(joined["submit_ms"]) > 0.98


def test_signs_of_pressure_are_counted_where_the_truth_is_known(corpus: Path) -> None:
    local = corpus / "local"
    near, far = read_logs([local / "near"]).error_lines, read_logs([local / "far"]).error_lines
    printed = "".join(file.read_text() for file in (local / "near").glob("*.log")).count("deadlock detected")
    assert Counter(near["kind"]) == {"deadlock": printed}
    assert far.empty
    first = near.iloc[0]
    assert "deadlock detected" in Path(first["file"]).read_text().splitlines()[first["line"] - 1]


def test_a_failed_fetch_is_a_sign_in_a_server_log_only(tmp_path: Path) -> None:
    (tmp_path / "client.log").write_text("> tsx scripts/run-booking-flow.ts --time 17:00\n❌ fetch failed\n")
    lines = [*_flat(_booking("a")), "TypeError: fetch failed", "    at node:internal/deps/undici:1:2"]
    reading = _read(tmp_path / "server.log", lines)
    assert list(reading.error_lines["kind"]) == ["fetch_failed"]
    assert read_logs([tmp_path / "client.log"]).error_lines.empty


@pytest.mark.parametrize("at", range(6))
def test_a_block_cut_by_another_block_and_other_lines_loses_nothing(tmp_path: Path, at: int) -> None:
    start, quote, confirm = _booking("a", quote=11, confirm=22)
    inside = [*_flat(_booking("b", quote=33, confirm=44)), " POST /api/bookings 201 in 5ms", "[resend] Email sent", ""]
    cut = [*quote[: 1 + at], *inside, *quote[1 + at :]]
    reading = _read(tmp_path / "a.log", [*_flat(_booking("z")), *start, *cut, *confirm])
    assert _steps(reading.server) == {"z": (10, 20), "a": (11, 22), "b": (33, 44)}
    assert reading.note is None


def test_blocks_of_two_requests_line_by_line_keep_their_own_values(tmp_path: Path) -> None:
    lines = _flat(_booking("z"))
    for first, second in zip(_booking("a", 11, 22), _booking("b", 33, 44), strict=True):
        lines += [line for pair in zip(first, second, strict=True) for line in pair]
    reading = _read(tmp_path / "a.log", lines)
    assert _steps(reading.server) == {"z": (10, 20), "a": (11, 22), "b": (33, 44)}


def test_a_block_cut_by_the_end_of_the_log_tells_what_it_has(tmp_path: Path) -> None:
    lines = [*_flat(_booking("a")), *_block(f"{INLINE} aborted", bookingId="a", durationMs=12651, timeoutMs=12000)[:3]]
    assert list(_read(tmp_path / "a.log", lines).server["aborted_ms"]) == [12651]


def test_a_block_whose_end_is_lost_does_not_take_the_next_ones_lines(tmp_path: Path) -> None:
    start, quote, confirm = _booking("a", 11, 22)
    reading = _read(
        tmp_path / "a.log", [*_flat(_booking("z")), *start, *quote[:2], *confirm, *_flat(_booking("b", 33, 44))]
    )
    assert _steps(reading.server) == {"z": (10, 20), "a": (None, 22), "b": (33, 44)}


def test_quote_and_hold_failures_are_kept_as_facts(tmp_path: Path) -> None:
    lines = _block(f"{INLINE} quote error", bookingId="a", durationMs=7, error="deadlock detected")
    lines += _block(f"{INLINE} hold not available", bookingId="b", reason="No tables available", durationMs=9)
    lines += [f"{INLINE} failed {{ error: 'deadlock detected' }}"]
    server = _read(tmp_path / "a.log", lines).server.set_index("booking_id")
    assert server.loc["a", "quote_error"] == "deadlock detected" and server.loc["a", "quote_ms"] == 7
    assert server.loc["b", "hold_reason"] == "No tables available"


@pytest.mark.parametrize(
    ("steps", "result", "attempts", "error"),
    [
        (["attempt.start 0", "attempt.success 0"], "succeeded", 1, None),
        (["attempt.start 0", "attempt.error 0", "attempt.start 1", "attempt.success 1"], "succeeded", 2, "no way"),
        (["attempt.start 0", "attempt.error 0", "exhausted -"], "exhausted", 1, "no way"),
        (["attempt.start 0", "attempt.error 0"], "error", 1, "no way"),
        (["scheduled -", "already_confirmed -"], "already_confirmed", 0, None),
    ],
)
def test_the_job_is_told_by_its_last_word(
    tmp_path: Path, steps: list[str], result: str, attempts: int, error: str | None
) -> None:
    lines = _flat(_booking("a"))
    for step in steps:
        what, number = step.split()
        fields: dict[str, Any] = {"attempt": int(number)} if number != "-" else {}
        fields |= {"error": "no way"} if what == "attempt.error" else {"attempts": 1} if what == "exhausted" else {}
        lines += _block(f"[auto-assign][job] {what}", bookingId="a", **fields)
    row = _read(tmp_path / "a.log", lines).server.iloc[0]
    assert (row["job_result"], row["job_attempts"]) == (result, attempts)
    assert (None if pd.isna(row["job_error"]) else row["job_error"]) == error


def test_the_job_in_the_clients_own_process_is_no_server_fact(corpus: Path) -> None:
    reading = read_logs([corpus / "booking-flow-2026-04-04-12-00-party-12-20251115T004040Z.log"])
    assert reading.server.empty
    assert "is not adjacent to the selected set" in reading.attempts["reason"].iloc[0]


def test_the_profile_gives_self_times_and_sums_a_jobs_attempts(tmp_path: Path) -> None:
    head, at = "[capacity.profile]", "2026-03-03T17:00:0{}.000Z"
    parts = {"allocatorMs": 5.5, "databaseMs": 30.25, "poolWaitMs": 1.5, "databaseCalls": 7}
    lines = _block(
        f"{head} request", bookingId="a", attemptId="x", receivedAt=at.format(1), handlerMs=40.0, apiMs=4.25, **parts
    )
    lines += _block(f"{head} inline", bookingId="a", startedAt=at.format(2), result="confirmed", **parts)
    lines += _block(f"{head} job", bookingId="a", attempt=1, startedAt=at.format(3), finishedAt=at.format(4), **parts)
    lines += _block(f"{head} job", bookingId="a", attempt=2, startedAt=at.format(5), finishedAt=at.format(6), **parts)
    row = _read(tmp_path / "server.log", lines).server.iloc[0]
    assert (row["handler_ms"], row["profile_api_ms"], row["profile_database_ms"]) == (40, 4.25, 30.25)
    assert (row["inline_database_calls"], row["inline_result"]) == (7, "confirmed")
    assert (row["job_database_ms"], row["job_pool_wait_ms"], row["job_database_calls"]) == (60.5, 3, 14)
    assert [row[name].second for name in ("profile_received_at", "job_started_at", "job_finished_at")] == [1, 3, 6]
    opened = {
        label: [n for n, line in enumerate(lines, 1) if line == f"{head} {label} {{"] for label in ("request", "job")
    }
    assert (row["profile_line"], row["job_line"]) == (opened["request"][0], opened["job"][-1])


def test_a_line_is_only_told_of_the_file_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "1.log").write_text("\n".join(_flat(_booking("a"))) + "\n")
    job = _block("[capacity.profile] job", bookingId="a", attempt=1, allocatorMs=1.0)
    (tmp_path / "2.log").write_text("\n".join(job) + "\n")
    row = read_logs([tmp_path / "1.log", tmp_path / "2.log"]).server.iloc[0]
    assert (Path(row["file"]).name, row["first_line"], row["job_allocator_ms"]) == ("1.log", 1, 1)
    assert pd.isna(row["job_line"])


def test_without_a_clients_log_only_a_certain_answer_is_given_to_a_booking(tmp_path: Path) -> None:
    lines = [*_flat(_booking("a")), " POST /api/bookings 201 in 22.1s (compile: 729ms, render: 21.4s)"]
    lines += [*_flat(_booking("b")), *_flat(_booking("c")), " POST /api/bookings 201 in 950µs (compile: 20µs)"]
    lines += [" GET /api/bookings/a 200 in 3ms", " POST /api/bookings 400 in 2ms"]
    server = _read(tmp_path / "a.log", lines).server.set_index("booking_id")
    assert (server.loc["a", "handler_ms"], server.loc["a", "compile_ms"]) == (22100, 729)
    assert server.loc[["b", "c"], "handler_ms"].isna().all()  # either may have been answered
