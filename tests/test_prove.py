"""``slotfill prove`` on the embedded platform: a planted distance to the database is named and confirmed."""

import json
from pathlib import Path

import pytest

from slotfill import params, pipeline
from slotfill.run import open_run

FAR = {
    "date": "2099-12-15",
    "start": "17:00",
    "end": "18:00",
    "concurrency": "[1]",
    "rounds": "1",
    "stress_max": "2",
    "min_party_size": "3",
    "max_party_size": "4",
    "faults.db_rtt_ms": "20",
}


def test_a_planted_distance_is_named_and_confirmed(tmp_path: Path) -> None:
    said: list[str] = []
    assert pipeline.run(params.load([], FAR), tmp_path / "run", said.append, proving=True) == 0
    run = open_run(tmp_path / "run")
    found, verdict = (json.loads((run.folder / name).read_text()) for name in ("proof.json", "bottleneck.json"))

    assert (verdict["verdict"], verdict["status"]) == ("database", "confirmed")
    assert (found["status"], found["border"]) == ("confirmed", "database")
    total = next(effect for effect in found["effects"] if effect["part"] == "total")
    counted = next(each for each in verdict["findings"] if each["name"] == "round_trips")["figures"]["database_calls"]
    assert total["predicted_ms"] == pytest.approx(counted * found["delay_ms"])
    # What the way costs is what was planted, once for each of the calls.
    assert found["distance"]["way_ms"] >= 20
    assert found["distance"]["cost_ms"] == pytest.approx(counted * 20, rel=0.25)
    assert "Extrapolated to a way of 0 ms" in (run.folder / "report.html").read_text(encoding="utf-8")
    # The run's own measurements are what they were: ten bookings.
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert [level["attempts"] for level in metrics["levels"]] == [10]
    assert not run.platform_home.exists()
    assert said[-1] == str(run.folder)
