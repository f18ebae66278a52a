import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
import waiting

from slotfill.database import integrity
from slotfill.database.guard import Target
from slotfill.database.integrity import IntegrityReport, Scope, check, check_unless_it_hangs, report_from_dict
from slotfill.database.rules import _OVERLAPS
from slotfill.database.seed import seed_today
from slotfill.drive import integrity_monitor
from slotfill.drive.target import LAYOUT
from slotfill.errors import Unreachable

NO_DOUBLE_BOOKING = "ALTER TABLE booking_table_assignments DROP CONSTRAINT booking_table_assignments_no_double_booking"
NO_DUPLICATES = "ALTER TABLE booking_table_assignments DROP CONSTRAINT booking_table_assignments_booking_table_key"
# One cancelled booking of the seeds (it has no table) becomes a party of one that asks anew, through the API.
ASKS = (
    "UPDATE bookings SET status = 'pending', cancelled_at = NULL, party_size = 1, source = 'api' "
    "WHERE id = (SELECT min(id::text)::uuid FROM bookings WHERE status = 'cancelled')"
)
ASSIGN_AGAIN = (
    "INSERT INTO booking_table_assignments (booking_id, table_id, start_at, end_at, assignment_window) "
    "SELECT booking_id, table_id, start_at, end_at, assignment_window FROM booking_table_assignments WHERE id = <one>"
)
ASSIGN_TO_ASKING = ASSIGN_AGAIN.replace("SELECT booking_id,", "SELECT <asking>,")
HOLD = (
    "INSERT INTO table_holds (booking_id, restaurant_id, start_at, end_at, expires_at) SELECT id, restaurant_id, "
    "now(), now() + interval '1 h', now() + interval '2 h' FROM bookings WHERE id = "
)
EXPIRED_HOLD = HOLD.replace("now()", "now() - interval '3 h'")
HOLD_WINDOWS = (
    "INSERT INTO table_hold_windows SELECT h.id, t.id, tstzrange(h.start_at, h.end_at) "
    "FROM table_holds h JOIN table_inventory t ON t.table_number = 'MD-01'"
)
SPELLED_OUT = {
    "<asking>": "(SELECT id FROM bookings WHERE source = 'api')",
    "<one>": "(SELECT min(id::text)::uuid FROM booking_table_assignments)",
    "<its booking>": "(SELECT booking_id FROM booking_table_assignments ORDER BY id::text LIMIT 1)",
    "<came>": "(SELECT min(id::text)::uuid FROM bookings WHERE status = 'completed')",
}

