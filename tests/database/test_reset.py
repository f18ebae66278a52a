from datetime import timedelta
from pathlib import Path

import pytest
from tests.database.conftest import HUNG_BY_OTHERS

from slotfill.database import guard
from slotfill.database import venue as white_horse
from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import checksum, plan_reset, reset
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.drive.target import LAYOUT
from slotfill.errors import BadInput, Refused

EMBEDDED = Target("embedded", LAYOUT)
OTHER = "the-other-pub"
SCHEMA = Path(__file__).parents[2] / "lib" / "whitehorse" / "schema.sql"

# What a run leaves behind, hung onto one seeded booking.
RESIDUE = (
    "INSERT INTO booking_state_history (booking_id, to_status) SELECT id, status FROM bookings LIMIT 3",
    "INSERT INTO observability_events (source, event_type, booking_id) SELECT 'auto_assign', 'x', id FROM bookings",
    "INSERT INTO table_holds (id, booking_id, restaurant_id, start_at, end_at, expires_at) "
    "SELECT gen_random_uuid(), id, restaurant_id, start_at, end_at, end_at FROM bookings LIMIT 5",
    "INSERT INTO table_hold_members SELECT h.id, t.id FROM table_holds h JOIN table_inventory t "
    "ON t.restaurant_id = h.restaurant_id AND t.table_number = 'MD-01'",
    "UPDATE table_inventory SET status = 'occupied', capacity = 3 WHERE table_number = 'PT-01'",
    "DELETE FROM table_adjacencies WHERE table_a IN (SELECT id FROM table_inventory WHERE table_number = 'OG-02')",
    "UPDATE restaurants SET last_seating_buffer_minutes = 5",
)


def test_reset_restores_the_baseline_exactly(venue, day, execute):
    baseline = checksum(venue)
    seed_intelligent(venue, 3, target=EMBEDDED)
    seed_today(venue, day, 3, target=EMBEDDED)
    execute(venue, *RESIDUE)
    assert checksum(venue) != baseline
    reset(venue, target=EMBEDDED)
    assert checksum(venue) == baseline


def test_baseline_is_the_published_venue(venue, fetch):
    assert fetch(venue, "SELECT count(*), sum(capacity) FROM table_inventory") == [(40, 210)]
    [(pairs,)] = fetch(venue, "SELECT count(*) FROM table_adjacencies")
    by_rule = sum(white_horse.are_adjacent(one, other) for one in white_horse.TABLES for other in white_horse.TABLES)
    assert pairs == by_rule
    assert fetch(venue, "SELECT count(*) FROM zones WHERE area_type = 'outdoor'") == [(2,)]


def test_reset_touches_no_other_venue(seeded, day, execute, fetch):
    reset(seeded, OTHER, target=EMBEDDED)
    seed_intelligent(seeded, 5, OTHER, target=EMBEDDED)
    seed_today(seeded, day, 5, OTHER, target=EMBEDDED)
    execute(seeded, *RESIDUE[:4])
    others = checksum(seeded, OTHER)
    assert not others["bookings"].startswith("0:")
    reset(seeded, target=EMBEDDED)
    assert checksum(seeded, OTHER) == others
    # the same told in plain SQL: all that is left belongs to the other venue
    left = fetch(seeded, "SELECT DISTINCT slug FROM bookings b JOIN restaurants r ON r.id = b.restaurant_id")
    assert left == [(OTHER,)]


def test_dry_run_tells_what_a_reset_deletes_and_changes_nothing(seeded, execute):
    execute(seeded, *RESIDUE[:4])
    before = checksum(seeded)
    going = plan_reset(seeded).deletes
    assert checksum(seeded) == before
    assert reset(seeded, target=EMBEDDED) == going
    assert going["bookings"] == int(before["bookings"].partition(":")[0])


def test_tables_the_project_has_never_heard_of_go_with_their_booking(seeded, execute, fetch):
    execute(
        seeded,
        "CREATE TABLE reviews (id serial PRIMARY KEY, booking_id uuid NOT NULL REFERENCES bookings)",
        "CREATE TABLE review_photos (id serial PRIMARY KEY, review_id int NOT NULL REFERENCES reviews)",
        "CREATE TABLE notes_without_key (booking_id uuid)",
        "CREATE TABLE unrelated (id serial PRIMARY KEY)",
        "INSERT INTO unrelated DEFAULT VALUES",
        "INSERT INTO reviews (booking_id) SELECT id FROM bookings",
        "INSERT INTO review_photos (review_id) SELECT id FROM reviews",
        "INSERT INTO notes_without_key SELECT id FROM bookings",
    )
    reset(seeded, target=EMBEDDED)
    for table, count in {"review_photos": 0, "reviews": 0, "notes_without_key": 0, "unrelated": 1}.items():
        assert fetch(seeded, f"SELECT count(*) FROM {table}") == [(count,)]  # noqa: S608


