"""Attempts from what files tell of them: each attempt once, with an outcome, in the level it belongs to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slotfill.attempt import COLUMNS, Attempt, frame, from_arrow
from slotfill.outcomes import CONFIRMED_OUTCOMES, OUTCOMES
from slotfill.read.attempt_record import AttemptRecord
from slotfill.read.client_log import outcome_of_request
from slotfill.read.file import LogFile
from slotfill.read.file_level import NAMED, FileLevel, distinct_labels, level_of

APART = timedelta(minutes=30)
"""Logs of a level with more than this between them are of different runs; those of one follow each other."""
SAME_START = timedelta(seconds=1)
"""Tellings of one attempt say the same instant, to the precision of the log that tells it."""


def attempts(files: Sequence[LogFile]) -> pd.DataFrame:
    """One row an attempt (``slotfill.attempt.frame``) for all that is told of it, in the order of their start.

    The fullest telling counts, and the others fill in what it lacks. A label recorded in any of them,
    or given by a file's name, goes before that of a folder.
    """
    # A path is looked up for those files only that tell an attempt: a folder may hold 100,000 that do not.
    levels = {
        file.path: level_of(file.path, file.client.label, file.client.concurrency)
        for file in files
        if file.client.records or len(file.table)
    }
    parts = [part for file in files if len(file.table) for part in _parts(file)]
    records = [record for file in files for record in file.client.records]
    if not _are_distinct(parts, records):
        parts, records = [], [record for file in files for record in file.records()]
    groups = [*_groups(records), *([part.stand_in] for part in parts)]
    merged = _apart([_merge(group, levels) for group in groups])
    names = distinct_labels({level for _, level in merged})
    single = merged[: len(merged) - len(parts)]
    frames = [frame(_attempt(record, level, names[level]) for record, level in single)] if single or not parts else []
    for part, (_, level) in zip(parts, merged[len(single) :], strict=True):
        frames.append(_columns(part, level, names[level]))
    rows = pd.concat(frames, ignore_index=True)
    del frames, parts  # of a million attempts a copy is 600 MB
    return rows.sort_values(["started_at", "file", "first_line"], kind="stable", ignore_index=True)


@dataclass(frozen=True)
class _Part:
    """The regular attempts of a file that are of one level, and a record that has that level and their times."""

    table: pa.Table
    stand_in: AttemptRecord


def _parts(file: LogFile) -> Iterator[_Part]:
    labels, numbers = (pc.unique(file.table[name]).to_pylist() for name in ("label", "concurrency"))
    for place in ({"label": label, "concurrency": number} for label in labels for number in numbers):
        table = file.table
        for name, value in place.items() if len(labels) * len(numbers) > 1 else ():
            table = table.filter(pc.is_null(table[name]) if value is None else pc.equal(table[name], value))
        if not len(table):
            continue
        columns = [table[name] for name in ("started_at", "submitted_at", "ended_at")]
        ends = [pc.min_max(column).as_py() for column in columns]
        firsts, lasts = ([end[which] for end in ends if end[which]] for which in ("min", "max"))
        known = {name: value for name, value in place.items() if value is not None}
        times = {"started_at": min(firsts), "ended_at": max(lasts)}  # every regular attempt has an end
        yield _Part(table, AttemptRecord(file.path, 0, known | times))


def _are_distinct(parts: Sequence[_Part], records: Sequence[AttemptRecord]) -> bool:
    """Whether no attempt is told of twice: each has an id, and another one."""
    if not parts:
        return True
    ids = pa.chunked_array(
        [
            *(chunk for part in parts for chunk in part.table["correlation_id"].chunks),
            pa.array([record.facts.get("correlation_id") for record in records], pa.string()),
        ]
    )
    return bool(ids.null_count == 0 and pc.count_distinct(ids).as_py() == len(ids))


def _columns(part: _Part, level: FileLevel, label: str) -> pd.DataFrame:
    """The rows of regular attempts, which all were confirmed."""
    table, count = part.table, len(part.table)
    given: dict[str, Any] = {
        "label": pa.repeat(label, count),
        "concurrency": pa.array([level.concurrency] * count, pa.int64()),
        "file": pa.repeat(str(part.stand_in.file), count),
        "reason": pa.nulls(count, pa.string()),
        "background_invoked": pc.fill_null(table["background_invoked"], False),
    }
    return from_arrow({name: given.get(name, table[name] if name in table.column_names else None) for name in COLUMNS})


def _groups(records: Iterable[AttemptRecord]) -> list[list[AttemptRecord]]:
    """Tellings of the same attempt: the same correlation id, or, where one has none, the same moment and party."""
    groups: list[list[AttemptRecord]] = []
    by_id: dict[str, list[list[AttemptRecord]]] = defaultdict(list)
    first_at: dict[Any, list[AttemptRecord]] = {}
    unnamed_at: dict[Any, list[list[AttemptRecord]]] = defaultdict(list)
    for telling in records:
        identity, moment = telling.facts.get("correlation_id"), _moment(telling)
        unnamed = unnamed_at[moment]
        alike = (each for each in by_id[identity] if _at_one_time(telling, each)) if identity else ()
        group = next(iter(alike), None) if identity else first_at.get(moment)
        if identity and group is None and unnamed:
            group = unnamed.pop(0)
        if group is None:
            groups.append(group := [])
            if moment is not None:
                first_at.setdefault(moment, group)
                if not identity:
                    unnamed.append(group)
        if identity and not any(group is each for each in by_id[identity]):
            by_id[identity].append(group)
        group.append(telling)
    shared = {identity: sharing for identity, sharing in by_id.items() if len(sharing) > 1}
    for identity, sharing in shared.items():
        for number, group in enumerate(sorted(sharing, key=_began)[1:], 2):
            for telling in group:
                telling.facts["correlation_id"] = f"{identity}~{number}"
    return groups


def _began(group: Sequence[AttemptRecord]) -> datetime:
    """When it was first told to begin; a group that shares its id with another one says so somewhere."""
    instants = (each.facts.get("started_at") or each.facts.get("submitted_at") for each in group)
    began: datetime = min(at for at in instants if at)
    return began


def _at_one_time(telling: AttemptRecord, group: Sequence[AttemptRecord]) -> bool:
    """Whether what shares an id is one attempt: two runs of one plan make the same ids at other times."""
    for name in ("started_at", "submitted_at"):
        at = telling.facts.get(name)
        others = [each.facts[name] for each in group if each.facts.get(name)]
        if at and others:
            return any(abs(at - other) <= SAME_START for other in others)
    return True


def _moment(telling: AttemptRecord) -> Any:
    facts = telling.facts
    began = facts.get("started_at") or facts.get("submitted_at")
    return (began, facts.get("slot"), facts.get("party_size")) if began else None


def _merge(group: list[AttemptRecord], levels: dict[Path, FileLevel]) -> tuple[AttemptRecord, FileLevel]:
    fullest = max(group, key=lambda each: (each.fullness, levels[each.file].known_by))
    for other in group:
        fullest.ended |= other.ended
        fullest.state = fullest.state or other.state
        fullest.failure = fullest.failure or other.failure
        fullest.job_reason = fullest.job_reason or other.job_reason
        for name, value in other.facts.items():
            if fullest.facts.get(name) is None and name != "summary_line":
                fullest.facts[name] = value
    recorded = [_recorded(each, levels[each.file]) for each in group]
    return fullest, max(recorded, key=lambda level: level.known_by)


def _recorded(telling: AttemptRecord, level: FileLevel) -> FileLevel:
    """The level of the file, unless the attempt's own lines say another."""
    label, concurrency = telling.facts.get("label"), telling.facts.get("concurrency")
    return level_of(telling.file, label, concurrency) if label or concurrency else level


