"""Where the time of a piece of work went: exclusive self times that add up, whoever asks and whenever."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Hop = Literal["api", "allocator", "database", "pool", "lock"]


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds by hop, rounded to microseconds, and the number of database round trips.

    ``database_ms`` contains ``pool_ms`` (waiting for a connection) and ``lock_ms`` (statements that only
    take a lock); ``total_ms`` is api + allocator + database exactly.
    """

    api_ms: float
    allocator_ms: float
    database_ms: float
    pool_ms: float
    lock_ms: float
    calls: int

    @property
    def total_ms(self) -> float:
        return round(self.api_ms + self.allocator_ms + self.database_ms, 3)

    def of_request(self) -> dict[str, float]:
        """As the profile block of a request names it."""
        return {
            "handlerMs": self.total_ms,
            "apiMs": self.api_ms,
            "allocatorMs": self.allocator_ms,
            "databaseMs": self.database_ms,
            "poolWaitMs": self.pool_ms,
            "lockWaitMs": self.lock_ms,
            "databaseCalls": self.calls,
        }

    def of_allocation(self) -> dict[str, float]:
        """As the profile blocks of inline and job work name it."""
        return {
            "allocatorMs": self.allocator_ms,
            "databaseMs": self.database_ms,
            "poolWaitMs": self.pool_ms,
            "databaseCalls": self.calls,
        }


class Stopwatch:
    """Charges every instant to exactly one hop.

    One thread works under ``measuring``; another may ``cut`` at any moment, which is how a request takes
    the books of an allocation it stops waiting for.
    """

    def __init__(self, hop: Hop, at: float | None = None) -> None:
        self._lock = threading.Lock()
        self._hop: Hop = hop
        self._since = time.perf_counter() if at is None else at
        self._seconds: dict[Hop, float] = dict.fromkeys(("api", "allocator", "database", "pool", "lock"), 0.0)
        self._calls = 0

    @property
    def calls(self) -> int:
        """Round trips since the last cut."""
        return self._calls

    @contextmanager
    def measuring(self, hop: Hop) -> Iterator[None]:
        """Charge the body to ``hop`` instead of the surrounding one."""
        outer = self._switch(hop)
        try:
            yield
        finally:
            self._switch(outer)

    def count_call(self) -> None:
        with self._lock:
            self._calls += 1

    def cut(self, at: float) -> Spent:
        """Close the books at ``at`` (perf_counter seconds) and open new ones; the current hop goes on."""
        with self._lock:
            self._charge(at)
            ms = {hop: seconds * 1000 for hop, seconds in self._seconds.items()}
            calls, self._calls = self._calls, 0
            self._seconds = dict.fromkeys(self._seconds, 0.0)
        return Spent(
            api_ms=round(ms["api"], 3),
            allocator_ms=round(ms["allocator"], 3),
            database_ms=round(ms["database"] + ms["pool"] + ms["lock"], 3),
            pool_ms=round(ms["pool"], 3),
            lock_ms=round(ms["lock"], 3),
            calls=calls,
        )

    def lend(self, hop: Hop) -> "Stopwatch":
        """A stopwatch for another thread's work this one is about to wait for; this one stands still until then."""
        at = time.perf_counter()
        with self._lock:
            self._charge(at)
        return Stopwatch(hop, at)

    def take_back(self, lent: "Stopwatch") -> None:
        """Book here what the lent stopwatch has measured so far; it goes on with empty books, and so does this one."""
        at = time.perf_counter()
        with self._lock, lent._lock:
            lent._charge(at)
            for hop, seconds in lent._seconds.items():
                self._seconds[hop] += seconds
            self._calls += lent._calls
            lent._seconds, lent._calls = dict.fromkeys(lent._seconds, 0.0), 0
            self._since = at

    def _switch(self, hop: Hop) -> Hop:
        with self._lock:
            self._charge(time.perf_counter())
            outer, self._hop = self._hop, hop
            return outer

    def _charge(self, at: float) -> None:
        self._seconds[self._hop] += at - self._since
        self._since = at