def test_rings_of_foreign_keys_are_cut(seeded, execute, fetch):
    execute(
        seeded,
        "ALTER TABLE bookings ADD COLUMN current_hold_id uuid REFERENCES table_holds",
        "ALTER TABLE bookings ADD COLUMN moved_from uuid REFERENCES bookings",
        "ALTER TABLE restaurants ADD COLUMN first_zone uuid REFERENCES zones",
        "UPDATE restaurants SET first_zone = (SELECT id FROM zones LIMIT 1)",
        *RESIDUE[:4],
        "UPDATE bookings SET current_hold_id = (SELECT id FROM table_holds LIMIT 1)",
        "UPDATE bookings SET moved_from = (SELECT min(id::text)::uuid FROM bookings)",
    )
    reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT count(*) FROM bookings") == [(0,)]


def test_row_that_two_venues_share_stops_the_reset(seeded, execute):
    """Cascades would take the other venue's booking along."""
    reset(seeded, OTHER, target=EMBEDDED)
    execute(
        seeded,
        f"UPDATE bookings SET restaurant_id = (SELECT id FROM restaurants WHERE slug = '{OTHER}') "  # noqa: S608
        "WHERE id = (SELECT id FROM bookings LIMIT 1)",
    )
    before = checksum(seeded), checksum(seeded, OTHER)
    with pytest.raises(BadInput, match=r"bookings \(1\).*another"):
        reset(seeded, target=EMBEDDED)
    assert (checksum(seeded), checksum(seeded, OTHER)) == before


def test_who_may_work_there_and_what_outlives_the_venue_stays(seeded, execute, fetch):
    execute(
        seeded,
        "CREATE SCHEMA auth",
        "CREATE TABLE auth.users (id int PRIMARY KEY)",
        "CREATE TABLE profiles (id int PRIMARY KEY REFERENCES auth.users, "
        "home_venue uuid REFERENCES restaurants ON DELETE SET NULL)",
        "CREATE TABLE memberships (user_id int REFERENCES auth.users, venue uuid NOT NULL REFERENCES restaurants)",
        "CREATE TABLE campaigns (venue uuid NOT NULL REFERENCES restaurants)",
        "ALTER TABLE bookings ADD COLUMN made_by int REFERENCES profiles",
        "INSERT INTO auth.users VALUES (1)",
        "INSERT INTO profiles SELECT 1, id FROM restaurants",
        "INSERT INTO memberships SELECT 1, id FROM restaurants",
        "INSERT INTO campaigns SELECT id FROM restaurants",
        "UPDATE bookings SET made_by = 1",
    )
    reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT home_venue IS NOT NULL FROM profiles") == [(True,)]
    assert fetch(seeded, "SELECT count(*) FROM memberships") == [(1,)]
    assert fetch(seeded, "SELECT count(*) FROM campaigns") == [(1,)]
    assert fetch(seeded, "SELECT count(*) FROM bookings") == [(0,)]


def test_required_column_that_is_not_known_is_named_and_nothing_is_lost(seeded, execute):
    execute(seeded, "UPDATE zones SET name = 'Cellar' WHERE name = 'Patio'")
    execute(seeded, "ALTER TABLE zones ADD COLUMN floor text NOT NULL DEFAULT 'x'")
    execute(seeded, "ALTER TABLE zones ALTER COLUMN floor DROP DEFAULT")
    before = checksum(seeded)
    with pytest.raises(BadInput, match="zones demands floor"):
        reset(seeded, target=EMBEDDED)
    assert checksum(seeded) == before


def test_label_that_an_enum_does_not_have_is_named(seeded, execute):
    execute(
        seeded,
        "DELETE FROM table_inventory",
        "CREATE TYPE kind AS ENUM ('dining', 'bar', 'patio', 'private')",
        "ALTER TABLE table_inventory ALTER category DROP DEFAULT, ALTER category TYPE kind "
        "USING replace(category, 'lounge', 'bar')::kind",
    )
    with pytest.raises(BadInput, match=r"table_inventory.category allows .* not lounge"):
        reset(seeded, target=EMBEDDED)


def test_missing_tables_and_columns_are_left_out(seeded, execute, fetch):
    execute(seeded, "DROP TABLE allowed_capacities, allocations", "ALTER TABLE table_inventory DROP COLUMN mobility")
    reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT count(*) FROM table_inventory") == [(40,)]


