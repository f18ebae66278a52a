import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
import waiting

from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import checksum, reset
from slotfill.database.seed import plan_day, seed_intelligent, seed_today
from slotfill.drive.target import LAYOUT
from slotfill.errors import BadInput

EMBEDDED = Target("embedded", LAYOUT)
GIVE_AWAY = """
INSERT INTO booking_table_assignments (id, booking_id, table_id, start_at, end_at)
SELECT id, id, %s, %s, %s FROM bookings LIMIT 1"""
GIVEN_AWAY = "SELECT table_id, start_at, end_at FROM booking_table_assignments WHERE id = booking_id"
WAITS = "SELECT FROM pg_locks WHERE NOT granted"


def test_same_seed_gives_the_same_rows_and_ids(venue, new_database, template, day, connected):
    twin = connected(new_database(template))
    for database in (venue, twin):
        seed_intelligent(database, 11, target=EMBEDDED)
        seed_today(database, day, 11, target=EMBEDDED)
    assert checksum(venue) == checksum(twin)


def test_another_seed_gives_other_rows(venue, day):
    seed_today(venue, day, 1, target=EMBEDDED)
    first = checksum(venue)
    reset(venue, target=EMBEDDED)
    seed_today(venue, day, 2, target=EMBEDDED)
    assert checksum(venue)["bookings"] != first["bookings"]


def test_seeding_twice_changes_nothing(seeded, day):
    before = checksum(seeded)
    seed_intelligent(seeded, 7, target=EMBEDDED)
    seed_today(seeded, day, 7, target=EMBEDDED)
    assert checksum(seeded) == before


def test_a_table_given_away_meanwhile_is_left_to_whom_it_was_given(venue, day, fetch):
    """The platform's booking is not committed yet when the seed looks for free tables, and then it is."""
    seed_today(venue, day, 7, target=EMBEDDED)
    (wanted, *_) = fetch(venue, "SELECT table_id, start_at, end_at FROM booking_table_assignments ORDER BY 1, 2")
    reset(venue, target=EMBEDDED)
    seed_today(venue, day + timedelta(1), 8, target=EMBEDDED)
    with venue.connect() as platform, ThreadPoolExecutor() as aside:
        platform.exec_driver_sql(GIVE_AWAY, wanted)
        seeding = aside.submit(seed_today, venue, day, 7, target=EMBEDDED)
        waiting.until(lambda: seeding.done() or fetch(venue, WAITS), "the seed meets the platform's booking")
        platform.commit()
        assert seeding.result()["booking_table_assignments"] > 1
    assert fetch(venue, GIVEN_AWAY) == [wanted]


def test_seeds_pass_the_integrity_check(seeded):
    report = check(seeded)
    assert {each.status for each in report.checks} == {"passed"}
    assert report.counts["bookings"] > 100


def test_days_bookings_are_split_as_published(venue, day, fetch):
    seed_today(venue, day, 4, target=EMBEDDED)
    kinds = dict(fetch(venue, "SELECT booking_type, count(*) FROM bookings GROUP BY 1"))
    total = sum(kinds.values())
    assert {kind: count / total for kind, count in kinds.items()} == {"lunch": 0.3, "drinks": 0.1, "dinner": 0.6}
    assert fetch(venue, "SELECT DISTINCT booking_date, status::text, source FROM bookings") == [
        (day, "confirmed", "seed")
    ]


def test_parties_are_mostly_of_two_and_four():
    wishes = plan_day(random.Random(1), date(2026, 12, 9), 1000)
    sizes = Counter(wish.party_size for wish in wishes)
    assert set(sizes) == {2, 3, 4, 6, 8}
    assert sizes[2] + sizes[4] > 2 * (sizes[3] + sizes[6] + sizes[8])


def test_every_start_lies_on_the_grid_within_opening_hours():
    for wish in plan_day(random.Random(2), date(2026, 12, 9), 500):
        assert wish.at.minute % 15 == 0
        assert 12 <= wish.at.hour <= 20
        assert wish.at.hour < 20 or wish.at.minute == 0
        assert (wish.booking_type == "dinner") == (wish.at.hour >= 17) or wish.booking_type == "drinks"


def test_tables_are_held_by_party_size_and_the_row_by_type(seeded, fetch):
    held = fetch(
        seeded,
        "SELECT DISTINCT b.party_size, extract(epoch FROM a.end_at - a.start_at)::int / 60 "
        "FROM bookings b JOIN booking_table_assignments a ON a.booking_id = b.id ORDER BY 1",
    )
    assert held == [(2, 65), (3, 80), (4, 80), (6, 90), (8, 95)]
    lasts = fetch(seeded, "SELECT DISTINCT booking_type, (end_time - start_time)::text FROM bookings ORDER BY 1")
    assert lasts == [("dinner", "02:00:00"), ("drinks", "01:00:00"), ("lunch", "01:30:00")]


def test_tables_that_are_taken_are_not_given_again(venue, day, fetch):
    for seed in range(6):
        seed_today(venue, day, seed, target=EMBEDDED)
    assert check(venue).passed
    [(bookings,)] = fetch(venue, "SELECT count(*) FROM bookings")
    assert bookings > 60


def test_evening_keeps_room_for_a_run(venue, day, fetch):
    seed_today(venue, day, 1, target=EMBEDDED)
    [(busiest,)] = fetch(
        venue,
        "SELECT max(busy) FROM (SELECT count(*) AS busy FROM generate_series(timestamptz '2026-12-09 16:00Z', "
        "'2026-12-09 20:00Z', '15 min') AS slot JOIN booking_table_assignments a "
        "ON a.start_at <= slot AND slot < a.end_at GROUP BY slot) AS busy",
    )
    assert busiest <= 20  # of 40 tables


def test_seed_intelligent_brings_the_venue_where_there_is_none(new_database, template, connected):
    database = connected(new_database(template))
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM restaurants")
    seed_intelligent(database, 1, target=EMBEDDED)
    assert check(database).counts["table_inventory"] == 40


def test_seed_today_without_a_venue_says_what_to_do(venue, day):
    with pytest.raises(BadInput, match="slotfill db reset"):
        seed_today(venue, day, 1, "nowhere-inn", target=EMBEDDED)
