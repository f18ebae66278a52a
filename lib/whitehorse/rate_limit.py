"""At most so many creations in a fixed minute for each venue and client address."""

import threading
import time
from dataclasses import dataclass

WINDOW_S = 60


@dataclass(frozen=True)
class Refusal:
    """What a client over the limit is told."""

    limit: int
    retry_after_s: int
    reset_at_ms: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Retry-After": str(self.retry_after_s),
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(self.reset_at_ms),
        }


class RateLimit:
    """Counts in memory: there is one web process. A limit of 0 refuses nothing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[tuple[str, str], int] = {}

    def refuse(self, venue: str, client: str) -> Refusal | None:
        """Count one creation; the refusal if it is one too many."""
        if not self._limit:
            return None
        now = time.time()
        minute = int(now // WINDOW_S)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = minute, {}
            count = self._counts[venue, client] = self._counts.get((venue, client), 0) + 1
        if count <= self._limit:
            return None
        resets_at = (minute + 1) * WINDOW_S
        return Refusal(self._limit, max(1, round(resets_at - now)), resets_at * 1000)
