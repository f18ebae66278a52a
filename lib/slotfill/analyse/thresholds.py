"""Declared limits on the metrics: which level breaks which."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slotfill.errors import BadInput

_STAGES = ("submit_ms", "inline_ms", "post_job_ms", "total_ms")
_STATISTICS = ("mean", "p50", "p95", "p99", "max")
_RATES = ("inline_poll_rate", "background_rate", "tables_per_booking")
_AT_LEAST = ("throughput_per_min", "confirmed")
"""Where more is better, so that the limit is the least."""

NAMES = (
    *(f"{stage}.{statistic}" for stage in _STAGES for statistic in _STATISTICS),
    *(f"seat_waste.{statistic}" for statistic in ("mean", "total", "max")),
    *_RATES,
    *_AT_LEAST,
)


@dataclass(frozen=True)
class Check:
    """One limit at one level; ``unknown`` where the sample does not carry the figure."""

    label: str
    name: str
    limit: float
    value: float | None
    verdict: Literal["kept", "broken", "unknown"]


def require_known(names: Iterable[str]) -> None:
    """Raises BadInput for a threshold on something that is not measured."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise BadInput(f"thresholds: there is no figure {unknown[0]}; known: {', '.join(NAMES)}")


def evaluate(thresholds: Mapping[str, float], metrics: Mapping[str, Any]) -> list[Check]:
    """Every limit at every level of ``metrics.json``. Raises BadInput for an unknown name."""
    require_known(thresholds)
    return [_check(level, name, limit) for level in metrics["levels"] for name, limit in thresholds.items()]


def _check(level: Mapping[str, Any], name: str, limit: float) -> Check:
    figure, _, statistic = name.partition(".")
    value = level[figure][statistic] if statistic else level[figure]
    if value is None:
        return Check(level["label"], name, limit, None, "unknown")
    broken = value < limit if name in _AT_LEAST else value > limit
    return Check(level["label"], name, limit, value, "broken" if broken else "kept")