def test_database_without_the_venue_table_is_bad_input(new_database, connected):
    empty = connected(new_database(None))
    guard.mark(empty, "staging", "a tester")
    with pytest.raises(BadInput, match="no restaurants"):
        reset(empty, target=Target("staging"))


def test_the_venues_own_row_keeps_its_id_and_unknown_columns(venue, execute, fetch):
    execute(
        venue,
        "ALTER TABLE restaurants ADD COLUMN logo text",
        "UPDATE restaurants SET logo = 'horse.png', last_seating_buffer_minutes = 0",
    )
    [(id_before,)] = fetch(venue, "SELECT id FROM restaurants")
    reset(venue, target=EMBEDDED)
    assert fetch(venue, "SELECT id, logo, last_seating_buffer_minutes FROM restaurants") == [
        (id_before, "horse.png", 120)
    ]


def test_queued_jobs_of_the_venues_bookings_go_on_the_embedded_platform(seeded, execute, fetch):
    from procrastinate.schema import SchemaManager

    execute(seeded, SchemaManager.get_schema())
    execute(
        seeded,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
        "SELECT 'auto_assign', 'assign', jsonb_build_object('booking', id) FROM bookings LIMIT 4",
        "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('housekeeping', 'sweep')",
    )
    reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT task_name FROM procrastinate_jobs") == [("sweep",)]


def test_orphans_that_a_switched_off_key_let_in_go_too(seeded, execute):
    execute(
        seeded,
        "SET LOCAL session_replication_role = replica",
        "DELETE FROM bookings WHERE id IN (SELECT booking_id FROM booking_table_assignments LIMIT 2)",
    )
    assert not check(seeded).passed
    reset(seeded, target=EMBEDDED)
    assert check(seeded).passed


# Whose rows and ids stay, whatever a run does: the venue, and what others hung onto it.
KEPT = (
    "restaurants", "restaurant_operating_hours", "restaurant_service_periods", "zones", "table_inventory",
    "table_adjacencies", "allowed_capacities", "restaurant_memberships", "restaurant_invites", "loyalty_programs",
    "demand_profiles", "table_scarcity_metrics",
)  # fmt: skip
HANGING = (
    *HUNG_BY_OTHERS,
    "UPDATE restaurant_operating_hours SET is_closed = true WHERE day_of_week IN (0, 6)",
    "UPDATE restaurant_service_periods SET name = 'Supper' WHERE name = 'Dinner'",
)


@pytest.fixture
def contents(fetch):
    """A digest of every row of every table, table by table."""

    def contents(database, tables):
        digest = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} t"
        return {table: fetch(database, digest.format(table)) for table in tables}

    return contents


