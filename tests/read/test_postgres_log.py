import json

import pytest

from slotfill.errors import BadInput
from slotfill.read.postgres_log import deadlocks, summary

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
    assert (found.at, found.relation, found.functions) == (at, "bookings", ("public.take_table", "confirm"))
    one, other = found.waiters
    assert (one.pid, one.blocked_by, one.lock) == (7, 8, "ShareLock on transaction 12")
    assert (other.pid, other.blocked_by, other.statement) == (8, 7, "SELECT confirm($1)")
    assert one.statement.startswith("UPDATE bookings SET customer_email") and "some.guest" not in one.statement


def test_the_genuine_platforms_deadlocks_name_table_and_functions(corpus):
    found = deadlocks(corpus / "genuine" / "near" / "postgres-deadlocks.txt")
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
        ("2026-11-27 00:58:44.344 UTC [13242] ", "2026-11-27 00:58:44.344 UTC"),
        ("2026-11-27 00:58:44 GMT:10.0.0.1(53412):postgres@postgres:[13242]:", "2026-11-27 00:58:44 GMT"),
        ("bookings|", None),
        ("", None),
    ],
)
def test_any_prefix_will_do_among_other_lines(tmp_path, prefix, at):
    log = tmp_path / "postgresql.log"
    others = (
        f"{prefix}LOG:  checkpoint starting: time\nshell noise\n{prefix}ERROR:  duplicate key\n{prefix}DETAIL:  x\n"
    )
    log.write_text(others + as_text(prefix) + others + as_text(prefix))
    found = deadlocks(log)
    assert [each.line for each in found] == [5, 21]
    for each in found:
        check(each, at)


def test_json_lines(tmp_path):
    log = tmp_path / "postgresql.json"
    said = {"timestamp": "2026-11-27 00:58:44.344 UTC", "error_severity": "ERROR", "message": "deadlock detected"}
    other = {**said, "message": "duplicate key"}
    deadlock = {**said, "detail": "\n".join(DETAIL), "context": "\n".join(CONTEXT)}
    log.write_text("\n".join(map(json.dumps, (other, deadlock, other))) + "\n{torn")
    [found] = deadlocks(log)
    check(found, "2026-11-27 00:58:44.344 UTC")


def test_a_log_without_deadlocks_has_none(tmp_path):
    (tmp_path / "log").write_text("LOG:  starting PostgreSQL 18\n\tdeadlock detected\n")
    assert deadlocks(tmp_path / "log") == [] == summary([])
    with pytest.raises(BadInput):
        deadlocks(tmp_path / "nowhere")
