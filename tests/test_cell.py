"""A level on the embedded platform: from a clean database to its attempts, again and again."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from slotfill.attempt import is_confirmed
from slotfill.cell import Cell, _masked, fill
from slotfill.database import connect
from slotfill.drive.target import Platform, open_platform
from slotfill.files import read_json
from slotfill.outcomes import EXHAUSTED
from slotfill.params import Settings
from slotfill.read import read_logs
from slotfill.read.text import LONGEST_LINE

SETTINGS = Settings(
    start="18:00", end="18:30", concurrency=4, stress_max=8, min_party_size=7, max_party_size=12, sample_interval_ms=100
)
KEPT_MINUTES = 95
"""How long a party above six keeps its tables."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with open_platform(SETTINGS, tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="module")
def filled(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "concurrency-4"
    fill(Cell(folder, SETTINGS), platform)
    return folder


@pytest.fixture(scope="module")
def attempts(filled: Path) -> pd.DataFrame:
    return read_logs([filled]).attempts


def rows(platform: Platform, sql: str) -> pd.DataFrame:
    engine = connect.engine(platform.database_url)
    try:
        return pd.read_sql(sa.text(sql), engine)
    finally:
        engine.dispose()


def test_a_servers_log_is_copied_line_by_line_and_one_without_end_is_left_out(tmp_path: Path) -> None:
    log, copy = tmp_path / "server.log", tmp_path / "copy.log"
    longest = LONGEST_LINE * b"y"
    log.write_bytes(
        b"before\n" + b"Bearer abcdefghijklmnop " * 100_000 + b"\npassword=hunter2\n" + longest + b"\n\nend"
    )

    _masked(log, len("before\n") - 3, copy)

    first, left_out, secret, whole, *rest = copy.read_bytes().split(b"\n")
    assert (first, whole, rest) == (b"re", longest, [b"", b"end"])
    assert left_out.startswith(b"(left out") and b"hunter2" not in secret and secret.startswith(b"password")


def test_every_slot_ends_filled_or_exhausted(attempts: pd.DataFrame) -> None:
    assert attempts["slot"].nunique() == 3
    last = attempts.sort_values("iteration").groupby("slot")["outcome"].last()
    confirmed = attempts[is_confirmed(attempts)].groupby("slot").size()
    for slot, outcome in last.items():
        assert outcome == EXHAUSTED or confirmed[slot] == SETTINGS.stress_max


def test_confirmed_attempts_are_exactly_the_confirmed_bookings(platform: Platform, attempts: pd.DataFrame) -> None:
    booked = rows(platform, "SELECT id::text FROM bookings WHERE source = 'api' AND status = 'confirmed'")
    assert set(booked["id"]) == set(attempts.loc[is_confirmed(attempts), "booking_id"])


def test_seat_waste_is_what_the_tables_in_the_database_say(platform: Platform, attempts: pd.DataFrame) -> None:
    seats = rows(
        platform,
        """SELECT b.id::text, sum(t.capacity) - b.party_size AS waste FROM bookings b
           JOIN booking_table_assignments a ON a.booking_id = b.id JOIN table_inventory t ON t.id = a.table_id
           WHERE b.source = 'api' GROUP BY b.id, b.party_size""",
    ).set_index("id")["waste"]
    confirmed = attempts[is_confirmed(attempts)].set_index("booking_id")["seat_waste"]
    assert confirmed.astype(int).to_dict() == seats.clip(lower=0).astype(int).to_dict()


def test_a_slot_is_exhausted_only_where_no_table_could_take_the_party(
    platform: Platform, attempts: pd.DataFrame
) -> None:
    """Bookings are only ever added, so a seating that is free at the end was free when the slot gave up."""
    exhausted = attempts[attempts["outcome"] == EXHAUSTED]
    assert not exhausted.empty, "the settings of this test are meant to run a slot out of tables"
    tables = rows(platform, "SELECT * FROM table_inventory WHERE active").set_index("id")
    taken = rows(platform, "SELECT table_id, start_at, end_at FROM booking_table_assignments")
    for attempt in exhausted.itertuples():
        start = pd.Timestamp(f"{attempt.booking_date} {attempt.slot}", tz="Europe/London")
        end = start + pd.Timedelta(minutes=KEPT_MINUTES)
        busy = taken.loc[(taken["start_at"] < end) & (taken["end_at"] > start), "table_id"]
        free = tables.drop(index=busy.unique())
        alone = free[(free["min_party_size"] <= attempt.party_size) & (free["max_party_size"] >= attempt.party_size)]
        assert alone.empty
        small = free[free["capacity"] < attempt.party_size]
        for _, area in small.groupby(["zone_id", "category"]):
            for size in (2, 3):
                for chosen in combinations(area["capacity"], size):
                    # Tables of an area join where their capacities differ by 2 at most.
                    steps = [later - former for former, later in zip(sorted(chosen), sorted(chosen)[1:], strict=False)]
                    assert max(steps) > 2 or sum(chosen) < attempt.party_size


def test_integrity_holds_before_and_after(filled: Path) -> None:
    for when in ("before", "after"):
        report = read_json(filled / f"integrity-{when}.json")
        assert report["passed"], report
        assert not [check for check in report["checks"] if check["status"] == "unknown"]


def test_a_level_that_is_done_is_left_alone(platform: Platform, filled: Path) -> None:
    before = {file.name: file.read_bytes() for file in filled.iterdir()}
    fill(Cell(filled, SETTINGS), platform)
    assert {file.name: file.read_bytes() for file in filled.iterdir()} == before


def test_the_servers_log_of_the_level_knows_every_booking(filled: Path, attempts: pd.DataFrame) -> None:
    reading = read_logs([filled])
    assert set(attempts["booking_id"].dropna()) <= set(reading.server["booking_id"])
    assert reading.unread.empty, reading.note


def test_samples_were_taken_while_the_level_ran(filled: Path, attempts: pd.DataFrame) -> None:
    at = pd.read_parquet(filled / "samples.parquet")["at"]
    assert at.min() <= attempts["started_at"].max()
    assert at.max() >= attempts["started_at"].max()


def test_every_level_starts_from_the_same_database(platform: Platform, filled: Path, tmp_path: Path) -> None:
    again = Cell(tmp_path / "concurrency-1", SETTINGS.only(1).model_copy(update={"end": "18:00", "stress_max": 1}))
    fill(again, platform)
    counts = [read_json(folder / "integrity-before.json")["counts"] for folder in (filled, again.folder)]
    assert counts[0] == counts[1]
