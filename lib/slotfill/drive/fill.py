"""The fill: workers take slots in order and fill each one, attempt after attempt, until it is decided.

A closed loop: a worker asks for its next booking when the platform's answer, or the database, has decided the last
one, so the numbers are service times at a fixed concurrency and not what guests feel under open arrivals. What an
answer has decided is read back behind the worker, on nobody's path.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from slotfill import events
from slotfill.drive.booking import BookingAttempt, NotInDatabase
from slotfill.drive.brakes import Brakes
from slotfill.drive.client import Client
from slotfill.drive.journal import Journal, SlotLog
from slotfill.drive.load import Delivered, LoadMeter
from slotfill.drive.lost import LostAnswers
from slotfill.drive.outage import OutageWatch
from slotfill.drive.pace import Pace
from slotfill.drive.reconcile import Indeterminate, reconcile
from slotfill.drive.stopping import Stop, Stopping, first_of
from slotfill.drive.summary import Result
from slotfill.drive.watch import LevelContext, Order
from slotfill.errors import Braked, Refused, Unreachable
from slotfill.events import Event
from slotfill.outcomes import CONFIRMED_OUTCOMES, EXHAUSTED
from slotfill.plan import Plan, SlotPlan

STAGGER_MS, STAGGER_AT_MOST_MS = 40.0, 300.0
"""Workers that start in step stay in step, and measure each other. Between two, and between the first and the last of a
level; no longer than a booking takes, as far as that is known, for until then the level is not the one asked for."""
READ_BACK_MS = 500
"""How long a stopped load still waits for what is being read back."""
MOST_BEHIND = 2_000
"""Attempts still to be read back; a database that does not keep up with the load holds the workers here."""

Work = Callable[[], Awaitable[None]]


@dataclass(eq=False)
class _Filling:
    """A slot being filled: its outcomes so far by iteration, and what is still read back behind its worker."""

    slot: SlotPlan
    log: SlotLog
    worker: int
    outcomes: dict[int, str]
    completing: list[asyncio.Task[None]] = field(default_factory=list)
    state: str = "aborted"


class Fill:
    """One level being driven. ``run`` returns when every slot is decided or the fill was stopped."""

    def __init__(
        self,
        plan: Plan,
        level: LevelContext,
        journal: Journal,
        open_client: Callable[[], Awaitable[Client]],
        report: Callable[[dict[str, Any]], None],
        run_id: str,
        platform_started_at: datetime | None = None,
    ) -> None:
        self._plan, self._level, self._journal = plan, level, journal
        self._open_client, self._report = open_client, report
        self._run_id, self._platform_started_at = run_id, platform_started_at
        self._brakes = Brakes(level.settings.brakes)
        self._pace = Pace(level.clock, level.settings.max_rate_per_min)
        self._outage = OutageWatch(level.settings.brakes.error_window)
        self._load = LoadMeter()
        self._ends_ms = level.clock.ms() + level.settings.max_duration_s * 1e3
        self.stopping = Stopping(level.clock, report)
        self._first_is_done = asyncio.Event()
        self._completing: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._lost = LostAnswers(level, self.stopping)
        self._attempts = 0
        self._quickest_ms = STAGGER_AT_MOST_MS
        self._failure: Exception | None = None

    @property
    def delivered(self) -> Delivered | None:
        """The requests in flight of this run; ``None`` where there were none."""
        return self._load.delivered(self._plan.effective_concurrency)

    @property
    def stopped(self) -> Stop | None:
        """Why the fill ended before its plan, if it did."""
        return self.stopping.stop

    async def run(self) -> None:
        """Drive what the folder's logs do not hold yet. Raises what a worker could not foresee."""
        past = {slot.time: self._journal.past(slot) for slot in self._plan.slots}
        self._attempts = sum(len(slot.outcomes) for slot in past.values())
        self._lost.note_past(self._plan, past)
        slots = [slot for slot in self._plan.slots if not past[slot.time].done]
        workers: list[asyncio.Task[None]] = []
        keeping = (self._journal.keep_synced(), self._watch_time(), self._drain(workers))
        keepers = [asyncio.create_task(keep) for keep in keeping]
        try:
            queue = iter(slots)
            for number, client in enumerate(await self._open_clients(len(slots)), 1):
                workers.append(asyncio.create_task(self._guarded(partial(self._work, number, queue, client))))
            while under_way := [task for task in (*workers, *self._finishing) if not task.done()]:
                await asyncio.wait(under_way)
            if self._lost:
                await first_of(self._guarded(self._settle_lost), self.stopping.at_once())
            self._reopen()
        finally:
            for task in keepers:
                task.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            self._journal.close()
        if self._failure is not None:
            raise self._failure

    # --- workers

    async def _open_clients(self, slots: int) -> list[Client]:
        """All connections are open and warm before the first booking, so that no worker measures another's start."""
        opening = [asyncio.create_task(self._open()) for _ in range(min(self._plan.concurrency, slots))]
        if opening:
            await first_of(asyncio.wait(opening), self.stopping.asked())
        if not self.stopping.is_asked:
            return [each.result() for each in opening]
        for each in opening:
            each.cancel()
        for client in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(client, Client):
                await client.aclose()
        return []

    async def _open(self) -> Client:
        return await self._open_client()

    async def _work(self, worker: int, queue: Iterator[SlotPlan], client: Client) -> None:
        """One worker: slot after slot, over its own connection."""
        async with aclosing(client):
            await self._begin(worker)
            for slot in queue:
                if self.stopping.is_asked:
                    break
                await self._fill(slot, worker, client)
        if worker == 1:
            self._first_is_done.set()

    async def _begin(self, worker: int) -> None:
        """The first worker begins at once, the others when the database has shown its booking, and not in step."""
        if worker > 1:
            await first_of(self._level.found.wait(), self._first_is_done.wait(), self.stopping.asked())
            step_ms = min(STAGGER_MS, self._quickest_ms / self._plan.effective_concurrency)
            await self.stopping.pause((worker - 1) * step_ms)

    async def _fill(self, slot: SlotPlan, worker: int, client: Client) -> None:
        """One slot, from its first line to its end, whatever happens in it."""
        log = self._journal.open(slot)
        self._tell_begin(log, slot, worker)
        filling = _Filling(slot, log, worker, dict(log.past.outcomes))
        try:
            filling.state = await self._attempt_all(filling, client)
        except Indeterminate as error:
            self.stopping.ask(f"{error}; nothing was repeated")
        except NotInDatabase as error:
            self.stopping.ask(str(error), Refused.exit_code)
        finally:
            self._go_on_behind(self._finishing, partial(self._finish, filling))

    async def _finish(self, filling: _Filling) -> None:
        """The slot's last line, after its attempts were read back."""
        if filling.completing:
            await asyncio.wait(filling.completing)
        confirmed = sum(outcome in CONFIRMED_OUTCOMES for outcome in filling.outcomes.values())
        if filling.state == "filled" and confirmed < len(filling.outcomes):
            filling.state = "failed"
        why = {"reason": self.stopped.reason} if filling.state == "aborted" and self.stopped else {}
        fields = {"slot": filling.slot.time, "state": filling.state, "confirmed": confirmed, **why}
        self._tell(filling.log, events.SLOT_FINISHED, fields)
        filling.log.finished = True

    async def _attempt_all(self, filling: _Filling, client: Client) -> str:
        """How the slot ended: filled, exhausted, failed or aborted."""
        outcomes = filling.outcomes
        for attempt in filling.slot.attempts:
            if attempt.iteration not in outcomes:
                await self._take_turn()
                self._count_attempt()
                if self.stopping.is_asked:
                    return "aborted"
                await self._attempt(Order(filling.slot, attempt, filling.worker), filling, client)
            outcome = outcomes.get(attempt.iteration)
            if outcome is None:
                return "aborted"  # the database does not hold it
            # A 429 booked nothing and says nothing of the slot, so the slot goes on after the pause.
            if outcome not in CONFIRMED_OUTCOMES and outcome != "rate_limited":
                return EXHAUSTED if outcome == EXHAUSTED else "failed"
        return "filled" if all(outcome in CONFIRMED_OUTCOMES for outcome in outcomes.values()) else "failed"

    async def _attempt(self, order: Order, filling: _Filling, client: Client) -> None:
        """Make the attempt, or reconcile it where it was in flight when the load stopped."""
        flight = filling.log.past.in_flight.get(order.attempt.iteration)
        if flight is not None:
            write, started_at = filling.log.write, self._platform_started_at
            settled = await reconcile(order, self._level, client, write, flight, started_at)
            if settled is not None:
                self._conclude(settled, order, filling)
                return
        attempt = BookingAttempt(order, self._level, client, filling.log.write)
        now, polled = self._level.clock.ms, False
        try:
            result = await attempt.decide()
            polled = result is not None and result.request_outcome is None
        finally:
            self._load.note(attempt.wire, now() if polled else None, now())
            self._quickest_ms = min(self._quickest_ms, attempt.record.submit_ms or STAGGER_AT_MOST_MS)
        if result is None:
            await self._complete_behind(attempt, order, filling)
            return
        self._conclude(result, order, filling)
        if attempt.lost:
            self._lost.note(order, attempt.server_may_go_on)
        if result.request_outcome == "api_unreachable":
            await self._lost.await_recovery(client)

    # --- behind the workers

    async def _complete_behind(self, attempt: BookingAttempt, order: Order, filling: _Filling) -> None:
        """Let the worker go on while the booking is read back; not the first one, which has yet to be found at all."""
        filling.outcomes[order.attempt.iteration] = attempt.record.outcome
        task = self._go_on_behind(self._completing, partial(self._complete, attempt, order, filling))
        filling.completing.append(task)
        if not self._level.found.is_set() or len(self._completing) > MOST_BEHIND:
            await asyncio.wait([task])

    async def _complete(self, attempt: BookingAttempt, order: Order, filling: _Filling) -> None:
        try:
            self._conclude(await attempt.complete(), order, filling)
        except NotInDatabase as error:
            filling.outcomes.pop(order.attempt.iteration, None)
            filling.state = "aborted"
            self.stopping.ask(str(error), Refused.exit_code)

    def _go_on_behind(self, tasks: set["asyncio.Task[None]"], work: Work) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._guarded(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _guarded(self, work: Work) -> None:
        """An error that nobody foresaw stops the load; ``run`` raises the first."""
        try:
            await work()
        except Exception as error:
            self._failure = self._failure or error
            self.stopping.ask(f"{type(error).__name__}: {error}")

    async def _settle_lost(self) -> None:
        await self._lost.settle(self._open_client, lambda slot: self._journal.open(slot).write)

    def _reopen(self) -> None:
        """Slots that failed in the outage which stopped the load are made again when it goes on."""
        if self.stopped is None or self.stopped.exit_code not in (Braked.exit_code, Unreachable.exit_code):
            return
        for slot, iterations in self._outage.failed():
            fields = {"slot": slot.time, "iterations": iterations, "reason": self.stopped.reason}
            self._tell(self._journal.open(slot), events.SLOT_REOPENED, fields, level="WARN")

    # --- what results mean for the attempts to come

    def _conclude(self, result: Result, order: Order, filling: _Filling) -> None:
        slot, iteration = order.slot, order.attempt.iteration
        filling.outcomes[iteration] = result.outcome
        self._report({"slot": slot.time, "iteration": iteration, "outcome": result.outcome, "totalMs": result.total_ms})
        self._outage.note(result, slot, iteration)
        reason = self._brakes.note(result)
        if reason is not None:
            self.stopping.ask(reason)
        if result.retry_after_ms is not None:
            pause_ms = max(0.0, min(result.retry_after_ms, self._ends_ms - self._level.clock.ms()))
            self._tell(filling.log, "Rate limited, pausing", {"retryAfterMs": pause_ms}, level="WARN")
            self._pace.hold(pause_ms)

    def _count_attempt(self) -> None:
        limit = self._level.settings.max_attempts
        if self._attempts >= limit:
            self.stopping.ask(f"{limit} attempts made (max_attempts)")
        self._attempts += 1

    async def _take_turn(self) -> None:
        await self.stopping.pause(self._pace.take_turn_ms())
        while (held_ms := self._pace.held_ms()) > 0 and not self.stopping.is_asked:
            await self.stopping.pause(held_ms)

    async def _watch_time(self) -> None:
        limit_s = self._level.settings.max_duration_s
        await self._level.clock.sleep(limit_s * 1e3)
        self.stopping.ask(f"the level took {limit_s:g} s (max_duration_s)")

    async def _drain(self, workers: list[asyncio.Task[None]]) -> None:
        """After a stop: let attempts end within the bound, then end them, and at last what is still read back."""
        await self.stopping.asked()
        await first_of(self._level.clock.sleep(self._level.settings.drain_ms), self.stopping.at_once())
        for worker in workers:
            worker.cancel()
        await self._level.clock.sleep(READ_BACK_MS)
        for task in list(self._completing):
            task.cancel()

    # --- the slot's own lines

    def _tell_begin(self, log: SlotLog, slot: SlotPlan, worker: int) -> None:
        if log.past.lines:
            in_flight = sorted(log.past.in_flight)
            attempts = {"attempts": len(log.past.outcomes), "inFlight": in_flight[0] if in_flight else None}
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
