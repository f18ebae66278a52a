"""The fill: workers take slots in order and fill each one, attempt after attempt, until it is decided.

A closed loop: a worker asks for its next booking when the last one is decided, so the numbers are
service times at a fixed concurrency and not what guests feel under open arrivals.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from slotfill import events
from slotfill.attempt import CONFIRMED_OUTCOMES, EXHAUSTED
from slotfill.drive.booking import book
from slotfill.drive.brakes import Brakes
from slotfill.drive.journal import Journal, SlotLog
from slotfill.drive.pace import Pace
from slotfill.drive.reconcile import Indeterminate, reconcile
from slotfill.drive.summary import Result
from slotfill.drive.watch import LevelContext, Order
from slotfill.errors import Braked, Unreachable
from slotfill.events import Event
from slotfill.plan import Plan, SlotPlan

STAGGER_MS = 40
"""Workers that start in step stay in step, and measure each other."""
RECOVERY_MS, PROBE_EVERY_MS = 10_000, 500
"""How long a platform that broke off a request has to answer again, before it counts as gone."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the fill ended before its plan, and what the process says to that."""

    reason: str
    exit_code: int


class Fill:
    """One level being driven. ``run`` returns when every slot is decided or the fill was stopped."""

    def __init__(
        self,
        plan: Plan,
        level: LevelContext,
        journal: Journal,
        open_client: Callable[[], Awaitable[httpx.AsyncClient]],
        report: Callable[[dict[str, Any]], None],
        run_id: str,
        platform_started_at: datetime | None = None,
    ) -> None:
        self._plan, self._level, self._journal = plan, level, journal
        self._open_client, self._report = open_client, report
        self._run_id, self._platform_started_at = run_id, platform_started_at
        self._brakes = Brakes(level.settings.brakes)
        self._pace = Pace(level.clock, level.settings.max_rate_per_min)
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._attempts = 0
        self.stopped: Stop | None = None

    def stop(self, reason: str, exit_code: int = Braked.exit_code) -> None:
        """No new attempts; what is in flight has ``drain_ms`` to end. The first reason stands."""
        self.stopped = self.stopped or Stop(reason, exit_code)
        self._stopping.set()

    def interrupt(self) -> None:
        """Stop as at Ctrl+C; the second time at once, without draining."""
        if self._stopping.is_set():
            self._at_once.set()
        self.stop("interrupted", INTERRUPTED)

    async def run(self) -> None:
        """Drive what the folder's logs do not hold yet."""
        past = {slot.time: self._journal.past(slot) for slot in self._plan.slots}
        self._attempts = sum(len(slot.outcomes) for slot in past.values())
        slots = [slot for slot in self._plan.slots if not past[slot.time].done]
        queue = iter(slots)
        # All connections are open and warm before the first booking, so that no worker measures another's start.
        clients = [await self._open_client() for _ in range(min(self._plan.concurrency, len(slots)))]
        keepers: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                working = (self._work(worker, queue, client) for worker, client in enumerate(clients, 1))
                workers = [group.create_task(work) for work in working]
                keeping = (self._journal.keep_synced(), self._watch_time(), self._drain(workers))
                keepers = [asyncio.create_task(keep) for keep in keeping]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for task in keepers:
                task.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            self._journal.close()

    async def _work(self, worker: int, queue: Iterator[SlotPlan], client: httpx.AsyncClient) -> None:
        """One worker: slot after slot, over its own connection."""
        async with aclosing(client):
            await self._pause((worker - 1) * STAGGER_MS)
            for slot in queue:
                if self._stopping.is_set():
                    return
                await self._fill(slot, worker, client)

    async def _fill(self, slot: SlotPlan, worker: int, client: httpx.AsyncClient) -> None:
        """One slot, from its first line to its end, whatever happens in it."""
        log = self._journal.open(slot)
        self._tell_begin(log, slot, worker)
        outcomes, state = dict(log.past.outcomes), "aborted"
        try:
            state = await self._attempt_all(log, slot, worker, client, outcomes)
        except Indeterminate as error:
            self.stop(f"{error}; nothing was repeated")
        finally:
            confirmed = sum(outcome in CONFIRMED_OUTCOMES for outcome in outcomes.values())
            why = {"reason": self.stopped.reason} if state == "aborted" and self.stopped else {}
            self._tell(log, events.SLOT_FINISHED, {"slot": slot.time, "state": state, "confirmed": confirmed, **why})
            log.finished = True

    async def _attempt_all(
        self, log: SlotLog, slot: SlotPlan, worker: int, client: httpx.AsyncClient, outcomes: dict[int, str]
    ) -> str:
        """How the slot ended: filled, exhausted, failed or aborted."""
        for attempt in slot.attempts:
            if attempt.iteration not in outcomes:
                await self._take_turn()
                self._count_attempt()
                if self._stopping.is_set():
                    return "aborted"
                result = await self._attempt(Order(slot, attempt, worker), log, client)
                outcomes[attempt.iteration] = result.outcome
                self._react(result, slot, attempt.iteration, log)
                if result.request_outcome == "api_unreachable":
                    await self._await_platform(client)
            outcome = outcomes[attempt.iteration]
            # A 429 booked nothing and says nothing of the slot, so the slot goes on after the pause.
            if outcome not in CONFIRMED_OUTCOMES and outcome != "rate_limited":
                return EXHAUSTED if outcome == EXHAUSTED else "failed"
        return "filled" if all(outcome in CONFIRMED_OUTCOMES for outcome in outcomes.values()) else "failed"

    async def _attempt(self, order: Order, log: SlotLog, client: httpx.AsyncClient) -> Result:
        """Make the attempt, or reconcile it where it was in flight when the load stopped."""
        flight = log.past.in_flight
        if flight is not None and flight.iteration == order.attempt.iteration:
            settled = await reconcile(order, self._level, client, log.write, flight, self._platform_started_at)
            if settled is not None:
                return settled
        return await book(order, self._level, client, log.write)

    def _react(self, result: Result, slot: SlotPlan, iteration: int, log: SlotLog) -> None:
        """What an attempt's result means for the ones to come."""
        self._report({"slot": slot.time, "iteration": iteration, "outcome": result.outcome, "totalMs": result.total_ms})
        reason = self._brakes.note(result)
        if reason is not None:
            self.stop(reason)
        if result.retry_after_ms is not None:
            self._tell(log, "Rate limited, pausing", {"retryAfterMs": result.retry_after_ms}, level="WARN")
            self._pace.hold(result.retry_after_ms)

    def _count_attempt(self) -> None:
        limit = self._level.settings.max_attempts
        if self._attempts >= limit:
            self.stop(f"{limit} attempts made (max_attempts)")
        self._attempts += 1

    async def _take_turn(self) -> None:
        await self._pause(self._pace.take_turn_ms())
        while (held_ms := self._pace.held_ms()) > 0 and not self._stopping.is_set():
            await self._pause(held_ms)

    async def _await_platform(self, client: httpx.AsyncClient) -> None:
        """Wait until the platform answers anything at all; a platform that is gone must not fail slot after slot."""
        url, clock = self._level.base_url, self._level.clock
        deadline = clock.ms() + RECOVERY_MS
        while not self._stopping.is_set():
            try:
                await client.get(f"{url}/api/bookings/{uuid4()}")
                return
            except httpx.TransportError:
                if clock.ms() >= deadline:
                    self.stop(f"{url} does not answer any more", Unreachable.exit_code)
                await self._pause(PROBE_EVERY_MS)

    async def _pause(self, ms: float) -> None:
        """Sleep, but not past a stop."""
        if ms > 0:
            await _first_of(self._level.clock.sleep(ms), self._stopping.wait())

    async def _watch_time(self) -> None:
        limit_s = self._level.settings.max_duration_s
        await self._level.clock.sleep(limit_s * 1e3)
        self.stop(f"the level took {limit_s:g} s (max_duration_s)")

    async def _drain(self, workers: list[asyncio.Task[None]]) -> None:
        """After a stop: let attempts end within the bound, then end them."""
        await self._stopping.wait()
        await _first_of(self._level.clock.sleep(self._level.settings.drain_ms), self._at_once.wait())
        for worker in workers:
            worker.cancel()

    def _tell_begin(self, log: SlotLog, slot: SlotPlan, worker: int) -> None:
        if log.past.lines:
            flight = log.past.in_flight
            attempts = {"attempts": len(log.past.outcomes), "inFlight": flight.iteration if flight else None}
            self._tell(log, events.RESUMING, {"slot": slot.time, **attempts}, phase=events.BOOTSTRAP)
            return
        planned = {
            "label": self._plan.label,
            "concurrency": self._plan.concurrency,
            "round": self._plan.round_number,
            "effectiveConcurrency": self._plan.effective_concurrency,
            "slot": slot.time,
            "date": slot.date,
            "partySize": slot.party_size,
            "stressMax": len(slot.attempts),
            "worker": worker,
            "runId": self._run_id,
        }
        self._tell(log, events.SLOT_PLANNED, planned)

    def _tell(
        self, log: SlotLog, message: str, fields: dict[str, Any], level: str = "INFO", phase: str = events.DIAGNOSTICS
    ) -> None:
        log.write(Event(self._level.clock.now(), level, phase, message, fields))


async def _first_of(*waits: Awaitable[Any]) -> None:
    """Wait until one of them is over; the others are called off."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
