"""What a faster hop would buy: the predicted time and throughput of the same closed loop.

A closed loop of N workers obeys X = N / (R + Z): throughput from the time R of an attempt and the gap Z
between attempts (P. Denning, J. Buzen, Computing Surveys 10, 1978, "interactive response time law").
A hop that costs a constant time shortens R by what it saves, but never below what the machine's
processors need for N attempts. A hop that saturates is one queue in which attempts wait for each other:
the shorter its service, the shorter the queue as well, so the waiting is computed by mean value
analysis (M. Reiser, S. Lavenberg, JACM 27, 1980) with the service demand that explains the measured
growth. Its throughput ends at one over that demand.

A level is not all loop: at its end workers run out of slots, and a full slot ends with a long search
for a table. So the throughput comes from replaying the level's slots with the predicted times.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from slotfill.analyse.growth import clusters, gaps, measured
from slotfill.analyse.stats import Floats, Resampling

RESAMPLES = 200
"""A fit for each resample is slow, and the interval needs no more."""


@dataclass(frozen=True)
class Prediction:
    """One level as measured, and as it would be; ``*_ci95`` are ``None`` for fewer than two slots.

    ``total_ms`` is of a confirmed attempt (of any, where hardly one was confirmed).
    """

    now_total_ms: float
    total_ms: float
    total_ci95: tuple[float, float] | None
    now_throughput_per_min: float
    throughput_per_min: float
    throughput_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Loop:
    """What is known of a level beside its hops: busy workers, bookings a minute, and what the processors need.

    ``least_ms`` is the shortest time in which the machine's processors can serve one attempt of each worker.
    """

    workers: int
    per_min: float
    least_ms: float = 0.0


@dataclass(frozen=True)
class _Level:
    """The attempts of a level in their order, and how to draw its slots anew."""

    loop: Loop
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
        free = [0.0] * self.loop.workers
        for duration in np.repeat(np.bincount(self.slots, weights=busy), times):
            heapq.heapreplace(free, free[0] + float(duration))
        return max(free)


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


def mean_value_analysis(demand: float, rest: float, workers: int) -> float:
    """The time of one attempt with ``workers`` in a loop of one queue (``demand``) and a delay (``rest``)."""
    queued, time = 0.0, demand
    for n in range(1, workers + 1):
        time = demand * (1 + queued)
        queued = n * time / (time + rest) if time + rest > 0 else 0.0
    return time + rest


def fit_demand(times: Mapping[int, float]) -> tuple[float, float]:
    """The service demand and the delay whose closed loop best gives the measured time per number of workers."""
    workers, found = list(times), np.array(list(times.values()))

    def error(guess: Floats) -> Floats:
        modelled = [mean_value_analysis(guess[0], guess[1], n) for n in workers]
        return np.asarray(np.log(np.maximum(modelled, 1e-9) / found))

    start = max(found[-1] / workers[-1], 1e-6)
    fit = optimize.least_squares(error, [start, max(found[0] - start, 1e-6)], bounds=(0, np.inf))
    return float(fit.x[0]), float(fit.x[1])


def _level(rows: pd.DataFrame, attempts: pd.DataFrame, loop: Loop, hop: str) -> _Level:
    started = attempts.dropna(subset=["correlation_id"]).set_index("correlation_id")["started_at"]
    order = rows["correlation_id"].map(started[~started.index.duplicated()]).argsort()
    rows = rows.iloc[order.to_numpy()]
    slots = clusters(rows).reset_index(drop=True)
    return _Level(
        loop=loop,
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
    """Predicted over measured time and throughput of each level: the hop's saving leaves the rest as it is."""
    ratios = []
    for level in levels.values():
        total, saving = level.mean(level.total, resample), level.mean(level.hop, resample) / 2
        possible = min(saving, max(0.0, total - level.loop.least_ms))
        part = possible / saving if saving else 0.0
        ratios.append([1 - possible / total, level.speed_up(level.hop / 2 * part, resample)])
    return np.array(ratios)


def _queue_ratios(levels: Mapping[str, _Level], shared: bool, resample: int | None) -> Floats:
    """The same for one queue that all levels share: fitted to their times, then served faster."""
    totals = [level.mean(level.total, resample) for level in levels.values()]
    waits = [level.mean(level.gap, resample) for level in levels.values()]
    hops = [level.mean(level.hop, resample) for level in levels.values()]
    workers = [level.loop.workers for level in levels.values()]
    # The gap between attempts is a delay of the loop like any other.
    times = {n: total + gap for n, total, gap in zip(workers, totals, waits, strict=True)}
    demand, rest = fit_demand(times)
    alone = hops[0]  # the hop where nobody waits
    if shared:
        faster, less = max(demand / 2, demand - alone / 2), rest
    else:
        faster, less = demand / 2, max(0.0, rest - max(0.0, alone - demand) / 2)
    ratios = []
    for level, n, total, hop in zip(levels.values(), workers, totals, hops, strict=True):
        shorter = mean_value_analysis(faster, less, n) / mean_value_analysis(demand, rest, n)
        saved = total * (1 - shorter)
        ratios.append([shorter, level.speed_up(level.hop * min(1.0, saved / hop if hop else 0.0), resample)])
    return np.array(ratios)