def _apart(merged: list[tuple[AttemptRecord, FileLevel]]) -> list[tuple[AttemptRecord, FileLevel]]:
    """The same with the runs of a level told apart: what a file's name alone says of it, others' logs may share."""
    run_of: dict[tuple[FileLevel, Path], int] = {}
    for level in {level for _, level in merged if level.known_by == NAMED}:
        spans = _spans([telling for telling, each in merged if each == level])
        latest, run = None, 0
        for file, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
            if latest is None or start > latest + APART:
                run += 1
            latest = end if latest is None else max(latest, end)
            run_of[level, file] = run
        if run == 1:
            run_of = {key: 0 if key[0] == level else number for key, number in run_of.items()}
    return [(telling, replace(level, run=run_of.get((level, telling.file), 0))) for telling, level in merged]


def _spans(tellings: Iterable[AttemptRecord]) -> dict[Path, tuple[datetime, datetime]]:
    """From when to when each file tells of attempts; a file without times is in none."""
    spans: dict[Path, tuple[datetime, datetime]] = {}
    for telling in tellings:
        instants = [telling.facts.get(name) for name in ("started_at", "submitted_at", "ended_at")]
        for at in (each for each in instants if each is not None):
            first, last = spans.get(telling.file, (at, at))
            spans[telling.file] = (min(first, at), max(last, at))
    return spans


def _attempt(telling: AttemptRecord, level: FileLevel, label: str) -> Attempt:
    facts: dict[str, Any] = {"correlation_id": None, **telling.facts}
    outcome = facts.get("outcome") or _outcome(telling)
    facts |= {
        "label": label,
        "concurrency": level.concurrency,
        "outcome": outcome,
        "file": str(telling.file),
        "first_line": telling.first_line,
        "last_line": telling.last_line,
        "reason": telling.failure if outcome in CONFIRMED_OUTCOMES else _reason(telling, outcome),
    }
    if outcome in CONFIRMED_OUTCOMES:
        facts.setdefault("background_invoked", False)
    return Attempt(**facts)


def _outcome(telling: AttemptRecord) -> str:
    """The outcome of an attempt whose summary does not name it, or that has none."""
    if telling.failure:
        return outcome_of_request(telling.failure) or "aborted"
    if not telling.summarised and not telling.ended:
        return "aborted"
    if telling.state in OUTCOMES:
        return telling.state
    how = "terminal" if telling.state == "terminal" else "timeout"
    return f"failed_{'background' if telling.facts.get('background_invoked') else 'inline'}_{how}"


def _reason(telling: AttemptRecord, outcome: str) -> str | None:
    """Why it failed: the words nearest to the cause. That the waiting ended is no cause."""
    given, allocator = telling.facts.get("reason"), telling.facts.get("allocator_reason")
    words: Sequence[str | None] = (
        telling.failure,
        given if given not in ("timeout", "terminal") else None,
        telling.job_reason,
        allocator if allocator != "INLINE_TIMEOUT" else None,
        given,
        telling.state,
        "the log ends mid-flight" if outcome == "aborted" else None,
    )
    return next((each for each in words if each), None)
