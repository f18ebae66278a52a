"""Exports hold what the study holds, in names that the data dictionary explains."""

import csv
import re

import pandas as pd
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from slotfill import pipeline
from slotfill.analyse import study
from slotfill.call import COLUMNS as CALL_COLUMNS
from slotfill.errors import BadInput
from slotfill.lock import held
from slotfill.params import ROOT
from slotfill.report import exports


@pytest.fixture(scope="module")
def found(recorded_levels):
    return study.of_logs([recorded_levels])


@pytest.fixture
def written(found, tmp_path):
    exports.write(found, None, tmp_path)
    return tmp_path


def _rows(file):
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def test_parquet_and_csv_hold_the_same_attempts(found, written):
    table = pd.read_parquet(written / "attempts.parquet")
    rows = _rows(written / "attempts.csv")
    assert len(table) == len(rows) == len(found.attempts) == 6
    assert [float(row["total_ms"]) for row in rows] == table["total_ms"].tolist() == [2000.0] * 6


def test_hops_of_an_attempt_add_up_to_its_total(written):
    table = pd.read_parquet(written / "hops.parquet")
    hops = ["client_ms", "network_ms", "api_ms", "allocator_ms", "queue_ms", "database_ms", "unexplained_ms"]
    assert table[hops].sum(axis=1).tolist() == pytest.approx(table["total_ms"].tolist())


def test_openmetrics_say_seconds_by_level(written):
    families = {each.name: each for each in text_string_to_metric_families((written / "metrics.prom").read_text())}
    stages = {
        (sample.labels["level"], sample.labels["stage"], sample.labels["figure"]): sample.value
        for sample in families["slotfill_stage_seconds"].samples
    }
    assert stages["concurrency-4", "total", "mean"] == 2.0
    assert families["slotfill_verdict_info"].samples[0].labels["kind"] == "constant_cost"


def test_every_column_is_in_the_data_dictionary(written):
    named = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")))
    stages = {name.replace("<stage>", stage) for name in named for stage in ("submit", "inline", "post_job", "total")}
    columns = {str(column) for file in written.glob("*.parquet") for column in pd.read_parquet(file)}
    outcomes = {
        column for column in columns if re.match("attempts_(confirmed|failed|api|exhausted|rate|aborted)", column)
    }
    assert columns | set(CALL_COLUMNS) <= named | stages | outcomes


def test_one_command_at_a_time_writes_into_a_folder(recorded_levels, tmp_path):
    folder, log = tmp_path / "out", next(recorded_levels.rglob("slot-fill-*.log"))
    folder.mkdir()
    with held(folder):
        with pytest.raises(BadInput, match="another slotfill is at work here"):
            pipeline.export([recorded_levels], [], folder, print)
        with pytest.raises(BadInput, match="another slotfill is at work here"):
            pipeline.compare(log, log, folder)
    assert not any(folder.iterdir())


def test_a_formula_from_a_platform_is_text_in_csv(found, tmp_path):
    found.attempts.loc[0, "reason"] = "=cmd()"
    exports.write(found, None, tmp_path)
    rows = _rows(tmp_path / "attempts.csv")
    assert rows[0]["reason"] == "'=cmd()"
