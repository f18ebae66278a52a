"""What a terminal shows: the platform's figures and the verdict, within 80 columns."""

from pathlib import Path
from xml.etree import ElementTree as Xml

import click
import pytest
from click.testing import CliRunner

from slotfill.analyse.metrics import metrics, platform_table
from slotfill.analyse.thresholds import Check
from slotfill.attempt import frame
from slotfill.cli import cli
from slotfill.outcomes import in_words
from slotfill.read import read_logs
from slotfill.report import junit, terminal


def widest(text: str) -> int:
    return max(map(len, click.unstyle(text).splitlines()))


def test_the_recorded_runs_fit_a_terminal_with_their_published_figures(corpus: Path) -> None:
    attempts = read_logs([corpus / f"slot-fill-concurrency{level}.log" for level in (1, 4, 8)]).attempts
    table = terminal.platform_table(platform_table(attempts), metrics(attempts)["levels"])
    assert widest(table) <= 80
    row = next(line for line in table.splitlines() if line.startswith("concurrency-4 "))
    assert row.split() == ["concurrency-4", "20", "19850.5", "989.4", "21469.9", "0.9", "1"]
    assert "concurrency-8: 20 attempts: 20 confirmed" in table


def test_no_attempts_are_said_to_be_none() -> None:
    assert terminal.platform_table(platform_table(frame([])), []) == "no booking attempts"


def test_outcomes_are_told_in_words_the_confirmed_first() -> None:
    counted = {"api_timeout": 9, "confirmed_inline_api": 3, "confirmed_background": 1, "exhausted": 10}
    assert in_words(counted) == "4 confirmed, 10 exhausted, 9 api timeout"


def test_the_verdict_of_a_run_fits_a_terminal_and_has_no_markup(corpus: Path) -> None:
    from slotfill.analyse import study

    told = study.of_logs([corpus / f"slot-fill-concurrency{level}.log" for level in (1, 4)])
    text = click.unstyle(terminal.verdict(told))
    assert widest(text) <= 80 and "**" not in text and "`" not in text
    assert "ms, mean" in text and any(line.startswith("concurrency-4 ") for line in text.splitlines())


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # a chart has no picture of a control character
@pytest.mark.parametrize("command", ["report", "logs", "compare"])
def test_no_text_of_a_log_reaches_the_terminal_unescaped(corpus: Path, tmp_path: Path, command: str) -> None:
    planned = r'[slot] Slot planned {"label":"x\u001b]0;pwn\u0007\u009b2J\u202e"}'
    log = tmp_path / "x.log"
    log.write_text(
        f"[2025-11-15T10:30:00.000Z] [INFO] {planned}\n{(corpus / 'slot-fill-concurrency1.log').read_text()}"
    )
    words = {"report": [log, "--out", tmp_path / "report"], "logs": [log], "compare": [log, log]}[command]

    told = CliRunner().invoke(cli, [command, *map(str, words)], color=True)

    assert told.exit_code == 0 and "pwn" in told.output
    assert not set("\x1b\x07\x9b\u202e") & set(click.unstyle(told.output))


def test_thresholds_and_integrity_are_test_cases(tmp_path: Path) -> None:
    class Told:
        integrity = {  # noqa: RUF012
            "after": {
                "concurrency-1": {
                    "checks": [
                        {"name": "overlapping_assignments", "status": "violated", "violations": 2},
                        {"name": "foreign_keys", "status": "unknown", "detail": "a table is hidden\x1b"},
                        {"name": "empty_window", "status": "passed"},
                    ]
                }
            }
        }

    limits = [("kept", 90.0), ("broken", 120.0), ("unknown", None)]
    checks = [Check("concurrency-1", f"submit_ms.{each[0]}", 100, each[1], each[0]) for each in limits]  # type: ignore[arg-type]
    junit.write(tmp_path / "out.xml", Told(), checks)  # type: ignore[arg-type]
    thresholds, integrity = Xml.parse(tmp_path / "out.xml").getroot()
    for suite in (thresholds, integrity):
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    failure = thresholds.find(".//failure")
    assert failure is not None and failure.get("message") == "submit_ms.broken is 120.0, the limit is 100"
