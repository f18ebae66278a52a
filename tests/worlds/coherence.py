"""Whether a report says one thing only: everything that is rendered, held against the typed documents beside it.

python tests/worlds/coherence.py PATH…            # run folders or logs
python tests/worlds/coherence.py --shared FOLDER   # every log, run and trace below it, each by itself
python tests/worlds/coherence.py --worlds 100      # simulated worlds
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pandas as pd
from bs4 import BeautifulSoup
from recorded import client_log
from worlds import Kind, make_world, study_of

from slotfill.analyse import study as studies
from slotfill.analyse.constants import FEW_SLOTS, FEWEST_VALUES
from slotfill.analyse.coverage import PLANNED_STRESS_MAX
from slotfill.analyse.document import CONSTANT_COST, SATURATION, TIE, Bottleneck
from slotfill.analyse.level_order import level_order
from slotfill.analyse.study import Study
from slotfill.errors import BadInput
from slotfill.report import card, documents, labels, narrative, terminal
from slotfill.report.excerpts import FEW_LOGS
from slotfill.report.verification import PLANNED_LEVELS

RAW = re.compile(
    r"\bnan\b|\bNone\b(?!\.)|\bNaT\b|<NA>|\binf\b|\bTrue\b|\bFalse\b|\bnp\.|\bdtype\b|\{'|\['|Timestamp\(|\\n"
)
FIGURE = re.compile(r"(?<![\w.:,/-])[−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?: min \d+ s| ms| s(?= |[.,;:)]|$)| ?%)")
COUNT = re.compile(r"(?<![\w.:,/#×+–−-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w:/–-]|[.,]\d)")
NO_COUNT = re.compile(
    r"\d{4}-\d\d-\d\d|\d\d? [A-Z][a-z]+ 20\d\d|\d\d?:\d\d(?::\d\d)?"
    r"|\S*[A-Za-z_.]-?\d+\S*|\d+(?:\.\d+){2,}|\d+-\d+\S*"
)
"""Dates, times of day, names with a number in them, and versions."""
FEW = re.compile(r"too few|not enough|fewer than", re.IGNORECASE)
FIXED = frozenset({"95 %", "80 %", "500 ms"})
"""Figures that stand in the prose itself: the intervals' level, and those of the advice."""
FIXED_COUNTS = frozenset({FEW_SLOTS, FEWEST_VALUES, PLANNED_STRESS_MAX, *PLANNED_LEVELS})
"""Bare numbers that stand in the prose itself."""
TOLERANCE = 0.01


def contradictions(study: Study, folder: Path) -> list[str]:
    """What of the documents of ``study``, written to ``folder``, contradicts another part of them."""
    documents.write_documents(study, folder)
    texts = _texts(study, folder)
    found = [*_raw(study, texts), *_figures(study, folder, texts), *_counts(study, folder)]
    found += [*_sums(study), *_prediction(study)]
    return [*found, *_words(study, texts), *_excerpts(study)]


def _texts(study: Study, folder: Path) -> dict[str, str]:
    """All that a person reads, without what is quoted of logs."""
    page = BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    for quoted in page(["pre", "code", "style", "svg", "title"]):
        quoted.extract()
    for table in page("table"):
        if table.find("th", string="worker"):  # what a timeline shows is in attempts.parquet, not in the documents
            table.extract()
    written = (folder / "verification.md").read_text().partition("\n## Artifacts")[0]
    prose = re.sub(r"^( *)```.*?^\1```", "", written, flags=re.DOTALL | re.MULTILINE)
    return {
        "report.html": page.get_text(" "),
        "verification.md": re.sub(r"`[^`\n]*`", "", prose),
        "terminal": terminal.verdict(study),
    }


def _raw(study: Study, texts: Mapping[str, str]) -> Iterator[str]:
    """No value of Python's; a platform's own words are quoted as they are."""
    reasons = [*study.attempts["reason"].dropna().unique(), *(each.reason for each in study.document.failures)]
    for name, text in texts.items():
        for match in RAW.finditer(_without(text, reasons)):
            yield f"{name}: raw value in …{_around(match.string, match)}…"


