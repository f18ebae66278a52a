"""The verdict: which hop, by what mechanism, saturation or constant cost, and how probably.

1. Outcomes that decide before time does: bookings turned away by a full venue, a rate limit, or a database
   without a connection left.
2. The largest leaf at the highest load (``causes``), with the few causal edges that time alone cannot show.
3. Its kind: saturation where at least half of the leaf is owed to others, or where connections were refused. One
   level alone shows no other kind, nor does growth that a machine shared with client and database explains as well as
   the platform does.
4. How probable: the share of resamples that give the same hop, mechanism and kind, lowered only by named doubts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from slotfill.analyse import constants
from slotfill.analyse.causal_edges import CPU_MECHANISM, LIMIT, Findings, named_leaves, processors
from slotfill.analyse.causes import QUEUES, Leaves, Name
from slotfill.analyse.choice import Choice, choose
from slotfill.analyse.document import CONSTANT_COST, SATURATION, TIE, UNKNOWN, Doubt, Leaf, Prediction
from slotfill.analyse.doubts import Weighed, doubts_of
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.hops import SERVER_PROFILE
from slotfill.analyse.ledger import Fit, fit, ledger
from slotfill.analyse.metrics import throughput_per_min
from slotfill.analyse.neighbours import alike, hogged, is_starved
from slotfill.analyse.prediction import halved, limit_per_min
from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED

WARM_UP = "warm_up"
MACHINE = ("api", "allocator", "database")
"""The hops that share the platform's machine."""