PLANTS = {
    "overlapping_assignments": (NO_DOUBLE_BOOKING, ASKS, ASSIGN_TO_ASKING),
    "overlapping_assignments/told by the range alone": (
        ASKS,
        ASSIGN_TO_ASKING.replace("start_at, end_at, assignment_window FROM", "now(), now() + interval '1 h', "
                                 "assignment_window FROM"),
    ),
    "party_above_capacity": ("UPDATE bookings SET party_size = 11 WHERE id = <its booking>",),
    "duplicate_pair": (NO_DOUBLE_BOOKING, NO_DUPLICATES, ASSIGN_AGAIN),
    "confirmed_without_table": (ASKS, "UPDATE bookings SET status = 'confirmed' WHERE id = <asking>"),
    "empty_window/null range": ("UPDATE booking_table_assignments SET assignment_window = NULL WHERE id = <one>",),
    "empty_window/empty range": ("UPDATE booking_table_assignments SET assignment_window = 'empty' WHERE id = <one>",),
    "empty_window/no end": (
        NO_DOUBLE_BOOKING,
        "ALTER TABLE booking_table_assignments ALTER end_at DROP NOT NULL",
        "UPDATE booking_table_assignments SET end_at = NULL WHERE id = <one>",
    ),
    "overlapping_holds": (ASKS, HOLD + "<asking>", HOLD + "<asking>", HOLD_WINDOWS),
    "hold_left_behind": (HOLD + "<its booking>", HOLD_WINDOWS),
    "hold_left_behind/by a job that gave up": (
        ASKS,
        HOLD + "<asking>",
        "INSERT INTO observability_events (source, event_type, booking_id, created_at) "
        "VALUES ('auto_assign', 'auto_assign.summary', <asking>, now() + interval '1 s')",
    ),
    "lifecycle_timestamps/no check-out": ("UPDATE bookings SET checked_out_at = NULL WHERE id = <came>",),
    "lifecycle_timestamps/too early": (ASKS, "UPDATE bookings SET checked_in_at = now() WHERE id = <asking>"),
    "lifecycle_timestamps/back in time": (
        "UPDATE bookings SET updated_at = created_at - interval '1 day' WHERE id = <its booking>",
    ),
    "lifecycle_timestamps/cancelled, then confirmed": (
        "UPDATE bookings SET cancelled_at = now() WHERE id = <its booking>",
    ),
    "foreign_keys/switched off": (
        "SET LOCAL session_replication_role = replica",
        "DELETE FROM customers WHERE id = (SELECT min(customer_id::text)::uuid FROM bookings)",
    ),
    "foreign_keys/not valid": (
        "ALTER TABLE allocations DROP CONSTRAINT allocations_resource_id_fkey",
        "UPDATE allocations SET resource_id = gen_random_uuid() WHERE booking_id = <its booking>",
        "ALTER TABLE allocations ADD FOREIGN KEY (resource_id) REFERENCES table_inventory NOT VALID",
    ),
    "foreign_keys/dropped": (
        "ALTER TABLE bookings DROP CONSTRAINT bookings_customer_id_fkey",
        "UPDATE bookings SET customer_id = gen_random_uuid() WHERE id = <its booking>",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """What is planted stays: the second look need not wait."""
    monkeypatch.setattr("slotfill.database.integrity.LOOK_AGAIN_S", 0)


@pytest.fixture
def plant(seeded, execute):
    """Puts statements into the seeded database, or a plant by its name."""

    def plant(*statements: str) -> None:
        for token, text in SPELLED_OUT.items():
            statements = tuple(statement.replace(token, text) for statement in statements)
        execute(seeded, *statements)

    return plant


def statuses(report: IntegrityReport) -> dict[str, str]:
    return {each.name: each.status for each in report.checks}


def violated(report: IntegrityReport) -> list[str]:
    return [each.name for each in report.checks if each.status == "violated"]


@pytest.mark.parametrize("name", PLANTS)
def test_each_check_finds_its_planted_violation_and_nothing_else(seeded, plant, name):
    plant(*PLANTS[name])
    report = check(seeded)
    assert violated(report) == [name.partition("/")[0]]
    assert set(statuses(report).values()) == {"violated", "passed"}
    assert not report.passed
    [found] = [each for each in report.checks if each.violations]
    assert found.examples


def test_every_check_has_its_planted_violation(seeded):
    assert {name.partition("/")[0] for name in PLANTS} == set(statuses(check(seeded)))


def test_what_is_allowed_is_no_violation(seeded, plant):
    plant(
        ASKS,
        HOLD + "<asking>",  # of an attempt still under way
        EXPIRED_HOLD + "<its booking>",
        HOLD_WINDOWS,
        # the platform's own seed has confirmed bookings without a table
        "UPDATE bookings SET status = 'confirmed', cancelled_at = NULL WHERE status = 'cancelled'",
        # one party right after the other at the same table
        "INSERT INTO booking_table_assignments (booking_id, table_id, start_at, end_at, assignment_window) "
        "SELECT <asking>, table_id, end_at, end_at + interval '1 h', tstzrange(end_at, end_at + interval '1 h') "
        "FROM booking_table_assignments ORDER BY end_at DESC LIMIT 1",
    )
    assert set(statuses(check(seeded)).values()) == {"passed"}


def test_scope_narrows_the_run_to_its_time_and_bookings(seeded, plant, fetch):
    plant(*PLANTS["confirmed_without_table"])
    [(planted,)] = fetch(seeded, "SELECT id::text FROM bookings WHERE source = 'api'")
    assert violated(check(seeded, Scope(booking_ids=[planted]))) == ["confirmed_without_table"]
    assert violated(check(seeded, Scope(booking_ids=[]))) == []
    assert violated(check(seeded, Scope(since=datetime(2025, 1, 1, tzinfo=UTC)))) == ["confirmed_without_table"]
    assert violated(check(seeded, Scope(since=datetime.now(UTC) + timedelta(days=1)))) == []


def test_missing_table_makes_its_checks_unknown_and_says_why(seeded, execute):
    execute(seeded, "DROP TABLE table_hold_windows", "ALTER TABLE bookings DROP COLUMN party_size")
    report = check(seeded)
    unknown = {each.name: each.detail for each in report.checks if each.status == "unknown"}
    assert unknown == {
        "overlapping_holds": "the database has no table_hold_windows",
        "party_above_capacity": "the database has no bookings.party_size",
    }
    assert not report.passed
    assert report.as_text().endswith("integrity: not known (2 of 9 checks could not look)")


def test_empty_database_does_not_pass(new_database, connected):
    report = check(connected(new_database(None)))
    assert set(statuses(report).values()) == {"unknown"}
    assert not report.passed


def test_read_only_role_can_check_and_what_it_may_not_read_is_unknown(seeded, server, execute, connected):
    execute(
        seeded,
        "CREATE ROLE checker LOGIN PASSWORD 'look'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO checker",
        "REVOKE SELECT ON table_hold_windows FROM checker",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    )
    report = check(connected(server.url(seeded.url.database, "checker", "look")))
    unknown = {each.name: each.detail for each in report.checks if each.status == "unknown"}
    assert set(unknown) == {"overlapping_holds", "foreign_keys"}
    assert unknown["overlapping_holds"] == "the role may not read table_hold_windows"
    assert "row level security hides rows of customers" in unknown["foreign_keys"]
    assert violated(report) == []
    execute(seeded, "DROP OWNED BY checker", "DROP ROLE checker")


def test_check_writes_nothing(seeded, server):
    server.execute(f"ALTER DATABASE {seeded.url.database} SET log_statement = 'mod'")
    seeded.dispose()
    check(seeded)
    assert server.statements(seeded.url.database) == []


def test_check_that_waits_for_a_lock_too_long_is_unknown(seeded, monkeypatch):
    monkeypatch.setattr("slotfill.database.integrity.STATEMENT_TIMEOUT_MS", 3_000)
    with seeded.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE table_hold_windows IN ACCESS EXCLUSIVE MODE")
        report = check(seeded)
        blocker.rollback()
    unknown = {each.name: each.detail for each in report.checks if each.status == "unknown"}
    assert set(unknown) == {"overlapping_holds", "foreign_keys"}
    assert all("timeout" in detail for detail in unknown.values())
    assert set(statuses(report).values()) == {"unknown", "passed"}


def test_a_run_that_ends_does_not_wait_for_a_database_that_hangs(seeded, fetch, monkeypatch):
    """A lock that is not given up stands for it: nothing that asks is answered."""
    monkeypatch.setattr(integrity, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr(integrity_monitor, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr(integrity_monitor, "SHARE", 1.0)
    waiters = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    found, url = [], seeded.url.render_as_string(hide_password=False)
    with seeded.connect() as blocker:
        with integrity_monitor.monitor_integrity(url, 0.01, found.append):
            blocker.exec_driver_sql("LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE")
            hanging = waiting.until(lambda: fetch(seeded, waiters), "the check hangs")
        assert fetch(seeded, waiters) == hanging
        assert check_unless_it_hangs(seeded) is None
        blocker.rollback()
    looking = ("integrity", "integrity-monitor")
    waiting.until(lambda: not any(thread.name in looking for thread in threading.enumerate()), "all have looked")
    monkeypatch.setattr(integrity, "HANGS_AFTER_S", waiting.PATIENCE_S)
    assert check_unless_it_hangs(seeded).passed
    assert found == []


def test_check_passes_while_bookings_come_in(seeded, day):
    def book():
        for seed in range(100, 106):
            seed_today(seeded, day, seed, target=Target("embedded", LAYOUT))

    writer = threading.Thread(target=book)
    writer.start()
    reports = [check(seeded)]
    while writer.is_alive():
        reports.append(check(seeded))
    writer.join()
    assert all(report.passed for report in reports)


def test_new_violations_are_those_beyond_the_earlier_report(seeded, plant):
    plant(*PLANTS["party_above_capacity"])
    before = check(seeded)
    assert [each.name for each in before.new_violations(None)] == ["party_above_capacity"]
    assert check(seeded).new_violations(before) == []
    plant(*PLANTS["empty_window/null range"])
    assert [each.name for each in check(seeded).new_violations(before)] == ["empty_window"]


def test_report_goes_through_json_and_text(seeded, plant):
    plant(*PLANTS["duplicate_pair"])
    report = check(seeded)
    content = report.as_dict()
    assert report_from_dict(content).as_dict() == content
    assert set(content) == {"passed", "checks", "counts"}
    assert set(content["checks"][0]) == {"name", "status", "violations", "examples", "detail"}
    text = report.as_text()
    assert text.endswith("integrity: NOT passed (1 violated)")
    assert all(each.name in text for each in report.checks)


def test_unreachable_database_is_said_once(connected):
    with pytest.raises(Unreachable):
        check(connected("postgresql://u:p@no-such-host.invalid/d"))


def test_what_is_gone_when_looked_at_again_is_a_warning(seeded, plant, execute, monkeypatch):
    """Two live holds on one table can be seen for an instant under load."""
    plant(*PLANTS["overlapping_holds"])
    let_go = "DELETE FROM table_holds WHERE id = (SELECT min(id::text)::uuid FROM table_holds)"
    monkeypatch.setattr("slotfill.database.integrity.time.sleep", lambda seconds: execute(seeded, let_go))
    report = check(seeded)
    [warned] = [each for each in report.checks if each.status == "warned"]
    assert (warned.name, warned.violations, len(warned.examples)) == ("overlapping_holds", 0, 1)
    assert report.passed and "gone when looked at again" in warned.detail
    assert check(seeded).checks[0].status == "passed"


def test_of_many_violations_those_that_stay_count(seeded, plant, execute, monkeypatch):
    plant(ASKS, *(HOLD + "<asking>" for _ in range(4)), HOLD_WINDOWS)
    let_go = "DELETE FROM table_holds WHERE id = (SELECT max(id::text)::uuid FROM table_holds)"
    monkeypatch.setattr("slotfill.database.integrity.time.sleep", lambda seconds: execute(seeded, let_go))
    [found] = [each for each in check(seeded).checks if each.status == "violated"]
    assert (found.name, found.violations) == ("overlapping_holds", 2)


def test_a_role_from_which_rows_are_hidden_passes_nothing(seeded, server, execute, connected):
    execute(
        seeded,
        "CREATE ROLE analyst LOGIN PASSWORD 'look'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO analyst",
        *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in ("bookings", "booking_table_assignments")),
    )
    report = check(connected(server.url(seeded.url.database, "analyst", "look")))
    assert violated(report) == [] and not report.passed
    blind = [name for name, status in statuses(report).items() if status == "unknown"]
    assert {"overlapping_assignments", "lifecycle_timestamps", "foreign_keys"} <= set(blind)
    assert report.verdict == f"not known ({len(blind)} of 9 checks could not look)"
    execute(seeded, "DROP OWNED BY analyst", "DROP ROLE analyst")


# Windows on one table by owner, and who is said to overlap whom: the earlier one that ends last.
SWEEPS = {
    "one after another": ("a [1,2) b [2,3) c [3,4)", []),
    "the same": ("a [1,2) b [1,2)", ["b a"]),
    "inside a long one": ("a [1,9) b [2,3) c [4,5)", ["b a", "c a"]),
    "inside a long one, past a short one": ("a [1,9) b [2,3) c [3,4) d [8,10)", ["b a", "c a", "d a"]),
    "a chain": ("a [1,3) b [2,5) c [4,6)", ["b a", "c b"]),
    "its own twice": ("a [1,3) a [2,4) a [2,4)", []),
    "its own twice, then another": ("a [1,3) a [2,5) b [4,6)", ["b a"]),
    "ends that belong to it": ("a [1,2] b [2,3)", ["b a"]),
    "a beginning that does not": ("a [1,2] b (2,3)", []),
    "without an end": ("a [1,) b [5,6)", ["b a"]),
    "without a beginning": ("a (,2) b [1,3)", ["b a"]),
    "until infinity": ("a [1,infinity) b [5,6)", ["b a"]),
    "empty ones": ("a [1,1) b [1,2)", []),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_overlaps_are_found_by_sweeping(seeded, execute, fetch, name):
    windows, expected = SWEEPS[name]
    words = windows.split()
    spans = [
        (owner, re.sub(r"\d+", lambda hour: f"2026-01-01 {int(hour[0]):02}:00Z", span))
        for owner, span in zip(words[::2], words[1::2], strict=True)
    ]
    rows = ", ".join(f"('{owner}', '{span}'::tstzrange)" for owner, span in spans)
    query = _OVERLAPS.format(rows=f"SELECT 1 AS table_id, * FROM (VALUES {rows}) AS v(owner, span)", noun="x")  # noqa: S608
    told = [text for (text,) in fetch(seeded, query.replace("%", "%%"))]
    assert sorted(told) == sorted(
        f"table 1: x {later} overlaps x {earlier}" for later, earlier in map(str.split, expected)
    )
