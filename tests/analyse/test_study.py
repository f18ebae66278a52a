"""Reports on the platform's own recorded runs, where the truth is known."""

import pytest

from slotfill.analyse import study
from slotfill.errors import BadInput
from slotfill.report import excerpts, narrative, tables


def test_recorded_runs_are_not_blamed_on_concurrency(corpus):
    found = study.of_logs([corpus / f"slot-fill-concurrency{level}.log" for level in (1, 4, 8)])
    text = narrative.write_up(found)
    assert "concurrency is not the cause" in text
    assert "saturates" not in text
    assert "waiting for the database" in text
    assert "8 (5 effective)" in tables.levels(found.metrics)["concurrency-8"].tolist()


def test_server_log_puts_the_allocator_first_and_cites_lines(corpus):
    logs = [corpus / "slot-fill-concurrency1-postfix.log"]
    found = study.of_logs(logs, [corpus / "next-dev-server-concurrency1-postfix.log"])
    text = narrative.write_up(found)
    assert "The slowest hop is the allocator" in text
    assert "next-dev-server-concurrency1-postfix.log:" in text


def test_blocks_of_a_server_log_are_cited_whole_with_their_first_line(corpus):
    server_log = corpus / "next-dev-server-concurrency1-postfix.log"
    found = study.of_logs([corpus / "slot-fill-concurrency1-postfix.log"], [server_log])
    rows = server_log.read_text().splitlines()
    blocks = [
        (int(str(item["source"]).rpartition(":")[2]), str(item["excerpt"]).splitlines())
        for item in found.document.as_json()["evidence"]
        if str(item["source"]).startswith(server_log.name)
    ]
    assert blocks
    for line, shown in blocks:
        assert rows[line - 1].endswith("{") and rows[line - 1] == shown[0]
        assert len(shown) > 2 and (shown[-1] == "}" or "more lines" in shown[-1])


def test_a_contended_platform_is_called_saturated_with_its_deadlocks_quoted(corpus):
    found = study.of_logs([corpus / "local" / "near"])
    text = narrative.write_up(found)
    assert "**saturates**" in text
    assert "error: 'deadlock detected'" in text


def test_starts_that_died_before_an_attempt_are_told_once_with_their_reason(corpus):
    found = study.of_logs([corpus / "manual-slot-2026-04-03-12-15.log", corpus / "slot-fill-concurrency4.log"])
    text = excerpts.sources(found.metrics, found.reading)
    assert "8 starts died before an attempt" in text
    assert text.count("Environment validation failed") == 1


def test_timing_proof_quotes_the_durations_of_the_median_attempt(corpus):
    found = study.of_logs([corpus / "slot-fill-concurrency4.log"])
    median = found.attempts.sort_values("total_ms").iloc[9]
    text = excerpts.timing_lines(found.attempts)
    assert f'"totalDurationMs":{median["total_ms"]:.0f}' in text
    assert f"slot-fill-concurrency4.log:{median['summary_line']}" in text


def test_a_folder_without_levels_is_no_run(tmp_path):
    with pytest.raises(BadInput, match="is it a run folder"):
        study.of_run(tmp_path)


def test_what_is_cited_of_others_logs_is_masked_before_it_is_kept(corpus, tmp_path):
    guest = "jane.doe@pub.example"
    server_log = tmp_path / "next-dev-server.log"
    server_log.write_text(f"[bookings][POST] failed {{ error: 'deadlock detected', customer: '{guest}' }}\n")
    found = study.of_logs([corpus / "slot-fill-concurrency1.log"], [server_log])
    cited = [str(item["excerpt"]) for item in found.document.as_json()["evidence"]]
    assert any("deadlock detected" in excerpt for excerpt in cited)
    assert guest not in str(found.document)


def test_the_genuine_platform_is_not_told_to_print_a_profile(corpus):
    near = study.of_logs([corpus / "genuine" / "near"])
    assert "DEBUG_CAPACITY_PROFILING" not in str(near.document.as_json())
