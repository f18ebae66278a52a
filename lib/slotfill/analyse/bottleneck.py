"""The verdict on a run, with its proof, as the typed document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.analyse.document import (
    CONSTANT_COST,
    NONE,
    UNKNOWN,
    VENUE,
    Bottleneck,
    Evidence,
    Failure,
    Finding,
    Growth,
    Limit,
    Load,
    Source,
    Tier,
    plain,
)
from slotfill.analyse.estimate import with_calls, with_database, with_unknown_locks
from slotfill.analyse.findings import examine
from slotfill.analyse.findings.measurements import INSIDE, Measurements
from slotfill.analyse.growth import Accounts, accounts, effective_concurrency
from slotfill.analyse.hops import HOPS, TIER_NAMES, hops
from slotfill.analyse.outcomes import failure_name, failures, failures_decide
from slotfill.analyse.utilisation import utilisation
from slotfill.analyse.verdict import Verdict, decide
from slotfill.database_errors import DEADLOCK, TEXTS
from slotfill.masking import mask
from slotfill.outcomes import EXHAUSTED
from slotfill.read import excerpt
from slotfill.read.block_text import block, decisive
from slotfill.read.postgres_log import LockEvent

_WORDS = 40
"""So many letters of a reason are enough to know its line by."""
_QUALITIES_TOLD = ("database_errors", "exhaustion", "inline_timeout", "warm_up", "cold_start", "seat_waste")


_CLIENT_LOG = ("submitDurationMs", "inlineDurationMs", "totalDurationMs", "durationMs")
DECISIVE: Mapping[str, tuple[str, ...]] = {
    "client": ("postJobDurationMs", *_CLIENT_LOG),
    "network": ("connectMs", "sendMs", "receiveMs", "waitMs", *_CLIENT_LOG),
    "api": ("apiMs", "handlerMs", *_CLIENT_LOG),
    "allocator": ("allocatorMs", *_CLIENT_LOG),
    "queue": ("queueMs", "scheduledAt", "startedAt", "finishedAt", "postJobDurationMs", *_CLIENT_LOG),
    "database": ("databaseMs", *_CLIENT_LOG),
    "unexplained": _CLIENT_LOG,
    "round_trips": ("databaseCalls", "databaseMs", *_CLIENT_LOG),
    "pool_wait": ("poolWaitMs",),
    "deadlock": (DEADLOCK, "still waiting for"),
    "lock_wait": ("lockWaitMs", "databaseMs", "still waiting for", *_CLIENT_LOG),
    "database_errors": tuple(words for texts in TEXTS.values() for words in texts if " " in words),
    "sequential_work": _CLIENT_LOG,
    "warm_up": _CLIENT_LOG,
    "exhaustion": ("state", "reason", "error"),
    "inline_timeout": ("INLINE_TIMEOUT", "timeoutMs", "durationMs"),
    "seat_waste": ("seatWaste",),
}
"""The names in a log, by hop or finding, that hold the figure which an excerpt is shown for."""


@dataclass(frozen=True)
class Observed:
    """What was seen of a run beside its logs, as far as it was."""

    samples: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Of the database and the processes, one frame a label."""
    cpus: int | None = None
    """Cores of the machine they were taken on."""
    calls: pd.DataFrame | None = None
    """``Inside.attempts``: the platform's calls, as spans or taps saw them."""
    lock_events: Sequence[LockEvent] = ()
    """Of Postgres' own log."""
    sessions: Sequence[str] = ()
    """Names of the platform's own sessions, where they are not those of well-known software."""


NOTHING = Observed()


