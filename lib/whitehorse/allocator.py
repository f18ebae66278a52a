"""Quote → hold → confirm: how a booking gets its tables, inline or in a job.

Never double-booked, whatever the concurrency, for two independent reasons. A hold is taken under locks on its
tables' rows, in one order everywhere, and only if no assignment and no live hold overlaps; while it lives no
other allocation takes those tables. And the database itself refuses overlapping assignments of one table.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.errors import ExclusionViolation
from psycopg.types.json import Jsonb

from whitehorse.database import Database, Row, Session, why
from whitehorse.faults import burn_cpu
from whitehorse.hours import table_kept_for
from whitehorse.profile import Stopwatch
from whitehorse.seating import TIMED_OUT, Options, Seating, Table, options
from whitehorse.server_log import HOLD, ServerLog
from whitehorse.settings import Settings

MAX_QUOTES = 5
# BEGIN, the locks, the hold, COMMIT.
HOLD_CALLS = 4
# The platform makes about 60 calls in a booking request: 17 in its quote, 18 in its confirm, the rest around them.
QUOTE_SHARE, CONFIRM_SHARE = 17 / 60, 18 / 60
SHARED_BY_ONE_IN = 3

# The sleep is that of a planted slow query: the answer takes that long in the server, once.
FACTS = """
with slow as materialized (
    select pg_sleep(%(slow_s)s)
), busy as materialized (
    select table_id from booking_table_assignments
    where tstzrange(start_at, end_at) && tstzrange(%(start_at)s, %(end_at)s)
    union all
    select w.table_id from table_holds h join table_hold_windows w on w.hold_id = h.id
    where h.expires_at > now() and w.hold_window && tstzrange(%(start_at)s, %(end_at)s)
), beside as materialized (
    select a.id, array_agg(b.id) as neighbours
    from (select table_a, table_b from table_adjacencies union select table_b, table_a from table_adjacencies) pair
    join table_inventory a on a.id = pair.table_a
    join table_inventory b on b.id = pair.table_b
    where a.restaurant_id = %(restaurant_id)s
    group by a.id
)
select t.id, t.table_number as number, t.capacity, t.min_party_size, t.max_party_size,
    z.area_type = 'outdoor' as outdoor,
    t.capacity in (select capacity from allowed_capacities where restaurant_id = %(restaurant_id)s) as bookable_alone,
    t.id in (select table_id from busy) as busy,
    coalesce(beside.neighbours, '{}') as neighbours