def _figures(study: Study, folder: Path, texts: Mapping[str, str]) -> Iterator[str]:
    """Every duration and share that is said is one of the documents' figures."""
    contents = [json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "bottleneck")]
    known = {form for value in _numbers([*contents, study.record, study.proof]) for form in _forms(value)}
    known |= {form for value in _derived(study) for form in _forms(value)}
    for name, text in texts.items():
        plain = " ".join(text.split())
        for match in FIGURE.finditer(plain):
            said = match.group().replace("−", "-").replace("- ", "-")
            if said not in known | FIXED and said.lstrip("-") not in known:
                yield f"{name}: {match.group()} is no figure of the documents: …{_around(plain, match)}…"


def _counts(study: Study, folder: Path) -> Iterator[str]:
    """Every bare number in a sentence (bookings, slots, a rate) is one of the documents' or counts parts of them."""
    contents = [json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "bottleneck")]
    listed = re.findall(r"^- \[([ x])\]", (folder / "verification.md").read_text(), re.MULTILINE)
    values = {*_numbers([*contents, study.record, study.proof, dict(study.integrity)]), *_lengths(contents)}
    logs = study.attempts["file"].nunique()  # of many, a few are named and the others counted
    values |= {float(logs), float(logs - FEW_LOGS), float(len(listed)), float(listed.count("x"))}
    values |= {float(len(level["logs"]) - FEW_LOGS) for level in study.metrics["levels"]}
    values |= {float(sum(level[name] for level in study.metrics["levels"])) for name in ("attempts", "confirmed")}
    known = {labels.number(value, digits) for value in {*values, *FIXED_COUNTS} for digits in (0, 1, 2)}
    reasons = [*study.attempts["reason"].dropna(), *(each.reason for each in study.document.failures)]
    quoted = [*reasons, study.document.mechanism.replace("_", " ")]
    for name, told in _sentences(study, folder):
        sentence = _without(told, quoted)
        for match in COUNT.finditer(NO_COUNT.sub(" ", FIGURE.sub(" ", sentence))):
            if labels.number(float(match.group().replace(",", "")), 2) not in known:
                yield f"{name}: {match.group()} counts nothing: …{_around(match.string, match)}…"


def _sentences(study: Study, folder: Path) -> Iterator[tuple[str, str]]:
    """What is written in sentences, outside of tables, charts and quotations."""
    page = BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    for quoted in page(["pre", "code", "style", "svg", "title", "table"]):
        quoted.extract()
    for part in page(["p", "li", "dd", "h1", "h2", "h3", "figcaption"]):
        yield "report.html", " ".join(part.get_text(" ").split())
    for line in _texts(study, folder)["verification.md"].splitlines():
        if not line.lstrip().startswith("|"):
            yield "verification.md", line


def _lengths(value: Any) -> Iterator[float]:
    """How many parts each list and mapping has."""
    if isinstance(value, Mapping | list | tuple):
        yield float(len(value))
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _lengths(each)


def _derived(study: Study) -> Iterator[float]:
    """Figures formed of others: the sum of the hops, single attempts, and how long a run lasted."""
    for costs in study.document.shares.values():
        yield sum(cost.mean_ms or 0.0 for cost in costs.values())
    levels = study.metrics["levels"]
    for shown in study.document.calls.waterfalls if study.document.calls else ():
        yield shown.handler_ms / shown.request_ms if shown.request_ms else 0.0
    starts, ends = ([level[name] for level in levels if level[name]] for name in ("started_at", "ended_at"))
    if starts and ends:
        yield (pd.Timestamp(max(ends)) - pd.Timestamp(min(starts))).total_seconds() * 1000
    for column in study.attempts:
        if str(column).endswith("_ms"):
            yield from study.attempts[column].dropna()


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _forms(value: float) -> set[str]:
    """A figure as it may be written."""
    bare = labels.duration(value)
    plain = {f"{value:.{digits}f}" for digits in (0, 1, 2)} | {f"{value:,.{digits}f}" for digits in (0, 1, 2)}
    return {
        *(bare, bare.lstrip("-"), labels.share(value), labels.share(value / 100)),
        *(f"{form} ms" for form in plain),
        *(f"{100 * value:.0f}%", f"{100 * value:.1f}%", f"{100 * value:.0f} %", f"{100 * value:.1f} %"),
        *(f"{value / 1000:.{digits}f} s" for digits in (0, 1, 2)),
        *(f"{value:.{digits}f} s" for digits in (0, 1)),
    }