def bottleneck(
    attempts: pd.DataFrame,
    server: pd.DataFrame,
    error_lines: pd.DataFrame,
    observed: Observed = NOTHING,
) -> Bottleneck:
    """The document on a run; ``attempts``, ``server`` and ``error_lines`` are a ``Reading``'s."""
    failed = failures(attempts, server)
    try:
        case = measure(attempts, server, error_lines, observed)
    except ValueError as error:
        return _nothing_measured(attempts, failed, str(error))
    figures, findings = case.accounts, examine(case)
    document = Bottleneck(
        NONE if failures_decide(attempts) else UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        shares=figures.shares,
        loads=_loads(figures),
        tiers=_tiers(figures),
        findings=tuple(_placed(case, found) for found in findings.values()),
        failures=tuple(replace(each, sources=tuple(map(case.place, each.sources))) for each in failed),
    )
    if document.verdict == NONE:
        return replace(
            document, mechanism=failure_name(attempts), evidence=tuple(_failure_evidence(failed, case.root)), shares={}
        )
    verdict = decide(case, findings)
    return replace(
        document,
        verdict=verdict.hop,
        mechanism=verdict.mechanism,
        kind=verdict.kind,
        probability=verdict.probability,
        tied=verdict.tied,
        doubts=verdict.doubts,
        leaves=verdict.leaves,
        growth={
            hop: Growth(slope.value, (slope.low, slope.high))
            for hop, slope in figures.growth.items()
            if slope is not None
        },
        evidence=tuple(_evidence(case, verdict, findings)),
        prediction=verdict.prediction,
        throughput_limit_per_min=verdict.throughput_limit_per_min,
        limits=tuple(_limits(case, verdict, findings)),
    )


def measure(
    attempts: pd.DataFrame,
    server: pd.DataFrame,
    error_lines: pd.DataFrame,
    observed: Observed,
) -> Measurements:
    """Fold everything a finding looks at, once. Raises ValueError where no attempt can be measured."""
    utilisations = {
        label: found
        for label in sorted(attempts["label"].unique())
        if label in observed.samples
        for rows in [attempts[(attempts["label"] == label).to_numpy()]]
        if (found := utilisation(observed.samples[label], rows, observed.sessions)) is not None
    }
    table = with_database(hops(attempts, server), utilisations, effective_concurrency(attempts), observed.cpus)
    if observed.calls is not None:
        table = with_calls(table, observed.calls)
    table = with_unknown_locks(table, utilisations)
    figures = accounts(attempts, table)
    return Measurements(
        attempts, server, error_lines, table, figures, utilisations, observed.cpus, observed.lock_events
    )


def _nothing_measured(attempts: pd.DataFrame, failed: tuple[Failure, ...], why: str) -> Bottleneck:
    """The document of a run in which no attempt was decided, other than by running out of tables."""
    limits = (Limit(f"Nothing can be said about time: {why}."),)
    if failures_decide(attempts):
        evidence = tuple(_failure_evidence(failed, None))
        return Bottleneck(NONE, failure_name(attempts), UNKNOWN, evidence=evidence, failures=failed, limits=limits)
    if len(attempts) and bool((attempts["outcome"] == EXHAUSTED).any()):
        return Bottleneck(VENUE, "exhaustion", CONSTANT_COST, failures=failed, limits=limits)
    return Bottleneck(UNKNOWN, UNKNOWN, UNKNOWN, failures=failed, limits=limits)


def _failure_evidence(failed: tuple[Failure, ...], root: str | None) -> Iterator[Evidence]:
    """What the platform said of the bookings that failed, in its own words."""
    for failure in failed:
        claim = f"{failure.attempts} bookings failed: {mask(failure.reason)}"
        words = (mask(failure.reason)[:_WORDS].strip(),)
        yield from _shown(claim, failure.attempts, None, tuple(_telling(failure)), root, words)


def _telling(failure: Failure) -> Iterator[Source]:
    """Where the reason itself is printed: in an attempt's last line, or in the one before or after it."""
    for source in failure.sources:
        beside = (0, -1, 1) if Path(source.file).is_file() else ()
        lines = (Source(source.file, source.line + step) for step in beside)
        yield next((each for each in lines if failure.reason[:_WORDS] in excerpt(each.file, each.line)), source)


def _evidence(case: Measurements, verdict: Verdict, findings: Mapping[str, Finding]) -> Iterator[Evidence]:
    """What supports the verdict, strongest first: the hop's cost, the mechanism, then what else was found."""
    if verdict.hop in HOPS:
        for label in case.accounts.labels:
            cost = case.accounts.shares[label][verdict.hop]
            if cost.mean_ms is not None:
                claim = f"{verdict.hop} at {label}: mean time of an attempt (shown: the longest)"
                slowest = case.slowest(f"{verdict.hop}_ms", 1, label)
                yield from _shown(claim, cost.mean_ms, "ms", slowest, case.root, DECISIVE[verdict.hop])
    names = [verdict.mechanism, *(name for name in _QUALITIES_TOLD if findings[name].holds)]
    names += [name for name, found in findings.items() if found.holds and found.hop == verdict.hop]
    for name in dict.fromkeys(names):
        if name in findings and findings[name].holds:
            found = findings[name]
            keys = DECISIVE.get(name) or DECISIVE.get(str(found.hop), ())
            yield from _shown(found.claim, plain(found.figures), None, found.sources, case.root, keys)


