"""verification.md: the plan's success criteria, ticked or not from the data, each with its evidence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slotfill.analyse.coverage import PLANNED_STRESS_MAX, Coverage
from slotfill.analyse.document import NONE, UNKNOWN
from slotfill.analyse.level_order import level_order
from slotfill.analyse.study import Study
from slotfill.report import card, excerpts, labels, markup, narrative, tables

PLANNED_LEVELS = (1, 4, 8)
PLANNED_MINUTES = 240
MOST_FILES, FEW_FILES = 100, 5
"""So many of one level or folder are listed; of more, the first few."""


@dataclass(frozen=True)
class Criterion:
    """One thing the plan asks for; ``met`` is None where the data cannot say."""

    title: str
    met: bool | None
    evidence: str

    def __str__(self) -> str:
        unknown = " *Not known from these data.*" if self.met is None else ""
        return f"- [{'x' if self.met else ' '}] **{self.title}**{unknown} {self.evidence}"


def criteria(study: Study) -> list[Criterion]:
    """The plan's success criteria, in its order."""
    return [_prepared(study), *_filled(study), _measured(study), _explained(study), _advised(study)]


def write(study: Study, folder: Path) -> str:
    """The document; ``folder`` is where the artifacts lie that it lists."""
    met = criteria(study)
    ticked = sum(bool(criterion.met) for criterion in met)
    sections = [
        ("Verification", f"{ticked} of {len(met)} success criteria met. Source: {markup.escape(study.source)}."),
        ("Success criteria", "\n".join(map(str, met))),
        ("Metrics per level", _metrics(study)),
        ("Integrity", _integrity(study)),
        ("Bottleneck", narrative.write_up(study)),
        ("Timing proof", _timing(study)),
        ("Artifacts", _artifacts(folder)),
    ]
    marks = ["#", *["##"] * len(sections)]
    return "\n\n".join(f"{mark} {title}\n\n{text}" for mark, (title, text) in zip(marks, sections, strict=False)) + "\n"


def _prepared(study: Study) -> Criterion:
    title = "Database prepared, integrity checked before and after every level"
    found = study.document.integrity
    if found is None:
        return Criterion(title, None, "The logs hold no integrity check.")
    if found.unchecked:
        return Criterion(title, False, f"Not checked before and after {labels.listing(list(found.unchecked))}.")
    if found.new:
        broken = [f"{new.check} at {new.cell} ({new.before} before, {new.after} after)" for new in found.new]
        return Criterion(title, False, f"New violations: {'; '.join(broken)}.")
    if found.blind:
        return Criterion(title, None, f"These could not look: {labels.listing(list(found.blind))}.")
    told = f"; violated before as well: {', '.join(found.violated)}" if found.violated else ""
    return Criterion(title, True, f"No new violation over {labels.count(found.cells, 'round')} of levels{told}.")


def _filled(study: Study) -> Iterator[Criterion]:
    """Which levels ran, over how many hours of slots, and how far each slot was filled."""
    driven = {each.label: each for each in study.document.coverage}
    levels = sorted({each.concurrency for each in driven.values() if each.concurrency is not None})
    yield Criterion(
        f"Slot fill at concurrency {labels.listing([str(level) for level in PLANNED_LEVELS])}",
        set(PLANNED_LEVELS) <= set(levels),
        f"Ran at {labels.listing([str(level) for level in levels]) or 'no known level'}.",
    )
    yield Criterion(
        "Four hours of slots at every level",
        bool(driven) and all(each.span_minutes >= PLANNED_MINUTES for each in driven.values()),
        f"{_each(driven, lambda each: f'{labels.number(each.span_minutes / 60, 2)} h')}.",
    )
    yield Criterion(
        f"Every slot filled with {PLANNED_STRESS_MAX} bookings or until its tables ran out",
        bool(driven) and all(each.full_slots == each.slots for each in driven.values()),
        f"{_each(driven, lambda each: f'{each.full_slots} of {each.slots} slots')}.",
    )


def _measured(study: Study) -> Criterion:
    levels = study.metrics["levels"]
    without = [level["label"] for level in levels if not level["confirmed"]]
    evidence = f"{labels.count(sum(level['confirmed'] for level in levels), 'confirmed booking')} measured"
    evidence += f"; none at {labels.listing(without)}" if without else ""
    logs = sum(len(level["logs"]) for level in levels)
    return Criterion(
        "Metrics for each level, with the logs they come from",
        bool(levels) and not without and logs > 0,
        f"{evidence}, from {labels.count(logs, 'log file')}.",
    )


def _explained(study: Study) -> Criterion:
    document = study.document
    shown = [item for item in document.evidence if item.excerpt]
    named = document.verdict not in (UNKNOWN, NONE)
    return Criterion(
        "Bottleneck named, with log excerpts and timing proof",
        named and bool(shown) and bool(document.shares),
        f"{f'Verdict: {document.verdict}' if named else 'No verdict'}, {labels.count(len(shown), 'excerpt')}.",
    )


def _advised(study: Study) -> Criterion:
    steps, mechanism = card.steps(study.document), markup.escape(study.document.mechanism)
    told = labels.count(len(steps), "recommendation") if steps else "No recommendation"
    return Criterion("Recommendations tied to the mechanism", bool(steps), f"{told} for {mechanism}.")


def _metrics(study: Study) -> str:
    logs = "\n".join(
        f"- **{markup.escape(level['label'])}**: {_logs(level['logs'])}" for level in study.metrics["levels"]
    )
    return f"{tables.markdown(tables.levels(study.metrics))}\n\nLogs:\n\n{logs}"


def _logs(logs: Sequence[str]) -> str:
    """All of them, or of very many the first few: ``metrics.json`` beside has them all."""
    if len(logs) <= MOST_FILES:
        return ", ".join(map(markup.code, logs))
    return f"{len(logs):,} files, {', '.join(map(markup.code, logs[:FEW_FILES]))} first; all in `metrics.json`"


def _timing(study: Study) -> str:
    """The median and the slowest attempt of each level, with the line in which the log says how long it took."""
    return f"{tables.markdown(tables.witnesses(study.attempts))}\n\n{excerpts.timing_lines(study.attempts)}"


def _integrity(study: Study) -> str:
    return tables.markdown(tables.integrity(study.integrity)) or "No integrity check in these data."


def _artifacts(folder: Path) -> str:
    """All files, or of a folder with very many the first few and how many more."""
    files: dict[Path, list[Path]] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")):
        files.setdefault(file.parent, []).append(file)
    lines = []
    for place, inside in files.items():
        shown = inside if len(inside) <= MOST_FILES else inside[:FEW_FILES]
        lines += [f"- {markup.code(file.relative_to(folder))} ({_size(file)})" for file in shown]
        if more := len(inside) - len(shown):
            lines.append(f"- {more:,} more files in {markup.code(place.relative_to(folder))}")
    return "\n".join(lines) or "None."


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"


def _each(values: Mapping[str, Coverage], say: Callable[[Coverage], str]) -> str:
    return ", ".join(f"{label} {say(values[label])}" for label in level_order(list(values)))
