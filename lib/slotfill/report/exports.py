"""A run's figures for other tools: parquet and CSV with units in their names, and an OpenMetrics text file.

What each column means stands in ``docs/data-dictionary.md``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from slotfill.analyse.hops import hops
from slotfill.analyse.study import Study
from slotfill.escape import for_cell
from slotfill.files import write_parquet, write_text
from slotfill.read.kept import CALLS, read_kept_calls
from slotfill.run import driven_cells

_STAGES = ("submit_ms", "inline_ms", "post_job_ms", "total_ms")
_FIGURES = ("mean", "p50", "p95", "p99", "max")


def write(study: Study, run_folder: Path | None, out: Path) -> list[Path]:
    """Attempts, hops, metrics and, where a run recorded them, calls into ``out``, which exists; the files written."""
    frames = {
        "attempts": study.attempts,
        "hops": hops(study.attempts, study.reading.server),
        "metrics": metrics_frame(study.metrics),
        "calls": calls_frame(run_folder),
    }
    written = []
    for name, frame in frames.items():
        if not frame.empty:
            written += [out / f"{name}.parquet", out / f"{name}.csv"]
            write_parquet(out / f"{name}.parquet", frame)
            write_text(out / f"{name}.csv", _csv(frame))
    write_text(out / "metrics.prom", openmetrics(study))
    return [*written, out / "metrics.prom"]


def metrics_frame(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """One row a level, the figures of metrics.json as plain columns: ``submit_mean_ms``, ``submit_ci95_low_ms`` …"""
    return pd.DataFrame([_level(level) for level in metrics["levels"]])


def calls_frame(run_folder: Path | None) -> pd.DataFrame:
    """The calls that taps saw, of all levels and rounds, with their ``label`` and ``round``; empty without any."""
    levels = sorted(run_folder.glob("concurrency-*")) if run_folder else []
    cells = [(level, cell) for level in levels for cell in driven_cells(level) if (cell / CALLS).exists()]
    frames = [read_kept_calls([cell]).assign(**_place(level, cell)) for level, cell in cells]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def openmetrics(study: Study) -> str:
    """The run's figures in OpenMetrics text, times in seconds as its users expect."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"slotfill_{name}", text, labels, registry=registry)

    attempts = gauge("attempts", "Booking attempts by how they ended", "level", "outcome")
    throughput = gauge("confirmed_per_minute", "Confirmed bookings a minute", "level")
    waste = gauge("seats_wasted_per_booking", "Seats given beyond the party's size, mean", "level")
    stage = gauge("stage_seconds", "Time of a stage of confirmed bookings", "level", "stage", "figure")
    hop = gauge("hop_seconds", "Mean time of a hop in an attempt", "level", "hop")
    verdict = gauge("verdict_info", "The verdict on the run", "hop", "mechanism", "kind", "status", "confidence")
    for level in study.metrics["levels"]:
        name = level["label"]
        for outcome, count in level["outcomes"].items():
            attempts.labels(name, outcome).set(count)
        _set(throughput, level["throughput_per_min"], name)
        _set(waste, level["seat_waste"]["mean"], name)
        for key in _STAGES:
            for figure in _FIGURES:
                _set_ms(stage, level[key][figure], name, key.removesuffix("_ms"), figure)
    document = study.document
    for label, costs in document.shares.items():
        for of_hop, cost in costs.items():
            _set_ms(hop, cost.mean_ms, label, of_hop)
    verdict.labels(document.verdict, document.mechanism, document.kind, document.status, document.confidence).set(1)
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def _set(gauge: Gauge, value: float | None, *labels: str) -> None:
    if value is not None:
        gauge.labels(*labels).set(value)


def _set_ms(gauge: Gauge, value_ms: float | None, *labels: str) -> None:
    _set(gauge, None if value_ms is None else value_ms / 1000, *labels)


def _level(level: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in level.items() if not isinstance(value, Mapping | list)}
    for key in _STAGES:
        stage = key.removesuffix("_ms")
        low, high = level[key]["ci95"] or (None, None)
        row |= {f"{stage}_{figure}_ms": level[key][figure] for figure in _FIGURES}
        row |= {f"{stage}_ci95_low_ms": low, f"{stage}_ci95_high_ms": high}
    for name in ("seat_waste", "in_flight", "slots"):
        row |= {f"{name}_{figure}": value for figure, value in (level.get(name) or {}).items()}
    return row | {f"attempts_{outcome}": count for outcome, count in level["outcomes"].items()}


def _place(level: Path, cell: Path) -> dict[str, Any]:
    """Which level and round a cell is."""
    return {"label": level.name, "round": 1 if cell == level else int(cell.name.removeprefix("round-"))}


def _csv(frame: pd.DataFrame) -> str:
    """Values that a spreadsheet would take for formulas are quoted as text."""
    texts = frame.select_dtypes(include=["object", "string"]).columns
    safe = frame.assign(**{str(name): frame[name].map(for_cell, na_action="ignore") for name in texts})
    return safe.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ", lineterminator="\n")
