"""When the next attempt may start: a cap on the rate, and the pauses the platform asks for."""

from slotfill.drive.clock import Clock


class Pace:
    """Shared by all workers of a level; a rate of 0 is no cap."""

    def __init__(self, clock: Clock, max_rate_per_min: float) -> None:
        self._clock = clock
        self._gap_ms = 60_000 / max_rate_per_min if max_rate_per_min else 0.0
        self._next_ms = clock.ms()
        self._held_until_ms = clock.ms()

    def take_turn_ms(self) -> float:
        """Take the next free turn; how long it is until then."""
        now = self._clock.ms()
        turn = max(now, self._next_ms)
        self._next_ms = turn + self._gap_ms
        return turn - now

    def held_ms(self) -> float:
        """How much of a pause is left; 0 where there is none."""
        return max(0.0, self._held_until_ms - self._clock.ms())

    def hold(self, ms: float) -> None:
        """Nobody starts before this has gone by."""
        self._held_until_ms = max(self._held_until_ms, self._clock.ms() + ms)
