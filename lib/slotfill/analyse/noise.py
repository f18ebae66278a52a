"""The A/A band: how far two halves of the same level differ although nothing was changed."""

import pandas as pd

from slotfill.analyse import stats
from slotfill.analyse.stats import Estimate


def halves(values: pd.Series, clusters: pd.Series) -> Estimate | None:
    """Mean of every second value of each slot minus the mean of the others; ``None`` where a half is too small.

    Alternate attempts pair the halves: what the hour or the slot does to one, it does to the other.
    """
    odd = (values.groupby(clusters).cumcount() % 2 == 1).to_numpy()
    return stats.difference_ci(values[~odd], clusters[~odd], values[odd], clusters[odd])
