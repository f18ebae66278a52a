"""Intervals and percentiles that say no more than the sample carries.

Bookings of one slot share a party size, a moment and a shrinking set of tables, so they are not independent: what
counts for an interval is the cluster (the slot of one round), not the booking. An interval is a t interval around
an estimate whose variance comes from the clusters: every booking has an *influence* on the estimate, a cluster has
the sum of its bookings', and the variance is the sum of the clusters' squares (K.-Y. Liang, S. Zeger, Biometrika 73,
1986; C − 1 degrees of freedom and the factor C / (C − 1) for few clusters as in A. Cameron, D. Miller, Journal of
Human Resources 50, 2015). How often each interval covers is measured by ``tests/worlds/interval_coverage.py``.

All functions take columns of equal length, ignore rows whose value is missing, and answer ``None`` where the
sample is too small to say anything.
"""

from math import ceil, exp, sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slotfill.analyse.constants import CONFIDENCE, FEW_SLOTS, FEWEST_VALUES

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        """The interval lies above zero."""
        return self.low > 0


def clusters(attempts: pd.DataFrame) -> pd.Series:
    """What an interval counts as one observation: the slot (by date and time) of one round; else the log it is in."""
    known = attempts.reindex(columns=["booking_date", "round_number", "slot"]).astype("string").fillna("")
    named = known["booking_date"] + " " + known["round_number"] + " " + known["slot"]
    return named.where(attempts["slot"].notna(), attempts["file"]).astype("string")


def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors an interval reaches to each side."""
    from scipy import special  # which takes long to import, and many a sample is too small for any interval

    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def standard_error(influence: Floats, clusters: pd.Series) -> float:
    """The standard error of an estimate from what each booking contributes to its deviation; NaN for one cluster."""
    sums = np.bincount(_codes(clusters), weights=influence)
    count = len(sums)
    return sqrt(count / (count - 1) * float(sums @ sums)) if count > 1 else float("nan")


def mean_ci(values: pd.Series, clusters: pd.Series) -> tuple[float, float] | None:
    """The 95 % interval of a mean; ``None`` below ``FEW_SLOTS`` or ``FEWEST_VALUES``.

    The wider end of two intervals on each side: around the mean, and around its logarithm. The second is right
    where the rare booking that takes long decides, the first where none does.
    """
    numbers, kept = _present(values, clusters)
    if len(numbers) < FEWEST_VALUES or kept.nunique() < FEW_SLOTS:
        return None
    return t_interval(numbers, kept)


def t_interval(numbers: Floats, clusters: pd.Series) -> tuple[float, float]:
    """The interval of ``mean_ci`` whatever the size of the sample (two clusters at least)."""
    mean = float(numbers.mean())
    reach = t_quantile(clusters.nunique() - 1) * standard_error((numbers - mean) / len(numbers), clusters)
    if mean <= 0 or numbers.min() < 0:
        return mean - reach, mean + reach
    return min(mean - reach, mean * exp(-reach / mean)), max(mean + reach, mean * exp(reach / mean))


def difference_ci(
    before: pd.Series, before_clusters: pd.Series, after: pd.Series, after_clusters: pd.Series
) -> Estimate | None:
    """Mean after minus mean before, with its interval; ``None`` where a side has fewer than ``FEW_SLOTS``.

    A cluster that both sides have (a slot of one plan) counts once, so what it does to both of them cancels.
    """
    first, first_clusters = _present(before, before_clusters)
    second, second_clusters = _present(after, after_clusters)
    fewest = min(first_clusters.nunique(), second_clusters.nunique())
    if fewest < FEW_SLOTS:
        return None
    influence = np.concatenate([(first.mean() - first) / len(first), (second - second.mean()) / len(second)])
    clusters = pd.concat([first_clusters, second_clusters], ignore_index=True)
    return _around(float(second.mean() - first.mean()), influence, clusters, fewest - 1)


def growth_per_doubling(values: pd.Series, concurrency: pd.Series, clusters: pd.Series) -> Estimate | None:
    """How much a figure grows when the concurrency doubles, with its interval.

    The slope of a least-squares line on log2(concurrency), over bookings. A cluster that several levels have (the
    same slot of the same round) counts once over all of them. ``None`` with fewer than two levels, or a level
    with fewer than ``FEW_SLOTS``.
    """
    numbers, kept = _present(values, clusters)
    levels = concurrency[values.notna().to_numpy()].reset_index(drop=True).astype(float)
    fewest = int(kept.groupby(levels).nunique().min()) if len(levels) else 0
    if levels.nunique() < 2 or fewest < FEW_SLOTS:
        return None
    x = np.log2(levels.to_numpy())
    slope, start = np.polyfit(x, numbers, 1)
    centred = x - x.mean()
    influence = centred * (numbers - start - slope * x) / float(centred @ centred)
    return _around(float(slope), influence, kept, fewest - 1)


def sample_floor(q: float) -> int:
    """The smallest sample that carries the percentile ``q`` (0–100): one observation beyond it, so p95 needs 20."""
    return max(1, ceil(round(100 / (100 - q), 6))) if q > 50 else 1


def percentile(values: pd.Series, q: float) -> float | None:
    """The percentile ``q`` (0–100, linear interpolation); ``None`` below its ``sample_floor``."""
    numbers = values.dropna().to_numpy(dtype=float)
    return float(np.percentile(numbers, q)) if len(numbers) >= sample_floor(q) else None


def _around(value: float, influence: Floats, clusters: pd.Series, freedom: int) -> Estimate:
    """An estimate with its t interval."""
    reach = t_quantile(freedom) * standard_error(influence, clusters)
    return Estimate(value, value - reach, value + reach)


def _present(values: pd.Series, clusters: pd.Series) -> tuple[Floats, pd.Series]:
    """The values that are there, with their clusters."""
    there = values.notna().to_numpy()
    return values[there].to_numpy(dtype=float), clusters[there].reset_index(drop=True)


def _codes(column: pd.Series) -> NDArray[np.intp]:
    """The values of a column as numbers 0, 1, 2…; a missing value is a group of its own."""
    return np.asarray(pd.factorize(column, use_na_sentinel=False)[0], dtype=np.intp)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """A division that is NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
