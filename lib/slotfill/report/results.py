"""What a hand types at: a run, a level or any logs as objects that show themselves.

run = open_run("artifacts/…")     run.verdict     run.attempts.query("total_ms > 2000")     run.plot.hops()
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from slotfill.analyse import study
from slotfill.analyse.document import Bottleneck
from slotfill.analyse.study import Study
from slotfill.report import calls, card, excerpts, findings, labels, markup, narrative, page, seats, tables
from slotfill.report.plots import Plots


@dataclass(frozen=True)
class Shown:
    """A piece of HTML that a notebook displays, and its plain text for where it can't."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Verdict:
    """The verdict card; ``document`` has everything behind it, typed."""

    document: Bottleneck
    card: card.Card

    def _repr_html_(self) -> str:
        return page.card_html(self.card)

    def __repr__(self) -> str:
        return "\n".join([self.card.headline, *(f"{name}: {text}" for name, text in self.card.facts)])


class Attempts(pd.DataFrame):
    """All attempts, one row each, columns as ``Attempt`` has them; shown by what a person looks for first."""

    FIRST = ("label", "slot", "iteration", "outcome", "party_size", "submit_ms", "total_ms", "seat_waste", "reason")
    MOST_ROWS = 10

    @property
    def _constructor(self) -> type["Attempts"]:
        return Attempts

    def _repr_html_(self) -> str:
        """The first columns of the first rows; all others are there to be asked for."""
        named = [name for name in self.FIRST if name in self.columns]
        if not named:
            return str(pd.DataFrame(self)._repr_html_())  # type: ignore[operator]
        rows = pd.DataFrame(self)[named].head(self.MOST_ROWS)
        left_out = f"{len(rows)} of {labels.count(len(self), 'attempt')}, {len(named)} of {self.shape[1]} columns"
        return markup.table(rows, left_out)


@dataclass(frozen=True)
class Results:
    """A run, one level of it, or logs of others: read and analysed once."""

    study: Study

    @cached_property
    def verdict(self) -> Verdict:
        return Verdict(self.study.document, card.card(self.study))

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.study.attempts)

    @property
    def plot(self) -> Plots:
        """The charts by name: ``plot.hops()``, ``plot.growth()``, ``plot.latency()`` …"""
        return Plots(self.study)

    @property
    def inside(self) -> Shown:
        """The platform's calls for a booking, as spans or taps saw them: waterfalls and a table."""
        view = self.study.document.calls
        if view is None:
            return _prose("No call of the platform was seen; `taps` or `otlp_listen` would show them.")
        pieces = (part if part.startswith("<") else markup.prose(part) for part in calls.body(view))
        return Shown("\n".join(pieces), f"{calls.summary(view)}\n\n{calls.by_target(view).to_string(index=False)}")

    @property
    def levels(self) -> Shown:
        """The metrics table."""
        return _table(tables.levels(self.study.metrics), "Times are means over confirmed bookings only")

    @property
    def advice(self) -> Shown:
        """What to do, and what halving the slowest hop would buy."""
        document = self.study.document
        return _prose(narrative.recommendations(document), narrative.prediction(document))

    @property
    def evidence(self) -> Shown:
        """The lines of the logs that prove the verdict."""
        document = self.study.document
        return Shown(page.evidence_html(document), excerpts.evidence(document))

    @property
    def findings(self) -> Shown:
        """What was found, what was ruled out, and what these data cannot say."""
        document = self.study.document
        return _prose(findings.held(document), "### What these data cannot say", findings.limits(document))

    @property
    def reasons(self) -> Shown:
        """Why attempts were not confirmed."""
        return _table(tables.reasons(self.study.metrics), "Why attempts were not confirmed, in the platform's words")

    @property
    def seats(self) -> Shown:
        """Seats wasted and parties turned away."""
        document = self.study.document
        table = markup.table(seats.table(document), "Seats, over confirmed bookings")
        return Shown(table + markup.prose(seats.seats(document)), seats.seats(document))

    @property
    def integrity(self) -> Shown:
        """Violations before and after each level."""
        return _table(tables.integrity(self.study.integrity), "Integrity violations, before → after")

    @property
    def method(self) -> Shown:
        """How it was measured, and from which logs."""
        return _prose(narrative.method(self.study.metrics), excerpts.sources(self.study.metrics, self.study.reading))

    @property
    def report(self) -> Shown:
        """Everything, as report.html has it."""
        parts = [page.card_html(self.verdict.card), *(part.html for part in page.sections(self.study))]
        return Shown("\n".join(parts), narrative.write_up(self.study))

    def _repr_html_(self) -> str:
        return self.verdict._repr_html_()


def open_run(folder: Path) -> Results:
    """A run folder. Raises BadInput where no level of it was driven."""
    return Results(study.of_run(folder))


def open_level(folder: Path) -> Results:
    """One level's folder. Raises BadInput where it was not driven."""
    return Results(study.of_level(folder))


def open_logs(paths: Sequence[Path], server_logs: Sequence[Path] = ()) -> Results:
    """Any logs, files or folders. Raises BadInput for a missing path, and where there is no attempt."""
    return Results(study.of_logs(paths, server_logs))


def _prose(*parts: str) -> Shown:
    text = "\n\n".join(part for part in parts if part)
    return Shown(markup.prose(text), text)


def _table(frame: pd.DataFrame, caption: str) -> Shown:
    if frame.empty:
        return Shown(f"<p>{caption}: nothing to show.</p>", f"{caption}: nothing to show.")
    return Shown(markup.table(frame, caption), frame.to_string(index=False))
