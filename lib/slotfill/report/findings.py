"""The findings in words: what holds, what was ruled out, and what is open with what would settle it (Markdown)."""

from collections.abc import Mapping
from typing import Any

from slotfill.report import labels

Bottleneck = Mapping[str, Any]
_NOISE = "noise"


def held(bottleneck: Bottleneck) -> str:
    """Every finding that holds, and below them what was looked for and is not there."""
    findings = bottleneck.get("findings", [])
    said = [_line(found) for found in findings if found["verdict"] == "true" and found["name"] != _NOISE]
    said += [_noise(found) for found in findings if found["name"] == _NOISE and found["verdict"] != "unknown"]
    absent = [_spaced(found["name"]) for found in findings if found["verdict"] == "false" and found["name"] != _NOISE]
    if absent:
        said.append(f"- Looked for and not found: {labels.listing(absent)}.")
    return "\n".join(said) or "Nothing that was looked for holds."


def limits(bottleneck: Bottleneck) -> str:
    """What these data cannot carry, and which data would."""
    questions: dict[str, list[str]] = {}
    for found in bottleneck.get("findings", []):
        if found["verdict"] == "unknown":
            needs = found["needs"] or f"nothing known ({found['claim']})"
            questions.setdefault(needs, []).append(_spaced(found["name"]))
    open_names = tuple(f"{name}:" for names in questions.values() for name in names)
    said = [f"- {limit}" for limit in bottleneck.get("limits", []) if not str(limit).startswith(open_names)]
    said += [f"- Not settled: {labels.listing(names)}. To settle: {needs}." for needs, names in questions.items()]
    return "\n".join(said) or "Nothing that was asked was left open."


def _line(found: Mapping[str, Any]) -> str:
    cost = found.get("cost_ms")
    where = f" ({labels.hop(found['hop'])}, {labels.duration(cost)} of an attempt)" if cost else ""
    needs = f" To do better: {found['needs']}." if found.get("needs") else ""
    return f"- **{_spaced(found['name'])}**{where}: {found['claim']}.{needs}"


def _noise(found: Mapping[str, Any]) -> str:
    """The A/A band: what two halves of one level differ by although nothing was changed."""
    bands = [
        f"{label} {labels.duration(band['difference_ms'])} ({labels.interval((band['low_ms'], band['high_ms']))})"
        for label, band in found.get("figures", {}).items()
    ]
    differ = found["verdict"] == "true"
    warning = " A difference of that size is noise, or the level changed while it ran." if differ else ""
    measured = f": {'; '.join(bands)}" if bands else ""
    return f"- **noise** (two halves of one level, nothing changed between them): {found['claim']}{measured}.{warning}"


def _spaced(name: Any) -> str:
    return str(name).replace("_", " ")
