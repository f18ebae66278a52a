"""How a load ends before its plan: no new attempts, a bounded wait for those in flight, and then at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from slotfill.drive.clock import Clock
from slotfill.errors import Braked, Stopped


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the load ended before its plan, and what the process says to that."""

    reason: str
    exit_code: int


class Stopping:
    """Whether, why and how urgently a load was asked to stop. The first reason stands."""

    def __init__(self, clock: Clock, report: Callable[[dict[str, Any]], None]) -> None:
        self._clock, self._report = clock, report
        self._asked, self._at_once = asyncio.Event(), asyncio.Event()
        self.stop: Stop | None = None

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, reason: str, exit_code: int = Braked.exit_code) -> None:
        """No new attempts; what is in flight may end."""
        if self.stop is None:
            self.stop = Stop(reason, exit_code)
            self._report({"stopping": reason})
        self._asked.set()

    def interrupt(self) -> None:
        """Stop as at Ctrl+C; the second time at once."""
        if self._asked.is_set():
            self._at_once.set()
        self.ask("interrupted", Stopped.exit_code)

    async def asked(self) -> None:
        """Returns when the load has to stop."""
        await self._asked.wait()

    async def at_once(self) -> None:
        """Returns when what is in flight may not end either."""
        await self._at_once.wait()

    async def pause(self, ms: float) -> None:
        """Sleep, but not past a stop."""
        if ms > 0:
            await first_of(self._clock.sleep(ms), self.asked())


async def first_of(*waits: Awaitable[Any]) -> None:
    """Wait until one of them is over; the others are called off."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
