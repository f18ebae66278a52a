"""The load that a level puts on the platform: requests in flight, beside the number of workers it was told."""

from dataclasses import dataclass

from slotfill.drive.wire import Wire

ENOUGH = 0.9
"""Of the workers; a level that has fewer requests in flight says so."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Requests in flight over the time in which attempts were under way."""

    workers: int
    attempts: int
    mean: float
    max: int
    per_s: float
    """Attempts a second of that time."""
    undecided: float
    """The share of the workers' time that went by after answers, until the database had decided their bookings."""

    def text(self) -> str:
        """One line for a person."""
        line = f"{self.mean:.2g} of {self.workers} requests in flight on average, {self.max} at most"
        if self.mean >= ENOUGH * self.workers:
            return line
        rest = max(0.0, 1 - self.undecided - self.mean / self.workers)
        return (
            f"{line}, less than the level's number: of the workers' time {self.undecided:.0%} went by until bookings "
            f"without a table were decided, {rest:.0%} between attempts and before the last slots ended"
        )


class LoadMeter:
    """Gathers when each attempt's request was sent and answered, in ms, and when the attempt was decided."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float, float]] = []

    def note(self, wire: Wire, decided_ms: float | None, now_ms: float) -> None:
        """``decided_ms`` is ``None`` where the answer has decided the attempt."""
        if wire.sending_ms is not None:
            answered_ms = now_ms if wire.answered_ms is None else wire.answered_ms
            self._spans.append((wire.sending_ms, answered_ms, max(decided_ms or answered_ms, answered_ms)))

    def delivered(self, workers: int) -> Delivered | None:
        """``None`` where nothing was sent, or the transport told no instants."""
        working_ms, until_ms = 0.0, float("-inf")
        for sent, _, decided in sorted(self._spans):
            working_ms += max(0.0, decided - max(sent, until_ms))
            until_ms = max(until_ms, decided)
        if not working_ms:
            return None
        in_flight_ms = sum(answered - sent for sent, answered, _ in self._spans)
        undecided_ms = sum(decided - answered for _, answered, decided in self._spans)
        attempts, undecided = len(self._spans), undecided_ms / (workers * working_ms)
        per_s = attempts / working_ms * 1e3
        return Delivered(workers, attempts, in_flight_ms / working_ms, self._most(), per_s, undecided)

    def _most(self) -> int:
        # At one instant an end comes before a beginning.
        steps = sorted([(sent, 1) for sent, *_ in self._spans] + [(answered, -1) for _, answered, _ in self._spans])
        most = count = 0
        for _, step in steps:
            count += step
            most = max(most, count)
        return most
