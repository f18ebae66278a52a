"""Instants to a tenth of a millisecond: an event loop's own timers round up to whole ones."""

import asyncio
import heapq
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Timer:
    """Calls back into the loop at an instant."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None], asyncio.AbstractEventLoop]] = []
        self._number = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def call_at(self, at_s: float, call: Callable[[], None]) -> None:
        """Call at an instant of ``time.monotonic``."""
        with self._changed:
            self._number += 1
            heapq.heappush(self._due, (at_s, self._number, call, asyncio.get_running_loop()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tap timer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                left_s = self._due[0][0] - time.monotonic() if self._due else None
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
                _, _, call, loop = heapq.heappop(self._due)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(call)


timer = Timer()
