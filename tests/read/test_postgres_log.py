import json
import os

import pytest

from slotfill.errors import BadInput
from slotfill.read.postgres_log import keep_lock_messages, lock_events, summary

DETAIL = (
    "Process 7 waits for ShareLock on transaction 12; blocked by process 8.",
    "Process 8 waits for ExclusiveLock on tuple (0,3) of relation 5 of database 6; blocked by process 7.",
    "Process 7: UPDATE bookings",
    "  SET customer_email = 'some.guest@pub.example'",
    "Process 8: SELECT confirm($1)",
)
CONTEXT = (
    'while updating tuple (0,3) in relation "bookings"',
    'SQL statement "UPDATE bookings"',
    "PL/pgSQL function public.take_table(uuid) line 3 at SQL statement",
    "PL/pgSQL function confirm(uuid) line 9 at PERFORM",
)


def as_text(prefix):
    fields = {"ERROR": [f"{'deadlock detected'}"], "DETAIL": DETAIL, "HINT": ["See server log."], "CONTEXT": CONTEXT}
    fields["STATEMENT"] = ["SELECT confirm($1)"]
    return "".join(f"{prefix}{name}:  " + "\n\t".join(text) + "\n" for name, text in fields.items())


def check(found, at):
    assert (str(found.at), found.relation, found.functions) == (at, "bookings", ("public.take_table", "confirm"))
    one, other = found.waiters
    assert (one.pid, one.blocked_by, one.lock) == (7, 8, "ShareLock on transaction 12")
    assert (other.pid, other.blocked_by, other.statement) == (8, 7, "SELECT confirm($1)")
    assert one.statement.startswith("UPDATE bookings SET customer_email") and "some.guest" not in one.statement


def test_the_genuine_platforms_deadlocks_name_table_and_functions(corpus):
    found = lock_events(corpus / "genuine" / "near" / "postgres-deadlocks.txt")
    assert len(found) == 6
    assert {each.relation for each in found} == {"restaurants"}
    functions = ("validate_booking_capacity_after_assignment", "assign_tables_atomic_v2")
    assert {each.functions for each in found} == {functions}
    assert all(
        {waiter.blocked_by for waiter in each.waiters} == {waiter.pid for waiter in each.waiters} for each in found
    )
    assert summary(found) == [
        '6 deadlocks on rows of "restaurants" in validate_booking_capacity_after_assignment, called by '
        "assign_tables_atomic_v2"
    ]


@pytest.mark.parametrize(
    ("prefix", "at"),
    [
        ("2026-11-27 00:58:44.344 UTC [13242] ", "2026-11-27 00:58:44.344000+00:00"),
        ("2026-11-27 00:58:44 GMT:10.0.0.1(53412):postgres@postgres:[13242]:", "2026-11-27 00:58:44+00:00"),
        ("bookings|", "None"),
        ("", "None"),
    ],
)
def test_any_prefix_will_do_among_other_lines(tmp_path, prefix, at):
    log = tmp_path / "postgresql.log"
    others = (
        f"{prefix}LOG:  checkpoint starting: time\nshell noise\n{prefix}ERROR:  duplicate key\n{prefix}DETAIL:  x\n"
    )
    log.write_text(others + as_text(prefix) + others + as_text(prefix))
    found = lock_events(log)
    assert [each.line for each in found] == [5, 21]
    for each in found:
        check(each, at)


def test_json_lines(tmp_path):
    log = tmp_path / "postgresql.json"
    said = {"timestamp": "2026-11-27 00:58:44.344 UTC", "error_severity": "ERROR", "message": "deadlock detected"}
    other = {**said, "message": "duplicate key"}
    deadlock = {**said, "detail": "\n".join(DETAIL), "context": "\n".join(CONTEXT)}
    log.write_text("\n".join(map(json.dumps, (other, deadlock, other))) + "\n{torn")
    [found] = lock_events(log)
    check(found, "2026-11-27 00:58:44.344000+00:00")


def test_a_log_without_deadlocks_has_none(tmp_path):
    waits = f"LOG:  process {'9' * 5_000} still waiting for ShareLock on transaction 12 after 200.1 ms\n"
    (tmp_path / "log").write_text(f"LOG:  starting PostgreSQL 18\n\tdeadlock detected\n{waits}")
    assert lock_events(tmp_path / "log") == [] == summary([])
    os.mkfifo(tmp_path / "pipe")
    for nothing in ("nowhere", "pipe"):
        with pytest.raises(BadInput):
            lock_events(tmp_path / nothing)


def test_a_long_wait_names_the_holder_and_the_table(tmp_path):
    log = tmp_path / "postgresql.log"
    log.write_text(
        "2026-11-27 09:00:00.120 +01 [8] LOG:  process 8 still waiting for ShareLock on transaction 12 after 200.1 ms\n"
        "2026-11-27 09:00:00.120 +01 [8] DETAIL:  Process holding the lock: 7. Wait queue: 8.\n"
        '2026-11-27 09:00:00.120 +01 [8] CONTEXT:  while locking tuple (0,3) in relation "restaurants"\n'
        "2026-11-27 09:00:00.120 +01 [8] STATEMENT:  SELECT * FROM restaurants FOR UPDATE\n"
        "2026-11-27 09:00:01.120 +01 [8] LOG:  process 8 acquired ShareLock on transaction 12 after 1200.5 ms\n"
    )
    [found] = lock_events(log)
    assert (found.kind, found.relation, str(found.at)) == (
        "lock wait",
        "restaurants",
        "2026-11-27 09:00:00.120000+01:00",
    )
    [waiter] = found.waiters
    assert (waiter.pid, waiter.blocked_by, waiter.lock) == (8, 7, "ShareLock on transaction 12")
    assert waiter.statement == "SELECT * FROM restaurants FOR UPDATE"
    assert summary([found, found]) == ['2 lock waits on rows of "restaurants"']


def test_lock_messages_are_kept_whole_and_nothing_else(tmp_path):
    log, kept = tmp_path / "postgresql.log", tmp_path / "kept"
    noise = "LOG:  checkpoint starting: time\nERROR:  duplicate key\nDETAIL:  Key (phone)=(1) exists.\n"
    log.write_text(noise + as_text("2026-11-27 00:58:44.344 UTC [7] ") + noise)
    keep_lock_messages([log], kept)
    assert len(lock_events(kept)) == 1
    assert lock_events(kept)[0].waiters == lock_events(log)[0].waiters
    assert "checkpoint" not in kept.read_text() and "phone" not in kept.read_text()
