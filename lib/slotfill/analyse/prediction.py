"""What a faster hop would buy: the predicted time and throughput of the same closed loop.

A closed loop of N workers obeys X = N / (R + Z): throughput from the time R of an attempt and the gap Z
between attempts (P. Denning, J. Buzen, Computing Surveys 10, 1978, "interactive response time law").
A hop that costs a constant time shortens R by what it saves. A hop that saturates is one queue in
which attempts wait for each other: the shorter its service, the shorter the queue as well, so the
waiting is computed by mean value analysis (M. Reiser, S. Lavenberg, JACM 27, 1980) with the service
demand that explains the measured growth. Its throughput ends at one over that demand.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from slotfill.analyse.growth import gaps
from slotfill.analyse.stats import Floats, Resampling

RESAMPLES = 200
"""A fit for each resample is slow, and the interval needs no more."""


@dataclass(frozen=True)
class Prediction:
    """One level as measured, and as it would be; ``*_ci95`` are ``None`` for fewer than two slots."""

    now_total_ms: float
    total_ms: float
    total_ci95: tuple[float, float] | None
    now_throughput_per_min: float
    throughput_per_min: float
    throughput_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class _Level:
    """Sums per slot of everything a level's workers did."""

    workers: int
    draw: Resampling | None
    per_min: float
    total: Floats
    gap: Floats
    hop: Floats


def halved(
    table: pd.DataFrame,
    attempts: pd.DataFrame,
    effective: Mapping[str, int],
    per_min: Mapping[str, float | None],
    hop: str,
    saturates: bool,
    shared: bool = False,
) -> dict[str, Prediction]:
    """The prediction of every level for the hop taking half its time.

    ``table`` is the hop table of all attempts (see ``hops``): those that found no table kept the
    workers busy as well. ``per_min`` is the throughput of each level. ``shared`` says that the queue
    serves other hops too, as a processor does: then a faster hop shortens its service only by what
    the hop needs. Levels of which less than half of the attempts say what the hop cost are left out.
    """
    levels = {}
    for name, rows in table.groupby("label", sort=False):
        label = str(name)
        if rows[f"{hop}_ms"].notna().mean() >= 0.5:
            own = attempts[(attempts["label"] == label).to_numpy()]
            levels[label] = _level(rows, own, effective[label], per_min[label] or 0.0, hop)
    ordered = dict(sorted(levels.items(), key=lambda item: item[1].workers))
    if saturates and len(ordered) > 1:
        return _saturated(ordered, shared)
    return {label: _constant(level) for label, level in ordered.items()}


def mean_value_analysis(demand: float, rest: float, workers: int) -> float:
    """The time of one attempt with ``workers`` in a loop of one queue (``demand``) and a delay (``rest``)."""
    queued, time = 0.0, demand
    for n in range(1, workers + 1):
        time = demand * (1 + queued)
        queued = n * time / (time + rest) if time + rest > 0 else 0.0
    return time + rest


def fit_demand(times: Mapping[int, float]) -> tuple[float, float]:
    """The service demand and the delay whose closed loop best gives the measured time per number of workers."""
    workers, measured = list(times), np.array(list(times.values()))

    def error(guess: Floats) -> Floats:
        modelled = [mean_value_analysis(guess[0], guess[1], n) for n in workers]
        return np.asarray(np.log(np.maximum(modelled, 1e-9) / measured))

    start = max(measured[-1] / workers[-1], 1e-6)
    found = optimize.least_squares(error, [start, max(measured[0] - start, 1e-6)], bounds=(0, np.inf))
    return float(found.x[0]), float(found.x[1])


