"""What an experiment found: the typed document of ``proof.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slotfill.analyse.document import Interval, Status, plain

TOLERANCE = 0.15
"""How far the measured effect may lie from the predicted one where neither interval is wider."""


@dataclass(frozen=True)
class Part:
    """One part of a confirmed attempt without the delay: as the verdict's run has it, and as the taps have it."""

    name: str
    claimed_ms: float | None
    measured_ms: float
    ci95: Interval | None
    hop: str = ""
    """The hop in it that the run gives the most time, or the verdict's."""
    hop_share: float = 1.0
    """That hop's share of the part, as the run has it: no tap parts the hops of one part."""

    @property
    def hop_ms(self) -> float:
        """The time that the taps leave to the hop."""
        return self.measured_ms * self.hop_share


@dataclass(frozen=True)
class Effect:
    """What the delay did to the mean total of a level, or to one of its ``part``s, predicted and measured."""

    label: str
    part: str
    predicted_ms: float | None
    """``None`` where bookings are decided long after their answer: what hides behind a poll is not known."""
    measured_ms: float
    ci95: Interval | None
    added_ms: float = 0.0
    """What the delay adds to an attempt that waits for nobody: to its own calls."""
    before_ms: float = 0.0
    """What it took without the delay."""
    model_ms: float = 0.0
    """How far the prediction itself may be off."""

    @property
    def as_predicted(self) -> bool:
        """Within the tolerance, or as far as the interval and the model reach."""
        if self.predicted_ms is None:
            return False
        near = abs(self.measured_ms - self.predicted_ms) <= TOLERANCE * max(self.predicted_ms, self.measured_ms)
        return near or self._may_be(self.predicted_ms)

    @property
    def tells(self) -> bool:
        """Whether it parts the prediction from what it would be otherwise: nothing, or no more than the delay alone."""
        if self.predicted_ms is None:
            return False
        otherwise_ms = 0.0 if self.predicted_ms == self.added_ms else self.added_ms
        return not (self._may_be(self.predicted_ms) and self._may_be(otherwise_ms))

    @property
    def tells_from_none(self) -> bool:
        """Whether there was one at all, beyond the interval and the tolerance."""
        return not self._may_be(0.0) and abs(self.measured_ms) > TOLERANCE * max(self.added_ms, self.before_ms)

    def _may_be(self, effect_ms: float) -> bool:
        low, high = self.ci95 or (self.measured_ms, self.measured_ms)
        return low - self.model_ms <= effect_ms <= high + self.model_ms


@dataclass(frozen=True)
class Distance:
    """What the way from the platform to its database costs an attempt at one level, extrapolated to a way of 0 ms."""

    label: str
    way_ms: float
    """There and back, at most: the quickest calls have little else in them."""
    total_ms: float
    cost_ms: float
    ci95: Interval
    """Of the cost: what the calls in a row, measured by the delay, leave open."""


@dataclass(frozen=True)
class Proof:
    """``proof.json``."""

    status: Status
    reason: str
    hop: str
    mechanism: str
    border: str | None = None
    delay_ms: float | None = None
    calls: float | None = None
    """Sequential calls of an attempt over the border: the slope of its total over the delay."""
    calls_ci95: Interval | None = None
    parts: tuple[Part, ...] = ()
    effects: tuple[Effect, ...] = ()
    distance: Distance | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Confirmed attempts of each arm."""

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        return content