def _sums(study: Study) -> Iterator[str]:
    """Hops add up to the attempt's total, shares to one, and no share or utilisation lies above one."""
    document = study.document
    means = {level["label"]: level for level in study.metrics["levels"]}
    tiers = {tier.label: tier.n for tier in document.tiers}
    for label, costs in document.shares.items():
        shares = [cost.share for cost in costs.values() if cost.share is not None]
        if shares and abs(sum(shares) - 1) > TOLERANCE:
            yield f"{label}: the hops' shares add up to {sum(shares):.3f}"
        total, mean = sum(cost.mean_ms or 0.0 for cost in costs.values()), means[label]["total_ms"]["mean"]
        all_split = tiers.get(label) == means[label]["confirmed"] and mean is not None
        if all_split and abs(total - mean) > TOLERANCE * total:
            yield f"{label}: the hops add up to {total:.1f} ms, a confirmed attempt takes {mean:.1f}"
    for leaf in document.leaves:
        if abs(leaf.own_ms + leaf.of_others_ms - leaf.at_ms) > max(0.1, TOLERANCE * leaf.at_ms):
            parts = f"{leaf.own_ms:.1f} own and {leaf.of_others_ms:.1f} of others"
            yield f"{leaf.name}: {parts} are not {leaf.at_ms:.1f} ms"
    for found in document.findings:
        for name, value in _named(found.figures):
            if re.search(r"share|utilisation|rate$", name) and not 0 <= value <= 1 + 1e-9:
                yield f"{found.name}: {name} is {value:.3f}"


