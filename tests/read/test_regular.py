"""The fast reader of regular attempts says what the reader of everything says, of whole logs and of damaged ones.

SLOTFILL_MUTATIONS sets how many damaged files are read both ways (a hundred by default).
"""

import json
import os
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damages import DAMAGES

from slotfill.errors import BadInput
from slotfill.read.attempt_record import AttemptRecord
from slotfill.read.attempts import attempts
from slotfill.read.file import LogFile, read_file
from slotfill.read.files import read_files, read_over_cores
from slotfill.read.part import read_part
from slotfill.read.text import Irregular, line_starts, lines
from slotfill.read.wrapper import is_bare
from whitehorse.server_log import inspect

MUTATIONS = int(os.environ.get("SLOTFILL_MUTATIONS", "100"))
BATCHES = 4
SLOW = 1 << 40

BEGUN = "2026-11-27T05:51:47.903Z"
OURS = [
    ("INFO", "bootstrap", "Starting booking flow", {"iteration": 1, "worker": 3, "level": "concurrency-4", "round": 2}),
    ("INFO", "submit", "Submitting booking request", {"date": "2026-12-15", "time": "16:30", "party": 10}),
    ("INFO", "submit", "Booking created", {"duplicate": False, "durationMs": 30.179, "sentAt": BEGUN, "lagMs": 0.1}),
    ("INFO", "inline_poll", "Status update", {"attempt": 1, "status": "pending", "pollReadMs": 2}),
    ("INFO", "inline_poll", "Status update", {"attempt": 2, "autoAssignLastResult": {"source": "x", "durationMs": 3}}),
    (
        *("INFO", "final_summary", "Booking confirmed inline (API response)"),
        {
            "submitDurationMs": 30.179,
            "totalDurationMs": 31,
            "status": "confirmed_inline_api",
            "reason": None,
            "tableNumbers": ["MD-11", "MD-12"],
            "confirmedAt": BEGUN,
            "startTime": "16:30:00",
            "reference": "R\u00e9",
            "autoAssignLastResult": {"success": True, "reason": "INLINE_TIMEOUT", "attemptId": "a"},
        },
    ),
]
"""The lines of a regular attempt of our own driver's."""

ODD = (
    *(True, None, 0, -0.0, 1.0, 2**53, 10**400, "", "x", "24:00", "17:30", ["a"], [1], {}, {"source": 3}, 1e300),
    *(
        "2026-02-30T00:00:00Z",
        "2026-11-27 05:51",
        "confirmed_background",
        "aborted",
        "deadlock detected",
        "\ud800",
        "ſ",
    ),
)
"""Values that a field may not have been meant to have."""
NAMES = ("state", "settled", "lastAutoAssignResult", "status", "slot", "partySize", "correlationId", "durationMs", "q")


def _lines(rng: random.Random) -> Iterator[str]:
    """Some attempts, mixed as several workers mix them, with odd fields, lines twice, out of order, and left out."""
    told = []
    for number in range(rng.randint(1, 6)):
        lines = [
            (f"[2026-11-27T05:{number:02d}:{second:02d}.903Z]", *line[:3], {"correlationId": f"id-{number}", **line[3]})
            for second, line in enumerate(OURS)
            if rng.random() < 0.97
        ]
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            at = rng.randrange(len(lines))
            stamp, level, phase, message, fields = lines[at]
            kind = rng.randrange(6)
            if kind == 0:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            elif kind == 1:
                lines[at] = (rng.choice(("[2026-13-27T05:00:00.903Z]", stamp)), "ERROR", phase, message, fields)
            elif kind == 2:
                message = rng.choice(
                    ("Booking failed to confirm", "Booking created", "Booking confirmed via inline flow")
                )
                lines[at] = (stamp, level, phase, message, fields)
            elif kind == 3:
                fields.pop(rng.choice(list(fields)))
            else:
                fields[rng.choice((*NAMES, *fields))] = rng.choice(ODD)
        told.append(
            [
                f"{stamp} [{level}] [{phase}] {message} {json.dumps(fields, separators=(',', ':'))}"
                for stamp, level, phase, message, fields in lines
            ]
        )
    if rng.random() < 0.2:
        told.append(['[2026-11-27T05:00:00.903Z] [INFO] [diagnostics] Slot planned {"label":"c","concurrency":4}'])
    extra = [
        "❌ fetch failed",
        ">>> [worker 2] Slot 16:30 (party 10)",
        "[stress] Summary {",
        "  failures: 1,",
        "}",
        "",
        "?",
    ]
    told.append([line for line in extra if rng.random() < 0.1])
    while any(told):
        lines = rng.choice([each for each in told if each])
        yield lines.pop(0)


