"""report.html: one file that opens offline, runs no code and asks the network for nothing.

Everything on it is in metrics.json, bottleneck.json or run.json beside it, or is a line of a log.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from slotfill.analyse.document import Bottleneck, Evidence
from slotfill.analyse.study import Study
from slotfill.masking import mask, without_homes
from slotfill.params import ROOT
from slotfill.report import calls, card, excerpts, experiment, findings, markup, narrative, seats, tables
from slotfill.report.plots import Plots

_SHORT_ROW = 120
"""Characters of a line of a log up to which it is marked as a whole."""
TEMPLATES = Environment(loader=PackageLoader("slotfill.report", "."), autoescape=True, trim_blocks=True)


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading; ``body`` is HTML."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def html(self) -> str:
        return f'<section id="{self.anchor}"><h2>{html.escape(self.title)}</h2>{self.body}</section>'


def report(study: Study) -> str:
    """The page of a study."""
    told = card.card(study)
    parts = sections(study)
    contents = [(1, part.anchor, part.title) for part in parts]
    body = "\n".join([card_html(told), *(part.html for part in parts)])
    return assemble(f"{told.headline.partition(':')[0].rstrip('.')} – {study.source}", contents, body)


def assemble(title: str, contents: Sequence[tuple[int, str, str]], body: str) -> str:
    """A page around ``body``; ``contents`` are (depth, anchor, text).

    Where this checkout and people's homes lie on the machine is left out.
    """
    text = TEMPLATES.get_template("page.html.j2").render(title=title, contents=contents, body=body)
    return without_homes(text.replace(f"{ROOT}/", ""))


def card_html(told: card.Card) -> str:
    """The verdict card as HTML."""
    return TEMPLATES.get_template("card.html.j2").render(card=told, prose=lambda text: Markup(inline(text)))


def evidence_html(document: Bottleneck) -> str:
    """Every claim with the lines that prove it, the decisive ones marked."""
    claims = excerpts.by_claim(document).values()
    return "".join(map(_evidence, claims)) or "<p>No evidence was found in the logs.</p>"


def inline(markdown: str) -> str:
    """A sentence of Markdown as HTML, without the paragraph around it."""
    return markup.prose(markdown).strip().removeprefix("<p>").removesuffix("</p>")


def sections(study: Study) -> list[Section]:
    """The parts of the page, in reading order."""
    document, metrics, plots = study.document, study.metrics, Plots(study)
    return [
        _section(
            "Where the time goes",
            replace(plots.hops(), table=pd.DataFrame()).html(),  # it stands below, with its intervals
            _table(
                tables.hops(document),
                "Mean time of each hop, over the attempts that could be split, with 95 % intervals",
            ),
        ),
        *_inside(document),
        _section(
            "How it grows",
            narrative.growth(document),
            plots.growth().html(),
            plots.throughput().html(),
            seats.worker_time(metrics, document),
            _table(tables.levels(metrics), "The levels; times are means over confirmed bookings only"),
        ),
        _section("Proof", evidence_html(document), excerpts.timing_lines(study.attempts)),
        *_experiment(study.proof, document),
        _section("What to do", narrative.recommendations(document), narrative.prediction(document)),
        _section("Latency", plots.stages().html(), plots.latency_over_time().html(), plots.latency().html()),
        _section(
            "Outcomes and seats",
            plots.outcomes().html(),
            _table(tables.reasons(metrics), "Why attempts were not confirmed, in the platform's words"),
            _table(seats.table(document), "Seats, over confirmed bookings"),
            seats.seats(document),
            plots.seat_waste().html(),
        ),
        _section(
            "Database",
            plots.database().html(),
            _table(tables.integrity(study.integrity), "Integrity violations, before → after"),
        ),
        _section(
            "What these data cannot say", findings.limits(document), "### What was found", findings.held(document)
        ),
        _section(
            "How it was measured",
            narrative.method(metrics),
            plots.timeline().html(),
            "### Sources",
            excerpts.sources(metrics, study.reading),
            _table(tables.stamp(study.record), "The run"),
        ),
    ]


def _inside(document: Bottleneck) -> list[Section]:
    """The platform's calls; no section where nothing saw them."""
    return [_section("Inside a booking", *calls.body(document.calls))] if document.calls else []


def _experiment(proof: Mapping[str, Any], document: Bottleneck) -> list[Section]:
    """What a test of the verdict found; no section where there was none."""
    told = experiment.conclusion(proof, document)
    tables_of_it = (
        _table(experiment.parts(proof), "A confirmed attempt without the delay, in three parts"),
        _table(experiment.effects(proof), "What the delay did to the mean, predicted and measured"),
    )
    return [_section("Experiment", told, *tables_of_it)] if told else []


def _section(title: str, *parts: str) -> Section:
    """A section of pieces that are HTML already, or Markdown."""
    return Section(title, "\n".join(part if part.startswith("<") else markup.prose(part) for part in parts if part))


def _table(frame: pd.DataFrame, caption: str) -> str:
    """A table of the page; nothing where it has no rows."""
    return "" if frame.empty else markup.table(frame, caption)


def _evidence(items: Sequence[Evidence]) -> str:
    """A claim with its figures, and each place that shows it with the lines that hold the number marked."""
    figures = excerpts.figures(items[0])
    told = (
        f'<p class="claim"><strong>{html.escape(excerpts.sentence(items[0].claim))}</strong> {html.escape(figures)}</p>'
    )
    return f'<div class="evidence">{told}{"".join(map(_place, items))}</div>'


def _place(item: Evidence) -> str:
    if item.source is None:
        return ""
    place = f'<p class="source"><code>{html.escape(str(item.source))}</code></p>'
    if not item.excerpt:
        return place
    rows = [_row(row, item.decisive) for row in mask(item.excerpt).strip("\n").splitlines()]
    return f"{place}<pre><code>{chr(10).join(rows)}</code></pre>"


def _row(row: str, decisive: Sequence[str]) -> str:
    """A line of an excerpt, marked where it holds one of the ``decisive`` texts: a short one as a whole."""
    held = [part for part in decisive if part in row]
    if not held:
        return html.escape(row)
    if len(row) <= _SHORT_ROW:
        return f"<mark>{html.escape(row)}</mark>"
    pieces = re.split(f"({'|'.join(map(re.escape, sorted(held, key=len, reverse=True)))})", row)
    texts = [html.escape(piece) for piece in pieces]
    return "".join(f"<mark>{text}</mark>" if number % 2 else text for number, text in enumerate(texts))
