"""The report never contradicts itself: each document of simulated worlds and recorded runs, held against the others.

``python tests/worlds/coherence.py --worlds 100`` (or any paths) does the same with more.
"""

from pathlib import Path

import pytest
from coherence import contradictions
from worlds import make_world, study_of

from slotfill.analyse import study
from slotfill.report import narrative


def test_a_world_is_told_as_one(tmp_path: Path) -> None:
    world = make_world(6, "misleading", rounds=1, truth=False)
    assert contradictions(study_of(world), tmp_path) == []


@pytest.mark.parametrize("run", ["near", "lookup-failed"])
def test_a_run_of_the_genuine_platform_is_told_as_one(corpus: Path, run: str, tmp_path: Path) -> None:
    assert contradictions(study.of_run(corpus / "genuine" / run), tmp_path) == []


@pytest.mark.parametrize(
    "logs", ["local/far", "booking-flow-stress-20251114T205125Z.log", "booking-flow-stress-20251114T212107Z.log"]
)
def test_recorded_logs_are_told_as_one(corpus: Path, logs: str, tmp_path: Path) -> None:
    assert contradictions(study.of_logs([corpus / logs]), tmp_path) == []


def test_a_contradiction_is_seen(recorded_levels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a sentence with a figure of its own, and more recommendations than are counted."""
    untouched = narrative.growth
    monkeypatch.setattr(narrative, "growth", lambda document: f"{untouched(document)} It grows by 987 ms (nan).")
    monkeypatch.setattr(narrative, "recommendations", lambda document: "1. One.\n2. Two.\n" * 9)
    found = " ".join(contradictions(study.of_logs([recorded_levels]), tmp_path))
    assert "987 ms" in found
    assert "raw value" in found
    assert "18 listed" in found
