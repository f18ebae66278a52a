"""How often the intervals hold the truth, for data of which it is known.

    python tests/worlds/interval_coverage.py --samples 2000

A cluster (a slot of one round) has an effect of its own; bookings vary around it: normally, lognormally, or normally
with a rare one that takes seconds. Prints the coverage of each kind of interval at each size, ``-`` where none is
given, and exits 1 where one lies outside of 0.90 to 0.98.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import numpy as np
import pandas as pd

from slotfill.analyse import stats

LEAST, MOST = 0.90, 0.98
LEVELS = (1.0, 4.0, 8.0)
RARE_MS = 2000.0
SIZES = ((2, 20), (4, 40), (5, 8), (5, 24), (10, 12), (17, 10), (51, 4))
"""Clusters, and bookings in each."""


@dataclass(frozen=True)
class Family:
    """A sort of data: how a cluster's bookings are drawn from its effect, and their mean."""

    draw: Callable[[np.random.Generator, np.ndarray, int], np.ndarray]
    mean: float


def _with_rare(share: float) -> Family:
    def draw(rng: np.random.Generator, effect: np.ndarray, count: int) -> np.ndarray:
        values = 100 + 10 * effect[:, None] + rng.normal(0, 20, (len(effect), count))
        return values + RARE_MS * (rng.random(values.shape) < share)

    return Family(draw, 100 + RARE_MS * share)


def _lognormal(spread: float) -> Family:
    def draw(rng: np.random.Generator, effect: np.ndarray, count: int) -> np.ndarray:
        return 100 * np.exp(0.2 * effect[:, None] + rng.normal(0, spread, (len(effect), count)))

    return Family(draw, 100 * float(np.exp((0.04 + spread**2) / 2)))


FAMILIES = {
    "normal": _with_rare(0.0),
    "lognormal": _lognormal(0.5),
    "long tail": _lognormal(1.0),
    "1 in 40 +2 s": _with_rare(1 / 40),
    "1 in 20 +2 s": _with_rare(1 / 20),
}


def sample(family: Family, rng: np.random.Generator, clusters: int, each: int, levels: int = 1) -> pd.DataFrame:
    """Bookings with their cluster and level; levels share the effects of their clusters."""
    effect = rng.normal(size=clusters)
    parts = [family.draw(rng, effect, each).ravel() for _ in range(levels)]
    names = np.arange(clusters).repeat(each).astype(str)
    return pd.DataFrame(
        {
            "value": np.concatenate(parts),
            "cluster": np.tile(names, levels),
            "level": np.repeat(LEVELS[:levels], clusters * each),
        }
    )


def _mean(family: Family, rng: np.random.Generator, clusters: int, each: int) -> bool | None:
    drawn = sample(family, rng, clusters, each)
    found = stats.mean_ci(drawn["value"], drawn["cluster"])
    return None if found is None else found[0] <= family.mean <= found[1]


def _difference(family: Family, rng: np.random.Generator, clusters: int, each: int) -> bool | None:
    drawn = sample(family, rng, clusters, each, levels=2)
    first, second = (drawn[drawn["level"] == level] for level in LEVELS[:2])
    found = stats.difference_ci(first["value"], first["cluster"], second["value"], second["cluster"])
    return None if found is None else found.low <= 0 <= found.high


def _growth(family: Family, rng: np.random.Generator, clusters: int, each: int) -> bool | None:
    drawn = sample(family, rng, clusters, each, levels=3)
    found = stats.growth_per_doubling(drawn["value"], drawn["level"], drawn["cluster"])
    return None if found is None else found.low <= 0 <= found.high


INTERVALS = {"mean": _mean, "difference": _difference, "growth": _growth}


def coverage(interval: str, family: str, clusters: int, each: int, samples: int, seed: int = 0) -> float | None:
    """The share of samples whose interval holds the truth; ``None`` where none of them has an interval."""
    rng = np.random.default_rng([seed, clusters, each])
    found = [INTERVALS[interval](FAMILIES[family], rng, clusters, each) for _ in range(samples)]
    given = [each for each in found if each is not None]
    return float(np.mean(given)) if given else None


def _table(samples: int) -> Iterator[tuple[str, float | None]]:
    for interval in INTERVALS:
        for clusters, each in SIZES:
            for family in FAMILIES:
                yield (
                    f"{interval:10s} {clusters:2d} x {each:2d} {family}",
                    coverage(interval, family, clusters, each, samples),
                )


@click.command()
@click.option("--samples", default=1000, show_default=True)
def main(samples: int) -> None:
    outside = 0
    for name, share in _table(samples):
        missed = share is not None and not LEAST <= share <= MOST
        outside += missed
        print(f"{name:32s} {'-' if share is None else f'{share:.3f}'}{'  outside' if missed else ''}", flush=True)
    print(f"{outside} outside of {LEAST} to {MOST}")
    sys.exit(outside > 0)


if __name__ == "__main__":
    main()
