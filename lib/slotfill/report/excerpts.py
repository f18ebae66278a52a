"""The excerpts: evidence with the log lines themselves, and which logs it all comes from (Markdown)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.analyse.document import Bottleneck, Evidence
from slotfill.events import format_event, parse_event
from slotfill.masking import mask
from slotfill.read import Reading, excerpt
from slotfill.report import labels, markup, tables

_WHOLE_LINE = 1 << 20
FEW_LOGS = 3
_BY_SAMPLES = "(samples, mean of all attempts, confirmed or not)"
_FIGURES = {
    "running_in_server_ms": f"statements running {_BY_SAMPLES}",
    "open_between_statements_ms": f"transactions open between statements {_BY_SAMPLES}",
}
"""Figures whose name does not say over what they are taken."""


def by_claim(document: Bottleneck) -> dict[str, list[Evidence]]:
    """The evidence by what it shows; a place that an earlier claim has shown already is only cited."""
    claims: dict[str, list[Evidence]] = {}
    shown: set[object] = set()
    for item in document.evidence:
        claims.setdefault(item.claim, []).append(replace(item, excerpt=None) if item.source in shown else item)
        shown.add(item.source)
    return claims


def evidence(document: Bottleneck) -> str:
    """Each claim with its figure, its place and the line itself."""
    told = [_claim(claim, items) for claim, items in by_claim(document).items()]
    return "\n\n".join(told) or "No evidence was found in the logs."


def timing_lines(attempts: pd.DataFrame) -> str:
    """The log's own word on the median attempt of each level: its summary, cut down to the durations."""
    told = []
    for which, attempt in tables.typical(attempts):
        if which == "median" and not labels.is_missing(attempt["summary_line"]):
            place = f"{_name(attempt['file'])}:{attempt['summary_line']}"
            line = _durations(excerpt(attempt["file"], attempt["summary_line"], width=_WHOLE_LINE))
            told.append(
                f"- {attempt['label']}, the median attempt ({markup.code(place)}):\n\n{markup.fence(line, '  ')}"
            )
    return "\n\n".join(told)


def sources(metrics: Mapping[str, Any], reading: Reading) -> str:
    """The logs of each level, the starts that died before an attempt, and what was not understood."""
    said = [f"- **{level['label']}**: {_few(level['logs'])}" for level in metrics["levels"]]
    for reason, starts in reading.runs.groupby("reason", sort=False, dropna=False):
        first = markup.code(f"{_name(starts['file'].iloc[0])}:{starts['line'].iloc[0]}")
        died = f"{labels.count(len(starts), 'start')} died before an attempt, the first at {first}"
        said.append(f"- {died}: {markup.escape(mask(str(reason)))}")
    said += [
        f"- {labels.count(gap['lines'], 'line')} of {markup.code(_name(gap['file']))} not read, "
        f"the first at line {gap['first_line']}: {markup.escape(mask(str(gap['what'])))}"
        for gap in reading.unread.to_dict("records")
    ]
    return "\n".join(said)


def _few(logs: Sequence[str]) -> str:
    """The names of a few logs; of many, the first ones and how many more (verification.md lists all)."""
    named = ", ".join(markup.code(log) for log in logs[:FEW_LOGS])
    more = len(logs) - FEW_LOGS
    return f"{named} and {more} more beside them" if more > 0 else named


def _durations(line: str) -> str:
    event = parse_event(line)
    if event is None:
        return mask(line)
    kept = {name: value for name, value in event.fields.items() if name.endswith("Ms") and value is not None}
    return format_event(replace(event, fields=kept))


def _name(file: Any) -> str:
    return Path(str(file)).name


def figures(item: Evidence) -> str:
    """A number with its unit, or the plain figures of a finding by their names; empty where the claim has them."""
    if not isinstance(item.value, Mapping):
        return "" if labels.is_missing(item.value) else _named_value(item)
    told = [_named(name, figure) for name, figure in item.value.items() if not isinstance(figure, Mapping | list)]
    return "" if ", ".join(told) in item.claim else ", ".join(told)


def _named_value(item: Evidence) -> str:
    if item.unit == "ms":
        return labels.duration(item.value)
    return f"{item.value} {item.unit or ''}".rstrip()


def _claim(claim: str, items: Sequence[Evidence]) -> str:
    value = figures(items[0])
    lines = [f"- **{markup.escape(sentence(claim))}**" + (f" {value}." if value else "")]
    for item in items:
        lines += [f"  {markup.code(item.source)}"] if item.source else []
        lines += [markup.fence(item.excerpt, "  ")] if item.excerpt else []
    return "\n\n".join(lines)


def sentence(claim: str) -> str:
    text = claim.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _named(name: str, figure: Any) -> str:
    if labels.is_missing(figure) or isinstance(figure, bool | str):
        text = str(labels.UNKNOWN if labels.is_missing(figure) else figure)
    elif name.endswith("_ms"):
        text = labels.duration(figure)
    else:
        text = labels.share(figure) if "share" in name else labels.number(figure, 2)
    return f"{_FIGURES.get(name, name.removesuffix('_ms').replace('_', ' '))} {text}"
