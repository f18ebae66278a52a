"""How sure the verdict is, and what keeps it from being surer (Markdown)."""

from collections.abc import Iterator, Mapping
from typing import Any

from slotfill.analyse.growth import MATERIAL_SHARE
from slotfill.analyse.hops import SERVER_PROFILE, TIER_NAMES
from slotfill.analyse.verdict import SATURATION
from slotfill.tell import labels

Bottleneck = Mapping[str, Any]


def sureness(bottleneck: Bottleneck) -> str:
    """The grade with its reasons, and what the time accounting rests on."""
    grade = str(bottleneck.get("confidence") or "not stated")
    doubts = list(_doubts(bottleneck)) if grade in ("low", "medium") else []
    why = f", because {labels.listing(doubts)}" if doubts else ""
    places: dict[str, list[str]] = {}
    for tier in bottleneck.get("evidence_tiers", []):
        label, _, what = str(tier).rpartition(": ")
        places.setdefault(what.partition(" (")[0], []).append(label)
    rests = "; ".join(
        f"{what} at {labels.listing(where)}" if len(places) > 1 and all(where) else what
        for what, where in places.items()
    )
    return f"Confidence: **{grade}**{why}." + (f" The time accounting rests on: {rests}." if rests else "")


def seen(bottleneck: Bottleneck) -> bool:
    """The mechanism is a finding that holds, not only what is left over; without findings it is taken as seen."""
    verdicts = {found["name"]: found["verdict"] for found in bottleneck.get("findings", [])}
    return not verdicts or verdicts.get(bottleneck.get("mechanism")) == "true"


def _doubts(bottleneck: Bottleneck) -> Iterator[str]:
    """What the grade was lowered for, each as a clause."""
    holding = {found["name"]: found for found in bottleneck.get("findings", []) if found["verdict"] == "true"}
    if bottleneck.get("verdict") == "tie":
        yield "the two hops cannot be told apart"
    tiers = [str(tier) for tier in bottleneck.get("evidence_tiers", [])]
    blind = [tier.partition(": ")[0] for tier in tiers if TIER_NAMES[SERVER_PROFILE] not in tier]
    if blind:
        yield f"the server's profile of its own times is missing at {labels.listing(blind)}"
    if bottleneck.get("verdict") != "tie" and not seen(bottleneck):
        yield "the mechanism was not seen at work"
    if len(bottleneck.get("shares", {})) < 2:
        yield "only one level was measured"
    thin = [
        label
        for label, few in holding.get("few_samples", {}).get("figures", {}).items()
        if {"p95", "narrow intervals"} & set(few["not_carried"])
    ]
    if thin:
        yield f"{labels.listing(thin)} had too few attempts or slots"
    if "cpu_hog" in holding:
        yield "processes of others used the machine"
    if bottleneck.get("kind") != SATURATION and "host_cpu" not in holding and _total_grows(bottleneck):
        yield "the time grows with concurrency and nothing that was found explains it"


def _total_grows(bottleneck: Bottleneck) -> bool:
    """As the verdict sees it: beyond the interval, and by a material part of the time at the highest level."""
    bounds = bottleneck.get("growth", {}).get("total", {}).get("ci95")
    shares = bottleneck.get("shares", {})
    totals = [
        sum(hop["mean_ms"] or 0.0 for hop in shares[label].values()) for label in labels.level_order(list(shares))
    ]
    return bool(bounds) and bounds[0] > 0 and totals[-1] - totals[0] >= MATERIAL_SHARE * totals[-1]
