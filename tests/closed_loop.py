"""Exact mean value analysis of a closed loop (M. Reiser, S. Lavenberg, JACM 27, 1980), which the product only nears."""

from collections.abc import Sequence

import numpy as np


def attempt_ms(demands: Sequence[float], rest: float, workers: int) -> float:
    """The time of one attempt with ``workers`` in a loop of single queues (``demands``) and a delay (``rest``)."""
    queued, times = np.zeros(len(demands)), np.zeros(len(demands))
    for n in range(1, workers + 1):
        times = np.asarray(demands) * (1 + queued)
        total = times.sum() + rest
        queued = n * times / total if total > 0 else queued
    return float(times.sum() + rest)
