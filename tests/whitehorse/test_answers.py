"""Every answer of the booking endpoint, from a running platform."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import waiting

Platform = Any  # of conftest.py, which cannot be imported from


def test_a_booking_is_answered_with_201_and_has_its_table(platform: Platform) -> None:
    key, day = str(uuid4()), platform.a_weekday().isoformat()
    answer = platform.post(platform.request(date=day, party=2), key)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["duplicate"], told["idempotencyKey"], told["capacity"]) == (False, key, None)
    assert told["clientRequestId"]
    assert told["confirmationToken"]
    booking = told["booking"]
    assert told["bookings"] == [booking]
    assert (booking["status"], booking["party_size"]) == ("confirmed", 2)
    assert (booking["booking_date"], booking["start_time"], booking["end_time"]) == (day, "18:00:00", "20:00:00")
    result = booking["auto_assign_last_result"]
    assert (result["source"], result["success"], result["reason"]) == ("inline", True, None)
    read = platform.booking(booking["id"])
    assert read["booking"]["status"] == "confirmed"
    assert [table["capacity"] for table in read["assignments"]] == [2]


@pytest.mark.parametrize(("party", "minutes"), [(2, 65), (4, 80), (6, 90), (7, 95)])
def test_a_table_is_kept_by_party_size(platform: Platform, party: int, minutes: int) -> None:
    booking = platform.book(party=party)
    (table,) = platform.booking(booking["id"])["assignments"]
    kept = datetime.fromisoformat(table["endAt"]) - datetime.fromisoformat(table["startAt"])
    assert kept == timedelta(minutes=minutes)


def test_a_party_no_table_can_seat_is_a_pending_201(platform: Platform) -> None:
    booking = platform.book(party=100)
    assert booking["status"] == "pending"
    reason = "No tables meet the capacity requirements for this party size."
    assert booking["auto_assign_last_result"]["reason"] == reason


def test_a_party_larger_than_any_table_gets_joined_adjacent_tables(platform: Platform) -> None:
    booking = platform.book(party=12)
    tables = platform.booking(booking["id"])["assignments"]
    assert len(tables) > 1
    assert sum(table["capacity"] for table in tables) >= 12
    adjacent = {
        frozenset((str(row["table_a"]), str(row["table_b"])))
        for row in platform.sql("select table_a, table_b from table_adjacencies")
    }
    joined, rest = {tables[0]["tableId"]}, {table["tableId"] for table in tables[1:]}
    while rest:
        near = {table for table in rest if any(frozenset((table, other)) in adjacent for other in joined)}
        assert near, "the tables are not connected"
        joined, rest = joined | near, rest - near


def test_a_key_seen_before_is_answered_with_200_and_the_first_booking(platform: Platform) -> None:
    key, body = str(uuid4()), platform.request()
    first, second = platform.post(body, key), platform.post(body, key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["duplicate"] is True
    assert second.json()["booking"]["id"] == first.json()["booking"]["id"]


def test_simultaneous_posts_with_one_key_make_one_booking(platform: Platform) -> None:
    for _ in range(5):
        key, body = str(uuid4()), platform.request()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _, key=key, body=body: platform.post(body, key), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
        assert len({answer.json()["booking"]["id"] for answer in answers}) == 1
        assert len(platform.sql("select id from bookings where idempotency_key = %(key)s", key=key)) == 1


def test_the_same_guest_may_book_the_same_slot_again_with_a_new_key(platform: Platform) -> None:
    body = platform.request()
    first, second = platform.post(body).json()["booking"], platform.post(body).json()["booking"]
    assert first["id"] != second["id"]
    assert platform.booking(first["id"])["booking"]["status"] == "confirmed"


def test_what_is_not_json_is_refused(platform: Platform) -> None:
    answer = platform.client.post("/api/bookings", content=b'{"party": ', headers={"Idempotency-Key": str(uuid4())})
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON payload"})


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("party", 0, "Number must be greater than or equal to 1"),
        ("party", "2", "Expected number, received string"),
        ("party", 2.5, "Expected number, received number"),
        ("name", "x", "String must contain at least 2 character(s)"),
        ("name", "x" * 121, "String must contain at most 120 character(s)"),
        ("phone", "123456", "String must contain at least 7 character(s)"),
        ("notes", "x" * 501, "String must contain at most 500 character(s)"),
        ("email", "nobody", "Invalid email"),
        ("date", "14/12/2026", "Invalid"),
        ("date", "2027-02-30", "Invalid date"),
        ("time", "25:00", "Invalid"),
        ("bookingType", "tea", "Invalid enum value. Expected 'lunch' | 'dinner' | 'drinks', received 'tea'"),
        ("seating", None, "Invalid enum value. Expected 'any' | 'indoor' | 'outdoor', received 'None'"),
        ("marketingOptIn", "yes", "Expected boolean, received string"),
    ],
)
def test_a_wrong_field_is_refused_by_name(platform: Platform, field: str, value: object, text: str) -> None:
    answer = platform.post(platform.request() | {field: value})
    details = {"formErrors": [], "fieldErrors": {field: [text]}}
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid payload", "details": details})


def test_all_wrong_and_missing_fields_are_told_at_once(platform: Platform) -> None:
    body = platform.request(party=0)
    del body["email"], body["bookingType"]
    fields = platform.post(body).json()["details"]["fieldErrors"]
    assert fields["email"] == fields["bookingType"] == ["Required"]
    assert "party" in fields


def test_a_body_that_is_no_object_is_a_form_error(platform: Platform) -> None:
    details = platform.post([1, 2]).json()["details"]
    assert details == {"formErrors": ["Expected object, received array"], "fieldErrors": {}}


@pytest.mark.parametrize("clock", ["11:45", "20:15", "18:07"])
def test_a_time_outside_the_window_or_off_the_grid_is_refused(platform: Platform, clock: str) -> None:
    booking_type = "dinner" if clock > "17" else "lunch"
    answer = platform.post(platform.request(time=clock, bookingType=booking_type))
    assert answer.status_code == 400
    told = answer.json()
    assert (told["error"], told["code"]) == ("Selected time is outside operating hours.", "OPERATING_HOURS_CLOSED")
    details = told["details"]
    assert (details["reason"], details["requestedTime"]) == ("OUTSIDE_WINDOW", clock)
    assert (details["opensAt"], details["closesAt"], details["timezone"]) == ("12:00", "22:00", "Europe/London")
    if booking_type == "dinner":
        assert (details["firstAvailableSlot"], details["lastAvailableSlot"]) == ("17:00", "20:00")


@pytest.mark.parametrize(("clock", "booking_type"), [("12:00", "lunch"), ("17:00", "dinner"), ("20:00", "dinner")])
def test_the_first_and_last_slots_can_be_booked(platform: Platform, clock: str, booking_type: str) -> None:
    assert platform.book(time=clock, bookingType=booking_type)["status"] == "confirmed"


def test_a_closed_day_is_refused(platform: Platform) -> None:
    day = platform.a_weekday()
    platform.sql(
        "insert into restaurant_operating_hours (restaurant_id, effective_date, is_closed)"
        " select id, %(day)s, true from restaurants",
        day=day,
    )
    answer = platform.post(platform.request(date=day.isoformat()))
    assert (answer.status_code, answer.json()["code"]) == (400, "OPERATING_HOURS_CLOSED")
    assert answer.json()["details"]["reason"] == "CLOSED"
    assert answer.json()["details"]["opensAt"] is None


def test_a_time_in_the_past_is_422(platform: Platform) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    answer = platform.post(platform.request(date=yesterday))
    assert (answer.status_code, answer.json()["code"]) == (422, "BOOKING_IN_PAST")


def test_an_unknown_slug_is_404_and_an_unknown_id_500(platform: Platform) -> None:
    unknown = platform.post(platform.request(restaurantSlug="no-such-pub"))
    assert unknown.status_code == 404
    assert unknown.json() == {"error": "Restaurant not found", "code": "RESTAURANT_NOT_FOUND"}
    body = platform.request(restaurantId=str(uuid4()))
    del body["restaurantSlug"]
    answer = platform.post(body)
    assert (answer.status_code, set(answer.json())) == (500, {"error"})


def test_a_known_restaurant_id_books_like_its_slug(platform: Platform) -> None:
    (venue,) = platform.sql("select id from restaurants")
    body = platform.request(restaurantId=str(venue["id"]))
    del body["restaurantSlug"]
    assert platform.post(body).status_code == 201


def test_seating_outdoors_means_an_outdoor_zone(platform: Platform) -> None:
    booking = platform.book(seating="outdoor")
    (table,) = platform.booking(booking["id"])["assignments"]
    (zone,) = platform.sql("select area_type from zones where id = %(id)s", id=table["zoneId"])
    assert zone["area_type"] == "outdoor"


def test_what_does_not_exist_is_404(platform: Platform) -> None:
    for path in (f"/api/bookings/{uuid4()}", f"/api/bookings/{uuid4()}/job"):
        assert platform.client.get(path).status_code == 404


def test_a_lost_database_is_500_and_comes_back(platform: Platform) -> None:
    """The server ends all sessions, as a restart does; idle connections are noticed before they are used."""
    platform.book()
    with psycopg.connect(platform.running.database_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'whitehorse-web' and pid <> pg_backend_pid()"
        )
    assert waiting.until(lambda: platform.post(platform.request()).status_code == 201)


def test_the_health_answer_tells_flags_faults_and_queue(platform: Platform) -> None:
    health = platform.client.get("/api/health").json()
    assert (health["status"], health["devMode"], health["profiling"], health["faults"]) == ("ok", False, True, {})
    assert health["flags"]["FEATURE_AUTO_ASSIGN_ON_BOOKING"] is True
    assert set(health["queue"]) == {"waiting", "running", "workers"}


def test_a_rate_limit_is_429_with_its_headers_and_counts_what_the_platform_counts(planted: Any) -> None:
    with planted(rate_limit_per_min=3) as platform:
        waiting.until(lambda: datetime.now(UTC).second < 45)  # not across two fixed minutes
        key, body = str(uuid4()), platform.request()
        uncounted = [
            platform.post(platform.request(party=0)),
            platform.post(platform.request(restaurantSlug="no-such-pub")),
        ]
        counted = [platform.post(body, key), platform.post(body, key), platform.post(platform.request(time="18:07"))]
        refused: httpx.Response = platform.post(platform.request())
        assert [answer.status_code for answer in uncounted] == [400, 404]
        assert [answer.status_code for answer in counted] == [201, 200, 400]
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        assert refused.json()["retryAfter"] == int(refused.headers["Retry-After"]) > 0
        assert refused.headers["X-RateLimit-Limit"] == "3"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        resets_at = datetime.fromtimestamp(int(refused.headers["X-RateLimit-Reset"]) / 1000, UTC)
        assert resets_at.second == 0
        assert timedelta() < resets_at - datetime.now(UTC) <= timedelta(seconds=60)
