"""How figures are written and coloured: the only place where milliseconds turn into what a person reads."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from slotfill.outcomes import CONFIRMED_OUTCOMES, EXHAUSTED

UNKNOWN = "–"

HOPS = ("client", "network", "api", "allocator", "queue", "database", "unexplained")

HOP_NAMES = {"api": "API", "venue": "venue"}
"""Where the name that people read differs from the one in the documents."""

# Okabe and Ito's palette: told apart with every common colour blindness, and by lightness in print.
HOP_COLOURS = {
    "client": "#999999",
    "network": "#56B4E9",
    "api": "#E69F00",
    "allocator": "#D55E00",
    "queue": "#CC79A7",
    "database": "#0072B2",
    "unexplained": "#CFCFCF",
}

OUTCOME_GROUPS = (
    "confirmed in the request",
    "confirmed by polling",
    "confirmed by the job",
    "tables ran out",
    "failed",
)
# Each a shade off its twin among the hops', so that a page's style can tell the two apart.
OUTCOME_COLOURS = dict(zip(OUTCOME_GROUPS, ("#0072B1", "#56B4E8", "#009E73", "#CFCFCE", "#D55E01"), strict=True))


def outcome_groups(outcomes: pd.Series) -> pd.Series:
    """One of ``OUTCOME_GROUPS`` each, for charts: all failures look alike there, and the tables name them."""
    return outcomes.map({outcome: _outcome_group(outcome) for outcome in outcomes.unique()})


def duration(milliseconds: float | None) -> str:
    """``265 ms``, ``1.43 s``, ``19.8 s``, ``2 min 5 s``: three digits, or what a person says."""
    if is_missing(milliseconds):
        return UNKNOWN
    value = float(milliseconds)  # type: ignore[arg-type]
    size = abs(value)
    if size < 0.05:
        return "0 ms"
    if size < 9.95:
        return f"{value:.1f} ms"
    if size < 999.5:
        return f"{value:.0f} ms"
    if size < 9_995:
        return f"{value / 1000:.2f} s"
    if size < 119_950:
        return f"{value / 1000:.1f} s"
    minutes, seconds = divmod(round(value / 1000), 60)
    return f"{minutes} min {seconds} s"


def interval(bounds: Sequence[float | None] | None) -> str:
    """``19.5 to 20.2 s``; both ends in the unit of the larger."""
    if not bounds or len(bounds) != 2 or is_missing(bounds[0]) or is_missing(bounds[1]):
        return UNKNOWN
    low, high = duration(bounds[0]), duration(bounds[1])
    same_unit = low.split(" ", 1)[-1] == high.split(" ", 1)[-1] and "min" not in low
    return f"{low.split(' ')[0]} to {high}" if same_unit else f"{low} to {high}"


def share(fraction: float | None) -> str:
    """``0.534`` is ``53 %``; a trace that is not nothing is ``< 1 %``."""
    if is_missing(fraction):
        return UNKNOWN
    percent = 100 * float(fraction)  # type: ignore[arg-type]
    return "< 1 %" if 0.005 < percent < 0.5 else f"{abs(round(percent)) if abs(percent) < 0.5 else round(percent)} %"


def number(value: float | None, digits: int = 1) -> str:
    """A plain figure; whole numbers without a point."""
    if is_missing(value):
        return UNKNOWN
    text = f"{float(value):,.{digits}f}"  # type: ignore[arg-type]
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """``1 booking``, ``20 bookings``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def listing(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def hop(name: str | None) -> str:
    """The reader's name of a hop; an unknown hop keeps its own."""
    return HOP_NAMES.get(str(name), str(name))


def is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas' NA."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _outcome_group(outcome: str) -> str:
    if outcome in CONFIRMED_OUTCOMES:
        return OUTCOME_GROUPS[CONFIRMED_OUTCOMES.index(outcome)]
    return "tables ran out" if outcome == EXHAUSTED else "failed"
