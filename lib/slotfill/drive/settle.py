"""Settling an attempt that was in flight when its driver stopped: look first, repeat only when it is safe.

The platform answers a key it has seen with the old booking, but two posts with one key at the same time
can both book. So a request is only repeated when nothing was booked and the first cannot still be running.
"""

from dataclasses import dataclass
from datetime import datetime

import httpx

from slotfill import events
from slotfill.attempt import EXHAUSTED
from slotfill.drive.state import BookingState, ReadFailed
from slotfill.drive.summary import Record, Result
from slotfill.drive.watch import Decision, Level, Order, Sink, Watch

SERVER_GRACE_MS = 1_000
"""Past the client's timeout, for a server that notices late that nobody listens any more."""


class Unsettled(Exception):
    """The database did not answer, so nobody can say whether the attempt booked."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """What the log says of an attempt that has no outcome."""

    iteration: int
    sent_at: datetime | None = None
    """``None``: the request never left."""
    initial_status: str | None = None
    """What the platform answered, where its answer was logged."""
    submit_ms: float | None = None


async def settle(
    order: Order,
    level: Level,
    client: httpx.AsyncClient,
    write: Sink,
    flight: InFlight,
    platform_started_at: datetime | None,
) -> Result | None:
    """The outcome of an attempt that was in flight, or ``None`` where it is safe to make it (again).

    ``platform_started_at``: a request sent before it died with the platform. Raises Unsettled.
    """
    if flight.sent_at is None:
        return None
    booking = await _find(order, level, flight.sent_at, platform_started_at)
    if booking is None:
        return None
    record = _record(order, level, write, flight, booking)
    record.watch = watch = Watch(level, client, record.tell)
    watch.booking = booking
    left_ms = level.settings.timeout_ms - _age_ms(level, flight.sent_at)
    decision = await watch.until(level.clock.ms() + max(left_ms, 0), booking.id, events.POST_JOB_POLL)
    record.outcome = _outcome(decision, watch.booking, flight)
    record.background_invoked = True if "background" in record.outcome else None
    record.summarise()
    return record.result()


async def _find(
    order: Order, level: Level, sent_at: datetime, platform_started_at: datetime | None
) -> BookingState | None:
    """The attempt's booking; waits until it appears or the request can no longer be running."""
    settings, failures = level.settings, 0
    while True:
        can_run = _can_still_run(level, sent_at, platform_started_at)
        try:
            booking = await level.bookings.find(order.attempt.idempotency_key)
            if booking is not None or not can_run:
                return booking
        except ReadFailed as error:
            failures += 1
            if failures * settings.poll_interval_ms >= settings.timeout_ms:
                raise Unsettled(f"cannot look up the booking of {order.slot.time} in the database: {error}") from None
        await level.clock.sleep(settings.poll_interval_ms)


def _can_still_run(level: Level, sent_at: datetime, platform_started_at: datetime | None) -> bool:
    if platform_started_at is not None and platform_started_at > sent_at:
        return False
    return _age_ms(level, sent_at) < level.settings.submit_timeout_ms + SERVER_GRACE_MS


def _age_ms(level: Level, sent_at: datetime) -> float:
    return (level.clock.now() - sent_at).total_seconds() * 1e3


def _record(order: Order, level: Level, write: Sink, flight: InFlight, booking: BookingState) -> Record:
    """A record without the figures nobody measured."""
    return Record(
        order,
        level,
        write,
        settled=True,
        booking_id=booking.id,
        initial_status=flight.initial_status,
        submit_ms=flight.submit_ms,
        inline_polls=None,
        inline_ms=None,
        post_job_polls=None,
        post_job_ms=None,
        background_invoked=None,
    )


def _outcome(decision: Decision, booking: BookingState | None, flight: InFlight) -> str:
    """By what the platform says confirmed it, or which stage it was left in."""
    if decision == "exhausted":
        return EXHAUSTED
    if decision != "confirmed":
        return f"failed_background_{decision}"
    if booking is not None and booking.confirmed_by == "auto_assign":
        return "confirmed_background"
    answered_pending = flight.initial_status not in (None, "confirmed")
    return "confirmed_inline_poll" if answered_pending else "confirmed_inline_api"
