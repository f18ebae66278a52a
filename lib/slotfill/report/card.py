"""The verdict in one screen: what is slow, how sure that is, what to do first, what that buys, and of which run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slotfill.analyse.document import CONSTANT_COST, NONE, SATURATION, TIE, UNKNOWN, VENUE, Bottleneck
from slotfill.analyse.hops import HOPS
from slotfill.analyse.level_order import level_order
from slotfill.analyse.study import Study
from slotfill.report import advice, labels

KINDS = {
    SATURATION: "saturation: it grows with concurrency",
    CONSTANT_COST: "constant cost: concurrency is not its cause",
}
FULL_MACHINE = "it grows with concurrency; whether the platform saturates or its machine is full is not known"
ONE_LEVEL = "not known whether it grows with concurrency (one level alone shows no growth)"
_STATUSES = {
    "asserted": "asserted from what was measured",
    "confirmed": "confirmed by a planted delay",
    "refuted": "refuted by a planted delay",
}
_MEASURE_FIRST = (
    "Measure first what *What these data cannot say* asks for: the mechanism is what is left over, not what was seen."
)


@dataclass(frozen=True)
class Card:
    """``headline`` is a sentence; ``facts`` and ``run`` are (what, text) pairs; ``caveats`` come before all else."""

    headline: str
    facts: tuple[tuple[str, str], ...]
    run: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]


def card(study: Study) -> Card:
    """The card of a study; a fact that these data do not give is left out."""
    document = study.document
    facts = {
        "Kind": _kind(document),
        "Mechanism": mechanism(document),
        "How sure": how_sure(document),
        "Do first": next(iter(steps(document)), ""),
        "It would buy": _gain(document),
        "Seats": _seats(document),
    }
    return Card(
        headline(document),
        tuple((name, text) for name, text in facts.items() if text),
        tuple((name, text) for name, text in _run(study) if text),
        tuple(caveat.text for caveat in document.caveats),
    )


def headline(document: Bottleneck) -> str:
    """Which hop is the slowest, in one sentence."""
    verdict = document.verdict
    if verdict == UNKNOWN:
        return "No hop can be named the slowest: the data do not split the time."
    if verdict == NONE:
        return f"Nothing was confirmed: {spaced(document.mechanism)}. There is no slowest hop to name."
    if verdict == TIE:
        return f"Two hops are as slow as each other: {labels.listing([labels.hop(hop) for hop in document.tied])}."
    if verdict == VENUE:
        return "No part of the platform is the bottleneck: the venue runs out of tables."
    known = {label: costs[verdict] for label, costs in document.shares.items() if verdict in costs}
    timed = {label: cost for label, cost in known.items() if cost.mean_ms is not None}
    if not timed:
        return f"The slowest hop is the {labels.hop(verdict)}."
    label = max(timed, key=lambda level: timed[level].mean_ms or 0)
    cost = timed[label]
    of_attempt = f"{labels.duration(cost.mean_ms)} of an attempt ({labels.share(cost.share)}) at {label}"
    return f"The slowest hop is the {labels.hop(verdict)}: {of_attempt}."


def mechanism(document: Bottleneck) -> str:
    """The mechanism with its meaning; empty where none was looked for."""
    if document.verdict in (UNKNOWN, NONE, TIE):
        return ""
    found = advice.advice(document)
    if found is None:
        return "unknown – nothing that was looked for explains the time."
    doubt = "" if observed(document) else " This is a supposition: these data do not show it at work."
    return f"{spaced(document.mechanism)} – {found.meaning}.{doubt}"


def how_sure(document: Bottleneck) -> str:
    """The grade and the probability, what keeps it from being surer, and whether it was tested.

    Empty where nothing was confirmed: that is counted, and no estimate.
    """
    if document.verdict == NONE:
        return ""
    told = labels.share(document.probability)
    how = document.confidence if document.probability is None else f"{document.confidence} ({told})"
    doubts = labels.listing([doubt.text for doubt in document.doubts])
    return f"{how}{f', because {doubts}' if doubts else ''}. {_sentence(_status(document))}"


def _status(document: Bottleneck) -> str:
    """What the verdict rests on; where an experiment left it asserted, why; where there was none, what makes one."""
    told = _STATUSES[document.status]
    if document.status != "asserted":
        return told
    if document.experiment:
        return f"{told}; slotfill prove was tried and does not settle it: {document.experiment}"
    return f"{told}; slotfill prove tests it by a planted delay" if document.verdict in HOPS else told


def steps(document: Bottleneck) -> tuple[str, ...]:
    """What to do, best first."""
    found = advice.steps(document)
    return found if observed(document) or not found else (_MEASURE_FIRST, *found)


def observed(document: Bottleneck) -> bool:
    """The mechanism was seen at work; where nothing was looked for, it is taken as seen."""
    return document.verdict == NONE or document.mechanism_observed or not document.findings


def spaced(name: str) -> str:
    return name.replace("_", " ")


def _kind(document: Bottleneck) -> str:
    if document.verdict in (UNKNOWN, NONE):
        return ""
    if document.kind == UNKNOWN:
        return ONE_LEVEL if len(document.shares) == 1 else FULL_MACHINE
    told = KINDS[document.kind]
    return f"{told} (one level alone shows no growth)" if len(document.shares) == 1 else told


def _gain(document: Bottleneck) -> str:
    """What half the time in the slowest hop would do at the highest level."""
    if not document.prediction:
        return ""
    label = level_order(list(document.prediction))[-1]
    then = document.prediction[label]
    if then.is_as_now:
        return f"nothing at {label}: an attempt would take {labels.duration(then.now_total_ms)} as now"
    rates = f"{labels.number(then.throughput_per_min, 0)} instead of {labels.number(then.now_throughput_per_min, 0)}"
    return (
        f"with half the time in this hop, an attempt at {label} would take {labels.duration(then.total_ms)} instead of "
        f"{labels.duration(then.now_total_ms)}, and {rates} bookings a minute would be confirmed"
    )


def _seats(document: Bottleneck) -> str:
    known = [record for record in document.seats if record["waste_mean"] is not None]
    told = [f"{record['waste_mean']:.2f} at {record['label']}" for record in known]
    return f"{labels.listing(told)} wasted per booking" if told else ""


def _run(study: Study) -> Iterator[tuple[str, str]]:
    record: Mapping[str, Any] = study.record
    levels = study.metrics["levels"]
    target = record.get("target", {}).get("name") or record.get("parameters", {}).get("target")
    yield "Source", study.source
    yield "Target", f"{target}{_address(record)}" if target else ""
    yield "When", _when(study)
    rates = [f"{labels.number(m['throughput_per_min'], 0)} at {m['label']}" for m in levels if m["throughput_per_min"]]
    yield "Confirmed a minute", labels.listing(rates)
    confirmed, attempts = sum(m["confirmed"] for m in levels), sum(m["attempts"] for m in levels)
    yield "Bookings", f"{confirmed:,} confirmed of {labels.count(attempts, 'attempt')}"


def _address(record: Mapping[str, Any]) -> str:
    target = record.get("target", {})
    return f" ({target['base_url']})" if target.get("base_url") and not target.get("embedded") else ""


def _when(study: Study) -> str:
    """From the first start to the last end, with how long that is."""
    starts = [m["started_at"] for m in study.metrics["levels"] if m.get("started_at")]
    ends = [m["ended_at"] for m in study.metrics["levels"] if m.get("ended_at")]
    if not starts or not ends:
        return ""
    first, last = (datetime.fromisoformat(instant) for instant in (min(starts), max(ends)))
    return f"{first:%-d %B %Y, %H:%M} UTC, for {labels.duration((last - first).total_seconds() * 1000)}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
