import pytest

from slotfill.database import guard
from slotfill.database.bookings import bookings_by_keys
from slotfill.database.describe import describe
from slotfill.errors import BadInput, Unreachable


def test_healthy_database_has_no_gaps(venue):
    facts = describe(venue)
    assert facts.gaps == ()
    assert facts.version.startswith("18")
    assert (facts.role, facts.superuser, facts.may_mark, facts.read_only) == ("postgres", True, True, False)
    assert (facts.max_connections, facts.pooler) == (50, "none")
    assert facts.connections >= 1
    assert facts.round_trip_ms > 0
    assert abs(facts.clock_skew_ms) < 100  # the same clock
    assert (facts.marker, facts.production_sign, facts.unwritable) == (None, None, ())


def test_missing_tables_and_columns_are_named_with_what_they_disable(venue, execute):
    execute(venue, "DROP TABLE observability_events", "ALTER TABLE table_inventory DROP mobility, DROP seating_type")
    gaps = {gap.missing: gap.disables for gap in describe(venue).gaps}
    assert set(gaps) == {"observability_events", "table_inventory.seating_type, table_inventory.mobility"}
    assert "background job" in gaps["observability_events"]


def test_rights_of_a_read_only_role(venue, server, execute, connected):
    execute(venue, "CREATE ROLE reader LOGIN PASSWORD 'look'", "GRANT SELECT ON bookings TO reader")
    facts = describe(connected(server.url(venue.url.database, "reader", "look")))
    assert (facts.role, facts.superuser, facts.sees_all_sessions, facts.may_mark) == ("reader", False, False, False)
    assert "bookings" in facts.unwritable
    assert "bookings" not in facts.hidden
    assert facts.hidden["customers"] == "the role may not read"
    execute(venue, "DROP OWNED BY reader", "DROP ROLE reader")


def test_marker_is_shown(venue):
    guard.mark(venue, "staging", "a tester")
    marker = describe(venue).marker
    assert marker is not None
    assert (marker.name, marker.marked_by) == ("staging", "a tester")


def test_describing_writes_nothing(venue, server):
    server.execute(f"ALTER DATABASE {venue.url.database} SET log_statement = 'mod'")
    venue.dispose()
    describe(venue)
    assert server.statements(venue.url.database) == []


def test_unreachable_is_one_line(connected):
    with pytest.raises(Unreachable, match="does not resolve"):
        describe(connected("postgresql://u:p@no-such-host.invalid/d"))


def test_bookings_are_found_by_their_keys(seeded, fetch, execute):
    [(key, booking_id), (twin, twin_id)] = fetch(
        seeded, "SELECT idempotency_key, id::text FROM bookings ORDER BY id LIMIT 2"
    )
    assert bookings_by_keys(seeded, [key, "not-there"]) == {key: [booking_id]}
    execute(seeded, f"UPDATE bookings SET idempotency_key = '{key}' WHERE idempotency_key = '{twin}'")  # noqa: S608
    assert bookings_by_keys(seeded, [key]) == {key: sorted([booking_id, twin_id])}
    assert bookings_by_keys(seeded, []) == {}


def test_keys_in_a_database_without_bookings(new_database, connected):
    with pytest.raises(BadInput, match="bookings"):
        bookings_by_keys(connected(new_database(None)), ["x"])
