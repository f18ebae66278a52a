"""When a load stops by itself. A pure state machine: results in, a reason to stop out."""

import math
from collections import deque

from slotfill import params
from slotfill.database_errors import is_database_error
from slotfill.drive.summary import Result
from slotfill.outcomes import FAILED_OUTCOMES

_ERRORS = frozenset(FAILED_OUTCOMES) - {"aborted", "rate_limited"}


class Brakes:
    """Fed every result; 0 in the limits switches a brake off."""

    def __init__(self, limits: params.Brakes) -> None:
        self._limits = limits
        self._last: deque[Result] = deque(maxlen=limits.error_window)
        self._database_errors = 0
        self._rate_limited = 0

    def note(self, result: Result) -> str | None:
        """Why to stop now, or ``None``."""
        self._last.append(result)
        texts = [*result.read_errors, *(text for text in [result.reason] if text and is_database_error(text))]
        self._database_errors = self._database_errors + 1 if texts else 0
        self._rate_limited = self._rate_limited + 1 if result.outcome == "rate_limited" else 0
        return self._database(texts) or self._rate() or self._share() or self._tail()

    def _database(self, texts: list[str]) -> str | None:
        limit = self._limits.database_errors
        if not limit or self._database_errors < limit:
            return None
        return f"{limit} attempts in a row met a database error, the last: {texts[-1]} (brakes.database_errors)"

    def _rate(self) -> str | None:
        limit = self._limits.rate_limited
        if not limit or self._rate_limited < limit:
            return None
        return f"{limit} answers 429 in a row although the load paused as told (brakes.rate_limited)"

    def _share(self) -> str | None:
        # Counted against the whole window from the start: a load in which everything fails may be too
        # short to ever fill it.
        limit, window = self._limits.error_rate, self._limits.error_window
        errors = sum(not _ERRORS.isdisjoint((result.outcome, result.request_outcome)) for result in self._last)
        if not limit or errors < max(1, limit * window):
            return None
        return f"{errors} of the last {len(self._last)} attempts failed (brakes.error_rate {limit} of {window})"

    def _tail(self) -> str | None:
        limit = self._limits.p95_ms
        times = sorted(result.submit_ms for result in self._last if result.submit_ms is not None)
        # A full window first: the 95th percentile of a few is their maximum.
        if not limit or len(times) < self._limits.error_window:
            return None
        p95 = times[math.ceil(0.95 * len(times)) - 1]
        return f"p95 of the submit is {p95:.0f} ms, above brakes.p95_ms {limit:g}" if p95 > limit else None
