"""Time, behind a seam, so that tests need not wait for it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Durations come from ``ms``, which only ever goes forward; ``now`` is for the instants in the log."""

    def ms(self) -> float:
        """Milliseconds since some fixed moment."""

    def now(self) -> datetime:
        """The wall clock, UTC."""

    async def sleep(self, ms: float) -> None:
        """Let that many milliseconds go by; nothing where they already have."""


class SystemClock:
    """The machine's own clocks."""

    def ms(self) -> float:
        return time.perf_counter() * 1e3

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(max(ms, 0) / 1e3)