@dataclass(frozen=True)
class Verdict:
    """``hop`` is one of the hops, ``venue`` or ``tie`` (``tied`` has both); ``leaves`` is what it was chosen from."""

    hop: str
    mechanism: str
    kind: str
    probability: float
    doubts: tuple[Doubt, ...] = ()
    tied: tuple[str, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    prediction: Mapping[str, Prediction] = field(default_factory=dict)
    throughput_limit_per_min: float | None = None


def decide(case: Measurements, findings: Findings) -> Verdict:
    """The verdict on a run, see above."""
    turned_away = _turned_away(case, findings)
    if turned_away is not None:
        return turned_away
    whole, crowded_at = case, hogged(case)
    case, crowded = alike(case, crowded_at)
    accounts = case.accounts
    book = ledger(accounts)
    one_level = len(accounts.labels) == 1
    fitted, robust = fit(book), fit(book, robust=True)
    found = named_leaves(case, findings, book, fitted)
    choice, steady = choose(found, fitted), choose(named_leaves(case, findings, book, robust), robust)
    settled = _settled(case, findings) if findings["warm_up"].holds else None
    hop, mechanism = choice.name
    refused = choice.name == LIMIT and findings[LIMIT[1]].holds
    starved = crowded and not refused and is_starved(case)
    if starved:
        mechanism = CPU_MECHANISM
    elif settled is not None and settled.name != choice.name:
        mechanism = WARM_UP
    # Where connections were refused there were no more to be had, whatever the load.
    saturates = refused or (not one_level and bool(choice.saturates[0]))
    kind = SATURATION if saturates else UNKNOWN if one_level else CONSTANT_COST
    # A machine that others fill is full at every level, so what grows on it says nothing of the platform's queues.
    unnamed = (kind == CONSTANT_COST and not starved and _grows_without_a_name(choice.name, found)) or (
        kind == SATURATION and _machine_unseen(case, choice.name, findings)
    )
    if unnamed:
        kind = UNKNOWN
    agreement = float((choice.best[1:] == choice.best[0]).mean()) if one_level else choice.agreement
    weighed = Weighed(found, choice, steady, settled, mechanism, unnamed, crowded_at)
    doubts = tuple(doubts_of(whole, findings, weighed))
    probability = min([agreement, *(constants.CAPS[doubt.name] for doubt in doubts)])
    shown = _shown(found, fitted)
    rival, wins = choice.rival()
    if wins >= constants.TIE_SHARE and choice.agreement < 1 - constants.TIE_SHARE:
        told = Doubt("tie", f"the {rival} costs most in {wins:.0%} of the resamples", share=wins)
        probability = min(probability, constants.CAPS["tie"])
        return Verdict(TIE, f"{hop} and {rival}", kind, probability, (told, *doubts), (hop, rival), shown)
    per_min = throughput_per_min(case.attempts)
    buys = halved(found, fitted, accounts, per_min, hop)
    limit = limit_per_min(found, fitted, hop) if kind == SATURATION else None
    if limit is not None and limit < max(per_min.values()):
        limit = None  # the law is straight, and what was measured is more
    return Verdict(hop, mechanism, kind, probability, doubts, (), shown, buys, limit)


def _settled(case: Measurements, findings: Findings) -> Choice:
    """What is chosen without the first half of each level, where first bookings are slower."""
    case = replace(case, accounts=case.accounts.later())
    book = ledger(case.accounts)
    fitted = fit(book)
    return choose(named_leaves(case, findings, book, fitted), fitted)


def _turned_away(case: Measurements, findings: Findings) -> Verdict | None:
    attempts = max(len(case.attempts), 1)
    exhausted = findings["exhaustion"].figures
    if findings["exhaustion"].holds and exhausted["exhausted"] > exhausted["confirmed"]:
        return Verdict("venue", "exhaustion", CONSTANT_COST, _sure(case))
    limited = findings["rate_limit"]
    if limited.holds and max(limited.figures["share"], limited.figures["paced_share"]) >= constants.TURNED_AWAY:
        return Verdict("api", "rate_limit", SATURATION, _sure(case))
    refused = findings["connection_limit"].figures.get("refusals", 0) / attempts
    # A refusal that was tried again costs time, which the leaves have; one that cost the booking does not show there.
    lost = float((~is_confirmed(case.attempts) & (case.attempts["outcome"] != EXHAUSTED)).sum()) / attempts
    if min(refused, lost) >= constants.DEADLOCK_RATE:
        sure = _sure(case) if refused >= constants.REFUSED_PLAINLY else constants.REFUSED_CAP
        return Verdict("database", "connection_limit", SATURATION, min(sure, _sure(case)))
    return None


def _sure(case: Measurements) -> float:
    """Counted, not estimated: as sure as so many attempts allow (rule of succession)."""
    return (len(case.attempts) + 1) / (len(case.attempts) + 2)


def _grows_without_a_name(name: Name, found: Leaves) -> bool:
    """The kind hangs on growth of the hop that no leaf holds: what all parts of a full machine share alike."""
    unnamed = float(found.unnamed[name[0]][0])
    owed = float(found.waits[name][0]) + unnamed
    return owed >= constants.SATURATED_SHARE * (float(found.at(name)[0]) + unnamed)


def _machine_unseen(case: Measurements, name: Name, findings: Findings) -> bool:
    """What grows is no queue that was seen at work, on a machine of which nobody knows how full it was."""
    profiled = bool((case.accounts.measured["tier"] <= SERVER_PROFILE).all())
    seen = name[1] in QUEUES and (name[1] not in findings or findings[name[1]].holds)
    return profiled and not processors(case).demands and name[0] in MACHINE and not seen


def _shown(found: Leaves, fitted: Fit) -> tuple[Leaf, ...]:
    """The leaves as figures, the largest first."""
    others, shown = float(fitted.others[0]), []
    for name in found.own:
        own, waits = float(found.own[name][0]), float(found.waits[name][0])
        if own + waits > 0:
            low, high = (float(each) for each in np.quantile(found.at(name), [0.025, 0.975]))
            shown.append(Leaf(*name, own, waits / others if others else 0.0, own + waits, waits, (low, high)))
    return tuple(sorted(shown, key=lambda leaf: -leaf.at_ms))
