"""Settling an attempt by its booking: where its answer was lost, or its driver stopped while it was in flight.

An attempt in flight is looked up first and only repeated where that is safe. The platform answers a key it
has seen with the old booking, but two posts with one key at the same time can both book. So a request is only
repeated when nothing was booked and the first cannot still be running.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx

from slotfill import events
from slotfill.attempt import EXHAUSTED
from slotfill.drive.state import BookingState, ReadFailed
from slotfill.drive.summary import Record, Result
from slotfill.drive.watch import Decision, LevelContext, Order, Sink, Watch

SERVER_GRACE_MS = 1_000
"""Past the client's timeout, for a server that notices late that nobody listens any more."""


class Indeterminate(Exception):
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


async def reconcile(
    order: Order,
    level: LevelContext,
    client: httpx.AsyncClient,
    write: Sink,
    flight: InFlight,
    platform_started_at: datetime | None,
) -> Result | None:
    """The outcome of an attempt that was in flight, or ``None`` where it is safe to make it (again).

    ``platform_started_at``: a request sent before it died with the platform. Raises Indeterminate.
    """
    if flight.sent_at is None:
        return None
    sent_at = flight.sent_at
    booking = await find(order, level, lambda: _can_still_run(level, sent_at, platform_started_at))
    if booking is None:
        return None
    record = Record(order, level, write, initial_status=flight.initial_status, submit_ms=flight.submit_ms)
    record.watch = Watch(level, client, record.tell)
    left_ms = level.settings.timeout_ms - _age_ms(level, sent_at)
    await follow(record, booking, level.clock.ms() + left_ms)
    record.summarise()
    return record.result()


async def find(order: Order, level: LevelContext, can_still_run: Callable[[], bool]) -> BookingState | None:
    """The attempt's booking; waits until it appears or its request can no longer be running. Raises Indeterminate."""
    settings, failures = level.settings, 0
    while True:
        last_look = not can_still_run()
        try:
            booking = await level.bookings.find(order.attempt.idempotency_key)
            if booking is not None or last_look:
                return booking
        except ReadFailed as error:
            failures += 1
            if failures * settings.poll_interval_ms >= settings.timeout_ms:
                raise Indeterminate(
                    f"cannot look up the booking of {order.slot.time} in the database: {error}"
                ) from None
        await level.clock.sleep(settings.poll_interval_ms)


async def follow(record: Record, booking: BookingState, deadline_ms: float) -> None:
    """Watch a booking that was found by its key until it is decided, and reconcile the attempt by that."""
    watch, record.booking_id = record.watch, booking.id
    watch.booking = booking
    decision = await watch.until(deadline_ms, booking.id, events.POST_JOB_POLL)
    record.reconcile(_outcome(decision, watch.booking, record.initial_status))


def _can_still_run(level: LevelContext, sent_at: datetime, platform_started_at: datetime | None) -> bool:
    if platform_started_at is not None and platform_started_at > sent_at:
        return False
    return _age_ms(level, sent_at) < level.settings.submit_timeout_ms + SERVER_GRACE_MS


def _age_ms(level: LevelContext, sent_at: datetime) -> float:
    return (level.clock.now() - sent_at).total_seconds() * 1e3


def _outcome(decision: Decision, booking: BookingState | None, initial_status: str | None) -> str:
    """By what the platform says confirmed it, or which stage it was left in."""
    if decision == "exhausted":
        return EXHAUSTED
    if decision != "confirmed":
        return f"failed_background_{decision}"
    if booking is not None and booking.confirmed_by == "auto_assign":
        return "confirmed_background"
    answered_pending = initial_status not in (None, "confirmed")
    return "confirmed_inline_poll" if answered_pending else "confirmed_inline_api"