from slow cross join table_inventory t join zones z on z.id = t.zone_id left join beside on beside.id = t.id
where t.restaurant_id = %(restaurant_id)s and t.active and t.status <> 'out_of_service'
order by t.table_number
"""

LOCK_TABLES = "select id from table_inventory where id = any(%(table_ids)s) order by id for no key update"

TAKE_HOLD = """
with wanted as (
    select unnest(%(table_ids)s::uuid[]) as table_id
), hold as (
    insert into table_holds (booking_id, restaurant_id, start_at, end_at, expires_at)
    select %(booking_id)s, %(restaurant_id)s, %(start_at)s, %(end_at)s, %(end_at)s::timestamptz + interval '2 minutes'
    where not exists (
        select from booking_table_assignments a join wanted using (table_id)
        where tstzrange(a.start_at, a.end_at) && tstzrange(%(start_at)s, %(end_at)s)
    ) and not exists (
        select from table_holds h join table_hold_windows w on w.hold_id = h.id join wanted using (table_id)
        where h.expires_at > now() and w.hold_window && tstzrange(%(start_at)s, %(end_at)s)
    )
    returning id
), members as (
    insert into table_hold_members (hold_id, table_id) select hold.id, table_id from hold, wanted
), windows as (
    insert into table_hold_windows (hold_id, table_id, hold_window)
    select hold.id, table_id, tstzrange(%(start_at)s, %(end_at)s) from hold, wanted
)
select id from hold
"""

FIND_HOLD = """
select h.id, h.start_at, h.end_at, array_agg(m.table_id) as table_ids
from table_holds h join table_hold_members m on m.hold_id = h.id
where h.booking_id = %(booking_id)s and h.expires_at > now()
group by h.id order by h.created_at limit 1
"""

# The result of an allocation whose request gave up waiting stays: a booking can be confirmed and carry INLINE_TIMEOUT.
CONFIRM = """
with before as (
    select status from bookings where id = %(booking_id)s
), booking as (
    update bookings set status = 'confirmed', updated_at = clock_timestamp(), auto_assign_last_result = case
        when auto_assign_last_result ->> 'attemptId' = %(attempt_id)s then auto_assign_last_result else %(result)s end
    where id = %(booking_id)s and status in ('pending', 'pending_allocation')
    returning id, restaurant_id
), hold as (
    delete from table_holds where id = %(hold_id)s and expires_at > now() returning id, start_at, end_at
), seat as (
    insert into booking_table_assignments (booking_id, table_id, start_at, end_at, assignment_window, idempotency_key)
    select booking.id, m.table_id, hold.start_at, hold.end_at, tstzrange(hold.start_at, hold.end_at), %(attempt_id)s
    from booking, hold join table_hold_members m on m.hold_id = hold.id
    order by m.table_id
    returning booking_id, table_id, assignment_window
), allocated as (
    insert into allocations (booking_id, restaurant_id, resource_id, "window")
    select seat.booking_id, booking.restaurant_id, seat.table_id, seat.assignment_window from seat, booking
), history as (
    insert into booking_state_history (booking_id, from_status, to_status, reason, metadata)
    select booking.id, before.status, 'confirmed', %(reason)s,
        jsonb_build_object('attemptId', %(attempt_id)s::text, 'holdId', %(hold_id)s::uuid)
    from booking, before where exists (select from seat)
)
select (select count(*) from booking) as confirmed, (select count(*) from seat) as tables
"""


class AlreadyConfirmed(Exception):
    """Another allocation of the same booking was faster, or the booking is no longer open."""


class HoldLost(Exception):
    """The hold was gone, or its tables taken, when it was to be confirmed."""


class FailHard(Exception):
    """FEATURE_ALLOCATOR_SERVICE_FAIL_HARD turned a fallback into this error."""


class OutOfBudget(Exception):
    """The inline budget ended before a hold was taken; the job goes on from here."""


@dataclass(frozen=True)
class Hold:
    id: UUID
    table_ids: tuple[UUID, ...]


@dataclass(frozen=True)
class Quote:
    """A hold, or the platform's reason why there is none; ``alternates`` counts the other ways to seat the party."""

    hold: Hold | None
    reason: str | None
    alternates: int


