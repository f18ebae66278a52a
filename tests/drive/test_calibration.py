"""The driver measures itself against a server that does nothing, as it is going to measure."""

import json
from typing import Any

from slotfill.drive.calibration import Calibration


def test_a_level_that_needs_more_than_half_of_the_driver_says_so() -> None:
    calibration = Calibration(workers=8, requests=100, added_p50_ms=0.2, added_p99_ms=1.0, attempts_per_s=1_000)

    assert calibration.warning(500) is None
    assert "60%" in str(calibration.warning(600))


def test_every_level_keeps_what_measuring_it_cost(level: Any) -> None:
    texts: list[str] = []
    level.drive(lambda line: texts.append(line.get("text", "")))

    kept = json.loads((level.folder / "calibration.json").read_text())
    assert kept["workers"] == 4 and kept["requests"] > 0 and kept["attempts_per_s"] > 0
    assert 0 < kept["added_p50_ms"] <= kept["added_p99_ms"]
    assert any("measuring adds" in text for text in texts)
    assert any("of 4 requests in flight" in text for text in texts)
    level.check_books()  # and books nothing