def _level(rows: pd.DataFrame, attempts: pd.DataFrame, workers: int, per_min: float, hop: str) -> _Level:
    slots = rows["slot"].fillna(rows["file"]).astype("string").reset_index(drop=True)
    return _Level(
        workers=workers,
        draw=Resampling.of(slots, resamples=RESAMPLES),
        per_min=per_min,
        total=rows["total_ms"].to_numpy(dtype=float),
        gap=gaps(attempts).reindex(rows["correlation_id"]).fillna(0).to_numpy(dtype=float),
        hop=rows[f"{hop}_ms"].fillna(0).to_numpy(dtype=float),
    )


def _constant(level: _Level) -> Prediction:
    """The hop's saving leaves everything else as it is."""

    def faster(total: Floats, gap: Floats, hop: Floats) -> Floats:
        return (total - hop / 2) / total

    def more(total: Floats, gap: Floats, hop: Floats) -> Floats:
        return (total + gap) / (total + gap - hop / 2)

    sums = [np.array([column.sum()]) for column in (level.total, level.gap, level.hop)]
    now = float(level.total.mean())
    time_ci = speed_ci = None
    if level.draw is not None:
        drawn = [level.draw.sums(column) for column in (level.total, level.gap, level.hop)]
        time_ci, speed_ci = level.draw.interval(faster(*drawn)), level.draw.interval(more(*drawn))
    return Prediction(
        now_total_ms=now,
        total_ms=now * float(faster(*sums)[0]),
        total_ci95=_scaled(time_ci, now),
        now_throughput_per_min=level.per_min,
        throughput_per_min=level.per_min * float(more(*sums)[0]),
        throughput_ci95=_scaled(speed_ci, level.per_min),
    )


def _saturated(levels: Mapping[str, _Level], shared: bool) -> dict[str, Prediction]:
    """One queue for all levels: fitted to their times, then served faster."""
    ratios = _queue_ratios(levels, shared, None)
    draws = None
    if all(level.draw is not None for level in levels.values()):
        draws = np.array([_queue_ratios(levels, shared, number) for number in range(RESAMPLES)])
    found = {}
    for place, (label, level) in enumerate(levels.items()):
        now, (time, speed) = float(level.total.mean()), ratios[place]
        time_ci = speed_ci = None
        if draws is not None and level.draw is not None:
            time_ci, speed_ci = (level.draw.interval(draws[:, place, each]) for each in (0, 1))
        found[label] = Prediction(
            now_total_ms=now,
            total_ms=now * time,
            total_ci95=_scaled(time_ci, now),
            now_throughput_per_min=level.per_min,
            throughput_per_min=level.per_min * speed,
            throughput_ci95=_scaled(speed_ci, level.per_min),
        )
    return found


def _queue_ratios(levels: Mapping[str, _Level], shared: bool, resample: int | None) -> Floats:
    """For each level, predicted over measured time and throughput; of the sample or of one resample."""
    means = [_means(level, resample) for level in levels.values()]
    workers = [level.workers for level in levels.values()]
    # The gap between attempts is a delay of the loop like any other.
    demand, rest = fit_demand({n: total + gap for n, (total, gap, _) in zip(workers, means, strict=True)})
    alone = means[0][2]  # the hop where nobody waits
    if shared:
        faster, less = max(demand / 2, demand - alone / 2), rest
    else:
        faster, less = demand / 2, max(0.0, rest - max(0.0, alone - demand) / 2)
    ratios = []
    for n, (_, gap, _) in zip(workers, means, strict=True):
        before, after = mean_value_analysis(demand, rest, n), mean_value_analysis(faster, less, n)
        ratios.append([(after - gap) / (before - gap), before / after])
    return np.array(ratios)


def _means(level: _Level, resample: int | None) -> tuple[float, float, float]:
    """Mean total, gap and hop of a level."""
    weights = np.ones(len(level.total))
    if resample is not None and level.draw is not None:
        weights = level.draw.weights[resample][level.draw.codes]
    total, gap, hop = (float(np.average(column, weights=weights)) for column in (level.total, level.gap, level.hop))
    return total, gap, hop


def _scaled(bounds: tuple[float, float] | None, factor: float) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0] * factor, bounds[1] * factor)