def _both(path: Path) -> tuple[LogFile | str, LogFile | str]:
    found: list[LogFile | str] = []
    for large in (-1, SLOW):
        try:
            found.append(read_file(path, large))
        except BadInput as error:
            found.append(str(error))
    return found[0], found[1]


def _told(record: AttemptRecord) -> list[Any]:
    facts = {name: value for name, value in record.facts.items() if value is not None}
    return [facts, record.first_line, record.last_line, record.created_at, record.fullness]


def _agree(path: Path, table: bool = True) -> int:
    """How many attempts were read the fast way; both ways say the same."""
    fast, slow = _both(path)
    if isinstance(fast, str) or isinstance(slow, str):
        assert fast == slow
        return 0
    for name in ("is_empty", "understood", "wrapper", "unread", "error_lines", "died"):
        assert getattr(fast, name) == getattr(slow, name), name
    assert fast.server == slow.server
    if table:
        pd.testing.assert_frame_equal(attempts([fast]), attempts([slow]))
    assert list(map(_told, fast.records())) == list(map(_told, slow.records()))
    return len(fast.table)


def _agree_on(number: int, path: Path) -> int:
    """``_agree``, naming the number that makes such a file again; some are compared as tables, too."""
    try:
        return _agree(path, table=number % 40 < BATCHES)
    except AssertionError as error:
        raise AssertionError(f"file {number}") from error


