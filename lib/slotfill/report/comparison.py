"""compare.html: two runs side by side, what differs in their parameters first, then each figure before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from slotfill import run as runs
from slotfill.analyse.comparable import require_alike
from slotfill.analyse.compare import FIGURES, Change, Comparison, compare
from slotfill.analyse.level_order import level_order
from slotfill.errors import BadInput
from slotfill.read import Reading, read_logs
from slotfill.read.kept import read_kept_spans
from slotfill.report import labels, markup, page
from slotfill.report.chart import Chart
from slotfill.report.figures import differences
from slotfill.report.page import Section

_SAID = {
    "changed": "changed",
    "follows": "follows: crowded less or more, by the time workers spend in another hop",
    "unsure": "perhaps: beyond its own interval, not beyond so many looks",
    "unchanged": "no",
}
_INSTRUMENTED = {
    (False, True): "The second run's platform ran with OpenTelemetry: what differs is what instrumenting it costs.",
    (True, False): "The first run's platform ran with OpenTelemetry: what differs is what instrumenting it costs.",
}


@dataclass(frozen=True)
class Compared:
    """Two runs, named, and what differs; ``parameters`` are {name: [before, after]}, where they are ``recorded``."""

    before: str
    after: str
    found: Comparison
    parameters: Mapping[str, Sequence[Any]]
    recorded: bool

    def sections(self) -> list[Section]:
        """The parts of the page: parameters, each level, how to read it."""
        levels = level_order([change.label for change in self.found.changes])
        return [
            Section("What differs in the parameters", _parameters(self)),
            *(Section(label, _level(self.found, label)) for label in levels),
            Section("How to read it", markup.prose(self.found.note)),
        ]

    def page(self) -> str:
        """compare.html."""
        parts = self.sections()
        contents = [(1, part.anchor, part.title) for part in parts]
        return page.assemble(f"{self.before} → {self.after}", contents, self._body(parts))

    def as_json(self) -> dict[str, Any]:
        """compare.json: every figure of the page."""
        changes = [
            {
                "label": change.label,
                "figure": change.figure,
                "before": change.before,
                "after": change.after,
                "difference": change.difference,
                "ci95": [change.low, change.high],
                "verdict": change.verdict,
            }
            for change in self.found.changes
        ]
        return {"parameters": dict(self.parameters), "rounds": self.found.rounds, "changes": changes}

    def _body(self, parts: Sequence[Section]) -> str:
        title = page.inline(markup.escape(headline(self.found)))
        facts = f'<dl class="run">{_fact("Before", self.before)}{_fact("After", self.after)}</dl>'
        head = f'<section class="card" aria-label="Verdict"><h1>{title}</h1>{facts}</section>'
        return "\n".join([head, *(part.html for part in parts)])

    def _repr_html_(self) -> str:
        return self._body(self.sections())


def read(before: Path, after: Path) -> Compared:
    """Two run folders, or two log files. Raises BadInput for runs that cannot be compared."""
    old, new = _recorded(before), _recorded(after)
    recorded = bool(old.record and new.record)
    instrumented = old.instrumented, new.instrumented
    parameters = require_alike(old.record, new.record, instrumented) if recorded else {}
    first, then = (path.resolve().name for path in (before, after))
    found = compare(old.reading, new.reading, seeded=recorded)
    return Compared(first, then, replace(found, remark=_INSTRUMENTED.get(instrumented, "")), parameters, recorded)


class _Recorded(NamedTuple):
    """What a run says, or a log that no run of ours recorded: its attempts, run.json and whether it heard spans."""

    reading: Reading
    record: Mapping[str, Any]
    instrumented: bool


def _recorded(path: Path) -> _Recorded:
    if path.is_dir():  # a folder that is no run is a mistake more often than logs
        run = runs.open_run(path)
        driven = [level for level in run.level_folders if runs.driven_cells(level)]
        if not driven:
            raise BadInput(f"{path}: nothing was driven in this run")
        heard = [path, *(cell for level in driven for cell in runs.driven_cells(level))]
        return _Recorded(read_logs(driven), run.record, not read_kept_spans(heard).empty)
    return _Recorded(read_logs([path]), {}, False)


def headline(found: Comparison) -> str:
    """What changed, in one sentence: the total of each level where it did, else the first figures that did."""
    changed = [change for change in found.changes if change.verdict == "changed"]
    if not found.changes:
        return "Nothing to compare: no level has enough confirmed bookings in both runs."
    if not changed:
        return "Nothing changed beyond chance."
    first = [change for change in changed if change.figure == "total_ms"] or changed[:3]
    return f"Changed: {labels.listing([_sentence(change) for change in first])}."


def _sentence(change: Change) -> str:
    return f"{_name(change)} at {change.label} from {_value(change, change.before)} to {_value(change, change.after)}"


def _level(found: Comparison, label: str) -> str:
    changes = [change for change in found.changes if change.label == label]
    changed = [change for change in changes if change.verdict == "changed"]
    caption = f"Beyond chance at {label}: {labels.listing([_name(change) for change in changed]) or 'nothing'}."
    rows = pd.DataFrame([_row(change) for change in changes if change.before])
    return Chart(f"changes-{label}", partial(differences.relative, rows), caption, table(changes)).html(folded=False)


def table(changes: Sequence[Change]) -> pd.DataFrame:
    """The changes as texts, one row a figure."""
    rows = [
        {
            "figure": _name(change),
            "before": _value(change, change.before),
            "after": _value(change, change.after),
            "difference": _value(change, change.difference),
            "95 % interval": f"{_value(change, change.low)} to {_value(change, change.high)}",
            "changed?": _SAID[change.verdict],
        }
        for change in changes
    ]
    return pd.DataFrame(rows)


def _row(change: Change) -> dict[str, Any]:
    """For the chart: the difference as a share of the figure before, with its interval."""
    share = {end: getattr(change, end) / abs(change.before) for end in ("difference", "low", "high")}
    text = f"{_name(change)}: {_value(change, change.before)} → {_value(change, change.after)}"
    return {"figure": _name(change), "hop": change.hop, "verdict": change.verdict, "text": text, **share}


def _name(change: Change) -> str:
    return labels.hop(change.hop) if change.hop else FIGURES[change.figure].removesuffix(", ms")


def _value(change: Change, value: float) -> str:
    return labels.duration(value) if change.figure.endswith("_ms") else labels.number(value, 2)


def _parameters(both: Compared) -> str:
    if not both.recorded:
        return "<p>These logs do not record their parameters, and each drew its parties anew.</p>"
    if not both.parameters:
        return "<p>The same parameters.</p>"
    rows = [{"parameter": name, "before": str(old), "after": str(new)} for name, (old, new) in both.parameters.items()]
    return markup.table(pd.DataFrame(rows), "Parameters that differ")


def _fact(name: str, text: str) -> str:
    return f"<div><dt>{name}</dt><dd>{page.inline(markup.escape(text))}</dd></div>"