def test_what_is_no_bookings_keeps_its_rows_and_ids(seeded, execute, contents, fetch):
    execute(seeded, "UPDATE zones SET id = gen_random_uuid() WHERE false", *HANGING, *RESIDUE[:4])
    before = contents(seeded, KEPT)
    gone = reset(seeded, target=EMBEDDED)
    assert contents(seeded, KEPT) == before
    assert not set(gone) & set(KEPT)
    for table in ("bookings", "customers", "table_holds", "booking_state_history", "observability_events"):
        assert fetch(seeded, f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608


def test_a_venue_made_by_others_keeps_its_ids_gets_what_it_lacks_and_the_dry_run_shows_both(
    new_database, connected, execute, fetch
):
    database = connected(new_database(None))
    execute(
        database,
        SCHEMA.read_text(),
        f"INSERT INTO restaurants (slug, name) VALUES ('{white_horse.SLUG}', 'Theirs')",  # noqa: S608
        "INSERT INTO zones (restaurant_id, name, sort_order) SELECT id, 'Patio', 9 FROM restaurants",
        "INSERT INTO table_inventory (restaurant_id, table_number, capacity, zone_id) "
        "SELECT restaurant_id, 'PT-01', 3, id FROM zones",
        "INSERT INTO restaurant_operating_hours (restaurant_id, day_of_week, opens_at, closes_at) "
        "SELECT id, 3, '11:00', '23:00' FROM restaurants",
    )
    ids = fetch(database, "SELECT z.id, t.id FROM zones z JOIN table_inventory t ON t.zone_id = z.id")
    plan = plan_reset(database)
    assert plan.adds["zones"] == 4 and plan.adds["table_inventory"] == 39
    assert plan.deletes == dict.fromkeys(plan.deletes, 0)
    [zone, table] = plan.replaces
    assert "Patio" in zone and "area_type indoor -> outdoor" in zone
    assert "PT-01" in table and "capacity 3 -> 2" in table
    reset(database, target=EMBEDDED)
    assert fetch(database, "SELECT z.id, t.id FROM zones z JOIN table_inventory t ON t.zone_id = z.id "
                 "WHERE table_number = 'PT-01'") == ids  # fmt: skip
    assert fetch(database, "SELECT opens_at::text FROM restaurant_operating_hours") == [("11:00:00",)]
    assert fetch(database, "SELECT name FROM restaurants") == [("Theirs",)]
    again = plan_reset(database)
    assert (again.adds, again.replaces) == ({}, [])
    seed_intelligent(database, 1, target=EMBEDDED)
    assert check(database).passed


def test_guests_of_history_and_of_every_day_have_phones_and_addresses_of_their_own(venue, day, fetch, connected):
    """Twice each: a second time replaces the first."""
    for _ in range(2):
        seed_intelligent(venue, 1, target=EMBEDDED)
        for later in range(3):
            seed_today(venue, day + timedelta(days=later), 1, target=EMBEDDED)
        seed_today(venue, day, 2, target=EMBEDDED)
    [(guests, phones, addresses)] = fetch(
        venue, "SELECT count(*), count(DISTINCT phone_normalized), count(DISTINCT email) FROM customers"
    )
    assert guests == phones == addresses > 48 + 3 * 15


def test_triggers_are_shown_before_they_run(seeded, execute, fetch):
    assert plan_reset(seeded).triggers == ["audit_bookings on bookings runs write_audit_log()"]
    [(before,)] = fetch(seeded, "SELECT count(*) FROM audit_logs")
    gone = reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT count(*) FROM audit_logs") == [(before + gone["bookings"],)]


def test_partitions_are_counted_once(seeded, execute, partition):
    before = plan_reset(seeded).deletes
    partition(seeded)
    assert plan_reset(seeded).deletes == before
    assert {found.status for found in check(seeded).checks} == {"passed"}
    assert reset(seeded, target=EMBEDDED)["bookings"] == before["bookings"] > 0


@pytest.mark.parametrize("on_delete", ["CASCADE", "NO ACTION", "SET NULL"])
def test_rows_of_another_schema_that_point_here_stop_the_reset(seeded, execute, fetch, on_delete):
    execute(
        seeded,
        "CREATE SCHEMA analytics",
        f"CREATE TABLE analytics.fact (booking_id uuid REFERENCES bookings ON DELETE {on_delete})",
    )
    assert plan_reset(seeded).obstacles == []
    execute(seeded, "INSERT INTO analytics.fact SELECT id FROM bookings LIMIT 3")
    [obstacle] = plan_reset(seeded).obstacles
    assert "3 rows of analytics.fact" in obstacle
    before = checksum(seeded)
    with pytest.raises(Refused, match=r"analytics\.fact"):
        reset(seeded, target=EMBEDDED)
    assert checksum(seeded) == before
    assert fetch(seeded, "SELECT count(booking_id) FROM analytics.fact") == [(3,)]


def test_rows_that_would_outlive_their_booking_stay_and_the_dry_run_says_what_they_lose(seeded, execute, fetch):
    execute(
        seeded,
        "CREATE TABLE complaints (id serial PRIMARY KEY, booking_id uuid REFERENCES bookings ON DELETE SET NULL)",
        "INSERT INTO complaints (booking_id) SELECT id FROM bookings LIMIT 2",
    )
    assert plan_reset(seeded).lose_reference == {"complaints.booking_id": 2}
    reset(seeded, target=EMBEDDED)
    assert fetch(seeded, "SELECT count(*), count(booking_id) FROM complaints") == [(2, 0)]


def test_a_table_that_points_at_its_booking_does_not_go_with_it(seeded, execute, contents):
    before = contents(seeded, ["table_inventory"])
    execute(
        seeded,
        "ALTER TABLE table_inventory ADD COLUMN seated uuid REFERENCES bookings ON DELETE CASCADE",
        "UPDATE table_inventory SET seated = (SELECT id FROM bookings LIMIT 1) WHERE table_number = 'MD-01'",
    )
    reset(seeded, target=EMBEDDED)
    execute(seeded, "ALTER TABLE table_inventory DROP COLUMN seated")
    assert contents(seeded, ["table_inventory"]) == before


def test_a_table_given_away_for_good_does_not_hinder_a_seed(seeded, day, execute):
    execute(
        seeded,
        "UPDATE booking_table_assignments SET start_at = '2028-01-01', end_at = 'infinity' "
        "WHERE id = (SELECT id FROM booking_table_assignments ORDER BY id LIMIT 1)",
    )
    assert seed_today(seeded, day + timedelta(days=1), 1, target=EMBEDDED)["bookings"] > 15
