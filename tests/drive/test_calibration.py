"""The driver measures itself against a server that does nothing, as it is going to measure."""

import asyncio
import json
import ssl
from dataclasses import replace
from typing import Any

from slotfill.drive.calibration import Calibration, calibrate
from slotfill.drive.client import Client, open_transport
from slotfill.drive.clock import SystemClock


def test_a_level_that_needs_more_than_half_of_the_driver_says_so() -> None:
    calibration = Calibration(workers=8, requests=100, added_p50_ms=0.2, added_p99_ms=1.0, attempts_per_s=1_000)

    assert calibration.warning(500) is None
    assert "60%" in str(calibration.warning(600))


def test_what_is_found_while_calibrating_is_not_in_the_levels_own_database(
    make_level: Any, make_plan: Any, make_settings: Any
) -> None:
    settings, clock = make_settings(concurrency=2), SystemClock()

    def open_client() -> Client:
        return Client(open_transport("http://127.0.0.1:1", ssl.create_default_context(), False, clock))

    async def calibrated() -> tuple[Calibration | None, bool]:
        level = replace(make_level(settings), clock=clock, found=asyncio.Event())
        return await calibrate(make_plan(settings), level, open_client), level.found.is_set()

    calibration, found = asyncio.run(calibrated())
    assert calibration is not None and calibration.requests > 0 and not found


def test_every_level_keeps_what_measuring_it_cost(level: Any) -> None:
    texts: list[str] = []
    level.drive(lambda line: texts.append(line.get("text", "")))

    kept = json.loads((level.folder / "calibration.json").read_text())
    assert kept["workers"] == 4 and kept["requests"] > 0 and kept["attempts_per_s"] > 0
    assert 0 < kept["added_p50_ms"] <= kept["added_p99_ms"]
    assert any("measuring adds" in text for text in texts)
    assert any("of 4 requests in flight" in text for text in texts)
    level.check_books()  # and books nothing
