"""What a faster hop would buy: the predicted time and throughput of the same closed loop.

A closed loop of N workers obeys X = N / (R + Z): throughput from the time R of an attempt and the gap Z
between attempts (P. Denning, J. Buzen, Computing Surveys 10, 1978, "interactive response time law").
Whatever attempts queue for is a station with a service demand, everything else a delay; mean value
analysis (M. Reiser, S. Lavenberg, JACM 27, 1980) gives the time of an attempt from both. The machine's
processors are one such station wherever their use was sampled: a hop that costs a constant time
shortens the delay, and the shorter it is the more the attempts meet at the processors. A hop that
saturates is a station of its own, with the demand that explains the measured growth; served faster
it shortens its queue as well. Processors of c cores are taken for one c times as fast, and the rest
of the work for a delay (A. Seidmann and others, Large Scale Systems 12, 1987).

A level is not all loop: at its end workers run out of slots, and a full slot ends with a long search
for a table. So the throughput comes from replaying the level's slots with the predicted times.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from slotfill.analyse.document import Prediction
from slotfill.analyse.growth import gaps, measured
from slotfill.analyse.stats import Floats, Resampling, clusters

RESAMPLES = 200
"""A fit for each resample is slow, and the interval needs no more."""


@dataclass(frozen=True)
class Loop:
    """What is known of a level beside its hops: busy workers, bookings a minute, and what the processors do.

    ``computing_ms`` is the processor time of an attempt in all processes, 0 where it was not sampled;
    ``cores`` are what others leave to the run.
    """

    workers: int
    per_min: float
    computing_ms: float = 0.0
    cores: float = 1.0

    @property
    def processor_ms(self) -> float:
        """The demand for the machine as one resource."""
        return self.computing_ms / self.cores


@dataclass(frozen=True)
class _Level:
    """The attempts of a level in their order, and how to draw its slots anew.

    ``starts`` is when each worker began; they do not begin at once, or they would go on in step.
    """

    loop: Loop
    starts: tuple[float, ...]
    draw: Resampling | None
    slots: NDArray[np.intp]
    counted: Floats
    total: Floats
    gap: Floats
    hop: Floats

    def weights(self, resample: int | None) -> Floats:
        """How often each slot counts: once, or as often as the resample drew it."""
        if resample is None or self.draw is None:
            return np.ones(self.slots.max() + 1)
        drawn: Floats = self.draw.weights[resample]
        return drawn

    def mean(self, column: Floats, resample: int | None) -> float:
        """The mean of a column over the attempts that count, of the sample or a resample."""
        weights = self.counted * self.weights(resample)[self.slots]
        return float(np.average(column, weights=weights)) if weights.sum() else float(column.mean())

    def speed_up(self, saved: Floats, resample: int | None) -> float:
        """Throughput after over before, when every attempt takes ``saved`` less."""
        busy = self.total + self.gap
        times = self.weights(resample).astype(int)
        return self._last_end(busy, times) / self._last_end(busy - saved, times)

    def _last_end(self, busy: Floats, times: NDArray[np.int_]) -> float:
        """When the last worker is done: each takes the next slot as it becomes free."""
        free, last = list(self.starts), 0.0
        for duration in np.repeat(np.bincount(self.slots, weights=busy), times):
            end = free[0] + float(duration)
            heapq.heapreplace(free, end)
            last = max(last, end)
        return last


def halved(
    table: pd.DataFrame,
    attempts: pd.DataFrame,
    loops: Mapping[str, Loop],
    hop: str,
    saturates: bool,
    shared: bool = False,
) -> dict[str, Prediction]:
    """The prediction of every level for the hop taking half its time.

    ``table`` is the hop table of all attempts (see ``hops``). ``shared`` says that the queue serves other
    hops too, as a processor does: then a faster hop shortens its service only by what the hop needs.
    Levels of which less than half of the attempts say what the hop cost are left out.
    """
    levels = {}
    for name, rows in table.groupby("label", sort=False):
        label = str(name)
        if rows[f"{hop}_ms"].notna().mean() >= 0.5:
            own = attempts[(attempts["label"] == label).to_numpy()]
            levels[label] = _level(rows, own, loops[label], hop)
    ordered = dict(sorted(levels.items(), key=lambda item: item[1].loop.workers))
    grows = saturates and len({level.loop.workers for level in levels.values()}) > 1
    resamples = [None, *range(RESAMPLES)] if all(level.draw for level in levels.values()) else [None]
    ratios = [_queue_ratios(ordered, shared, each) if grows else _constant_ratios(ordered, each) for each in resamples]
    return {label: _prediction(level, place, ratios) for place, (label, level) in enumerate(ordered.items())}


def mean_value_analysis(demands: Sequence[float], rest: float, workers: int) -> float:
    """The time of one attempt with ``workers`` in a loop of single queues (``demands``) and a delay (``rest``)."""
    queued, times = np.zeros(len(demands)), np.zeros(len(demands))
    for n in range(1, workers + 1):
        times = np.asarray(demands) * (1 + queued)
        total = times.sum() + rest
        queued = n * times / total if total > 0 else queued
    return float(times.sum() + rest)


def fit_demand(times: Mapping[int, float], known: float = 0.0) -> tuple[float, float]:
    """The demand and the delay whose closed loop, beside a queue of ``known`` demand, best gives the measured times.

    ``times`` are by number of workers.
    """
    workers, found = list(times), np.array(list(times.values()))

    def error(guess: Floats) -> Floats:
        modelled = [mean_value_analysis((guess[0], known), guess[1], n) for n in workers]
        return np.asarray(np.log(np.maximum(modelled, 1e-9) / found))

    start = max(found[-1] / workers[-1], 1e-6)
    fit = optimize.least_squares(error, [start, max(found[0] - start, 1e-6)], bounds=(0, np.inf))
    return float(fit.x[0]), float(fit.x[1])


def fit_rest(time: float, demand: float, workers: int) -> float:
    """The delay that makes a loop with one queue take ``time``; 0 where the queue alone takes longer."""
    if mean_value_analysis((demand,), 0.0, workers) >= time:
        return 0.0
    return float(optimize.brentq(lambda rest: mean_value_analysis((demand,), rest, workers) - time, 0.0, time))


def _level(rows: pd.DataFrame, attempts: pd.DataFrame, loop: Loop, hop: str) -> _Level:
    started = attempts.dropna(subset=["correlation_id"]).set_index("correlation_id")["started_at"]
    order = rows["correlation_id"].map(started[~started.index.duplicated()]).argsort()
    rows = rows.iloc[order.to_numpy()]
    begun = attempts.groupby("worker")["started_at"].min().sort_values()
    starts = [0.0] * loop.workers
    for worker, late in enumerate((begun - begun.min()).dt.total_seconds()[: loop.workers]):
        starts[worker] = late * 1000
    slots = clusters(rows).reset_index(drop=True)
    return _Level(
        loop=loop,
        starts=tuple(starts),
        draw=Resampling.of(slots, resamples=RESAMPLES),
        slots=np.asarray(pd.factorize(slots)[0], dtype=np.intp),
        counted=rows.index.isin(measured(rows).index).astype(float),
        total=rows["total_ms"].to_numpy(dtype=float),
        gap=gaps(attempts).reindex(rows["correlation_id"]).fillna(0).to_numpy(dtype=float),
        hop=rows[f"{hop}_ms"].fillna(0).to_numpy(dtype=float),
    )


def _prediction(level: _Level, place: int, ratios: list[Floats]) -> Prediction:
    """Measured figures times the predicted ratios; those of the resamples give the intervals."""
    now, (time, speed) = level.mean(level.total, None), map(float, ratios[0][place])
    drawn = np.array([each[place] for each in ratios[1:]])
    return Prediction(
        now_total_ms=now,
        total_ms=now * time,
        total_ci95=_interval(level, drawn, 0, time, now),
        now_throughput_per_min=level.loop.per_min,
        throughput_per_min=level.loop.per_min * speed,
        throughput_ci95=_interval(level, drawn, 1, speed, level.loop.per_min),
    )


def _interval(level: _Level, drawn: Floats, column: int, ratio: float, figure: float) -> tuple[float, float] | None:
    """The interval of a predicted figure, around its ratio also where a replayed resample is biased a little."""
    if level.draw is None or not len(drawn):
        return None
    low, high = level.draw.interval(drawn[:, column])
    return min(low, ratio) * figure, max(high, ratio) * figure


def _constant_ratios(levels: Mapping[str, _Level], resample: int | None) -> Floats:
    """Predicted over measured time and throughput of each level: a shorter delay, the same processors."""
    limit, ratios = _most_demand(levels, resample), []
    for level in levels.values():
        time, hop = level.mean(level.total + level.gap, resample), level.mean(level.hop, resample)
        demand, n = (min(level.loop.processor_ms, limit),), level.loop.workers
        rest = fit_rest(time, demand[0], n)
        slow, fast = (mean_value_analysis(demand, delay, n) for delay in (rest, max(0.0, rest - hop / 2)))
        ratios.append(_ratios(level, slow - fast, resample))
    return np.array(ratios)


def _most_demand(levels: Mapping[str, _Level], resample: int | None) -> float:
    """The largest demand any resource can have: X D ≤ 1 at every level (utilisation law).

    What is sampled is the processor time of all attempts, and those that search in vain for a table take the most.
    """
    fastest = (level.mean(level.total + level.gap, resample) / level.loop.workers for level in levels.values())
    return min(fastest, default=0.0)


def _queue_ratios(levels: Mapping[str, _Level], shared: bool, resample: int | None) -> Floats:
    """The same for one queue that all levels share: fitted to their times, then served faster."""
    # The gap between attempts is a delay of the loop like any other.
    ordered = list(levels.values())
    first, last = ordered[0], ordered[-1]
    times = {level.loop.workers: level.mean(level.total + level.gap, resample) for level in ordered}
    alone = first.mean(first.hop, resample)  # the hop where nobody waits
    known = 0.0 if shared else min(last.loop.processor_ms, _most_demand(levels, resample))
    demand, rest = fit_demand(times, known)
    if shared:
        # As many cores as make one queue of the fitted demand of all that is computed.
        cores = min(max(last.loop.computing_ms / demand, 1.0), max(last.loop.cores, 1.0)) if demand else 1.0
        saved = min(alone / 2 / cores, demand / 2)
        faster, less = demand - saved, rest - saved * (cores - 1)
    else:
        faster, less = demand / 2, rest - max(0.0, alone - demand) / 2
    ratios = []
    for level in ordered:
        slow, fast = (
            mean_value_analysis((queue, known), max(0.0, delay), level.loop.workers)
            for queue, delay in ((demand, rest), (faster, less))
        )
        ratios.append(_ratios(level, level.mean(level.total, resample) * (1 - fast / slow), resample))
    return np.array(ratios)


def _ratios(level: _Level, saved: float, resample: int | None) -> tuple[float, float]:
    """Time and throughput, predicted over measured, where an attempt takes ``saved`` less on average."""
    total, hop = level.mean(level.total, resample), level.mean(level.hop, resample)
    of_hop = min(1.0, saved / hop) if hop else 0.0
    # A queue may hold an attempt up in other hops as well; what its own does not have is taken from them.
    of_rest = max(0.0, saved - hop) / (total - hop) if total > hop else 0.0
    shorter = level.hop * of_hop + (level.total - level.hop) * of_rest
    return 1 - saved / total, level.speed_up(shorter, resample)
