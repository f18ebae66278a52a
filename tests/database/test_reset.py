import pytest

from slotfill.database import guard
from slotfill.database import venue as white_horse
from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import checksum, reset, rows_to_go
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.errors import BadInput

EMBEDDED = Target("embedded", embedded=True)
OTHER = "the-other-pub"

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
    going = rows_to_go(seeded)
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
    assert fetch(seeded, "SELECT count(*) FROM campaigns") == [(0,)]
    assert fetch(seeded, "SELECT count(*) FROM bookings") == [(0,)]


def test_required_column_that_is_not_known_is_named_and_nothing_is_lost(seeded, execute):
    execute(seeded, "ALTER TABLE zones ADD COLUMN floor text NOT NULL DEFAULT 'x'")
    execute(seeded, "ALTER TABLE zones ALTER COLUMN floor DROP DEFAULT")
    before = checksum(seeded)
    with pytest.raises(BadInput, match="zones demands floor"):
        reset(seeded, target=EMBEDDED)
    assert checksum(seeded) == before


def test_label_that_an_enum_does_not_have_is_named(seeded, execute):
    execute(
        seeded,
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
