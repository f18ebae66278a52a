"""Everything there is to tell about a run or about some logs, read and analysed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill import sample
from slotfill.analyse import coverage, next_steps, seat_costs, sessions
from slotfill.analyse.bottleneck import Observed, bottleneck
from slotfill.analyse.caveats import caveats
from slotfill.analyse.document import Bottleneck
from slotfill.analyse.inside import Inside, look_inside
from slotfill.analyse.kept import KeptChecks, KeptLevel, KeptProof
from slotfill.analyse.metrics import metrics
from slotfill.analyse.seat_optimum import seat_optimum
from slotfill.errors import BadInput
from slotfill.files import read_json
from slotfill.params import EMBEDDED
from slotfill.read import Reading, read_logs
from slotfill.read.kept import POSTGRES_LOG, read_kept_calls, read_kept_spans
from slotfill.read.postgres_log import LockEvent, lock_events
from slotfill.read.spans import SpansReading, read_spans
from slotfill.run import SLOT_LOGS, driven_cells, read_record

_FEW = 5
_SLACK = timedelta(seconds=5)
"""What the database still does for a booking after its attempt ended, and what clocks may differ by."""
_OF_ANOTHER = {"confirmed": "confirmed that", "refuted": "refuted that", "asserted": "did not settle that"}
SAMPLE_COLUMNS = ("label", "at", "kind", "metric", "value")


@dataclass(frozen=True)
class Study:
    """Logs and what they say. ``metrics`` has the structure of metrics.json, ``document`` is bottleneck.json typed.

    ``samples`` are the database samples of all levels with their ``label``; ``integrity`` is
    {"before": {folder: report}, "after": {folder: report}}, a folder a round of a level. They and ``record`` (run.json)
    are empty for logs that no run of this project wrote.
    """

    source: str
    reading: Reading
    samples: pd.DataFrame
    metrics: dict[str, Any]
    document: Bottleneck
    record: Mapping[str, Any]
    integrity: Mapping[str, Mapping[str, Any]]
    proof: Mapping[str, Any]
    """What an experiment made of the verdict (proof.json); empty where there was none."""
    inside: Inside
    """What spans or taps saw of the platform's calls; empty where nothing did."""
    notes: tuple[str, ...] = ()
    """What was passed over of spans that others recorded, one line each."""

    @property
    def attempts(self) -> pd.DataFrame:
        return self.reading.attempts


def of_run(folder: Path) -> Study:
    """A run folder. Raises BadInput where no level of it was driven."""
    levels = [level for level in sorted(folder.iterdir()) if level.is_dir() and driven_cells(level)]
    if not levels:
        raise BadInput(f"{folder}: no level in it has a log ({SLOT_LOGS}); is it a run folder?")
    return _of_levels(f"run {folder.name}", levels, folder)


def with_seat_optimum(found: Study) -> Study:
    """The study with the best seating beside each level's seats; solving takes seconds, so only a report asks."""
    seats = seat_costs.with_optimum(found.document.seats, seat_optimum(found.attempts))
    return replace(found, document=replace(found.document, seats=tuple(seats)))


def of_level(folder: Path) -> Study:
    """One level's folder. Raises BadInput where it was not driven."""
    if not driven_cells(folder):
        raise BadInput(f"{folder}: has no log ({SLOT_LOGS}); is it a level's folder?")
    return _of_levels(f"{folder.name} of run {folder.parent.name}", [folder], folder.parent)


def of_logs(
    paths: Sequence[Path],
    server_logs: Sequence[Path] = (),
    otlp: Sequence[Path] = (),
    postgres_logs: Sequence[Path] = (),
) -> Study:
    """Any logs, files or folders, of this runner or of the platform's own, OTLP bodies that others recorded, and
    Postgres' own logs.

    Raises BadInput for a missing path.
    """
    names = [path.name for path in (*paths, *server_logs)]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    told = read_spans(otlp) if otlp else SpansReading(read_kept_spans([]))
    found = of_reading(
        f"logs {', '.join(names[:_FEW])}{more}",
        read_logs(paths, server_logs),
        pd.DataFrame(columns=SAMPLE_COLUMNS),
        record={},
        integrity={},
        proof={},
        spans=told.spans,
        taps=read_kept_calls([]),
        postgres_logs=postgres_logs,
    )
    return replace(found, notes=told.notes)


