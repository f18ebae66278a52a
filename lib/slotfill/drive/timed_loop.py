"""An event loop that knows when what it takes up had arrived.

Bytes that arrive while Python is busy wait in the kernel until the loop asks for them. Stamped where they are taken up,
our own work would pass for the platform's time. So the selector, the one place where the loop waits, is stamped too.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_BLOCKED_MS = 0.05
"""A call that takes longer has waited for the first of the bytes it returns with."""


class TimedSelector(selectors.DefaultSelector):
    """The machine's best selector, with the instants of its last call, in ms on ``time.perf_counter``."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived_ms = time.perf_counter() * 1e3
        self._returned_ms = self._arrived_ms

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        asked_ms = time.perf_counter() * 1e3
        ready = super().select(timeout)
        returned_ms = time.perf_counter() * 1e3
        # What was ready at once had arrived since the call before: at any moment in between, so half-way on average.
        blocked = returned_ms - asked_ms > _BLOCKED_MS
        self._arrived_ms = returned_ms if blocked else (self._returned_ms + asked_ms) / 2
        self._returned_ms = returned_ms
        return ready

    def arrived_ms(self) -> float:
        """When the bytes arrived that a callback of this turn of the loop is handed."""
        return self._arrived_ms


def run(selector: TimedSelector, work: Coroutine[Any, Any, Result]) -> Result:
    """``asyncio.run`` on a loop with this selector."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(work)
