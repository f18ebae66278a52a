"""What a terminal shows of a run or of logs: the verdict and the figures as plain text, 80 columns wide."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from slotfill.escape import for_terminal
from slotfill.outcomes import in_words
from slotfill.report import labels

if TYPE_CHECKING:
    from slotfill.analyse.study import Study

WIDTH = 80
_LONGEST_LABEL = 26
_MARKUP = re.compile(r"\*\*|`|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])")
_MEANS = {
    "level": ("label", ""),
    "n": ("count", ""),
    "avg submit": ("avgSubmitMs", "ms"),
    "avg inline": ("avgInlineMs", "ms"),
    "avg total": ("avgTotalMs", "ms"),
    "seat waste": ("avgSeatWaste", "seats"),
    "tables": ("avgTablesPerBooking", "/booking"),
}
_EXTREMES = {
    "level": ("label", ""),
    "max submit": ("maxSubmitMs", "ms"),
    "max inline": ("maxInlineMs", "ms"),
    "max total": ("maxTotalMs", "ms"),
    "inline poll": ("inlinePollRate", "share"),
    "background": ("backgroundRate", "share"),
}
_RUN = {
    "level": ("label", ""),
    "attempts": ("attempts", ""),
    "confirmed": ("confirmed", ""),
    "submit": ("submit_ms", "ms, mean"),
    "total": ("total_ms", "ms, mean"),
    "p95": ("p95", "ms, total"),
    "rate": ("throughput_per_min", "/min"),
    "waste": ("seat_waste", "seats"),
}


def verdict(study: "Study") -> str:
    """The verdict card and the figures of each level."""
    from slotfill.report import card  # what it builds on takes a second to import, and tables need nothing of it

    told = card.card(study)
    lines = [click.style(_plain(told.headline), bold=True)]
    lines += [_paragraph("Note", text) for text in told.caveats]
    lines += [_paragraph(name, text) for name, text in told.facts]
    levels = [{name: _figure(level, name) for name, _ in _RUN.values()} for level in study.metrics["levels"]]
    return "\n".join([*lines, "", for_terminal(_table(levels, _RUN))])


def platform_table(rows: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]]) -> str:
    """The platform's own table of ``metrics.platform_table``, in two parts, and what became of the attempts."""
    if not rows:
        return "no booking attempts"
    told = [
        f"{level['label']}: {labels.count(level['attempts'], 'attempt')}: {in_words(level['outcomes'])}"
        for level in levels
    ]
    return for_terminal("\n\n".join([_table(rows, _MEANS), _table(rows, _EXTREMES), "\n".join(map(_wrapped, told))]))


def _figure(level: Mapping[str, Any], name: str) -> Any:
    if name == "p95":
        return level["total_ms"]["p95"]
    value = level[name]
    return value["mean"] if isinstance(value, Mapping) else value


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> str:
    """Figures under a heading and its unit; what is not known is a dash."""
    cells = [list(columns), [unit for _, unit in columns.values()]]
    cells += [[_cell(row[name]) for name, _ in columns.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for label, *figures in cells:
        padded = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([label.ljust(widths[0]), *padded]).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if labels.is_missing(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}"
    text = str(value)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _paragraph(name: str, text: str) -> str:
    return textwrap.fill(_plain(text), WIDTH, initial_indent=f"{name + ':':14}", subsequent_indent=" " * 14)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _plain(text: str) -> str:
    """Without Markdown's signs."""
    return for_terminal(_MARKUP.sub("", text))
