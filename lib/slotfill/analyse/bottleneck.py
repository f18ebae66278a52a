"""bottleneck.json: the verdict on a run, with its proof."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from slotfill.analyse import stats
from slotfill.analyse.estimate import with_database
from slotfill.analyse.findings import Evidence, Finding, Source, examine
from slotfill.analyse.findings.processor import computing_ms
from slotfill.analyse.growth import Accounts, accounts, effective_concurrency
from slotfill.analyse.hops import HOPS, TIER_NAMES, hops
from slotfill.analyse.metrics import metrics
from slotfill.analyse.prediction import Loop, halved
from slotfill.analyse.utilisation import pressure
from slotfill.analyse.verdict import SATURATION, Verdict, decide
from slotfill.attempt import EXHAUSTED
from slotfill.read import excerpt

_QUALITIES_TOLD = ("database_errors", "exhaustion", "inline_timeout", "warm_up", "cold_start", "seat_waste")


def bottleneck(
    attempts: pd.DataFrame,
    server: pd.DataFrame,
    samples: Mapping[str, pd.DataFrame],
    signs: pd.DataFrame,
    cpus: int | None = None,
    resamples: int = stats.RESAMPLES,
) -> dict[str, Any]:
    """The content of ``bottleneck.json``: plain values only.

    ``attempts``, ``server`` and ``signs`` are a ``Reading``'s; ``samples`` has one frame a label, as far
    as they were taken; ``cpus`` is the number of cores of the machine they were taken on.
    """
    try:
        case = build_evidence(attempts, server, samples, signs, cpus, resamples)
    except ValueError as error:
        return _nothing_measured(attempts, str(error))
    figures = case.accounts
    findings = examine(case)
    verdict = decide(case, findings)
    return {
        "verdict": verdict.hop,
        "mechanism": verdict.mechanism,
        "kind": verdict.kind,
        "confidence": verdict.confidence,
        "doubts": list(verdict.doubts),
        "shares": {
            label: {hop: _json(asdict(cost)) for hop, cost in costs.items()} for label, costs in figures.shares.items()
        },
        "growth": {
            hop: {"per_doubling_ms": slope.value, "ci95": [slope.low, slope.high]}
            for hop, slope in figures.growth.items()
            if slope is not None
        },
        "evidence": _evidence(case, verdict, findings),
        "evidence_tiers": _tiers(figures),
        "prediction": _prediction(case, verdict),
        "findings": [_finding(case, found) for found in findings.values()],
        "limits": _limits(case, verdict, findings),
    }


def build_evidence(
    attempts: pd.DataFrame,
    server: pd.DataFrame,
    samples: Mapping[str, pd.DataFrame],
    signs: pd.DataFrame,
    cpus: int | None = None,
    resamples: int = stats.RESAMPLES,
) -> Evidence:
    """Fold everything a finding looks at, once. Raises ValueError where no attempt can be measured."""
    pressures = {
        str(label): found
        for label, rows in attempts.groupby("label")
        if label in samples and (found := pressure(samples[str(label)], rows)) is not None
    }
    table = with_database(hops(attempts, server), pressures, effective_concurrency(attempts), cpus)
    return Evidence(attempts, server, signs, table, accounts(attempts, table, resamples), pressures, cpus)


def _nothing_measured(attempts: pd.DataFrame, why: str) -> dict[str, Any]:
    """The document of a run in which no attempt was decided, other than by running out of tables."""
    ran_out = bool(len(attempts)) and bool((attempts["outcome"] == EXHAUSTED).any())
    return {
        "verdict": "venue" if ran_out else "unknown",
        "mechanism": "exhaustion" if ran_out else "unknown",
        "kind": "constant_cost" if ran_out else "unknown",
        "confidence": "low",
        "doubts": [],
        "shares": {},
        "growth": {},
        "evidence": [],
        "evidence_tiers": [],
        "prediction": {},
        "findings": [],
        "limits": [f"Nothing can be said about time: {why}."],
    }


def _evidence(case: Evidence, verdict: Verdict, findings: Mapping[str, Finding]) -> list[dict[str, Any]]:
    """What supports the verdict, strongest first: the hop's cost, the mechanism, then what else was found."""
    proof: list[tuple[str, Any, tuple[Source, ...]]] = []
    if verdict.hop in HOPS:
        for label in case.accounts.labels:
            cost = case.accounts.shares[label][verdict.hop]
            if cost.mean_ms is not None:
                claim = f"{verdict.hop} at {label}: mean time of an attempt (shown: the longest)"
                proof.append((claim, f"{cost.mean_ms:.1f} ms", case.slowest(f"{verdict.hop}_ms", 1, label)))
    told = [verdict.mechanism, *(name for name in _QUALITIES_TOLD if findings[name].holds)]
    told += [name for name, found in findings.items() if found.holds and found.hop == verdict.hop]
    proof += [
        (findings[name].claim, _json(findings[name].figures), findings[name].sources)
        for name in dict.fromkeys(told)
        if name in findings and findings[name].holds
    ]
    return [exhibit for claim, value, sources in proof for exhibit in _excerpts(case, claim, value, sources)]