def _of_levels(source: str, levels: Sequence[Path], run_folder: Path) -> Study:
    observed = [
        sample.read(file).assign(label=level.name)
        for level in levels
        for cell in driven_cells(level)
        if (file := cell / "samples.parquet").exists()
    ]
    samples = pd.concat(observed, ignore_index=True) if observed else pd.DataFrame(columns=SAMPLE_COLUMNS)
    record = run_folder / "run.json"
    integrity = {
        when: {
            str(cell.relative_to(run_folder)): read_json(file, KeptChecks)
            for level in levels
            for cell in driven_cells(level)
            if (file := cell / f"integrity-{when}.json").exists()
        }
        for when in ("before", "after")
    }
    # Spans that others recorded lie in the run folder itself.
    heard = [run_folder, *(cell for level in levels for cell in driven_cells(level))]
    found = of_reading(
        source,
        read_logs(levels),
        samples,
        read_record(record) if record.exists() else {},
        integrity,
        read_json(proof, KeptProof) if (proof := run_folder / "proof.json").exists() else {},
        read_kept_spans(heard),
        read_kept_calls(heard),
        [file for folder in heard if (file := folder / POSTGRES_LOG).exists()],
    )
    if (view := found.document.calls) is None:
        return found
    lost_spans, lost_bodies = _lost([cell / "level.json" for level in levels for cell in driven_cells(level)])
    view = replace(view, lost_spans=lost_spans, lost_bodies=lost_bodies)
    return replace(found, document=replace(found.document, calls=view))


def _lost(records: Sequence[Path]) -> tuple[int, int]:
    """How many spans, and how many bodies of spans, were sent to a run and not kept, by its ``level.json``."""
    told = [(read_json(file, KeptLevel).get("heard") or {}).get("otlp") or {} for file in records if file.exists()]
    spans = sum(counts.get("lost", 0) for counts in told)
    return spans, sum(counts.get("refused", 0) + counts.get("unreadable", 0) for counts in told)


def of_reading(
    source: str,
    reading: Reading,
    samples: pd.DataFrame,
    record: Mapping[str, Any],
    integrity: Mapping[str, Any],
    proof: Mapping[str, Any],
    spans: pd.DataFrame,
    taps: pd.DataFrame,
    postgres_logs: Sequence[Path] = (),
) -> Study:
    """What was read already, with all that was kept beside it. Raises BadInput where it holds no attempt."""
    if reading.attempts.empty:
        raise BadInput(f"{source}: no booking attempt in these logs")
    by_label = {str(label): rows for label, rows in samples.groupby("label")}
    cpus = record.get("host", {}).get("cpus")
    inside = look_inside(reading.attempts, spans, taps)
    calls = inside.attempts if inside.known else None
    locked = _meanwhile(reading.attempts, [event for file in postgres_logs for event in lock_events(file)])
    own_sessions = record.get("target", {}).get("sessions", ())
    observed = Observed(by_label, cpus, calls, locked, own_sessions)
    found = bottleneck(reading.attempts, reading.server, reading.error_lines, observed)
    measured = metrics(reading.attempts)
    integrity = {when: reports for when, reports in integrity.items() if reports}
    embedded = record.get("parameters", {}).get("target") == EMBEDDED
    can_profile = embedded or bool(reading.server["profile_line"].notna().any())
    found = next_steps.with_next_steps(found, next_steps.available_data(reading.attempts, by_label, found, can_profile))
    document = replace(
        found,
        caveats=caveats(record, reading.attempts, inside.foreign_traces, inside.instrumented),
        seats=tuple(seat_costs.costs(reading.attempts, measured)),
        coverage=coverage.coverage(reading.attempts),
        integrity=coverage.integrity(integrity, {level["label"] for level in measured["levels"]}),
        sessions=sessions.busiest(sessions.by_instant(samples)),
        **_tested(proof, found),
        calls=inside.view(),
    )
    return Study(
        source=source,
        reading=reading,
        samples=samples,
        metrics=measured,
        document=document,
        record=record,
        integrity=integrity,
        proof=proof,
        inside=inside,
    )


def _meanwhile(attempts: pd.DataFrame, events: Sequence[LockEvent]) -> list[LockEvent]:
    """The events while attempts were made, and those whose instant is not known: a log may be of weeks."""
    begin, end = attempts["started_at"].min(), attempts["ended_at"].max()
    if pd.isna(begin) or pd.isna(end):
        return list(events)
    return [event for event in events if event.at is None or begin - _SLACK <= event.at <= end + _SLACK]


def _tested(proof: Mapping[str, Any], found: Bottleneck) -> dict[str, Any]:
    """What an experiment made of the verdict; one that tested another verdict says nothing of this one but that."""
    if not proof:
        return {}
    hop, mechanism = proof["hop"], proof["mechanism"]
    if (hop, mechanism) == (found.verdict, found.mechanism):
        return {"status": proof["status"], "experiment": proof["reason"]}
    return {"experiment": f"it tested another verdict, {hop} ({mechanism}), and {_OF_ANOTHER[proof['status']]}"}
