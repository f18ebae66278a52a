"""Settling an attempt by its booking: where its answer was lost, or its driver stopped while it was in flight.

An attempt in flight is looked up first and only repeated where that is safe. The platform answers a key it
has seen with the old booking, but two posts with one key at the same time can both book. So a request is only
repeated when nothing was booked and the first cannot still be running.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slotfill import events
from slotfill.drive.client import Client
from slotfill.drive.state import BookingState, ReadFailed
from slotfill.drive.summary import Record, Result
from slotfill.drive.watch import Decision, LevelContext, Order, Sink, Watch
from slotfill.outcomes import EXHAUSTED

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
    created: dict[str, Any] = field(default_factory=dict)
    """What the log says of the platform's answer, where it came."""

    @property
    def initial_status(self) -> str | None:
        return self.created.get("initialStatus")


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt whose answer was lost, and of which the database held no booking then."""

    order: Order
    at_ms: float
    server_may_go_on: bool


async def reconcile(
    order: Order,
    level: LevelContext,
    client: Client,
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
    record = Record(order, level, write)
    record.watch = Watch(level, client, record.tell)
    record.restore(flight.created)
    if booking.confirmed and flight.initial_status == "confirmed":
        # The answer had decided it and is on record; only the look at the tables was still to come.
        record.booking_id, record.watch.booking, record.outcome = booking.id, booking, "confirmed_inline_api"
        record.total_ms = record.submit_ms
        record.summarise()
        return record.result()
    left_ms = level.settings.timeout_ms - _age_ms(level, sent_at)
    await follow(record, booking, level.clock.ms() + left_ms)
    record.summarise()
    return record.result()


async def reconcile_late(lost: Lost, level: LevelContext, client: Client, write: Sink) -> None:
    """Look a lost attempt up once more, at the level's end; a booking that is there now gets its summary."""
    try:
        booking = await level.bookings.find(lost.order.attempt.idempotency_key)
    except ReadFailed:
        return  # its brake, or the check after the level, says that
    if booking is not None:
        record = Record(lost.order, level, write)
        record.watch = Watch(level, client, record.tell)
        await follow(record, booking, level.clock.ms() + level.settings.inline_window_ms)
        record.summarise()


async def find(order: Order, level: LevelContext, can_still_run: Callable[[], bool]) -> BookingState | None:
    """The attempt's booking; waits until it appears or its request can no longer be running. Raises Indeterminate."""
    settings, clock = level.settings, level.clock
    answered_ms = clock.ms()
    while True:
        last_look = not can_still_run()
        try:
            booking = await level.bookings.find(order.attempt.idempotency_key)
            if booking is not None:
                level.found.set()
            if booking is not None or last_look:
                return booking
            answered_ms = clock.ms()
        except ReadFailed as error:  # at once, or after the time that a database which hangs was waited for
            if clock.ms() - answered_ms + settings.poll_interval_ms >= settings.timeout_ms:
                raise Indeterminate(
                    f"cannot look up the booking of {order.slot.time} in the database: {error}"
                ) from None
        await clock.sleep(settings.poll_interval_ms)


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
