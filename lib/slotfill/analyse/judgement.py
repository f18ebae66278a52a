"""A verdict held against an experiment: a known delay at one border, and what it did to the attempts.

Taps at two borders, client ↔ web and web ↔ database, cut an attempt's total into three parts that need no word of the
server: around its answer, in the handler but outside every database call, and inside the calls. A verdict stands where
its hop's part is measured largest and the planted delay does what the verdict predicts (the idea of C. Curtsinger and
E. Berger, SOSP 2015: a cause is proven by intervention). Frames in, a typed document out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from slotfill.analyse import stats
from slotfill.analyse.constants import FEW_SLOTS
from slotfill.analyse.document import SATURATION, Interval, Status
from slotfill.analyse.level_order import level_number, level_order
from slotfill.analyse.prediction import delayed_ms
from slotfill.analyse.proof import TOLERANCE, Distance, Effect, Part, Proof
from slotfill.analyse.tapped_parts import AROUND, CALLS, HANDLER, PARTS
from slotfill.call import DATABASE

POOL = "pool"
"""Waiting for a connection, among the hops of the handler's part."""
WAITS_IN_HANDLER = ("pool_wait", "connection_limit")
LETS_GO = ("cpu",)
"""Mechanisms whose resource nobody holds during a call: a processor is free while an attempt waits for an answer."""
MAY_LET_GO = ("lock_wait", "deadlock")
"""Those where nobody knows whether it is held: a lock is taken somewhere in a transaction, perhaps in its last call."""
MODEL_ERROR = 0.1
"""Of an attempt's time: so far the law of a queue is from what a loop does (exact analysis, in ``test_prediction``)."""


Judgement = tuple[Status, str]
"""And the reason."""
_UNTOLD = "and without traces no tap tells the booking's own from those of others"


def part_of(hop: str, mechanism: str) -> str | None:
    """The part a verdict's hop lies in; ``None`` for one that no tap can see."""
    if mechanism in WAITS_IN_HANDLER:
        return HANDLER
    return next((name for name, hops in PARTS.items() if hop in hops), None)


def judge(
    bottleneck: Mapping[str, Any],
    before: pd.DataFrame,
    after: pd.DataFrame,
    border: str,
    delay_ms: float,
    way_ms: float | None = None,
) -> Proof:
    """The proof of a verdict.

    ``bottleneck`` has the structure of bottleneck.json; ``before`` and ``after`` are ``measured_parts`` of the cells
    without and with the delay, at the same levels; ``way_ms`` is what the quickest calls over the border take. The
    parts are compared at the highest level; at the lowest the delay tells how many calls follow one another.
    """
    hop, mechanism = str(bottleneck["verdict"]), str(bottleneck["mechanism"])
    if (missing := _missing(before, after)) is not None:
        return Proof("asserted", missing, hop, mechanism)
    labels = level_order(before["label"])
    calls, exact = calls_in_a_row(before[_of(before, labels[0])]) if border == DATABASE else (1.0, True)
    if not calls:
        return Proof("asserted", f"no call passed the tap {border}", hop, mechanism, border=border)
    by_level = [_effects(bottleneck, label, before, after, border, calls * delay_ms) for label in labels]
    effects = tuple(effect for each in by_level for effect in each) if all(by_level) else ()
    parts = _parts(bottleneck, before, labels[-1])
    alone = level_number(labels[0]) == 1
    status, reason = _judgement(bottleneck, before[_of(before, labels[-1])], parts, effects, exact and alone)
    slope = _difference(before, after, labels[0], "total_ms")
    told = slope is not None and slope.positive and alone and border == DATABASE
    return Proof(
        status,
        reason,
        hop,
        mechanism,
        border=border,
        delay_ms=delay_ms,
        calls=slope.value / delay_ms if slope and told else None,
        calls_ci95=(slope.low / delay_ms, slope.high / delay_ms) if slope and told else None,
        parts=parts,
        effects=effects,
        distance=_distance(before, labels[0], slope, delay_ms, way_ms) if slope and told and way_ms else None,
        attempts={"plain": len(before), "delayed": len(after)},
    )