def _shown(
    claim: str, value: Any, unit: str | None, sources: tuple[Source, ...], root: str | None, keys: Sequence[str]
) -> Iterator[Evidence]:
    """A claim with each place that shows it, by ``keys``: the whole block of a server's log, no personal data."""
    if not sources:
        yield Evidence(claim, value, unit)
    for source in sources:
        line, text = source.line, ""
        if Path(source.file).is_file():
            line, text = block(source.file, source.line, keys)
            text = mask(text)
        file = str(Path(source.file).absolute().relative_to(root)) if root else source.file
        yield Evidence(claim, value, unit, Source(file, line), text or None, decisive(text, keys))


def _tiers(figures: Accounts) -> tuple[Tier, ...]:
    """What each level's time accounting rests on."""
    by_label = {str(label): rows for label, rows in figures.measured.groupby("label")}
    return tuple(
        Tier(label, TIER_NAMES[int(rows["tier"].iloc[0])], len(rows), bool(rows["estimated"].any()))
        for label in figures.labels
        for rows in [by_label[label]]
    )


def _loads(figures: Accounts) -> dict[str, Load]:
    """What each level put on the platform, by the attempts of the time accounting."""
    by_label = {str(label): rows for label, rows in figures.measured.groupby("label")}
    return {
        label: Load(
            workers=int(rows["concurrency"].max()) if rows["concurrency"].notna().any() else figures.effective[label],
            effective_workers=figures.effective[label],
            others_in_flight=float(rows["others"].mean()) if rows["others"].notna().any() else None,
            rounds=max(1, int(rows["round_number"].nunique())),
        )
        for label in figures.labels
        for rows in [by_label[label]]
    }


def _placed(case: Measurements, finding: Finding) -> Finding:
    return replace(finding, sources=tuple(map(case.place, finding.sources)))


def _limits(case: Measurements, verdict: Verdict, findings: Mapping[str, Finding]) -> Iterator[Limit]:
    """What these data cannot say, and which data would."""
    if len(case.accounts.labels) == 1:
        yield Limit(
            "Only one level was measured, so growth with concurrency is unknown; "
            "levels 1, 4 and 8 of the same plan would tell."
        )
    if case.accounts.measured["database_ms"].isna().any():
        yield Limit(
            "The logs alone cannot say how much of the API's and the allocator's time is waiting for the database; "
            f"{INSIDE}, or samples of the database during the run, would tell."
        )
    if case.accounts.measured["estimated"].any():
        yield Limit(
            "The database's part is an estimate, from samples or other attempts' calls, its interval too narrow for "
            f"that; {INSIDE} would measure it."
        )
    left_out = len(case.attempts) - len(case.accounts.measured)
    if left_out:
        yield Limit(
            f"{left_out} of {len(case.attempts)} attempts are not in the time accounting: they did not end, failed, "
            "found no table, or left less evidence than the others of their level."
        )
    host = findings["host_cpu"]
    if host.holds:
        yield Limit(
            f"Client, platform and database shared a machine, and {host.claim}: part of the growth with concurrency is "
            "the machine's. Driving the load from another machine would tell the platform's own part."
        )
    if findings["cpu_hog"].holds:
        yield Limit(
            f"{findings['cpu_hog'].claim[0].upper()}{findings['cpu_hog'].claim[1:]}, so all times are longer than "
            "the platform's own; a run on a quiet machine would tell by how much."
        )
    few = findings["few_samples"]
    for label, thin in few.figures.items():
        yield Limit(
            f"{label} has {thin['attempts']} attempts over {thin['slots']} slots: no {', '.join(thin['not_carried'])}."
        )
    for found in findings.values():
        if found.verdict == "unknown" and found.hop in (None, verdict.hop):
            yield Limit(f"{found.name.replace('_', ' ')}: {found.claim}.", found.name, found.needs)