@pytest.mark.parametrize("batch", range(BATCHES))
def test_both_readers_agree_on_attempts_with_odd_fields_and_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    regular = 0
    for number in range(batch, MUTATIONS, BATCHES):
        monkeypatch.setattr("slotfill.read.text.BLOCK", (1 << 22, 3000, 400)[number // BATCHES % 3])
        monkeypatch.setattr("slotfill.read.regular.MOST_OPEN", (1 << 20, 1000)[number // BATCHES % 5 == 0])
        path = tmp_path / "slot-fill-concurrency4.log"
        path.write_text("\n".join(_lines(random.Random(number))), errors="replace")
        regular += _agree_on(number, path)
    assert regular > MUTATIONS / BATCHES / 4


def _served(rng: random.Random) -> str:
    """Blocks of a server, one after another, some with another one in the middle, a key twice, or no end."""
    blocks = []
    for number in range(rng.randint(2, 12)):
        fields = {"bookingId": f"b-{number % 3}", "attemptId": "a", "durationMs": number * 1.5, "reason": None}
        if rng.random() < 0.2:
            fields |= {"error": "deadlock detected", "hasHold": False}
        what = rng.choice(("start", "quote result", "confirm completed", "confirm error"))
        lines = f"[bookings][POST][inline-auto-assign] {what} {inspect(fields)}".split("\n")
        if rng.random() < 0.2:
            at = rng.randrange(len(lines)) + 1
            lines[at:at] = rng.choice(
                (lines[1:2], ["[auto-assign][job] scheduled {"], [" POST /api/bookings 201 in 2ms"])
            )
        if rng.random() < 0.1:
            lines.pop()
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_both_readers_agree_on_the_blocks_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    bookings = 0
    for number in range(batch, MUTATIONS, BATCHES):
        monkeypatch.setattr("slotfill.read.text.BLOCK", (1 << 22, 3000, 400)[number // BATCHES % 3])
        path = tmp_path / "server.log"
        path.write_text(_served(random.Random(number)))
        fast, slow = _both(path)
        assert isinstance(fast, LogFile) and isinstance(slow, LogFile), number
        assert fast.server == slow.server, number
        assert (fast.unread, fast.error_lines, fast.is_empty) == (slow.unread, slow.error_lines, slow.is_empty), number
        bookings += len(fast.server.facts)
    assert bookings > MUTATIONS / BATCHES


@pytest.mark.parametrize("batch", range(BATCHES))
def test_both_readers_agree_on_damaged_logs(corpus: Path, tmp_path: Path, batch: int) -> None:
    files = [file for file in sorted(corpus.rglob("*.log")) if 0 < file.stat().st_size < 50_000]
    regular = 0
    for number in range(batch, MUTATIONS, BATCHES):
        rng = random.Random(number)
        path = tmp_path / "slot-fill.log"
        path.write_bytes(rng.choice(DAMAGES)(rng, rng.choice(files).read_bytes(), rng.choice(files).read_bytes()))
        regular += _agree_on(number, path)
    assert regular > MUTATIONS / BATCHES / 4


def _in_parts(path: Path, count: int) -> LogFile | None:
    """The file as it is read over the cores, but in this process; ``None`` where it has to be read in one go."""
    if not is_bare(lines(path)):
        return None
    starts, file = line_starts(path, count), LogFile(path)
    try:
        file.read_parts([read_part(path, *ends) for ends in zip_longest(starts, starts[1:])])
    except Irregular:
        return None
    return file


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_parts_of_a_log_say_what_the_whole_says(tmp_path: Path, batch: int) -> None:
    together = 0
    for number in range(batch, MUTATIONS, BATCHES):
        path = tmp_path / "slot-fill-concurrency4.log"
        path.write_text("\n".join(_lines(random.Random(number))), errors="replace")
        whole, parts = read_file(path, SLOW), _in_parts(path, 2 + number % 3)
        if parts is not None:
            assert list(map(_told, parts.records())) == list(map(_told, whole.records())), number
            for name in ("is_empty", "understood", "unread", "error_lines", "died"):
                assert getattr(parts, name) == getattr(whole, name), (number, name)
            together += len(parts.table)
    assert together > MUTATIONS / BATCHES / 4


def test_logs_read_over_the_cores_say_what_they_say_one_by_one(corpus: Path) -> None:
    paths = sorted(corpus.glob("slot-fill-concurrency?.log"))
    for path, many in zip(paths, read_files(paths, worth_it=0), strict=True):
        large, alone = read_over_cores(path, 2), read_file(path, SLOW)
        assert isinstance(many, LogFile) and isinstance(large, LogFile)
        pd.testing.assert_frame_equal(attempts([many]), attempts([alone]))
        pd.testing.assert_frame_equal(attempts([large]), attempts([alone]))


def test_what_is_read_of_a_servers_log_can_be_handed_over_between_processes(corpus: Path) -> None:
    read = read_file(corpus / "next-dev-server-concurrency1-postfix.log", -1)
    assert read.server.facts
    assert pickle.loads(pickle.dumps(read)).server == read.server


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(corpus: Path, tmp_path: Path) -> None:
    found = list(read_files([corpus / "slot-fill-concurrency1.log", tmp_path / "none.log"], worth_it=0))
    assert isinstance(found[0], LogFile) and isinstance(found[1], BadInput)


def test_both_readers_agree_on_every_log_there_is(corpus: Path) -> None:
    found = Counter[bool]()
    for path in sorted([*corpus.rglob("*.log"), *(corpus.parent / "cases").rglob("*.log*")]):
        found[_agree(path) > 0] += 1
    assert found[True] > 10
