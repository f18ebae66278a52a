"""Answers that were lost: a platform that broke one off is waited for, and each is looked up again at the very end."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from uuid import uuid4

import httpx

from slotfill.drive.answer import LOST_OUTCOMES
from slotfill.drive.client import Client
from slotfill.drive.journal import Past
from slotfill.drive.reconcile import Lost, reconcile_late
from slotfill.drive.stopping import Stopping, first_of
from slotfill.drive.watch import LevelContext, Order, Sink
from slotfill.errors import Unreachable
from slotfill.plan import Plan, SlotPlan

RECOVERY_MS, PROBE_EVERY_MS, PROBE_TIMEOUT_MS = 30_000, 500, 5_000
"""How long a platform that broke off a request has to answer again, before it counts as gone."""
LATE_MS = 5_000
"""So long after the last lost answer the level waits for bookings that its server makes after all."""
SILENT_MS = 60_000
"""How long a platform that has lost answers, and now gives none, is waited for at the level's end."""


class LostAnswers:
    """The lost answers of one level: a server can book after its client, and we, have given up."""

    def __init__(self, level: LevelContext, stopping: Stopping) -> None:
        self._level, self._stopping = level, stopping
        self._lost: list[Lost] = []

    def __bool__(self) -> bool:
        return bool(self._lost)

    def note(self, order: Order, server_may_go_on: bool) -> None:
        """An attempt whose answer was lost just now."""
        self._lost.append(Lost(order, self._level.clock.ms(), server_may_go_on))

    def note_past(self, plan: Plan, past: Mapping[str, Past]) -> None:
        """The attempts whose answers were lost before the load stopped, or was killed."""
        for slot in plan.slots:
            for attempt in slot.attempts:
                if past[slot.time].outcomes.get(attempt.iteration) in LOST_OUTCOMES:
                    self.note(Order(slot, attempt, 0), server_may_go_on=True)

    async def settle(self, open_client: Callable[[], Awaitable[Client]], sink: Callable[[SlotPlan], Sink]) -> None:
        """Look every one up once more, when no server can be at it any longer; ``sink`` takes the lines of a slot."""
        clock, last_ms = self._level.clock, 0.0
        async with aclosing(await open_client()) as client:
            if going_on := [lost.at_ms for lost in self._lost if lost.server_may_go_on]:
                asked_ms = clock.ms()
                await first_of(self._await_answer(client, SILENT_MS), self._stopping.asked())
                # Once it has been silent, it takes up only now what has queued meanwhile.
                last_ms = max(going_on) if clock.ms() - asked_ms <= PROBE_EVERY_MS else clock.ms()
            await clock.sleep(last_ms + LATE_MS - clock.ms())
            for lost in self._lost:
                await reconcile_late(lost, self._level, client, sink(lost.order.slot))

    async def await_recovery(self, client: Client) -> None:
        """Wait for a platform that has broken off a request; one that is gone must not fail slot after slot."""
        await self._await_answer(client, RECOVERY_MS)

    async def _await_answer(self, client: Client, within_ms: float) -> None:
        """Wait until the platform answers anything at all."""
        url, clock = self._level.base_url, self._level.clock
        deadline = clock.ms() + within_ms
        while not self._stopping.is_asked:
            try:
                await client.get(f"{url}/api/bookings/{uuid4()}", PROBE_TIMEOUT_MS)
                return
            except (httpx.TransportError, TimeoutError):
                if clock.ms() >= deadline:
                    self._stopping.ask(f"{url} does not answer any more", Unreachable.exit_code)
                await self._stopping.pause(PROBE_EVERY_MS)
