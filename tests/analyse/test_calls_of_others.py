"""A platform of others with OpenTelemetry: its recorded bodies beside client logs, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from recorded import client_log

from slotfill.cli import cli

CASE = "zc-pb-near-c1"


@pytest.fixture(scope="module")
def reported(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``slotfill report LOG --otlp FOLDER --out FOLDER``."""
    folder = tmp_path_factory.mktemp("otlp")
    log, out = folder / "slot-fill-concurrency1.log", folder / "report"
    client_log(corpus / "otlp" / CASE / "bookings.jsonl", log)
    outcome = CliRunner().invoke(cli, ["report", str(log), "--otlp", str(corpus / "otlp" / CASE), "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    return out


def test_the_calls_are_in_the_document_as_the_truths_have_them(reported: Path, corpus: Path) -> None:
    expected = truths(corpus)
    calls = json.loads((reported / "bottleneck.json").read_text())["calls"]
    assert (calls["source"], calls["attempts"]) == ("spans", {"concurrency-1": {"trace": 10}})
    counted = sum(row["calls_per_attempt"] for row in calls["targets"])
    assert counted == pytest.approx(sum(one["rest_calls"] + one["other_calls"] for one in expected.values()) / 10)
    flags = next(row for row in calls["targets"] if row["target"] == "feature_flag_overrides")
    again = sum(many - 1 for one in expected.values() for many, _, table in one["dup_exact"] if "flag" in table)
    assert (flags["method"], flags["repeats"]) == ("GET", pytest.approx(again / 10))
    for shown in calls["waterfalls"]:
        own = expected[shown["correlation_id"]]
        assert len(shown["bars"]) == own["rest_calls"] + own["other_calls"]
        assert sum(bar["failed"] for bar in shown["bars"]) == own["error_calls"]
        assert shown["request_ms"] == pytest.approx(own["client_ms"], abs=0.1)
    assert {shown["which"] for shown in calls["waterfalls"]} == {"median", "slowest"}
    assert sum(row["share"] for row in calls["targets"]) == pytest.approx(1)


def test_the_page_draws_them_and_the_advice_names_them(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "<h2>Inside a booking</h2>" in page
    assert "The slowest attempt by its request" in page
    assert "<title>POST rpc/create_booking_with_capacity_check: " in page
    assert "feature_flag_overrides ×6" in page
    assert "<code>observability_events</code> is called (POST)" in page


def truths(corpus: Path) -> dict[str, dict[str, Any]]:
    """``expected.json`` of the case by correlation id."""
    bookings = map(json.loads, (corpus / "otlp" / CASE / "bookings.jsonl").read_text().splitlines())
    ids = {booking["booking_id"]: booking["correlation_id"] for booking in bookings}
    told = json.loads((corpus / "otlp" / "expected.json").read_text())
    return {ids[one["booking_id"]]: one for one in told if one["case"] == CASE}
