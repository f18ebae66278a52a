"""Watching one booking until it is decided: confirmed, terminal, or given up by its job."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from slotfill import events
from slotfill.drive.client import Client
from slotfill.drive.clock import Clock
from slotfill.drive.jobs import Jobs
from slotfill.drive.read_back import ReadBack
from slotfill.drive.state import Bookings, BookingState, JobState, ReadFailed, is_exhaustion
from slotfill.events import Event
from slotfill.params import Settings
from slotfill.plan import PlannedAttempt, SlotPlan

FIRST_LOOK_MS, LOOK_GROWTH = 15.0, 1.25
"""When the job of a booking without a table is first looked at, and by how much each next step is longer."""

Sink = Callable[[Event], object]
Decision = Literal["confirmed", "terminal", "exhausted", "timeout"]


@dataclass(frozen=True)
class LevelContext:
    """What all attempts of a level share; everything that touches the world is in here."""

    label: str
    concurrency: int
    round_number: int
    settings: Settings
    base_url: str
    bookings: Bookings
    jobs: Jobs
    clock: Clock
    clock_offset_ms: float | None = None
    """The database's clock minus ours."""
    found: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the database has shown a booking of this load: it is the one that the platform books in."""

    @cached_property
    def read_back(self) -> ReadBack:
        return ReadBack(self.bookings, self.clock)


@dataclass(frozen=True)
class Order:
    """One attempt to make: which slot, which of its attempts, by which worker."""

    slot: SlotPlan
    attempt: PlannedAttempt
    worker: int


class Watch:
    """Reads one booking and its job, and keeps count of what the reading itself cost."""

    def __init__(self, level: LevelContext, client: Client, tell: Callable[[str, str, str, dict[str, Any]], None]):
        self._level, self._client, self._tell = level, client, tell
        self.booking: BookingState | None = None
        self.job: JobState | None = None
        self.read_ms = 0.0
        self._next_look_ms = FIRST_LOOK_MS
        self.polls = 0
        self.errors: list[str] = []
        """Why reads failed; a failed read is tried again at the next poll."""
        self.missing = False
        """The database was read, and does not hold the booking."""

    @property
    def reason(self) -> str | None:
        """Why there is no table, in the platform's words."""
        if self.job is not None and self.job.reason:
            return self.job.reason
        result = self.booking.last_result if self.booking else None
        return result.get("reason") if result else None

    async def until(self, deadline_ms: float, booking_id: str, phase: str) -> Decision:
        """Poll until the booking is decided or the clock reaches the deadline; the last read is at the deadline."""
        clock, interval = self._level.clock, self._level.settings.poll_interval_ms
        started, self.polls, seen = clock.ms(), 0, None
        while True:
            self.polls += 1
            await self.read_booking(booking_id)
            seen = self._tell_change(phase, seen, clock.ms() - started)
            decision = self._decided() or await self._given_up(booking_id)
            if decision:
                return decision
            remaining = deadline_ms - clock.ms()
            if remaining <= 0:
                return "timeout"
            decision = await self._rest(min(interval, remaining), booking_id)
            if decision:
                return decision

    async def _rest(self, ms: float, booking_id: str) -> Decision | None:
        """Until the next poll. Where the platform said that it found no table, nothing but the job's end is open: the
        job is looked at in growing steps, so that a full slot does not cost a whole interval."""
        clock = self._level.clock
        until_ms = clock.ms() + ms
        while is_exhaustion(self.reason) and clock.ms() + self._next_look_ms < until_ms:
            await clock.sleep(self._next_look_ms)
            self._next_look_ms *= LOOK_GROWTH
            decision = await self._given_up(booking_id)
            if decision:
                return decision
        await clock.sleep(max(0.0, until_ms - clock.ms()))
        return None

    async def read_booking(self, booking_id: str) -> None:
        """Read the booking once; where that fails, what was read before stands."""
        started = self._level.clock.ms()
        await self._read(self._level.bookings.read(booking_id))
        self.read_ms += self._level.clock.ms() - started

    async def read_back(self, booking_id: str) -> None:
        """The same off the path of the load, together with others' bookings and as no part of the attempt's time."""
        await self._read(self._level.read_back.read(booking_id))

    async def _read(self, reading: Awaitable[BookingState | None]) -> None:
        try:
            booking = await reading
        except ReadFailed as error:
            self._note_failure(error)
            return
        self.booking = booking or self.booking
        self.missing = self.booking is None
        if not self.missing:
            self._level.found.set()

    async def read_job(self, booking_id: str) -> None:
        """Read the job once; where that fails, what was read before stands."""
        started = self._level.clock.ms()
        try:
            self.job = await self._level.jobs.read(self._client, booking_id) or self.job
        except ReadFailed as error:
            self._note_failure(error)
        self.read_ms += self._level.clock.ms() - started

    def _decided(self) -> Decision | None:
        if self.booking is None:
            return None
        if self.booking.confirmed:
            return "confirmed"
        return "terminal" if self.booking.terminal else None

    async def _given_up(self, booking_id: str) -> Decision | None:
        """The job's definite failure ends the waiting; the booking is read once more, as it may have won the race."""
        await self.read_job(booking_id)
        if self.job is None or not self.job.failed:
            return None
        await self.read_booking(booking_id)
        return self._decided() or ("exhausted" if is_exhaustion(self.reason) else "terminal")

    def _tell_change(self, phase: str, seen: tuple[str, int] | None, elapsed_ms: float) -> tuple[str, int] | None:
        if self.booking is None:
            if self.polls == 1:
                self._tell("WARN", phase, events.NOT_FOUND_YET, {"attempt": self.polls, "elapsedMs": round(elapsed_ms)})
            return seen
        now = (self.booking.status, len(self.booking.assignments))
        if now != seen:
            fields = {"attempt": self.polls, "status": now[0], "assignments": now[1], "elapsedMs": round(elapsed_ms)}
            self._tell("INFO", phase, events.STATUS_UPDATE, fields)
        return now

    def _note_failure(self, error: ReadFailed) -> None:
        self.errors.append(str(error))
        self._tell("WARN", events.DIAGNOSTICS, "Status read failed", {"error": str(error)})
