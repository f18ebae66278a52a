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
from slotfill.analyse.document import SATURATION, Status
from slotfill.analyse.level_order import level_number, level_order
from slotfill.analyse.prediction import loop_ms, service_ms
from slotfill.analyse.proof import TOLERANCE, Distance, Effect, Part, Proof
from slotfill.analyse.tapped_parts import AROUND, CALLS, HANDLER, PARTS

POOL = "pool"
"""Waiting for a connection, among the hops of the handler's part."""
WAITS_IN_HANDLER = ("pool_wait", "connection_limit")
LETS_GO = ("cpu",)
"""Mechanisms whose resource nobody holds during a call: a processor is free while an attempt waits for an answer."""
MODEL_ERROR = 0.1
"""Of an attempt's time: so far the law of a queue is from what a loop does (``test_prediction``, exact analysis)."""


def part_of(hop: str, mechanism: str) -> str | None:
    """The part a verdict's hop lies in; ``None`` for one that no tap can see."""
    if mechanism in WAITS_IN_HANDLER:
        return HANDLER
    return next((name for name, hops in PARTS.items() if hop in hops), None)


def judge(
    bottleneck: Mapping[str, Any],
    plain_arm: pd.DataFrame,
    delayed_arm: pd.DataFrame,
    border: str,
    delay_ms: float,
    calls: float,
    way_ms: float | None = None,
) -> Proof:
    """The proof of a verdict.

    ``bottleneck`` has the structure of bottleneck.json; the arms are ``measured_parts`` of the cells without and with
    the delay; ``calls`` are those of an attempt over the border that follow one another, and ``way_ms`` what the
    quickest take there. The parts are those of the highest level; at the lowest the delay tells how many follow.
    """
    hop, mechanism = str(bottleneck["verdict"]), str(bottleneck["mechanism"])
    labels = [label for label in level_order(plain_arm["label"]) if (delayed_arm["label"] == label).any()]
    parts = _parts(bottleneck, plain_arm, labels[-1])
    effects = tuple(
        effect
        for label in labels
        for effect in _effects(bottleneck, label, plain_arm, delayed_arm, border, calls * delay_ms)
    )
    status, reason = _judgement(bottleneck, labels[-1], parts, effects)
    slope = _total_effect(plain_arm, delayed_arm, labels[0])
    return Proof(
        status,
        reason,
        hop,
        mechanism,
        border=border,
        delay_ms=delay_ms,
        calls=slope.value / delay_ms if slope else None,
        calls_ci95=(slope.low / delay_ms, slope.high / delay_ms) if slope else None,
        parts=parts,
        effects=effects,
        distance=_distance(plain_arm, labels[0], slope, delay_ms, way_ms),
        attempts={"plain": len(plain_arm), "delayed": len(delayed_arm)},
    )


def _distance(
    arm: pd.DataFrame, label: str, slope: stats.Estimate | None, delay_ms: float, way_ms: float | None
) -> Distance | None:
    if slope is None or way_ms is None:
        return None
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
    pool_ms = _pool_wait_ms(bottleneck)
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


def _pool_wait_ms(bottleneck: Mapping[str, Any]) -> float:
    leaves = bottleneck.get("leaves", [])
    return float(sum(leaf["at_ms"] for leaf in leaves if leaf["hop"] == "database" and "pool" in leaf["name"]))


def _total_effect(plain_arm: pd.DataFrame, delayed_arm: pd.DataFrame, label: str) -> stats.Estimate | None:
    return _difference(plain_arm, delayed_arm, label, "total_ms")


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
    total = _predicted(bottleneck, label, before, after, added_ms)
    behind = CALLS if border == "database" else AROUND
    model_ms = 0.0 if total == added_ms else MODEL_ERROR * float(after["total_ms"][_of(after, label)].mean())
    named = part_of(str(bottleneck["verdict"]), str(bottleneck["mechanism"]))
    predicted = {"total_ms": total, **dict.fromkeys(PARTS, 0.0), behind: added_ms}
    if named is not None:
        predicted[named] += total - added_ms
    effects = []
    for column, expected_ms in predicted.items():
        found = _difference(before, after, label, column)
        if found is not None:
            name = "total" if column == "total_ms" else column
            interval = (found.low, found.high)
            effects.append(Effect(label, name, expected_ms, found.value, interval, added_ms, model_ms))
    return effects


