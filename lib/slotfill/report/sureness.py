"""How sure the verdict is, and what keeps it from being surer (Markdown)."""

from collections.abc import Mapping
from typing import Any

from slotfill.report import labels

Bottleneck = Mapping[str, Any]


def sureness(bottleneck: Bottleneck) -> str:
    """The grade with its reasons, and what the time accounting rests on."""
    grade = str(bottleneck.get("confidence") or "not stated")
    doubts = bottleneck.get("doubts", [])
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
