"""Damaged logs: whatever happens to some lines, nothing raises, and the attempts of the others stay.

SLOTFILL_MUTATIONS sets how many damaged files are read (some hundred by default; `make mutations` reads many).
"""

import os
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damages import DAMAGES, cut, interleave

from slotfill.read import read_logs
from slotfill.read.attempts import attempts
from slotfill.read.file import LogFile
from slotfill.read.text import NotText

MUTATIONS = int(os.environ.get("SLOTFILL_MUTATIONS", "800"))
BATCHES = 4
FIGURES = ("outcome", "booking_id", "slot", "party_size", "submit_ms", "inline_ms", "total_ms", "tables_assigned")


@dataclass(frozen=True)
class Recorded:
    """An intact log: its text, and, for each attempt with an id in all its lines, these lines and what it was."""

    text: bytes
    lines: dict[str, list[bytes]]
    attempts: dict[str, Any]


@cache
def _recorded(path: Path) -> Recorded:
    text = path.read_bytes()
    known = {each.correlation_id or "": each for each in _read(path)}
    lines: dict[str, list[bytes]] = {}
    for line in text.splitlines():
        if match := re.match(rb'\[\d{4}-[^{]* \{"correlationId":"([0-9a-f-]{36})"', line):
            lines.setdefault(match[1].decode(), []).append(line)
    return Recorded(text, lines, {name: known[name] for name in lines})


def _read(path: Path) -> list[Any]:
    file = LogFile(path)
    file.read()
    return list(attempts([file]).astype(object).replace({pd.NA: None}).itertuples())


def _figures(attempt: Any) -> dict[str, Any]:
    """What must not change: what is known. How one without a summary ended stands in lines that have no id."""
    figures = {name: getattr(attempt, name) for name in FIGURES if name != "outcome" or attempt.summary_line}
    return {name: value for name, value in figures.items() if value is not None}


def _check(damaged: bytes, original: Recorded, other: bytes, path: Path) -> int:
    whole = {*original.text.splitlines(), *other.splitlines()}
    path.write_bytes(damaged)
    try:
        found = {each.correlation_id: each for each in _read(path)}
    except NotText:
        found = {}  # what is left of a small file may be more noise than text
    intact = set(damaged.splitlines())
    # Where a cut line was joined to another's end, a line may say something new, and wrong, of an attempt.
    invented = b"\n".join(intact - whole)
    untouched = [
        name
        for name, lines in original.lines.items()
        # Two runs of one plan send the same ids: what the other says of one is said of both.
        if intact.issuperset(lines) and name.encode() not in invented and name.encode() not in other
    ]
    for name in untouched:
        assert name in found, f"lost attempt {name}"
        known = _figures(original.attempts[name])
        assert {figure: getattr(found[name], figure) for figure in known} == known
    return len(untouched)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damage_raises_nothing_and_loses_no_untouched_attempt(corpus: Path, tmp_path: Path, batch: int) -> None:
    files = [file for file in sorted(corpus.rglob("*.log")) if 0 < file.stat().st_size < 50_000]
    untouched = 0
    for number in range(batch, MUTATIONS, BATCHES):
        rng = random.Random(number)
        original = _recorded(rng.choice(files))
        damage, other = rng.choice(DAMAGES), rng.choice(files).read_bytes()
        try:
            untouched += _check(damage(rng, original.text, other), original, other, tmp_path / "slot-fill.log")
        except Exception as error:
            raise AssertionError(f"mutation {number}") from error
    assert untouched > MUTATIONS / BATCHES  # the damage leaves enough to check


@pytest.mark.parametrize("number", range(40))
def test_a_damaged_log_beside_its_original_changes_no_count(corpus: Path, tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    file = corpus / "slot-fill-concurrency4.log"
    # Cuts and foreign lines only: a flipped bit in an id would rightly make another attempt of it.
    (tmp_path / "damaged.log").write_bytes(rng.choice([cut, interleave])(rng, file.read_bytes(), b"lorem\nipsum\n"))
    reading = read_logs([tmp_path / "damaged.log", file])
    assert len(reading.attempts) == 20
    assert set(reading.attempts["outcome"]) == {"confirmed_inline_api", "confirmed_inline_poll"}
