"""No table is ever booked twice, and none is left unused while somebody goes without."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
import waiting

Platform = Any  # of conftest.py, which cannot be imported from

# Written for this check alone: pairs every two rows, and compares plain instants rather than ranges.
OVERLAPS = """
select one.table_id, one.booking_id, other.booking_id
from booking_table_assignments one
join booking_table_assignments other on other.table_id = one.table_id and other.id > one.id
where greatest(one.start_at, other.start_at) < least(one.end_at, other.end_at)
"""


async def post_all(base_url: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base_url, timeout=waiting.PATIENCE_S, limits=limits) as client:
        headers = [{"Idempotency-Key": body["email"]} for body in bodies]
        sent = (client.post("/api/bookings", json=body, headers=key) for body, key in zip(bodies, headers, strict=True))
        return await asyncio.gather(*sent)


def test_two_hundred_simultaneous_bookings_of_one_slot_share_no_table(platform: Platform) -> None:
    day = platform.a_weekday().isoformat()
    bodies = [platform.request(date=day, party=2) for _ in range(200)]
    answers = asyncio.run(post_all(platform.running.base_url, bodies))
    assert {answer.status_code for answer in answers} == {201}
    ids = [answer.json()["booking"]["id"] for answer in answers]

    def settled() -> list[dict[str, Any]]:
        found = platform.sql("select * from bookings where booking_date = %(day)s", day=day)
        waiting = [booking for booking in found if booking["status"] == "pending"]
        states = {(platform.job(str(booking["id"])) or {"state": "none"})["state"] for booking in waiting}
        return found if states <= {"exhausted"} else []

    bookings = waiting.until(settled)
    assert sorted(str(booking["id"]) for booking in bookings) == sorted(ids)
    assert platform.sql(OVERLAPS) == []
    confirmed = [booking["id"] for booking in bookings if booking["status"] == "confirmed"]
    seated = platform.sql("select booking_id from booking_table_assignments where booking_id = any(%(ids)s)", ids=ids)
    assert sorted(row["booking_id"] for row in seated) == sorted(confirmed)
    (alone,) = platform.sql(
        "select count(*) as tables from table_inventory where 2 between min_party_size and max_party_size"
    )
    assert len(confirmed) == alone["tables"]
    assert platform.sql("select id from table_holds where booking_id = any(%(ids)s)", ids=ids) == []


def test_overlapping_slots_filled_at_once_share_no_table(platform: Platform) -> None:
    day = platform.a_weekday().isoformat()
    clocks = ["17:00", "17:15", "17:30", "17:45", "18:00", "18:15", "18:30"]
    wishes = [(clock, party) for clock in clocks for party in (1, 2, 3, 4, 6, 7, 8, 11)]
    bodies = [platform.request(date=day, time=clock, party=party) for clock, party in wishes]
    answers = asyncio.run(post_all(platform.running.base_url, bodies))
    assert {answer.status_code for answer in answers} == {201}
    assert platform.sql(OVERLAPS) == []


def test_the_database_itself_refuses_a_second_booking_of_a_table(platform: Platform) -> None:
    first, second = platform.book(), platform.book(party=100)
    (table,) = platform.booking(first["id"])["assignments"]
    with pytest.raises(psycopg.errors.ExclusionViolation):
        platform.sql(
            "insert into booking_table_assignments (booking_id, table_id, start_at, end_at)"
            " select %(booking)s, %(table)s, at - interval '1 minute', at + interval '1 hour'"
            " from (select %(end)s::timestamptz as at)",
            booking=second["id"],
            table=table["tableId"],
            end=table["endAt"],
        )


def test_a_table_is_free_again_the_moment_it_is_given_back(platform: Platform) -> None:
    """Windows touch without overlapping: 17:00 for two is kept until 18:05, so 18:15 may follow on any table."""
    day = platform.a_weekday().isoformat()
    early = [platform.book(date=day, time="17:00", party=10) for _ in range(4)]
    late = [platform.book(date=day, time="18:45", party=10) for _ in range(4)]
    numbers = [
        {table["tableNumber"] for booking in group for table in platform.booking(booking["id"])["assignments"]}
        for group in (early, late)
    ]
    assert numbers[0] == numbers[1] == {"MD-11", "MD-12", "PR-05", "PR-06"}
