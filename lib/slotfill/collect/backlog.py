"""Work that no byte waits for: the copy of what passed is read a piece at a time, behind what is to be passed on."""

import asyncio
from collections import deque
from collections.abc import Callable

MOST_BYTES = 1 << 20
"""Of copies that wait; beyond, reading takes its time at once, so that memory stays bounded."""


class Backlog:
    """Pieces of work, done in their order, one each time the event loop comes around."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Callable[[], object]]] = deque()
        self._bytes = 0
        self._called = False

    def add(self, size: int, work: Callable[[], object]) -> None:
        """Have ``work``, which holds ``size`` bytes, done later."""
        self._pieces.append((size, work))
        self._bytes += size
        while self._bytes > MOST_BYTES:
            self._do_one()
        self._call()

    def clear(self) -> None:
        """Do all of it now."""
        while self._pieces:
            self._do_one()

    def _call(self) -> None:
        if self._pieces and not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._come_around)

    def _come_around(self) -> None:
        self._called = False
        if self._pieces:
            self._do_one()
        self._call()

    def _do_one(self) -> None:
        size, work = self._pieces.popleft()
        self._bytes -= size
        work()
