"""What the platform does with a booking request, from a decoded body to an answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from whitehorse import bookings, hours
from whitehorse.allocator import Allocator
from whitehorse.database import Database, Row, Session
from whitehorse.faults import burn_cpu
from whitehorse.inline import Attempt, InlineAllocations
from whitehorse.jobs import JobQueue
from whitehorse.profile import Stopwatch
from whitehorse.rate_limit import RateLimit
from whitehorse.requests import BookingRequest
from whitehorse.server_log import ServerLog
from whitehorse.settings import Settings


@dataclass(frozen=True)
class Answer:
    """Status, JSON body and headers; the ids say whom the server log speaks of."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    booking_id: UUID | None = None
    attempt_id: str | None = None
    inline_continues: bool = False


class Refused(Exception):
    """The request ends here, with this answer."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body["error"])
        self.answer = Answer(status, body, headers or {})


class BookingService:
    """Takes booking requests; one for the web process, used by many threads."""

    def __init__(self, database: Database, settings: Settings, log: ServerLog) -> None:
        self._database = database
        self._settings = settings
        self._faults = settings.faults
        self._inline = InlineAllocations(Allocator(database, settings, log), settings, log)
        self._queue = JobQueue(settings, log)
        self._limit = RateLimit(settings.faults.rate_limit_per_min)

    def close(self) -> None:
        """Let allocations that are still at work finish."""
        self._inline.close()

    def recover(self) -> None:
        """Schedule the job of every booking a killed web process left without one."""
        if self._settings.auto_assign:
            with self._database.session(Stopwatch("api")) as session:
                self._queue.adopt_orphans(session, older_than_s=0)

    def book(self, request: BookingRequest, key: str | None, client: str, watch: Stopwatch) -> Answer:
        """Make the booking and try to give it tables. Raises Refused, psycopg.Error, PoolTimeout."""
        burn_cpu(self._faults.api_cpu_ms)
        time.sleep(self._faults.api_delay_ms / 1000)
        key = key or str(uuid4())
        with self._database.session(watch) as session:
            venue = self._venue(session, request)
            self._check_rate(venue, client)
            start_at = hours.starts_at(request.day, request.clock, venue["timezone"])
            _check_time(request, venue, start_at)
            if self._faults.dup_guest_demotes and not bookings.find_by_key(session, venue["id"], key):
                demoted = bookings.demote_same_guest(session, request, venue["id"], start_at)
                if demoted:
                    self._schedule(session, demoted)
                    return _booked(201, demoted, key)
            racy = self._faults.racy_idempotency
            booking, duplicate = bookings.create(session, request, venue["id"], start_at, key, racy=racy)
        return _booked(200, booking, key) if duplicate else self._allocate(booking, key, watch)

    def _venue(self, session: Session, request: BookingRequest) -> Row:
        venue = bookings.venue(session, request)
        if venue is None and request.restaurant_slug:
            raise Refused(404, {"error": "Restaurant not found", "code": "RESTAURANT_NOT_FOUND"})
        if venue is None:
            raise Refused(500, {"error": "Unable to create booking"})
        return venue

    def _check_rate(self, venue: Row, client: str) -> None:
        if refusal := self._limit.refuse(str(venue["id"]), client):
            body = {
                "error": "Too many booking requests. Please try again in a moment.",
                "code": "RATE_LIMITED",
                "retryAfter": refusal.retry_after_s,
            }
            raise Refused(429, body, refusal.headers)

    def _allocate(self, booking: Row, key: str, watch: Stopwatch) -> Answer:
        attempt, left = None, None
        if self._settings.inline_budget_ms:
            attempt = Attempt(booking)
            left = self._inline.run(attempt, watch)
        with self._database.session(watch) as session:
            if left:
                bookings.keep_result(session, booking["id"], left)
            while watch.calls < self._faults.round_trips - 1:
                session.rows("select 1")
            latest = bookings.read(session, booking["id"]) or booking
            self._schedule(session, latest)
        if attempt is None:
            return _booked(201, latest, key)
        return _booked(201, latest, key, attempt_id=attempt.id, inline_continues=attempt.continues)

    def _schedule(self, session: Session, booking: Row) -> None:
        """Schedule the job of a booking that will be answered as not confirmed."""
        if self._settings.auto_assign and booking["status"] in bookings.OPEN_STATUSES:
            self._queue.defer(session, booking["id"])


def _check_time(request: BookingRequest, venue: Row, start_at: datetime) -> None:
    if start_at <= datetime.now(UTC):
        raise Refused(422, {"error": "Booking time is in the past.", "code": "BOOKING_IN_PAST"})
    details = hours.window(venue).refusal(request.clock, request.booking_type)
    if details:
        error = "Selected time is outside operating hours."
        raise Refused(400, {"error": error, "code": "OPERATING_HOURS_CLOSED", "details": details})


def _booked(status: int, booking: Row, key: str, **told: Any) -> Answer:
    shown = presentable(booking)
    body = {
        "booking": shown,
        "duplicate": status == 200,
        "clientRequestId": str(uuid4()),
        "idempotencyKey": key,
        "confirmationToken": booking["confirmation_token"],
        "bookings": [shown],
        "capacity": None,
    }
    return Answer(status, body, booking_id=booking["id"], **told)


def presentable(booking: Row) -> Row:
    """A booking as the API shows it: everything but the token that proves who made it."""
    return {name: value for name, value in booking.items() if name != "confirmation_token"}
