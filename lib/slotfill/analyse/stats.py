"""Intervals and percentiles that say no more than the sample carries.

Bookings of one slot share a party size, a moment and a shrinking set of tables, so they are not
independent: every interval here is a bootstrap that resamples whole groups (slots), not bookings.
All functions take columns of equal length, ignore rows whose value is missing, and answer ``None``
where the sample is too small to say anything.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000

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


@dataclass(frozen=True)
class Resampling:
    """Bootstrap draws of groups, with replacement and within strata, shared by every figure of one sample.

    ``codes`` says which group a row is in; ``weights`` (resamples × groups) how often each resample
    drew that group; ``smallest`` is the number of groups in the smallest stratum.
    """

    codes: NDArray[np.intp]
    weights: Floats
    smallest: int

    @classmethod
    def of(
        cls, groups: pd.Series, strata: pd.Series | None = None, resamples: int = RESAMPLES, seed: int = 0
    ) -> "Resampling | None":
        """Draw; ``None`` when a stratum has fewer than two groups."""
        stratum = _codes(strata) if strata is not None else np.zeros(len(groups), dtype=np.intp)
        codes = _codes(pd.Series(list(zip(stratum.tolist(), _codes(groups).tolist(), strict=True)), dtype=object))
        if not len(codes):
            return None
        stratum_of_group = np.zeros(codes.max() + 1, dtype=np.intp)
        stratum_of_group[codes] = stratum
        sizes = np.bincount(stratum_of_group)
        if sizes.min() < 2:
            return None
        rng = np.random.default_rng(seed)
        weights = np.empty((resamples, len(stratum_of_group)))
        for each, size in enumerate(sizes):
            weights[:, stratum_of_group == each] = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
        return cls(codes, weights, int(sizes.min()))

    def sums(self, values: Floats) -> Floats:
        """The sum of a column in every resample."""
        return self.weights @ np.bincount(self.codes, weights=values, minlength=self.weights.shape[1])

    def interval(self, draws: Floats) -> tuple[float, float]:
        """The expanded percentile interval of a resampled figure.

        A plain percentile interval is too narrow for few groups. T. Hesterberg (The American
        Statistician 69, 2015, section 5.3) takes it at Φ(−√(n/(n−1))·t) instead, which restores
        the width of a t interval and tends to the plain one as the groups become many.
        """
        t = stats.t.ppf((1 + CONFIDENCE) / 2, self.smallest - 1)
        tail = stats.norm.cdf(-sqrt(self.smallest / (self.smallest - 1)) * t)
        low, high = np.nanquantile(draws, [tail, 1 - tail])
        return float(low), float(high)


def mean_ci(
    values: pd.Series, groups: pd.Series, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a mean, resampled by group; ``None`` below two groups."""
    numbers, kept = _present(values, groups)
    draw = Resampling.of(kept, resamples=resamples, seed=seed)
    if draw is None:
        return None
    return draw.interval(ratio(draw.sums(numbers), draw.sums(np.ones_like(numbers))))


def difference_ci(
    before: pd.Series,
    before_groups: pd.Series,
    after: pd.Series,
    after_groups: pd.Series,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """Mean after minus mean before, with its interval.

    Where both sides have the same groups (the same slots of one plan) they are resampled together,
    so what a slot does to both sides cancels; otherwise each side is resampled for itself.
    """
    first, first_groups = _present(before, before_groups)
    second, second_groups = _present(after, after_groups)
    side = np.repeat([0.0, 1.0], [len(first), len(second)])
    numbers = np.concatenate([first, second])
    groups = pd.concat([first_groups, second_groups], ignore_index=True)
    paired = set(first_groups) == set(second_groups)
    draw = Resampling.of(groups, None if paired else pd.Series(side), resamples, seed)
    if draw is None or not len(first) or not len(second):
        return None
    draws = ratio(draw.sums(numbers * side), draw.sums(side)) - ratio(
        draw.sums(numbers * (1 - side)), draw.sums(1 - side)
    )
    return Estimate(float(second.mean() - first.mean()), *draw.interval(draws))


def growth_per_doubling(
    values: pd.Series, concurrency: pd.Series, slots: pd.Series, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """How much a figure grows when the effective concurrency doubles, with its interval.

    The slope of a least-squares line on log2(concurrency), over bookings; resampled by slot within
    each level. ``None`` with fewer than two levels, or a level with fewer than two slots.
    """
    numbers, kept_slots = _present(values, slots)
    levels = concurrency[values.notna().to_numpy()].reset_index(drop=True).astype(float)
    if levels.nunique() < 2:
        return None
    draw = Resampling.of(kept_slots, levels, resamples, seed)
    if draw is None:
        return None
    x = np.log2(levels.to_numpy())
    return Estimate(float(np.polyfit(x, numbers, 1)[0]), *draw.interval(_slopes(draw, x, numbers)))


def sample_floor(q: float) -> int:
    """The smallest sample that carries the percentile ``q`` (0–100): one observation beyond it, so p95 needs 20."""
    return max(1, ceil(round(100 / (100 - q), 6))) if q > 50 else 1


def percentile(values: pd.Series, q: float) -> float | None:
    """The percentile ``q`` (0–100, linear interpolation); ``None`` below its ``sample_floor``."""
    numbers = values.dropna().to_numpy(dtype=float)
    return float(np.percentile(numbers, q)) if len(numbers) >= sample_floor(q) else None


def _slopes(draw: Resampling, x: Floats, y: Floats) -> Floats:
    """The least-squares slope in every resample, from its sums."""
    n, sx, sy = draw.sums(np.ones_like(x)), draw.sums(x), draw.sums(y)
    return ratio(n * draw.sums(x * y) - sx * sy, n * draw.sums(x * x) - sx * sx)


def _present(values: pd.Series, groups: pd.Series) -> tuple[Floats, pd.Series]:
    """The values that are there, with their groups."""
    there = values.notna().to_numpy()
    return values[there].to_numpy(dtype=float), groups[there].reset_index(drop=True)


def _codes(column: pd.Series) -> NDArray[np.intp]:
    """The values of a column as numbers 0, 1, 2…; a missing value is a group of its own."""
    return np.asarray(pd.factorize(column, use_na_sentinel=False)[0], dtype=np.intp)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """A division that is NaN where a resample drew nothing to divide by."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
