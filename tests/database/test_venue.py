from collections import Counter

from slotfill.database import venue


def test_floor_plan_has_the_published_tables_and_seats():
    assert len(venue.TABLES) == 40
    assert sum(table.capacity for table in venue.TABLES) == 210
    per_zone = Counter(table.zone for table in venue.TABLES)
    assert per_zone == {"Main Dining": 12, "Bar Area": 8, "Patio": 8, "Private Room": 6, "Outdoor Garden": 6}


def test_special_tables_and_private_party_ranges():
    plan = {table.number: table for table in venue.TABLES}
    assert {number for number, table in plan.items() if table.seating_type == "booth"} == {"MD-04", "MD-06", "MD-10"}
    assert {number for number, table in plan.items() if table.seating_type == "sofa"} == {"BA-05", "BA-06"}
    assert (plan["PR-01"].min_party, plan["PR-01"].max_party) == (2, 6)
    assert (plan["PR-04"].min_party, plan["PR-04"].max_party) == (3, 8)
    assert (plan["MD-11"].min_party, plan["MD-11"].max_party) == (5, 10)


def test_adjacency_needs_zone_category_and_at_most_two_seats_of_difference():
    plan = {table.number: table for table in venue.TABLES}
    assert venue.are_adjacent(plan["MD-01"], plan["MD-03"])
    assert not venue.are_adjacent(plan["MD-01"], plan["MD-07"])  # 2 and 6 seats
    assert not venue.are_adjacent(plan["MD-01"], plan["BA-01"])  # another zone
    assert not venue.are_adjacent(plan["BA-04"], plan["BA-05"])  # a table and a sofa
    assert not venue.are_adjacent(plan["MD-01"], plan["MD-01"])


def test_table_is_held_by_party_size():
    assert [venue.held_minutes(size) for size in (1, 2, 3, 4, 5, 6, 7, 12)] == [65, 65, 80, 80, 90, 90, 95, 95]


def test_ids_depend_on_the_venue_and_nothing_else():
    assert venue.row_id("a", "table", "MD-01") == venue.row_id("a", "table", "MD-01")
    assert venue.row_id("a", "table", "MD-01") != venue.row_id("b", "table", "MD-01")


def test_local_times_follow_summer_time():
    from datetime import date, time

    assert venue.local_instant(date(2026, 7, 1), time(17)).hour == 16
    assert venue.local_instant(date(2026, 12, 1), time(17)).hour == 17
