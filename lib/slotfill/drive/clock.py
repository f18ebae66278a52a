"""Time, behind a seam, so that tests need not wait for it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Durations come from ``ms``, which only ever goes forward; ``now`` is for the instants in the log."""

    def ms(self) -> float:
        """Milliseconds since some fixed moment."""

    def now(self) -> datetime:
        """The instant, UTC."""

    def at(self, ms: float) -> datetime:
        """The instant at which ``ms`` was or will be that."""

    async def sleep(self, ms: float) -> None:
        """Let that many milliseconds go by; nothing where they already have."""


class SystemClock:
    """The machine's own clocks: the wall clock is read once, so that one that is set meanwhile moves no instant."""

    def __init__(self) -> None:
        self._epoch = datetime.now(UTC) - timedelta(milliseconds=self.ms())

    def ms(self) -> float:
        return time.perf_counter() * 1e3

    def now(self) -> datetime:
        return self.at(self.ms())

    def at(self, ms: float) -> datetime:
        return self._epoch + timedelta(milliseconds=ms)

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0) / 1e3)