def _named(figures: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(figures, Mapping):
        for key, each in figures.items():
            yield from _named(each, str(key))
    elif isinstance(figures, int | float) and not isinstance(figures, bool):
        yield name, float(figures)


def _prediction(study: Study) -> Iterator[str]:
    predicted = study.document.prediction
    levels = {level["label"]: level for level in study.metrics["levels"]}
    order = level_order(list(predicted))
    for label in order:
        then, level = predicted[label], levels[label]
        if then.total_ms > then.now_total_ms * 1.0001 or then.throughput_per_min < then.now_throughput_per_min * 0.9999:
            yield f"{label}: a better hop makes it worse"
        if abs(then.now_throughput_per_min - (level["throughput_per_min"] or 0.0)) > 1e-6:
            yield f"{label}: throughput now is {then.now_throughput_per_min}, measured {level['throughput_per_min']}"
        measured = level["total_ms"]["mean"]
        if measured is not None and abs(then.now_total_ms - measured) > 0.02 * measured:
            yield f"{label}: an attempt takes {then.now_total_ms:.1f} ms in the prediction, {measured:.1f} in the table"
        for value, bounds in ((then.total_ms, then.total_ci95), (then.throughput_per_min, then.throughput_ci95)):
            if bounds and not bounds[0] <= value <= bounds[1]:
                yield f"{label}: {value:.1f} is outside of its interval {bounds}"
    saved = [1 - predicted[label].total_ms / predicted[label].now_total_ms for label in order]
    for before, here, after in zip(saved, saved[1:], saved[2:], strict=False):
        if here < min(before, after) - TOLERANCE:
            yield f"a better hop saves {before:.0%}, {here:.0%}, {after:.0%} from level to level"


def _words(study: Study, texts: Mapping[str, str]) -> Iterator[str]:
    """The verdict's words agree with each other and with the figures."""
    document = study.document
    told = " ".join([card.how_sure(document), *(doubt.text for doubt in document.doubts)])
    if document.confidence == "high" and FEW.search(told):
        yield f"high, and yet: {told}"
    slope = document.growth.get(document.verdict)
    if document.kind == SATURATION and slope is not None and slope.ci95[1] < 0:
        yield f"saturation, and yet the {document.verdict} takes less with each doubling: {slope.ci95}"
    if document.kind == CONSTANT_COST and "It **saturates**" in narrative.growth(document):
        yield "constant cost, and yet it is said to saturate"
    if len(document.shares) == 1 and document.kind in (SATURATION, CONSTANT_COST) and document.prediction:
        yield f"{document.kind} of one level alone"
    if document.verdict == TIE and len(set(document.tied)) != 2:
        yield f"a tie of {document.tied}"
    steps = card.steps(document)
    listed = len(re.findall(r"^\d+\. ", narrative.recommendations(document), re.MULTILINE))
    counted = re.search(r"(\d+) recommendations?", texts["verification.md"])
    if len(steps) != listed or (counted and int(counted[1]) != listed):
        yield f"{counted[1] if counted else '–'} recommendations are told, {listed} listed, {len(steps)} made"
    yield from _shape(document)


def _shape(document: Bottleneck) -> Iterator[str]:
    timed = {label: costs[document.verdict] for label, costs in document.shares.items() if document.verdict in costs}
    for label, cost in timed.items():
        if cost.ci95 and cost.mean_ms is not None and not cost.ci95[0] - 1e-9 <= cost.mean_ms <= cost.ci95[1] + 1e-9:
            yield f"{label}: the {document.verdict}'s mean {cost.mean_ms:.1f} is outside of its interval {cost.ci95}"
    if document.probability is not None and not 0 <= document.probability <= 1:
        yield f"probability {document.probability}"


def _excerpts(study: Study) -> Iterator[str]:
    """An excerpt holds what it is shown for."""
    for item in study.document.evidence:
        if item.excerpt and not item.decisive:
            yield f"{item.source}: nothing in the excerpt shows: {item.claim}"
        for part in item.decisive:
            if part not in (item.excerpt or ""):
                yield f"{item.source}: {part!r} is not in the excerpt"


def _without(text: str, words: Sequence[str]) -> str:
    """Without these words, however they are escaped or broken into lines."""
    plain = " ".join(text.replace("\\", "").split())
    for each in words:
        plain = plain.replace(" ".join(str(each).split()), "")
    return plain


def _around(text: str, match: re.Match[str]) -> str:
    return " ".join(text[max(0, match.start() - 60) : match.end() + 40].split())


def _recorded(shared: Path) -> Iterator[Path]:
    """Runs, folders of logs (a client's beside its server's) and single logs."""
    corpus = shared / "corpus"
    yield from sorted(file.parent for file in corpus.rglob("run.json"))
    yield from sorted(file.parent for file in corpus.rglob("bookings.jsonl"))
    yield from sorted({file.parent for part in ("corpus/local", "cases") for file in (shared / part).rglob("*.log")})
    yield from sorted(corpus.glob("*.log"))


def _check_recorded(path: Path) -> tuple[str, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            study = study_of_recorded(path, Path(folder))
        except BadInput as error:
            return f"{path}, without a report ({error})", []
        return str(path), contradictions(study, Path(folder))


def study_of_recorded(path: Path, folder: Path) -> Study:
    """A run, logs, or bookings with the spans of others; ``folder`` takes the log of the latter. Raises BadInput."""
    if (path / "run.json").is_file():
        return studies.of_run(path)
    if (path / "bookings.jsonl").is_file():
        log = folder / "slot-fill-concurrency1.log"
        client_log(path / "bookings.jsonl", log)
        return studies.of_logs([log], otlp=[path / "otlp"])
    return studies.of_logs([path])


def _check_world(job: tuple[int, Kind]) -> tuple[str, list[str]]:
    world = make_world(*job, truth=False)
    with tempfile.TemporaryDirectory() as folder:
        return f"{world.name} {job[0]}", contradictions(study_of(world), Path(folder))


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--shared", type=click.Path(path_type=Path, exists=True), help="All that is recorded below this folder.")
@click.option("--worlds", default=0, help="So many of either kind.")
def main(paths: Sequence[Path], shared: Path | None, worlds: int) -> None:
    wrong = 0
    kinds: tuple[Kind, ...] = ("mixture", "misleading")
    jobs = [(seed, kind) for seed in range(1, worlds + 1) for kind in kinds]
    with ProcessPoolExecutor(2) as pool:
        recorded = pool.map(_check_recorded, [*paths, *(_recorded(shared) if shared else ())])
        for name, found in chain(recorded, pool.map(_check_world, jobs)):
            wrong += len(found)
            print("\n".join([f"{name}: {len(found)}", *(f"    {each}" for each in found)]), flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
