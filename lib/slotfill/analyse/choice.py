"""Which leaf an attempt would take least without: what the sample and each of its resamples choose."""

from dataclasses import dataclass

import numpy as np

from slotfill.analyse import constants
from slotfill.analyse.causes import HELD_OVER, QUEUES, Leaves, Name
from slotfill.analyse.ledger import Fit
from slotfill.analyse.prediction import loop_ms, service_ms
from slotfill.analyse.stats import Floats, ratio


@dataclass(frozen=True)
class Choice:
    """What the sample and each resample (rows) name, of ``names``, and whether it saturates; ``worth`` in ms."""

    names: list[Name]
    best: np.ndarray
    saturates: np.ndarray
    worth: Floats

    @property
    def name(self) -> Name:
        return self.names[int(self.best[0])]

    @property
    def agreement(self) -> float:
        """The share of resamples that say the same as the sample."""
        same = (self.best[1:] == self.best[0]) & (self.saturates[1:] == self.saturates[0])
        return float(same.mean())

    def rival(self) -> tuple[str, float]:
        """The other hop that wins most often, and in which share of the resamples."""
        hops = np.array([hop for hop, _ in self.names])[self.best[1:]]
        names, counts = np.unique(hops[hops != self.name[0]], return_counts=True)
        return (str(names[counts.argmax()]), float(counts.max() / len(hops))) if len(names) else ("", 0.0)


def choose(found: Leaves, fitted: Fit) -> Choice:
    """The leaf worth most, and whether at least half of it is owed to others, by resample; the sample is the first."""
    names = list(found.own)
    at = np.column_stack([found.at(name) for name in names])
    waits = np.column_stack([found.waits[name] for name in names])
    worth = _worth(names, at, waits, fitted)
    best = worth.argmax(axis=1)
    rows = np.arange(len(at))
    share = ratio(waits[rows, best], at[rows, best])
    return Choice(names, best, share >= constants.SATURATED_SHARE, worth)


def _worth(names: list[Name], at: Floats, waits: Floats, fitted: Fit) -> Floats:
    """What an attempt would take less without each leaf: less than its time, where others would then queue longer.

    The leaf with the most waiting is the one queue (see ``prediction``). What is done while it is held makes the
    queue shorter as well, so it is worth its whole time.
    """
    rows, queueing = np.arange(len(at)), [name[1] in QUEUES for name in names]
    queue = np.where(queueing, waits, 0).argmax(axis=1)
    longest = np.where(queueing, waits, 0)[rows, queue]
    wait, n, total = (each[:, None] for each in (longest, fitted.others, fitted.total))
    shorter = loop_ms(np.maximum(total - wait - at, 0), service_ms(wait, n, total), n)
    worth = np.clip(total - shorter, 0, at)
    worth[rows, queue] = at[rows, queue]
    held = np.array([[hop in HELD_OVER.get(outer, ()) for hop, _ in names] for outer in names])
    return np.where((wait > 0) & ~held[queue], worth, at)