def _excerpts(case: Evidence, claim: str, value: Any, sources: tuple[Source, ...]) -> list[dict[str, Any]]:
    """A claim with each place that shows it."""
    if not sources:
        return [{"claim": claim, "value": value, "source": None, "excerpt": None}]
    return [
        {"claim": claim, "value": value, "source": case.place(source), "excerpt": excerpt(*source)}
        for source in sources
    ]


def _tiers(figures: Accounts) -> list[str]:
    """What each level's time accounting rests on."""
    told = []
    for label in figures.labels:
        rows = figures.measured[(figures.measured["label"] == label).to_numpy()]
        tier = TIER_NAMES[int(rows["tier"].iloc[0])]
        estimate = ", database estimated from samples" if rows["estimated"].any() else ""
        told.append(f"{label}: {tier}{estimate} ({len(rows)} attempts)")
    return told


def _prediction(case: Evidence, verdict: Verdict) -> dict[str, Any]:
    """Time and throughput if the verdict's hop took half its time, for each level."""
    if verdict.hop not in HOPS:
        return {}
    saturates, shared = verdict.kind == SATURATION, verdict.mechanism == "cpu"
    per_min = {level["label"]: level["throughput_per_min"] for level in metrics(case.attempts)["levels"]}
    loops = {}
    for label, workers in case.accounts.effective.items():
        sampled = case.pressures.get(label)
        computing = (computing_ms(sampled), sampled.capacity(case.cpus or 1)) if sampled is not None else ()
        loops[label] = Loop(workers, per_min[label] or 0.0, *computing)
    found = halved(case.table, case.attempts, loops, verdict.hop, saturates, shared)
    return {label: _json(asdict(each)) for label, each in found.items()}


def _finding(case: Evidence, finding: Finding) -> dict[str, Any]:
    content: dict[str, Any] = _json(asdict(finding))
    content["sources"] = [case.place(source) for source in finding.sources]
    return content


def _limits(case: Evidence, verdict: Verdict, findings: Mapping[str, Finding]) -> list[str]:
    """What these data cannot say, and which data would."""
    said = []
    if len(case.accounts.labels) == 1:
        said.append(
            "Only one level was measured, so growth with concurrency is unknown; "
            "levels 1, 4 and 8 of the same plan would tell."
        )
    if case.accounts.measured["database_ms"].isna().any():
        said.append(
            "The logs alone cannot say how much of the api's and the allocator's time is waiting for the database; "
            "DEBUG_CAPACITY_PROFILING on the server, or database samples during the run, would tell."
        )
    if case.accounts.measured["estimated"].any():
        said.append(
            "The database's part is an estimate from samples, its interval too narrow for that; "
            "DEBUG_CAPACITY_PROFILING on the server would measure it."
        )
    left_out = len(case.attempts) - len(case.accounts.measured)
    if left_out:
        said.append(
            f"{left_out} of {len(case.attempts)} attempts are not in the time accounting: they did not end, failed, "
            "found no table, or left less evidence than the others of their level."
        )
    host = findings["host_cpu"]
    if host.holds:
        said.append(
            f"Client, platform and database shared a machine, and {host.claim}: part of the growth with concurrency is "
            "the machine's. Driving the load from another machine would tell the platform's own part."
        )
    if findings["cpu_hog"].holds:
        said.append(
            f"{findings['cpu_hog'].claim[0].upper()}{findings['cpu_hog'].claim[1:]}, so all times are longer than "
            "the platform's own; a run on a quiet machine would tell by how much."
        )
    few = findings["few_samples"]
    for label, thin in few.figures.items():
        said.append(
            f"{label} has {thin['attempts']} attempts over {thin['slots']} slots: no {', '.join(thin['not_carried'])}."
        )
    unknown = [found for found in findings.values() if found.verdict == "unknown" and found.hop in (None, verdict.hop)]
    said += [
        f"{found.name.replace('_', ' ')}: {found.claim}" + (f"; {found.needs}." if found.needs else ".")
        for found in unknown
    ]
    return said


def _json(value: Any) -> Any:
    """Plain values: no tuples, no numpy scalars, no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    number = float(value)
    return number if number == number else None