def calls_in_a_row(parts: pd.DataFrame) -> tuple[float, bool]:
    """Calls of an attempt that follow one another, on average, and whether that is known: else all of its calls."""
    exact = bool(parts["in_a_row"].notna().all())
    return float(parts["in_a_row" if exact else "made"].mean()), exact


def _missing(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """Why there is nothing to compare."""
    labels = level_order([*before["label"], *after["label"]])
    for label in labels:
        for arm, told in ((before, "without"), (after, "with")):
            if not _of(arm, label).any():
                return f"no booking was confirmed at {label} {told} the delay"
    return None if labels else "no booking was confirmed in the experiment"


def _distance(arm: pd.DataFrame, label: str, slope: stats.Estimate, delay_ms: float, way_ms: float) -> Distance:
    total_ms, per_ms = float(arm["total_ms"][_of(arm, label)].mean()), way_ms / delay_ms
    cost, low, high = (float(np.clip(each * per_ms, 0, total_ms)) for each in (slope.value, slope.low, slope.high))
    return Distance(label, way_ms, total_ms, cost, (low, high))


def _of(arm: pd.DataFrame, label: str) -> Any:
    return (arm["label"] == label).to_numpy()


def _cluster(rows: pd.DataFrame) -> pd.Series:
    return rows["round_number"].astype("string") + " " + rows["slot"].astype("string")


def _parts(bottleneck: Mapping[str, Any], arm: pd.DataFrame, label: str) -> tuple[Part, ...]:
    """The parts at the level of interest, claimed and measured."""
    rows = arm[_of(arm, label)]
    claims = bottleneck["shares"].get(label, {})
    own = POOL if bottleneck["mechanism"] in WAITS_IN_HANDLER else str(bottleneck["verdict"])
    pool_ms = _pool_wait_ms(bottleneck, label)
    parts = []
    for name, hops in PARTS.items():
        told = {hop: claims[hop]["mean_ms"] for hop in hops if hop in claims and claims[hop]["mean_ms"] is not None}
        claimed = None
        if told:
            if name == HANDLER:
                told[POOL] = pool_ms
            if name == CALLS:
                told["database"] = max(0.0, told["database"] - pool_ms)
            claimed = sum(told.values())
        measured = float(rows[name].mean())
        hop = own if own in told else max(told, key=lambda each: told[each], default=hops[0])
        share = told[hop] / claimed if claimed else 1.0
        parts.append(Part(name, claimed, measured, stats.mean_ci(rows[name], _cluster(rows)), hop, share))
    return tuple(parts)


def _pool_wait_ms(bottleneck: Mapping[str, Any], label: str) -> float:
    """What the run's model gives the pool at a level: its own time, and what each other request in flight adds."""
    others = (bottleneck["loads"].get(label) or {}).get("others_in_flight") or 0.0
    leaves = [leaf for leaf in bottleneck["leaves"] if leaf["hop"] == "database" and "pool" in leaf["name"]]
    return float(sum(leaf["own_ms"] + leaf["slope_ms"] * others for leaf in leaves))


def _difference(before: pd.DataFrame, after: pd.DataFrame, label: str, column: str) -> stats.Estimate | None:
    """Delayed minus plain at one level, paired by round and slot."""
    old, new = (arm[_of(arm, label)] for arm in (before, after))
    return stats.difference_ci(old[column], _cluster(old), new[column], _cluster(new))


def _effects(
    bottleneck: Mapping[str, Any],
    label: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    border: str,
    added_ms: float,
) -> list[Effect]:
    """Of the total and of each part: the delay lands behind its border, and what waits for it in the verdict's part."""
    total, model_ms = _predicted(bottleneck, label, before, after, added_ms)
    behind = CALLS if border == DATABASE else AROUND
    named = part_of(str(bottleneck["verdict"]), str(bottleneck["mechanism"]))
    predicted = {"total_ms": total, **dict.fromkeys(PARTS, 0.0), behind: added_ms}
    if named is not None:
        predicted[named] += total - added_ms
    here = before[_of(before, label)]
    unknown = ("total_ms", AROUND) if here["later_ms"].mean() > TOLERANCE * here["total_ms"].mean() else ()
    effects = []
    for column, expected_ms in predicted.items():
        found = _difference(before, after, label, column)
        if found is not None:
            name = "total" if column == "total_ms" else column
            interval = (found.low, found.high)
            told_ms = None if column in unknown else expected_ms
            before_ms = float(here[column].mean())
            effects.append(Effect(label, name, told_ms, found.value, interval, added_ms, before_ms, model_ms))
    return effects


def _predicted(
    bottleneck: Mapping[str, Any], label: str, before: pd.DataFrame, after: pd.DataFrame, added_ms: float
) -> tuple[float, float]:
    """The added time of an attempt: that of its own calls, and where the hop saturates what its queue makes of them.

    And how far that may be off. What an attempt takes longer than one alone is its wait, and each arm is taken at the
    load that it met.
    """
    alone = before[before["label"].map(level_number).to_numpy() == 1]
    if bottleneck["kind"] != SATURATION or alone.empty or level_number(label) == 1:
        return added_ms, 0.0
    here, there = (arm[_of(arm, label)] for arm in (before, after))
    total_ms = float(here["total_ms"].mean())
    wait_ms = max(0.0, total_ms - float(alone["total_ms"].mean()))
    loads = float(here["others"].mean()), float(there["others"].mean())
    mechanism = bottleneck["mechanism"]
    held = (False,) if mechanism in LETS_GO else (True, False) if mechanism in MAY_LET_GO else (True,)
    costs = [delayed_ms(total_ms, wait_ms, loads, added_ms, each) - total_ms for each in held]
    model_ms = (max(costs) - min(costs)) / 2 + MODEL_ERROR * float(there["total_ms"].mean())
    return (max(costs) + min(costs)) / 2, model_ms


def _judgement(
    bottleneck: Mapping[str, Any],
    rows: pd.DataFrame,
    parts: Sequence[Part],
    effects: Sequence[Effect],
    exact: bool,
) -> Judgement:
    """``rows`` are the attempts without the delay at the highest level; ``exact``: the calls in a row are known."""
    named = part_of(str(bottleneck["verdict"]), str(bottleneck["mechanism"]))
    own = next((part for part in parts if part.name == named), None)
    if own is None:
        return "asserted", f"no tap sees the hop {bottleneck['verdict']}"
    later_ms, untold_ms = (float(rows[name].mean()) for name in ("later_ms", "untold_ms"))
    rival = max((part for part in parts if part is not own), key=lambda part: part.hop_ms)
    return (
        _by_parts(bottleneck, rows, own, rival, untold_ms)
        or _by_delay(bottleneck, own, effects, exact)
        or _proven(bottleneck, own, rival, effects, (later_ms, untold_ms))
    )


def _by_parts(
    bottleneck: Mapping[str, Any], rows: pd.DataFrame, own: Part, rival: Part, untold_ms: float
) -> Judgement | None:
    """What the taps say without any delay against the verdict."""
    hop = str(bottleneck["verdict"])
    lead = _lead(rows, rival, own)
    if lead is None:
        return "asserted", "too few slots were confirmed to tell the parts of an attempt apart"
    if (beside := _larger_beside(bottleneck, str(rows["label"].iloc[0]), hop)) is not None:
        return "refuted", f"no tap parts {hop} from {beside}, and the run itself has more time in {beside}"
    if lead[0] <= 0 or rival.hop_ms <= own.hop_ms * (1 + TOLERANCE):
        return None
    if (own.name, rival.name) == (CALLS, AROUND) and rival.hop_ms - untold_ms <= own.hop_ms + untold_ms:
        return "asserted", f"calls after the answer take {untold_ms:.0f} ms, {_UNTOLD}"
    return "refuted", f"the taps leave {rival.hop_ms:.0f} ms to {rival.hop} and {own.hop_ms:.0f} ms to {own.hop}"


def _by_delay(bottleneck: Mapping[str, Any], own: Part, effects: Sequence[Effect], exact: bool) -> Judgement | None:
    """What the delay did to an attempt at the lowest level, against the verdict."""
    if not effects:
        return "asserted", "too few slots were confirmed with and without the delay"
    alone = {effect.part: effect for effect in effects if effect.label == effects[0].label}
    total, moved = alone["total"], alone[own.name]
    if total.predicted_ms is None:
        return None
    if not moved.predicted_ms:
        if moved.tells_from_none:
            return "asserted", f"{moved.part} changed by {moved.measured_ms:.0f} ms with a delay that lies elsewhere"
        return None
    if not total.tells:
        return "asserted", f"{_cost(total)}, which with this spread tells nothing: more rounds would"
    if total.as_predicted:
        return None
    # Less means that the calls are not made one after another; more may be the machine's.
    fewer = exact and bottleneck["mechanism"] == "round_trips" and total.measured_ms < total.predicted_ms
    return ("refuted" if fewer else "asserted"), _cost(total)


def _proven(
    bottleneck: Mapping[str, Any], own: Part, rival: Part, effects: Sequence[Effect], after_ms: tuple[float, float]
) -> Judgement:
    """The judgement where nothing speaks against the verdict."""
    if own.hop_ms <= rival.hop_ms:
        return "asserted", f"{bottleneck['verdict']} and {rival.hop} take about as long, so neither is proven"
    most = f"the taps leave the most time to it ({own.hop_ms:.0f} ms)"
    totals = [effect for effect in effects if effect.part == "total"]
    later_ms, untold_ms = after_ms
    if own.name == AROUND and totals[0].predicted_ms is None:
        told = f"calls take {untold_ms:.0f} ms of the {later_ms:.0f} ms after its answer, {_UNTOLD}"
        return ("confirmed" if own.hop_ms - untold_ms > rival.hop_ms + untold_ms else "asserted"), f"{most}; {told}"
    if bottleneck["kind"] != SATURATION:
        return "confirmed", f"{most}, and {_cost(totals[0])}"
    if not totals[-1].tells:
        return "confirmed", f"{most}; whether it saturates the delay does not tell: {_cost(totals[-1])}"
    if not totals[-1].as_predicted:
        return "asserted", f"{most}, but {_cost(totals[-1])}"
    return "confirmed", f"{most}, and {_cost(totals[-1])}"


def _lead(rows: pd.DataFrame, rival: Part, own: Part) -> Interval | None:
    """By how much the rival's hop takes longer, attempt by attempt; ``None`` where too few slots tell."""
    clusters = _cluster(rows)
    if clusters.nunique() < FEW_SLOTS:
        return None
    longer = rows[rival.name] * rival.hop_share - rows[own.name] * own.hop_share
    return stats.t_interval(longer.to_numpy(dtype=float), clusters.reset_index(drop=True))


def _cost(effect: Effect) -> str:
    between = "" if effect.ci95 is None else f" (95 % interval {effect.ci95[0]:.0f} to {effect.ci95[1]:.0f} ms)"
    off = f" ± {effect.model_ms:.0f}" if effect.model_ms else ""
    predicted = "" if effect.predicted_ms is None else f" of {effect.predicted_ms:.0f}{off} ms predicted"
    return f"at {effect.label} the delay cost {effect.measured_ms:.0f} ms{between}{predicted}"


def _larger_beside(bottleneck: Mapping[str, Any], label: str, hop: str) -> str | None:
    """The hop of the same part in which the run counted more time than in the verdict's, beyond both intervals."""
    claims = bottleneck["shares"].get(label, {})
    mates = next((hops for hops in PARTS.values() if hop in hops), ())
    own = claims.get(hop)
    for mate in mates:
        other = claims.get(mate)
        if mate != hop and own and other and own["ci95"] and other["ci95"] and other["ci95"][0] > own["ci95"][1]:
            return mate
    return None