def _predicted(
    bottleneck: Mapping[str, Any], label: str, before: pd.DataFrame, after: pd.DataFrame, added_ms: float
) -> float:
    """The added time of an attempt: that of its own calls, and where the hop saturates what its queue makes of them.

    What an attempt takes longer than one alone is its wait. A delay inside the saturated resource lengthens the time
    each holds it, in proportion to how much of an attempt's own time lies there, and so the queue. One outside of it
    is mostly hidden: who is held back queues for less. Each arm at the load that it met.
    """
    alone = before[before["label"].map(level_number).to_numpy() == 1]
    if bottleneck["kind"] != SATURATION or alone.empty or level_number(label) == 1:
        return added_ms
    here, there = (arm[_of(arm, label)] for arm in (before, after))
    total, n, n_then = (np.array([each.mean()]) for each in (here["total_ms"], here["others"], there["others"]))
    wait = np.clip(total - alone["total_ms"].mean(), 0, None)
    service, rest = service_ms(wait, n, total), total - wait
    held = 0.0 if bottleneck["mechanism"] in LETS_GO else np.minimum(service / rest, 1.0)
    then = loop_ms(rest + added_ms, service + held * added_ms, n_then)
    return float((then - total)[0])


def _judgement(
    bottleneck: Mapping[str, Any], label: str, parts: Sequence[Part], effects: Sequence[Effect]
) -> tuple[Status, str]:
    hop, kind = str(bottleneck["verdict"]), bottleneck["kind"]
    named = part_of(hop, str(bottleneck["mechanism"]))
    own = next((part.of_hop() for part in parts if part.name == named), None)
    if own is None:
        return "asserted", f"no tap sees the hop {hop}"
    rival = max((part.of_hop() for part in parts if part.name != named), key=lambda part: part.measured_ms)
    if _clearly_larger(rival, own):
        return "refuted", (
            f"the taps leave {rival.measured_ms:.0f} ms to {rival.hop} and {own.measured_ms:.0f} ms to {own.hop}"
        )
    if (beside := _larger_beside(bottleneck, label, hop)) is not None:
        return "refuted", f"no tap parts {hop} from {beside}, and the run itself has more time in {beside}"
    totals = [effect for effect in effects if effect.part == "total"]
    if not totals:
        return "asserted", "too few attempts were confirmed with and without the delay"
    lowest, highest = totals[0], totals[-1]
    if not lowest.tells:
        return "asserted", f"{_cost(lowest)}, which with this spread tells nothing: more rounds would"
    if lowest.added_ms == lowest.predicted_ms and not lowest.as_predicted:
        # Less means that the calls are not made one after another; more may be the machine's.
        return ("refuted" if lowest.measured_ms < lowest.predicted_ms else "asserted"), _cost(lowest)
    if own.measured_ms <= rival.measured_ms:
        return "asserted", f"{hop} and {rival.hop} take about as long, so neither is proven"
    most = f"the taps leave the most time to it ({own.measured_ms:.0f} ms)"
    if kind == SATURATION and not highest.tells:
        return "confirmed", f"{most}; whether it saturates the delay does not tell: {_cost(highest)}"
    if kind == SATURATION and not highest.as_predicted:
        return "asserted", f"{most}, but {_cost(highest)}"
    return "confirmed", f"{most}, and {_cost(highest)}"


def _cost(effect: Effect) -> str:
    between = "" if effect.ci95 is None else f" (95 % interval {effect.ci95[0]:.0f} to {effect.ci95[1]:.0f} ms)"
    return (
        f"at {effect.label} the delay cost {effect.measured_ms:.0f} ms{between} "
        f"of {effect.predicted_ms:.0f} ms predicted"
    )


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


def _clearly_larger(part: Part, other: Part) -> bool:
    """Beyond both intervals; where the sample carries none, by more than the tolerance."""
    low = part.ci95[0] if part.ci95 else part.measured_ms * (1 - TOLERANCE)
    high = other.ci95[1] if other.ci95 else other.measured_ms * (1 + TOLERANCE)
    return low > high