class Budget:
    """Lets an allocation go on to its hold until somebody ends it; a job's is never ended."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def check(self) -> None:
        """Raises OutOfBudget once it has ended."""
        if self._ended.is_set():
            raise OutOfBudget


class Allocator:
    """Finds, holds and confirms tables; one for each process, used by many threads."""

    def __init__(self, database: Database, settings: Settings, log: ServerLog) -> None:
        self._database = database
        self._settings = settings
        self._faults = settings.faults
        self._log = log
        self._turn = threading.Lock()

    def turn(self) -> AbstractContextManager[object]:
        """Held for a whole allocation; where they are serialised, this is where they wait for each other."""
        return self._turn if self._faults.allocator_serial else nullcontext()

    def quote(self, booking: Row, watch: Stopwatch, budget: Budget) -> Quote:
        """Find tables and hold them; when another booking takes them first, look again.

        Raises OutOfBudget, HoldLost after too many lost races, FailHard, psycopg.Error.
        """
        for turn in range(MAX_QUOTES):
            budget.check()
            found = self._look(booking, watch, turn)
            if found.reason:
                return Quote(None, found.reason, 0)
            budget.check()
            hold = self._take_hold(booking, found.seatings[0], watch)
            if hold:
                return Quote(hold, None, len(found.seatings) - 1)
            if self._settings.fail_hard:
                raise FailHard("Tables were taken by another booking (fail hard)")
        raise HoldLost(f"Tables were taken by other bookings {MAX_QUOTES} times")

    def find_hold(self, booking: Row, watch: Stopwatch) -> Hold | None:
        """The live hold an earlier attempt left for this booking, if any."""
        with self._database.session(watch) as session:
            held = session.one(FIND_HOLD, {"booking_id": booking["id"]})
        return Hold(held["id"], tuple(held["table_ids"])) if held else None

    def confirm(self, booking: Row, hold: Hold, watch: Stopwatch, *, attempt_id: str, reason: str, result: Row) -> None:
        """Turn a hold into the booking's tables, all in one transaction; on any failure let the hold go.

        ``result`` becomes the booking's auto_assign_last_result, ``reason`` stands in its state history.
        Raises AlreadyConfirmed, HoldLost, psycopg.Error (such as a deadlock).
        """
        params = {
            "booking_id": booking["id"],
            "hold_id": hold.id,
            "attempt_id": attempt_id,
            "reason": reason,
            "result": Jsonb(result),
        }
        with self._database.session(watch) as session:
            try:
                with session.transaction():
                    self._apply_faults(session, booking)
                    done = session.one(CONFIRM, params)
                    assert done
                    if not done["confirmed"]:
                        raise AlreadyConfirmed("The booking is no longer open")
                    if done["tables"] != len(hold.table_ids):
                        raise HoldLost("The hold is gone")
            except ExclusionViolation:
                self._release(session, hold)
                raise HoldLost("The tables were taken behind the hold's back") from None
            except Exception:
                self._release(session, hold)
                raise

    def _look(self, booking: Row, watch: Stopwatch, turn: int) -> Options:
        with self._database.session(watch) as session:
            facts = session.rows(FACTS, _window(booking) | {"slow_s": self._faults.db_slow_query_ms / 1000})
            session.pad(round(self._faults.round_trips * QUOTE_SHARE) - HOLD_CALLS)
        burn_cpu(self._faults.allocator_cpu_ms)
        wanted = booking["seating_preference"]
        tables = [Table(**{**row, "neighbours": frozenset(row["neighbours"])}) for row in facts]
        found = options(
            [table for table in tables if wanted == "any" or table.outdoor == (wanted == "outdoor")],
            booking["party_size"],
            joined=self._settings.allocator_v2,
            timeout_ms=self._settings.enumeration_timeout_ms,
            seed=f"{booking['id']} {turn}",
        )
        if found.timed_out and self._settings.fail_hard:
            raise FailHard(f"{TIMED_OUT} ({self._settings.enumeration_timeout_ms} ms, fail hard)")
        return found

    def _take_hold(self, booking: Row, seating: Seating, watch: Stopwatch) -> Hold | None:
        table_ids = [table.id for table in seating]
        params = _window(booking) | {"booking_id": booking["id"], "table_ids": table_ids}
        with self._database.session(watch) as session, session.transaction():
            # A statement of its own: the next one must see what those who held these locks have committed.
            session.lock(LOCK_TABLES, params)
            held = session.one(TAKE_HOLD, params)
        if held:
            return Hold(held["id"], tuple(table_ids))
        conflict = {"code": "23P01", "message": "Tables were taken by another booking"}
        self._log.write(f"{HOLD} hold insert failed", {"bookingId": booking["id"], "tableIds": table_ids} | conflict)
        return None

    def _apply_faults(self, session: Session, booking: Row) -> None:
        """The planted faults of a confirm, inside its transaction."""
        venue = {"id": booking["restaurant_id"]}
        if self._faults.db_lock_ms:
            session.lock("select id from restaurants where id = %(id)s for no key update", venue)
            session.rows("select pg_sleep(%(s)s)", {"s": self._faults.db_lock_ms / 1000})
        if self._faults.restaurant_row_lock:
            self._contend_for_venue_row(session, booking)
        session.pad(round(self._faults.round_trips * CONFIRM_SHARE) - 2)

    def _contend_for_venue_row(self, session: Session, booking: Row) -> None:
        """Work with the venue's row locked. One in three shares it first: two of those at once deadlock, and one dies.

        Were it all of them, everybody who waits for a lock would die together once it is free.
        """
        venue, half_s = {"id": booking["restaurant_id"]}, self._faults.restaurant_row_lock / 2000
        if booking["id"].int % SHARED_BY_ONE_IN == 0:
            session.lock("select id from restaurants where id = %(id)s for share", venue)
            session.rows("select pg_sleep(%(s)s)", {"s": half_s})
        session.lock("update restaurants set updated_at = clock_timestamp() where id = %(id)s", venue)
        session.rows("select pg_sleep(%(s)s)", {"s": half_s})

    def _release(self, session: Session, hold: Hold) -> None:
        try:
            session.rows("delete from table_holds where id = %(id)s", {"id": hold.id})
        except psycopg.Error as error:  # the connection is gone; the job finds the hold and takes it over
            self._log.write(f"{HOLD} release failed", {"holdId": hold.id, "message": why(error)})


def _window(booking: Row) -> Row:
    start_at = booking["start_at"]
    end_at = start_at + table_kept_for(booking["party_size"])
    return {"restaurant_id": booking["restaurant_id"], "start_at": start_at, "end_at": end_at}
