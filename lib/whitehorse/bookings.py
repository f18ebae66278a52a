"""Bookings in the database: made once for each idempotency key, read, and put back."""

import secrets
import string
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from whitehorse.database import Row, Session
from whitehorse.hours import DURATION_MIN
from whitehorse.requests import BookingRequest

OPEN_STATUSES = ("pending", "pending_allocation")

VENUE = """
select r.*, h.opens_at, h.closes_at, h.is_closed, p.start_time as period_start, p.end_time as period_end
from restaurants r
left join lateral (
    select * from restaurant_operating_hours h
    where h.restaurant_id = r.id
      and (h.effective_date = %(day)s or h.day_of_week = extract(dow from %(day)s::date))
    order by h.effective_date nulls last limit 1
) h on true
left join lateral (
    select min(p.start_time) as start_time, max(p.end_time) as end_time from restaurant_service_periods p
    where p.restaurant_id = r.id and p.booking_option = %(booking_type)s
      and (p.day_of_week is null or p.day_of_week = extract(dow from %(day)s::date))
) p on true
"""

CREATE = """
with guest as (
    insert into customers (restaurant_id, full_name, email, phone, marketing_opt_in)
    values (%(restaurant_id)s, %(name)s, %(email)s, %(phone)s, %(marketing_opt_in)s)
    on conflict (restaurant_id, email) do update
    set full_name = excluded.full_name, phone = excluded.phone, updated_at = now()
    returning id
), booking as (
    insert into bookings (
        restaurant_id, customer_id, booking_date, start_time, end_time, start_at, end_at, party_size,
        seating_preference, booking_type, reference, idempotency_key, notes, customer_name, customer_email,
        customer_phone, marketing_opt_in, confirmation_token
    )
    select %(restaurant_id)s, guest.id, %(day)s, %(start_time)s, %(end_time)s, %(start_at)s, %(end_at)s, %(party)s,
        %(seating)s, %(booking_type)s, %(reference)s, %(idempotency_key)s, %(notes)s, %(name)s, %(email)s,
        %(phone)s, %(marketing_opt_in)s, %(confirmation_token)s
    from guest
    returning *
), key as (
    insert into booking_idempotency_keys (restaurant_id, idempotency_key, booking_id)
    select restaurant_id, idempotency_key, id from booking where %(claims_key)s
), history as (
    insert into booking_state_history (booking_id, to_status, reason) select id, status, 'api_creation' from booking
)
select * from booking
"""

SAME_GUEST = """
select id from bookings
where restaurant_id = %(restaurant_id)s and customer_email = %(email)s and customer_phone = %(phone)s
  and start_at = %(start_at)s and status in ('pending', 'pending_allocation', 'confirmed')
order by created_at desc limit 1
"""

DEMOTE = """
with before as (
    select id, status from bookings where id = %(id)s
), tables as (
    delete from booking_table_assignments where booking_id = %(id)s
), allocated as (
    delete from allocations where booking_id = %(id)s
), history as (
    insert into booking_state_history (booking_id, from_status, to_status, reason)
    select id, status, 'pending', 'api_resubmission' from before
)
update bookings set status = 'pending', updated_at = clock_timestamp() where id = %(id)s returning *
"""

ASSIGNMENTS = """
select a.id, a.table_id, t.table_number, t.zone_id, t.capacity, a.start_at, a.end_at
from booking_table_assignments a join table_inventory t on t.id = a.table_id
where a.booking_id = %(id)s order by t.table_number
"""

# A confirm in flight holds the row and will write its own result, so this never waits for it.
KEEP_RESULT = """
update bookings set auto_assign_last_result = %(result)s, updated_at = clock_timestamp()
where id = (select id from bookings where id = %(id)s for no key update skip locked)
"""


def venue(session: Session, request: BookingRequest) -> Row | None:
    """The venue a request names, with its hours on that day; None if there is no such slug."""
    params = {"day": request.day, "booking_type": request.booking_type}
    if request.restaurant_slug:
        return session.one(VENUE + "where r.slug = %(slug)s", params | {"slug": request.restaurant_slug})
    return session.one(VENUE + "where r.id = %(id)s::uuid", params | {"id": request.restaurant_id})


def find_by_key(session: Session, restaurant_id: UUID, idempotency_key: str) -> Row | None:
    """The booking a key has made, if any."""
    by_key = "select * from bookings where restaurant_id = %(restaurant_id)s and idempotency_key = %(key)s"
    return session.one(by_key, {"restaurant_id": restaurant_id, "key": idempotency_key})


def create(
    session: Session, request: BookingRequest, restaurant_id: UUID, start_at: datetime, key: str, *, racy: bool
) -> tuple[Row, bool]:
    """The new booking and False, or the one its key has already made and True.

    The look at the key comes first, and catches all but simultaneous posts; those meet on the key's primary
    key, where the second waits for the first and then finds its booking. ``racy`` leaves that out.
    """
    if existing := find_by_key(session, restaurant_id, key):
        return existing, True
    end_at = start_at + timedelta(minutes=DURATION_MIN[request.booking_type])
    params = request.model_dump(include={"party", "seating", "booking_type", "notes", "name", "email", "phone"}) | {
        "marketing_opt_in": request.marketing_opt_in,
        "restaurant_id": restaurant_id,
        "day": request.day,
        "start_time": request.clock,
        "end_time": end_at.time(),
        "start_at": start_at,
        "end_at": end_at,
        "idempotency_key": key,
        "reference": "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(10)),
        "confirmation_token": secrets.token_urlsafe(24),
        "claims_key": not racy,
    }
    try:
        booking = _insert(session, params)
    except UniqueViolation:
        booking = find_by_key(session, restaurant_id, key)
        if booking is None:
            raise
        return booking, True
    assert booking
    return booking, False


def _insert(session: Session, params: Row) -> Row | None:
    """The new booking; the guest's row may have come in by a simultaneous post, under their phone or their e-mail."""
    try:
        return session.one(CREATE, params)
    except UniqueViolation as violation:
        if violation.diag.table_name != "customers":
            raise
        return session.one(CREATE, params)


def demote_same_guest(session: Session, request: BookingRequest, restaurant_id: UUID, start_at: datetime) -> Row | None:
    """The platform's weakness: a guest's earlier booking of this slot, put back to pending without its tables."""
    guest = {"restaurant_id": restaurant_id, "email": request.email, "phone": request.phone, "start_at": start_at}
    earlier = session.one(SAME_GUEST, guest)
    return session.one(DEMOTE, {"id": earlier["id"]}) if earlier else None


def read(session: Session, booking_id: UUID) -> Row | None:
    return session.one("select * from bookings where id = %(id)s", {"id": booking_id})


def assignments(session: Session, booking_id: UUID) -> list[Row]:
    """The tables a booking has, by number."""
    return session.rows(ASSIGNMENTS, {"id": booking_id})


def keep_result(session: Session, booking_id: UUID, result: dict[str, Any]) -> None:
    """Remember what the allocator said last, unless a confirm is about to say more."""
    session.rows(KEEP_RESULT, {"id": booking_id, "result": Jsonb(result)})
