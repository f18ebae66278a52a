"""The findings in words: what holds, what was ruled out, and what is open with what would settle it (Markdown)."""

from collections.abc import Iterable

from slotfill.analyse.document import Bottleneck, Finding
from slotfill.report import labels, markup

_NOISE = "noise"


def held(document: Bottleneck) -> str:
    """Every finding that holds, and below them what was looked for and is not there."""
    others = [found for found in document.findings if found.name != _NOISE]
    lines = [_line(found) for found in others if found.verdict == "true"]
    lines += [_noise(found) for found in document.findings if found.name == _NOISE and found.verdict != "unknown"]
    absent = [_spaced(found.name) for found in others if found.verdict == "false"]
    if absent:
        lines.append(f"- Looked for and not found: {labels.listing(absent)}.")
    return "\n".join(lines) or "Nothing that was looked for holds."


def limits(document: Bottleneck) -> str:
    """What these data cannot carry, and which data would."""
    lines = [
        f"- {markup.escape(limit.text)}{_needs(limit.needs)}" for limit in document.limits if limit.finding is None
    ]
    questions: dict[str, list[str]] = {}
    for found in document.findings:
        if found.verdict == "unknown":
            questions.setdefault(found.needs or f"nothing known ({markup.escape(found.claim)})", []).append(
                _spaced(found.name)
            )
    lines += [f"- Not settled: {labels.listing(names)}. To settle: {needs}." for needs, names in questions.items()]
    return "\n".join(lines) or "Nothing that was asked was left open."


def failures(document: Bottleneck) -> Iterable[tuple[str, int, str, str]]:
    """(reason, bookings, who said so, where) of each reason why bookings failed."""
    for failure in document.failures:
        yield failure.reason, failure.attempts, failure.told_by, str(failure.sources[0]) if failure.sources else ""


def _needs(needs: str) -> str:
    return f" To settle: {needs.rstrip('.')}." if needs else ""


def _line(found: Finding) -> str:
    hop = f"{labels.hop(found.hop)}, " if found.hop else ""
    where = f" ({hop}{labels.duration(found.cost_ms)} of an attempt)" if found.cost_ms else ""
    needs = f" To do better: {found.needs}." if found.needs else ""
    return f"- **{_spaced(found.name)}**{where}: {markup.escape(found.claim)}.{needs}"


def _noise(found: Finding) -> str:
    """The A/A band: what two halves of one level differ by although nothing was changed."""
    bands = [
        f"{label} {labels.duration(band['difference_ms'])} ({labels.interval((band['low_ms'], band['high_ms']))})"
        for label, band in found.figures.items()
    ]
    warning = " A difference of that size is noise, or the level changed while it ran." if found.holds else ""
    measured = f": {'; '.join(bands)}" if bands else ""
    return f"- **noise** (two halves of one level, nothing changed between them): {found.claim}{measured}.{warning}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")
