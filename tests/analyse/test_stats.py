"""The intervals hold what they promise, and are refused where they cannot."""

import numpy as np
import pandas as pd
import pytest
from interval_coverage import INTERVALS, LEAST, MOST, coverage
from scipy import stats as scipy_stats

from slotfill.analyse import stats


def clustered(rng: np.random.Generator, groups: int, per_group: int, mean: float) -> pd.DataFrame:
    """Values whose groups differ more than the rows within one."""
    effect = rng.normal(0, 10, groups).repeat(per_group)
    return pd.DataFrame(
        {
            "value": mean + effect + rng.normal(0, 3, groups * per_group),
            "slot": np.arange(groups).repeat(per_group).astype(str),
        }
    )


@pytest.mark.parametrize("family", ["normal", "lognormal", "1 in 40 +2 s"])
@pytest.mark.parametrize("interval", INTERVALS)
def test_an_interval_covers_the_truth_about_95_times_in_100(interval: str, family: str) -> None:
    covered = coverage(interval, family, clusters=5, each=24, samples=300)
    assert covered is not None
    assert LEAST <= covered <= MOST


@pytest.mark.parametrize(("interval", "clusters", "each"), [("mean", 5, 8), *((name, 4, 60) for name in INTERVALS)])
def test_no_interval_where_none_would_cover(interval: str, clusters: int, each: int) -> None:
    assert coverage(interval, "normal", clusters, each, samples=5) is None


def test_the_interval_is_as_wide_as_a_t_interval_over_cluster_means() -> None:
    sample = clustered(np.random.default_rng(1), 17, 8, mean=100)
    means = sample.groupby("slot")["value"].mean()
    expected = scipy_stats.t.interval(0.95, len(means) - 1, means.mean(), means.sem())
    low, high = stats.mean_ci(sample["value"], sample["slot"])  # type: ignore[misc]
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.03)


def test_no_interval_of_nothing() -> None:
    assert stats.mean_ci(pd.Series([], dtype="Float64"), pd.Series([], dtype="string")) is None
    assert stats.mean_ci(pd.Series([None] * 200, dtype="Float64"), pd.Series(["a"] * 200)) is None


def test_a_cluster_is_the_slot_of_one_round() -> None:
    rows = [("2026-12-15", 1, "17:00", "a"), ("2026-12-15", 2, "17:00", "b"), ("2026-12-15", 1, "17:00", "c")]
    known = pd.DataFrame(rows, columns=["booking_date", "round_number", "slot", "file"])
    assert stats.clusters(known).nunique() == 2
    assert stats.clusters(known.assign(slot=None)).tolist() == ["a", "b", "c"]


def test_missing_values_do_not_move_the_interval() -> None:
    sample = clustered(np.random.default_rng(2), 6, 20, mean=50)
    with_gaps = pd.concat([sample, pd.DataFrame({"value": [None, None], "slot": ["0", "1"]})], ignore_index=True)
    assert stats.mean_ci(with_gaps["value"].astype("Float64"), with_gaps["slot"]) == stats.mean_ci(
        sample["value"], sample["slot"]
    )


def test_a_percentile_needs_its_sample() -> None:
    values = pd.Series(np.arange(1, 101), dtype=float)
    assert stats.percentile(values, 99) == pytest.approx(np.percentile(values, 99))
    assert stats.percentile(values[:99], 99) is None
    assert stats.percentile(values[:20], 95) is not None
    assert stats.percentile(values[:19], 95) is None
    assert stats.percentile(values[:1], 50) == 1


def test_a_shared_slot_effect_cancels_in_a_paired_difference() -> None:
    rng = np.random.default_rng(3)
    before = clustered(rng, 12, 5, mean=100)
    after = before.assign(value=before["value"] + 7 + rng.normal(0, 0.5, len(before)))
    paired = stats.difference_ci(before["value"], before["slot"], after["value"], after["slot"])
    apart = stats.difference_ci(before["value"], before["slot"], after["value"], after["slot"] + "'")
    assert paired is not None
    assert apart is not None
    assert paired.value == pytest.approx(7, abs=0.3)
    assert paired.positive
    assert paired.high - paired.low < 1 < apart.high - apart.low


def test_the_growth_is_the_slope_on_doublings() -> None:
    rng = np.random.default_rng(4)
    levels = [clustered(rng, 17, 8, mean=200 + 40 * np.log2(n)).assign(n=n) for n in (1, 4, 8)]
    sample = pd.concat(levels, ignore_index=True)
    growth = stats.growth_per_doubling(sample["value"], sample["n"], sample["slot"])
    expected = scipy_stats.linregress(np.log2(sample["n"]), sample["value"]).slope
    assert growth is not None
    assert growth.value == pytest.approx(expected)
    assert growth.low < 40 < growth.high


def test_one_level_has_no_growth() -> None:
    sample = clustered(np.random.default_rng(5), 6, 2, mean=10)
    assert stats.growth_per_doubling(sample["value"], pd.Series([4] * 12), sample["slot"]) is None
