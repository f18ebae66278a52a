"""What a reader has to know before any figure: another platform than asked for, a stop, a seam, a rate limit."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from slotfill.analyse.document import Caveat

_INSTRUMENTED = (
    "The platform ran with OpenTelemetry, and every time holds what that costs. The same run without it, held against "
    "this one by `slotfill compare`, measures the cost."
)


def caveats(
    record: Mapping[str, Any], attempts: pd.DataFrame, foreign_traces: int = 0, instrumented: bool = False
) -> tuple[Caveat, ...]:
    """One sentence each, the gravest first; none for a run that went from its beginning to its end.

    ``record`` is run.json, empty for logs of others; ``foreign_traces`` are told of where none is an attempt's;
    ``instrumented``: the platform told of its own times.
    """
    texts = {
        "other_platform": _elsewhere(record),
        "stopped": _stopped(record),
        "rate_limited": _limited(attempts),
        "resumed": _gone_on(record, attempts),
        "several_runs": _several_runs(attempts),
        "foreign_spans": _foreign(foreign_traces),
        "unread_taps": _unread(record),
        "instrumented": _INSTRUMENTED if instrumented else "",
    }
    return tuple(Caveat(name, text) for name, text in texts.items() if text)


def _elsewhere(record: Mapping[str, Any]) -> str:
    note = record.get("target", {}).get("note")
    return f"{_sentence(note)} Verdict, figures and advice are the embedded platform's." if note else ""


def _stopped(record: Mapping[str, Any]) -> str:
    if record.get("state") != "stopped":
        return ""
    return f"The run stopped before its end ({_reasons(record)}); this is what was measured until then."


def _limited(attempts: pd.DataFrame) -> str:
    limited = int((attempts["outcome"] == "rate_limited").sum())
    if not limited:
        return ""
    return (
        f"This run was **rate limited**: {limited} of {_count(len(attempts), 'attempt')} were answered 429, and "
        "the load paused as long as it was told to. Throughput is the limiter's, not the booking flow's."
    )


def _gone_on(record: Mapping[str, Any], attempts: pd.DataFrame) -> str:
    """The seam of a run that was resumed, and of attempts that were not measured in one go."""
    times, settled = len(record.get("resumed_at", [])), int((attempts["seams"] > 0).sum())
    why = _reasons(record) or "a crash"
    parts = [f"The run went on after a stop {_count(times, 'time')} ({why})."] if times else []
    if settled:
        found = _count(settled, "attempt")
        parts.append(
            f"{found} in flight at a stop, or with an answer that was lost: settled by what became of the booking in "
            "the database, without a total time."
        )
    return " ".join(parts)


def _several_runs(attempts: pd.DataFrame) -> str:
    """Levels of one concurrency that are not of one run."""
    labels = attempts.drop_duplicates("label").groupby("concurrency")["label"].agg(list)
    told = [
        f"concurrency {concurrency} was driven in {len(names)} runs ({', '.join(map(str, names))})"
        for concurrency, names in labels.items()
        if len(names) > 1
    ]
    if not told:
        return ""
    return (
        f"{_sentence('; '.join(told))} They are apart in time or folder, so each is a level of its own; what they "
        "differ by is not concurrency."
    )


def _unread(record: Mapping[str, Any]) -> str:
    unread = record.get("unread", [])
    return f"Not all calls of the platform could be seen: {'; '.join(unread)}." if unread else ""


def _foreign(traces: int) -> str:
    if not traces:
        return ""
    return (
        f"The OpenTelemetry spans are of {_count(traces, 'trace')}, none of them an attempt's by its id or its time, "
        "so they say nothing of these bookings."
    )


def _reasons(record: Mapping[str, Any]) -> str:
    return "; ".join(dict.fromkeys(str(stop["reason"]).rstrip(".") for stop in record.get("stops", [])))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _count(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"
