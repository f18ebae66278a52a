"""What happens to a booking its request did not confirm."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg
import pytest
import waiting

Platform = Any  # of conftest.py, which cannot be imported from
TOO_LARGE = "No tables meet the capacity requirements for this party size."


@pytest.fixture(scope="module")
def queueing(launch: Any) -> Iterator[Platform]:
    """A platform whose requests allocate nothing, whose jobs try again at once."""
    delays = "[0, 50, 50, 50]"
    with launch(inline_timeout_ms=0, WHITEHORSE_JOB_RETRY_DELAYS_MS=delays) as platform:
        yield platform


def finished(platform: Platform, booking_id: str) -> dict[str, Any]:
    def job() -> dict[str, Any] | None:
        found = platform.job(booking_id)
        return found if found and found["finishedAt"] else None

    return waiting.until(job)


def labels(platform: Platform, booking_id: str) -> list[str]:
    """What the server log says of a booking, without the profile."""
    told: Iterable[tuple[str, dict[str, Any]]] = platform.blocks(platform.log())
    return [label for label, fields in told if fields.get("bookingId") == booking_id and "profile" not in label]


def test_a_confirmed_booking_has_no_job(platform: Platform) -> None:
    assert platform.job(platform.book()["id"]) is None


def test_a_job_gives_up_after_two_attempts_without_capacity(queueing: Platform) -> None:
    booking = queueing.book(party=100)
    job = finished(queueing, booking["id"])
    assert (job["state"], job["attempts"], job["maxAttempts"], job["reason"]) == ("exhausted", 2, 4, TOO_LARGE)
    enqueued, started, ended = (datetime.fromisoformat(job[name]) for name in ("enqueuedAt", "startedAt", "finishedAt"))
    assert enqueued <= started <= ended
    (summary,) = queueing.sql(
        "select source, context from observability_events"
        " where booking_id = %(id)s and event_type = 'auto_assign.summary'",
        id=booking["id"],
    )
    assert summary["source"] == "auto_assign"
    assert summary["context"]["result"] == "exhausted"
    latest = queueing.booking(booking["id"])["booking"]
    assert latest["status"] == "pending"
    assert latest["auto_assign_last_result"]["source"] == "auto_assign_job"
    job_label = "[auto-assign][job]"
    told = labels(queueing, booking["id"])
    assert f"{job_label} scheduled" in told  # by the web process, in its own time
    assert [label for label in told if label.startswith(job_label) and not label.endswith("scheduled")] == [
        f"{job_label} attempt.start",
        f"{job_label} attempt.no_hold",
        f"{job_label} attempt.start",
        f"{job_label} attempt.no_hold",
        f"{job_label} exhausted",
    ]


def test_a_job_confirms_what_the_request_did_not_try(queueing: Platform) -> None:
    booking = queueing.book()
    assert finished(queueing, booking["id"])["state"] == "succeeded"
    latest = queueing.booking(booking["id"])
    assert (latest["booking"]["status"], len(latest["assignments"])) == ("confirmed", 1)
    history = queueing.sql(
        "select from_status, to_status, reason from booking_state_history where booking_id = %(id)s order by id",
        id=booking["id"],
    )
    assert [(row["from_status"], row["to_status"], row["reason"]) for row in history] == [
        (None, "pending", "api_creation"),
        ("pending", "confirmed", "auto_assign"),
    ]


def test_a_request_stops_waiting_at_its_budget_while_its_confirm_goes_on(planted: Any) -> None:
    """Somebody holds the row every confirm wants here, until the request has been answered."""
    with planted(inline_timeout_ms=4000, db_lock_ms=1) as platform:
        with psycopg.connect(platform.running.database_url) as connection:
            connection.execute("select id from restaurants for no key update")
            booking = platform.book()
        assert booking["status"] == "pending"
        assert booking["auto_assign_last_result"]["reason"] == "INLINE_TIMEOUT"
        state = finished(platform, booking["id"])["state"]
        assert state in ("succeeded", "already_confirmed")  # whoever came first when the row was free
        latest = platform.booking(booking["id"])
        assert (latest["booking"]["status"], len(latest["assignments"])) == ("confirmed", 1)
        assert "[bookings][POST][inline-auto-assign] aborted" in labels(platform, booking["id"])
        (request,) = platform.profiles("request", booking["id"])
        (inline,) = platform.profiles("inline", booking["id"])
        assert (request["inlineContinues"], inline["attemptId"]) == (True, request["attemptId"])
        assert request["databaseMs"] < request["handlerMs"]
        assert inline["databaseMs"] > 0
        if state == "already_confirmed":
            assert latest["booking"]["auto_assign_last_result"]["reason"] == "INLINE_TIMEOUT"
            assert inline["result"] == "confirmed"


def test_work_without_a_hold_stops_with_the_budget_and_leaves_the_booking_to_its_job(planted: Any) -> None:
    with planted(inline_timeout_ms=100, db_slow_query_ms=400) as platform:
        booking = platform.book()
        assert booking["auto_assign_last_result"]["reason"] == "INLINE_TIMEOUT"
        assert finished(platform, booking["id"])["state"] == "succeeded"
        told = labels(platform, booking["id"])
        assert "[bookings][POST][inline-auto-assign] confirm completed" not in told
        assert platform.profiles("inline", booking["id"])[0]["result"] == "INLINE_TIMEOUT"


def test_the_old_allocator_joins_no_tables_and_failing_hard_does_not_look_again(planted: Any) -> None:
    """Six parties want the four tables for ten at once: who loses the race would look again without the flag."""
    flags = {"FEATURE_ALLOCATOR_V2_ENABLED": "false", "FEATURE_ALLOCATOR_SERVICE_FAIL_HARD": "true"}
    with planted(db_rtt_ms=50, **flags) as platform:
        assert platform.book(party=12)["auto_assign_last_result"]["reason"] == TOO_LARGE

        def lose() -> bool:
            day = platform.a_weekday().isoformat()
            with ThreadPoolExecutor(6) as pool:
                together = list(pool.map(lambda _: platform.book(date=day, party=10), range(6)))
            return any("fail hard" in (each["auto_assign_last_result"]["reason"] or "") for each in together)

        waiting.until(lose, "one loses the race")


def test_a_job_whose_booking_starts_too_soon_is_cut_off(queueing: Platform) -> None:
    with queueing.without_worker():
        booking = queueing.book()
        queueing.sql(
            "update bookings set start_at = now() + interval '1 minute', end_at = now() + interval '2 hours'"
            " where id = %(id)s",
            id=booking["id"],
        )
    assert finished(queueing, booking["id"])["state"] == "cutoff"


def test_a_hold_left_behind_by_a_killed_request_is_taken_over_by_the_job(queueing: Platform) -> None:
    with queueing.without_worker():
        booking = queueing.book()
        (table,) = queueing.sql("select id, restaurant_id from table_inventory where table_number = 'PT-08'")
        queueing.sql(
            """
            with hold as (
                insert into table_holds (booking_id, restaurant_id, start_at, end_at, expires_at)
                select id, restaurant_id, start_at, start_at + interval '65 minutes', end_at from bookings
                where id = %(booking)s returning *
            ), member as (insert into table_hold_members select id, %(table)s from hold)
            insert into table_hold_windows select id, %(table)s, tstzrange(start_at, end_at) from hold
            """,
            booking=booking["id"],
            table=table["id"],
        )
    assert finished(queueing, booking["id"])["state"] == "succeeded"
    (assigned,) = queueing.booking(booking["id"])["assignments"]
    assert assigned["tableNumber"] == "PT-08"
    assert queueing.sql("select id from table_holds where booking_id = %(id)s", id=booking["id"]) == []


def test_without_auto_assign_bookings_stay_pending_and_with_it_the_forgotten_ones_get_their_job(planted: Any) -> None:
    with planted(FEATURE_AUTO_ASSIGN_ON_BOOKING="false") as platform:
        booking = platform.book()
        assert (booking["status"], booking["auto_assign_last_result"]) == ("pending", None)
        assert platform.job(booking["id"]) is None
        assert platform.client.get("/api/health").json()["flags"]["FEATURE_AUTO_ASSIGN_ON_BOOKING"] is False
    with planted() as platform:
        assert finished(platform, booking["id"])["state"] == "succeeded"
        orphan = platform.sql(
            """
            insert into bookings (restaurant_id, customer_id, booking_date, start_time, end_time, start_at, end_at,
                party_size, booking_type, reference, customer_name, customer_email, customer_phone, created_at)
            select restaurant_id, customer_id, booking_date, start_time, end_time, start_at, end_at, party_size,
                booking_type, 'ORPHAN' || left(id::text, 4), customer_name, customer_email, customer_phone,
                now() - interval '1 minute' from bookings where id = %(id)s returning id
            """,
            id=booking["id"],
        )
        waiting.until(lambda: (platform.job(str(orphan[0]["id"])) or {}).get("state") == "succeeded")
