"""The server log is what Node would print: compared with a real Node where there is one."""

import json
import random
import shutil
import string
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from whitehorse.server_log import ServerLog, duration, inspect

PRINT = "const util = require('util'); for (const value of JSON.parse(require('fs').readFileSync(0)))\
 console.log(JSON.stringify(util.inspect(value)));"


def any_value(draw: random.Random, depth: int) -> Any:
    """Anything the log may hold, small enough that Node neither groups nor abbreviates it."""
    kind = draw.randrange(8 if depth else 6)
    if kind == 6:
        return {any_key(draw): any_value(draw, depth - 1) for _ in range(draw.randrange(6))}
    if kind == 7:
        return [any_value(draw, depth - 1) for _ in range(draw.randrange(5))]
    return [None, True, draw.randrange(-(10**6), 10**9), round(draw.uniform(-1e4, 1e4), 3), any_text(draw, 60), "id"][
        kind
    ]


def any_key(draw: random.Random) -> str:
    # Not a number: JavaScript puts those first.
    return draw.choice("abc_ '") + any_text(draw, 12)


def any_text(draw: random.Random, longest: int) -> str:
    alphabet = string.ascii_letters + string.digits + "-_ '\"`\\:,{}éß£€\t"
    return "".join(draw.choice(alphabet) for _ in range(draw.randrange(longest)))


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here to compare with")
def test_objects_are_printed_as_node_prints_them() -> None:
    draw = random.Random(20261122)
    values = [{f"key{n}": any_value(draw, 2) for n in range(draw.randrange(1, 8))} for _ in range(1500)]
    ended = subprocess.run(["node", "-e", PRINT], input=json.dumps(values), capture_output=True, text=True, check=True)
    expected = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [inspect(value) for value in values] == expected


def test_lines_of_the_recorded_platform_are_printed_alike(corpus: Path) -> None:
    """Rebuilt by hand from the recorded text, so that the layout is all that can differ."""
    recorded = (corpus / "local" / "near" / "next-dev-server-concurrency8.log").read_text()
    keys = {"bookingId": "9c49d06e-5eb3-41e1-8b44-886d93e771d9", "attemptId": "688373e0-1845-431c-b870-a347f236f58f"}
    quote = {**keys, "durationMs": 93, "hasHold": True, "reason": None, "alternates": 0}
    hold = {
        "bookingId": keys["bookingId"],
        "restaurantId": "f744f804-f32b-4d63-bf5e-dd0906588619",
        "tableIds": ["ac10f3b5-6c3f-4439-9f63-b97e61fab824"],
        "startAt": "2026-12-14T17:00:00",
        "endAt": "2026-12-14T18:30:00",
        "expiresAt": "2026-12-14T18:32:00",
        "code": "PGRST204",
        "message": "Could not find the 'table_hold_members' column of 'table_holds' in the schema cache",
    }
    for label, fields in (
        ("[bookings][POST][inline-auto-assign] start", {**keys, "timeoutMs": 12000}),
        ("[bookings][POST][inline-auto-assign] quote result", quote),
        ("[capacity.hold] hold insert failed", hold),
        ("[bookings][POST][inline-auto-assign] failed", {"error": "deadlock detected"}),
    ):
        assert f"{label} {inspect(fields)}\n" in recorded


def test_a_block_is_appended_in_one_piece(tmp_path: Path) -> None:
    one, other = ServerLog(tmp_path / "log"), ServerLog(tmp_path / "log")
    for log in (one, other, one):
        log.write("[x]", {"at": datetime(2026, 12, 14, 17, tzinfo=UTC), "text": "y" * 70})
    block = f"[x] {{\n  at: '2026-12-14T17:00:00.000Z',\n  text: '{'y' * 70}'\n}}\n"
    assert (tmp_path / "log").read_text() == block * 3


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(1.8, "1800µs"), (385.2, "385ms"), (1981.0, "1981ms"), (20612.0, "20.6s")]
)
def test_durations_have_the_units_of_the_platform(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text
