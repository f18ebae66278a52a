"""The ledger: one row an attempt, what each part of each hop cost it, and the load it met.

The model of it: a part takes ``own + slope · n`` with n requests of others in flight. By the arrival theorem
(M. Reiser, S. Lavenberg, JACM 27, 1980) R = D (1 + Q), so the slope estimates what one other's turn costs, and
``own`` the part that needs nobody's turn. It is straight only below the knee.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slotfill.analyse.constants import NO_GROWTH_QUANTILE, RESAMPLES, ROBUST_QUANTILE
from slotfill.analyse.growth import Accounts
from slotfill.analyse.stats import Floats, ratio

PARTS = ("client", "poll", "network", "api", "allocator", "queue", "pool", "lock", "statements")
"""What an attempt's time is divided into before causes are looked for; together its total but for the unexplained and
what taps add."""
PARTS_OF = {
    "client": ("client", "poll"),
    "database": ("pool", "lock", "statements"),
    **{hop: (hop,) for hop in ("network", "api", "allocator", "queue")},
}
"""The parts of each hop."""


@dataclass(frozen=True)
class Ledger:
    """Parts by attempt (rows × ``PARTS``, ms), with the level (0: lowest), the cluster and the load of each row."""

    parts: Floats
    total: Floats
    level: NDArray[np.intp]
    cluster: NDArray[np.intp]
    others: Floats

    @property
    def top(self) -> NDArray[np.bool_]:
        """The rows of the level of interest: the highest."""
        return np.asarray(self.level == self.level.max())


@dataclass(frozen=True)
class Fit:
    """The parts as modelled, one row a resample, the first being the sample itself; columns are ``PARTS``.

    ``at`` is the mean at the highest level, ``own`` what of it needs nobody's turn, both ms; ``slope`` ms per other
    request in flight. ``total`` and ``others`` are the mean total and load at the highest level.
    """

    own: Floats
    slope: Floats
    at: Floats
    totals: Floats
    loads: Floats
    clusters: int

    @property
    def total(self) -> Floats:
        return np.asarray(self.totals[:, -1])

    @property
    def others(self) -> Floats:
        return np.asarray(self.loads[:, -1])

    @property
    def of_others(self) -> Floats:
        return self.at - self.own


def ledger(figures: Accounts) -> Ledger:
    """The ledger of the attempts that the verdict rests on."""
    rows = figures.measured
    columns = {
        "client": rows["client_ms"] - rows["poll_lag_ms"].fillna(0) - rows["taps_ms"].fillna(0),
        "poll": rows["poll_lag_ms"],
        "network": rows["network_ms"],
        "api": rows["api_ms"],
        "allocator": rows["allocator_ms"],
        "queue": rows["queue_ms"],
        "pool": rows["pool_wait_ms"],
        "lock": rows["lock_wait_ms"],
        "statements": rows["database_ms"] - rows["pool_wait_ms"].fillna(0) - rows["lock_wait_ms"].fillna(0),
    }
    parts = np.column_stack([columns[part].to_numpy(dtype="float64", na_value=np.nan) for part in PARTS])
    ranks = {label: place for place, label in enumerate(figures.labels)}
    level = np.asarray(rows["label"].map(ranks), dtype=np.intp)
    nominal = rows["effective"].to_numpy(dtype="float64") - 1
    measured = rows["others"].to_numpy(dtype="float64", na_value=np.nan)
    return Ledger(
        parts=np.clip(np.nan_to_num(parts), 0, None),
        total=rows["total_ms"].to_numpy(dtype="float64"),
        level=level,
        cluster=np.asarray(pd.factorize(rows["cluster"])[0], dtype=np.intp),
        others=np.where(np.isfinite(measured), measured, nominal),
    )


def capped(book: Ledger) -> Floats:
    """The parts with each value beyond its level's ``ROBUST_QUANTILE`` set to that quantile."""
    parts = book.parts.copy()
    for level in np.unique(book.level):
        here = book.level == level
        parts[here] = np.minimum(parts[here], np.quantile(parts[here], ROBUST_QUANTILE, axis=0))
    return parts


def fit(book: Ledger, robust: bool = False, seed: int = 0) -> Fit:
    """Fit all parts at once, in the sample and in each resample of its clusters, all levels of a cluster together.

    What is owed to others is judged by the ``capped`` values, for growth must show in most attempts and not in a few;
    ``robust`` takes them for the level's mean as well.
    """
    weights = _weights(book.cluster, seed)
    steady = capped(book)
    share, slope = _owed_to_others(book, steady, weights)
    values = steady if robust else book.parts
    # A part that does not grow is the same at all levels, and all of them together tell it best.
    grows = np.quantile(share, NO_GROWTH_QUANTILE, axis=0) > 0
    everywhere = np.ones_like(book.top)
    at = np.where(grows, *(_mean(book, values, rows, weights) for rows in (book.top, everywhere)))
    share = np.where(grows, share, 0.0)
    return Fit(
        own=at * (1 - share),
        slope=slope,
        at=at,
        totals=_by_level(book, book.total, weights),
        loads=_by_level(book, book.others, weights),
        clusters=weights.shape[1],
    )


def _by_level(book: Ledger, values: Floats, weights: Floats) -> Floats:
    levels = range(int(book.level.max()) + 1)
    return np.column_stack([_mean(book, values[:, None], np.asarray(book.level == each), weights) for each in levels])


def _weights(cluster: NDArray[np.intp], seed: int) -> Floats:
    """How often each cluster counts: once in the sample, as often as drawn in a resample."""
    count = int(cluster.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.vstack([np.ones(count), drawn.astype(np.float64)])


def _sums(book: Ledger, values: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Each column's sum by cluster (clusters × columns) over some rows."""
    cluster, count = book.cluster[rows], int(book.cluster.max()) + 1
    return np.column_stack([np.bincount(cluster, column, count) for column in values[rows].T])


def _mean(book: Ledger, values: Floats, rows: NDArray[np.bool_], weights: Floats) -> Floats:
    """Each column's mean over some rows, by resample; one that drew none of them has the sample's."""
    count = weights @ _sums(book, np.ones((len(values), 1)), rows)
    means = ratio(weights @ _sums(book, values, rows), np.broadcast_to(count, (len(weights), values.shape[1])))
    return np.where(np.isfinite(means), means, means[0])


def _owed_to_others(book: Ledger, values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Which share of each part at the highest level is owed to others, and the slope of the fit.

    The part's own time is what the lowest level shows, less what the slope says that others cost there already.
    """
    everything = np.ones(len(values), dtype=bool)
    n = book.others[:, None]
    count, sn, snn = (weights @ _sums(book, column, everything) for column in (np.ones_like(n), n, n * n))
    sy, sny = (weights @ _sums(book, column, everything) for column in (values, values * n))
    spread = count * snn - sn * sn
    slope = ratio(count * sny - sn * sy, np.broadcast_to(spread, sy.shape))
    slope = np.where(np.isfinite(slope) & (spread > 1e-9), slope, 0.0)
    lowest = np.asarray(book.level == 0)
    low, top = (_mean(book, values, rows, weights) for rows in (lowest, book.top))
    met = _mean(book, n, lowest, weights)
    own = np.clip(low - np.clip(slope, 0, None) * met, 0, None)
    share = np.clip(1 - np.nan_to_num(ratio(own, top), nan=1.0), 0, 1)
    return (share if book.level.max() else np.zeros_like(share)), slope
