"""Documents of a run that are read back, as far as anything relies on them: a person may have edited them since."""

from typing import Annotated

from pydantic import Field

from slotfill.analyse.document import Status
from slotfill.files import Shape

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Cost(Shape):
    mean_ms: float | None
    ci95: _Interval | None


class _Leaf(Shape):
    hop: str
    name: str
    own_ms: float
    slope_ms: float


class _Load(Shape):
    others_in_flight: float | None


class KeptBottleneck(Shape):
    """``bottleneck.json``, which an experiment tests."""

    verdict: str
    mechanism: str
    kind: str
    shares: dict[str, dict[str, _Cost]]
    leaves: list[_Leaf]
    loads: dict[str, _Load]


class _Part(Shape):
    name: str
    claimed_ms: float | None
    measured_ms: float
    ci95: _Interval | None
    hop: str
    hop_share: float


class _Effect(Shape):
    label: str
    part: str
    predicted_ms: float | None
    measured_ms: float
    ci95: _Interval | None
    model_ms: float = 0.0


class _Distance(Shape):
    label: str
    way_ms: float
    total_ms: float
    cost_ms: float
    ci95: _Interval


class KeptProof(Shape):
    """``proof.json``, which a report tells of."""

    status: Status
    reason: str
    hop: str
    mechanism: str
    border: str | None
    delay_ms: float | None
    calls: float | None
    calls_ci95: _Interval | None
    parts: list[_Part]
    effects: list[_Effect]
    distance: _Distance | None = None
    attempts: dict[str, int]


class _Check(Shape):
    name: str
    status: str
    violations: int


class _Received(Shape):
    lost: int = 0
    refused: int = 0
    unreadable: int = 0


class _Heard(Shape):
    otlp: _Received | None = None


class KeptLevel(Shape):
    """``level.json`` of a round of a level, as far as it tells what was lost of what was heard."""

    heard: _Heard | None = None


class KeptChecks(Shape):
    """``integrity-before.json`` and ``integrity-after.json`` of a round of a level."""

    checks: list[_Check]
