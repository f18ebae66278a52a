"""Seconds since a level began, without the stretches in which no booking was under way."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from slotfill.report.svg import SOFT

_LEAST_FOLD_S = 0.5
"""A pause shorter than this stays as it is."""
_LEAST_SHARE = 0.02
"""And so does one that takes less of the level's busy time than this."""


class FoldedClock:
    """Places on an axis for instants; what is left out leaves a thin gap with a mark.

    Made from the beginnings and ends of what has to be seen to scale.
    """

    def __init__(self, begins: pd.Series, ends: pd.Series) -> None:
        self._zero = begins.min()
        covered = _covered(self._seconds(begins), self._seconds(ends))
        busy_s = sum(end - begin for begin, end in covered)
        gap_s = min(_LEAST_FOLD_S, _LEAST_SHARE * busy_s)
        real, shown = [covered[0][0]], [0.0]
        self._folds: list[float] = []
        for number, (begin, end) in enumerate(covered):
            if number:
                real.append(begin)
                shown.append(shown[-1] + gap_s)
                self._folds.append(shown[-1] - gap_s / 2)
            real.append(max(end, real[-1] + 1e-9))
            shown.append(shown[-1] + end - begin)
        self._real, self._shown = np.array(real), np.array(shown)

    @staticmethod
    def label(narrow: bool) -> str:
        """What the axis shows."""
        since = "busy time (s)" if narrow else "busy time since the level began (s)"
        return f"{since}; dotted: a pause left out"

    def place(self, instants: pd.Series) -> np.ndarray:
        """Where on the axis the instants lie."""
        return np.asarray(np.interp(self._seconds(instants), self._real, self._shown))

    def draw_axis(self, axes: Axes) -> None:
        """Limits, ticks in seconds, and a dotted line for each pause left out."""
        axes.set_xlim(0, max(self._shown[-1], 1e-3))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        for place in self._folds if len(self._folds) <= 40 else ():
            axes.axvline(place, color=SOFT, linewidth=0.8, linestyle=":")

    def _seconds(self, instants: pd.Series) -> np.ndarray:
        return np.asarray((instants - self._zero).dt.total_seconds(), dtype=float)


def _covered(begins: np.ndarray, ends: np.ndarray) -> list[tuple[float, float]]:
    """The stretches with something under way, one where less than a fold lies between two."""
    order = np.argsort(begins, kind="stable")
    begins, until = begins[order], np.maximum.accumulate(ends[order])
    first = np.append(True, begins[1:] > until[:-1] + _LEAST_FOLD_S)
    last = np.append(first[1:], True)
    return list(zip(begins[first].tolist(), until[last].tolist(), strict=True))
