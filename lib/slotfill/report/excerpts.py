"""The excerpts: evidence with the log lines themselves, and which logs it all comes from (Markdown)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.events import format_event, parse_event
from slotfill.masking import mask
from slotfill.read import Reading, excerpt
from slotfill.report import labels, tables

_WHOLE_LINE = 1 << 20
_FEW_LOGS = 3
_BY_SAMPLES = "(samples, mean of all attempts, confirmed or not)"
_FIGURES = {
    "running_in_server_ms": f"statements running {_BY_SAMPLES}",
    "open_between_statements_ms": f"transactions open between statements {_BY_SAMPLES}",
}
"""Figures whose name does not say over what they are taken."""


def evidence(bottleneck: Mapping[str, Any]) -> str:
    """Each claim with its figure, its place and the line itself."""
    by_claim: dict[str, list[Mapping[str, Any]]] = {}
    for item in bottleneck.get("evidence", []):
        by_claim.setdefault(str(item["claim"]), []).append(item)
    shown: set[str] = set()
    excerpts = [_excerpt(claim, items, shown) for claim, items in by_claim.items()]
    return "\n\n".join(excerpts) or "No evidence was found in the logs."


def timing_lines(attempts: pd.DataFrame) -> str:
    """The log's own word on the median attempt of each level: its summary, cut down to the durations."""
    told = []
    for which, attempt in tables.typical(attempts):
        if which == "median" and not labels.is_missing(attempt["summary_line"]):
            place = f"{_name(attempt['file'])}:{attempt['summary_line']}"
            line = _durations(excerpt(attempt["file"], attempt["summary_line"], width=_WHOLE_LINE))
            told.append(f"- {attempt['label']}, the median attempt (`{place}`):\n\n  ```text\n  {line}\n  ```")
    return "\n\n".join(told)


def sources(metrics: Mapping[str, Any], reading: Reading) -> str:
    """The logs of each level, the starts that died before an attempt, and what was not understood."""
    said = [f"- **{level['label']}**: {_few(level['logs'])}" for level in metrics["levels"]]
    for reason, starts in reading.runs.groupby("reason", sort=False, dropna=False):
        first = f"`{_name(starts['file'].iloc[0])}:{starts['line'].iloc[0]}`"
        said.append(
            f"- {labels.count(len(starts), 'start')} died before an attempt, the first at {first}: {mask(str(reason))}"
        )
    said += [
        f"- {labels.count(gap['lines'], 'line')} of `{_name(gap['file'])}` not read, "
        f"the first at line {gap['first_line']}: {mask(str(gap['what']))}"
        for gap in reading.unread.to_dict("records")
    ]
    return "\n".join(said)


def _few(logs: Sequence[str]) -> str:
    """The names of a few logs; of many, the first ones and how many more (verification.md lists all)."""
    named = ", ".join(f"`{log}`" for log in logs[:_FEW_LOGS])
    more = len(logs) - _FEW_LOGS
    return f"{named} and {more} more beside them" if more > 0 else named


def _durations(line: str) -> str:
    event = parse_event(line)
    if event is None:
        return mask(line)
    kept = {name: value for name, value in event.fields.items() if name.endswith("Ms") and value is not None}
    return format_event(replace(event, fields=kept))


def _name(file: Any) -> str:
    return Path(str(file)).name


def _excerpt(claim: str, items: Sequence[Mapping[str, Any]], shown: set[str]) -> str:
    """A claim with its figures, and each place that shows it; lines that were ``shown`` already are only cited."""
    value = _value(items[0].get("value"))
    lines = [f"- **{_sentence(claim)}**" + (f" {value}" if value else "")]
    for item in items:
        source = str(item.get("source") or "")
        lines += [f"  `{source}`"] if source else []
        if source not in shown:
            lines += _quoted(mask(str(item.get("excerpt") or "")))
        shown.add(source)
    return "\n\n".join(lines)


def _quoted(excerpt: str) -> list[str]:
    rows = "\n".join(f"  {row}".rstrip() for row in excerpt.strip("\n").splitlines())
    return [f"  ```text\n{rows}\n  ```"] if rows else []


def _sentence(claim: str) -> str:
    text = claim.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _value(value: Any) -> str:
    """A figure, or the plain figures of a finding by their names."""
    if not isinstance(value, Mapping):
        return "" if labels.is_missing(value) else f"{value}."
    told = [_named(name, figure) for name, figure in value.items() if not isinstance(figure, Mapping | list)]
    return f"{', '.join(told)}." if told else ""


def _named(name: str, figure: Any) -> str:
    if labels.is_missing(figure) or isinstance(figure, bool | str):
        text = str(labels.UNKNOWN if labels.is_missing(figure) else figure)
    elif name.endswith("_ms"):
        text = labels.duration(figure)
    else:
        text = labels.share(figure) if "share" in name else labels.number(figure, 2)
    return f"{_FIGURES.get(name, name.removesuffix('_ms').replace('_', ' '))} {text}"
