"""A platform of others with OpenTelemetry: its recorded bodies beside client logs, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from recorded import client_log

from slotfill.analyse import study
from slotfill.cli import cli
from slotfill.files import write_json, write_parquet
from slotfill.read.kept import SPANS
from slotfill.read.spans import read_spans
from slotfill.report import calls

CASE = "zc-pb-near-c1"


@pytest.fixture(scope="module")
def reported(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``slotfill report LOG --otlp FOLDER --out FOLDER``."""
    folder = tmp_path_factory.mktemp("otlp")
    log, out = folder / "slot-fill-concurrency1.log", folder / "report"
    client_log(corpus / "otlp" / CASE / "bookings.jsonl", log)
    outcome = CliRunner().invoke(cli, ["report", str(log), "--otlp", str(corpus / "otlp" / CASE), "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    assert "bookings.jsonl:1" in outcome.stderr and "more passed over" in outcome.stderr
    return out


def test_the_calls_are_in_the_document_as_the_truths_have_them(reported: Path, corpus: Path) -> None:
    expected = truths(corpus)
    seen = json.loads((reported / "bottleneck.json").read_text())["calls"]
    assert (seen["source"], seen["attempts"]) == ("spans", {"concurrency-1": {"trace": 10}})
    counted = sum(row["calls_per_attempt"] for row in seen["targets"])
    assert counted == pytest.approx(sum(one["rest_calls"] + one["other_calls"] for one in expected.values()) / 10)
    flags = next(row for row in seen["targets"] if row["target"] == "feature_flag_overrides")
    again = sum(many - 1 for one in expected.values() for many, _, table in one["dup_exact"] if "flag" in table)
    assert (flags["method"], flags["repeats"]) == ("GET", pytest.approx(again / 10))
    for shown in seen["waterfalls"]:
        own = expected[shown["correlation_id"]]
        assert len(shown["bars"]) == own["rest_calls"] + own["other_calls"]
        assert sum(bar["failed"] for bar in shown["bars"]) == own["error_calls"]
        assert shown["request_ms"] == pytest.approx(own["client_ms"], abs=0.1)
    assert {shown["which"] for shown in seen["waterfalls"]} == {"median", "slowest"}
    assert sum(row["share"] for row in seen["targets"]) == pytest.approx(1)


def test_the_page_draws_them_and_the_advice_names_them(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "<h2>Inside a booking</h2>" in page
    assert "The slowest attempt by its request" in page
    assert "<title>POST rpc/create_booking_with_capacity_check: " in page
    assert "feature_flag_overrides ×6" in page
    assert "<code>observability_events</code> is called (POST)" in page


def test_what_was_lost_on_the_way_to_a_run_is_told(corpus: Path, tmp_path: Path) -> None:
    level = tmp_path / "concurrency-1"
    level.mkdir()
    client_log(corpus / "otlp" / CASE / "bookings.jsonl", level / "slot-fill-concurrency1.log")
    write_parquet(level / SPANS, read_spans([corpus / "otlp" / CASE / "otlp"]).spans)
    counts = {"bodies": 9, "spans": 900, "lost": 31, "refused": 1, "unreadable": 0}
    write_json(level / "level.json", {"state": "driven", "heard": {"otlp": counts}})
    view = study.of_level(level).document.calls
    assert view is not None
    assert "On the way 31 spans and 1 body of spans were lost, so calls can be missing." in calls.summary(view)


def truths(corpus: Path) -> dict[str, dict[str, Any]]:
    """``expected.json`` of the case by correlation id."""
    bookings = map(json.loads, (corpus / "otlp" / CASE / "bookings.jsonl").read_text().splitlines())
    ids = {booking["booking_id"]: booking["correlation_id"] for booking in bookings}
    told = json.loads((corpus / "otlp" / "expected.json").read_text())
    return {ids[one["booking_id"]]: one for one in told if one["case"] == CASE}
