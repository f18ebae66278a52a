"""What ``slotfill prove`` found, for people: an attempt's parts as claimed and as tapped, and what the delay did."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from slotfill.analyse.document import Bottleneck
from slotfill.report import labels

Proof = Mapping[str, Any]

_PARTS = {
    "total": "whole attempt",
    "around": "client, network and queue",
    "handler": "handler outside database calls (api, allocator)",
    "calls": "inside database calls",
}
_STATUS = {
    "confirmed": "The experiment **confirms** the verdict {verdict}",
    "refuted": "The experiment **refutes** the verdict {verdict}",
    "asserted": "The verdict {verdict} stays **asserted**",
}
_OF_ANOTHER = {
    "confirmed": "and **confirms** that one",
    "refuted": "and **refutes** that one",
    "asserted": "which stays **asserted**",
}


def conclusion(proof: Proof, document: Bottleneck) -> str:
    """What became of the verdict that was tested and why; empty where nothing was tried.

    Where the data have come to say something else than ``document``'s verdict, or its file was changed for the
    experiment, that is told first: a test of one verdict says nothing of another.
    """
    if not proof:
        return ""
    tested = f"{proof['hop']} ({proof['mechanism']})"
    if (proof["hop"], proof["mechanism"]) == (document.verdict, document.mechanism):
        told = _STATUS[proof["status"]].format(verdict=tested)
    else:
        told = f"The experiment tested another verdict: {tested}, {_OF_ANOTHER[proof['status']]}"
    told = f"{told}: {proof['reason']}."
    if proof["delay_ms"] is None:
        return told
    delay = labels.duration(proof["delay_ms"])
    plain, delayed = (proof["attempts"].get(arm, 0) for arm in ("plain", "delayed"))
    how = (
        f"Every call over the border *{proof['border']}* was held back by {delay} in {delayed} bookings, "
        f"and not in {plain}, round by round in turn."
    )
    return " ".join(filter(None, [told, how, _calls(proof), _distance(proof.get("distance"))]))


def _calls(proof: Proof) -> str:
    if proof["calls"] is None or proof["calls_ci95"] is None:
        return ""
    count, low, high = (labels.number(value, 1) for value in (proof["calls"], *proof["calls_ci95"]))
    return (
        f"The total grows by {count} ms for each added ms (95 % interval {low} to {high}): "
        "so many calls are made one after another."
    )


def _distance(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    way, cost, low, high, total, without = map(
        labels.duration,
        (found["way_ms"], found["cost_ms"], *found["ci95"], found["total_ms"], found["total_ms"] - found["cost_ms"]),
    )
    return (
        f"The way to the database and back takes at most {way} (the quickest calls). Extrapolated to a way of 0 ms, an "
        f"attempt at {found['label']} would take {without} instead of {total}: the way costs {cost} of it "
        f"(95 % interval {low} to {high})."
    )


def parts(proof: Proof) -> pd.DataFrame:
    """One row a part: claimed by the run, and measured by the taps without the delay.

    ``of it`` is what they leave to its largest hop, or to the verdict's, by the run's proportions.
    """
    rows = [
        {
            "part": _PARTS.get(part["name"], part["name"]),
            "claimed by the verdict's run": labels.duration(part["claimed_ms"]),
            "measured by the taps": labels.duration(part["measured_ms"]),
            "95 % interval": _interval(part["ci95"]),
            "of it": f"{part['hop']} {labels.duration(part['measured_ms'] * part['hop_share'])}",
        }
        for part in proof.get("parts", [])
    ]
    return pd.DataFrame(rows)


def effects(proof: Proof) -> pd.DataFrame:
    """One row a level and part: what the delay was to cost, and what it cost."""
    rows = [
        {
            "level": effect["label"],
            "part": _PARTS.get(effect["part"], effect["part"]),
            "predicted": _predicted(effect),
            "measured": labels.duration(effect["measured_ms"]),
            "95 % interval": _interval(effect["ci95"]),
        }
        for effect in proof.get("effects", [])
    ]
    return pd.DataFrame(rows)


def _predicted(effect: Mapping[str, Any]) -> str:
    told, model_ms = labels.duration(effect["predicted_ms"]), effect.get("model_ms")
    return f"{told} ± {labels.duration(model_ms)}" if model_ms and told != labels.UNKNOWN else told


def _interval(ci95: list[float] | None) -> str:
    return labels.UNKNOWN if ci95 is None else f"{labels.duration(ci95[0])} to {labels.duration(ci95[1])}"
