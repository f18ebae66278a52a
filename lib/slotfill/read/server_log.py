"""The server's side of a booking: the allocator's blocks, the job's, the profile, joined by booking id.

A Next.js log has no times and no request ids: a block names its booking, and a line such as
`` POST /api/bookings 201 in 22.1s (compile: 729ms, render: 21.4s)`` names nothing. Which booking such
a line answers follows from the order of things, see ``attribute``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from slotfill.attempt import from_arrow
from slotfill.events import parse_instant
from slotfill.read.columns import ARROW_TYPES
from slotfill.read.rules import integer, number, text, truth, words

INLINE = "[bookings][POST][inline-auto-assign]"
JOB = "[auto-assign][job]"
PROFILE = "[capacity.profile]"

# Next.js 13: "- POST /api/bookings 201 in 22.1s"; 14 and 15: " POST … 201 in 22100ms"; 16: "… in 22.1s (compile: 729ms,
# render: 21.4s)"; from 16.2: "… (next.js: 700ms, proxy.ts: 3ms, generate-params: 2ms, application-code: 21.4s)".
_RESPONSE = re.compile(
    r"\s*(?:- )?POST /api/bookings/?(?:\?\S*)? (?P<status>\d{3}) in (?P<took>[\d.]+) ?(?P<unit>ns|[µμu]s|ms|s|min|m)\b"
    r"(?: \((?P<parts>.*)\))?"
)
_COMPILE = re.compile(r"(?:compile|next\.js): ([\d.]+) ?(ns|[µμu]s|ms|s|min|m)\b")
_MS = {"ns": 1e-6, "µs": 1e-3, "μs": 1e-3, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "m": 6e4}
_CREATED = ("200", "201")
_SLACK_MS = 10.0

_TEXT = ("booking_id", "allocator_attempt_id", "quote_error", "confirm_error", "hold_reason", "job_result", "job_error")
_COUNTS = (
    *("job_attempts", "profile_database_calls", "inline_database_calls", "job_database_calls"),
    *("first_line", "quote_line", "profile_line", "job_line"),
)
_TIMES = (
    "profile_received_at",
    "profile_responded_at",
    "inline_started_at",
    "inline_finished_at",
    "job_enqueued_at",
    "job_started_at",
    "job_finished_at",
)
_PARTS = {"allocatorMs": "allocator_ms", "databaseMs": "database_ms", "poolWaitMs": "pool_wait_ms"}
FIELDS = frozenset(
    (
        *("bookingId", "attemptId", "durationMs", "timeoutMs", "hasHold", "reason", "error", "attempt", "attempts"),
        *("handlerMs", "apiMs", "lockWaitMs", "receivedAt", "respondedAt", "inlineContinues", "databaseCalls"),
        *("enqueuedAt", "startedAt", "finishedAt", "result", *_PARTS),
    )
)
"""What is read of a block's object."""
_DURATIONS = (
    *("handler_ms", "compile_ms", "quote_ms", "confirm_ms", "aborted_ms", "inline_budget_ms"),
    *("profile_handler_ms", "profile_api_ms", "profile_lock_wait_ms"),
    *(f"{part}_{name}" for part in ("profile", "inline", "job") for name in _PARTS.values()),
)
_DTYPES: dict[str, str] = {
    **dict.fromkeys((*_TEXT, "inline_result", "file"), "string"),
    **dict.fromkeys(_COUNTS, "Int64"),
    **dict.fromkeys(_DURATIONS, "Float64"),
    **dict.fromkeys(_TIMES, "datetime64[us, UTC]"),
    "profile_inline_continues": "boolean",
}


class ErrorLine(NamedTuple):
    """A line that speaks of database pressure; ``times`` counts further lines of its kind that are not kept."""

    file: str
    line: int
    kind: str
    text: str
    times: int = 1


class Response(NamedTuple):
    """A line that says how long some booking request took."""

    line: int
    handler_ms: float
    compile_ms: float | None
    rounding_ms: float
    """By how much the printed time may differ from the true one."""


@dataclass
class ServerLog:
    """Takes the blocks and response lines of one file; ``facts`` are columns of ``server_frame`` by booking id."""

    file: Path
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    responses: list[Response] = field(default_factory=list)
    ready: list[tuple[int, str]] = field(default_factory=list)
    """When, by line, the inline allocator had ended for a booking, so that the answer could go out."""
    is_server: bool = False
    refused: Counter[str] = field(default_factory=Counter)
    """Booking requests that made no booking, by their HTTP status."""

    def block(self, line: int, tag: str, what: str, fields: Callable[[], dict[str, Any]]) -> bool:
        """Take a block; False for one without a booking id, or of another kind: it says nothing to join."""
        handle = _HANDLERS.get(tag)
        if handle is None:
            return False
        self.is_server |= tag != JOB
        said = fields()
        booking_id = text(said.get("bookingId"))
        if booking_id is not None:
            handle(self, self._row(booking_id, line), booking_id, line, what, said)
        return booking_id is not None

    def response(self, line: int, content: str) -> bool:
        """Take a line if it is the answer to a booking request; one that made no booking answers none."""
        match = _RESPONSE.match(content)
        if match is None:
            return False
        self.is_server = True
        if match["status"] not in _CREATED:
            self.refused[match["status"]] += 1
            return True
        compiled = _COMPILE.search(match["parts"] or "")
        took_ms, rounding_ms = _to_ms(match["took"], match["unit"])
        compile_ms = _to_ms(compiled[1], compiled[2])[0] if compiled else None
        self.responses.append(Response(line, took_ms, compile_ms, rounding_ms))
        return True

    def _inline(self, row: dict[str, Any], booking_id: str, line: int, what: str, fields: dict[str, Any]) -> None:
        took, attempt = number(fields.get("durationMs")), text(fields.get("attemptId"))
        is_without_hold = fields.get("hasHold") is False
        if what == "start" and row.get("allocator_attempt_id") not in (None, attempt):
            row.clear()  # the booking is allocated again: an old booking handed to a new request
            row |= {"file": str(self.file), "first_line": line}
        row["allocator_attempt_id"] = attempt or row.get("allocator_attempt_id")
        row["inline_budget_ms"] = number(fields.get("timeoutMs")) or row.get("inline_budget_ms")
        if what in ("quote result", "quote error"):
            row["quote_ms"], row["quote_line"] = took, line
        elif what in ("confirm completed", "confirm error"):
            row["confirm_ms"] = took
        elif what == "aborted":
            row["aborted_ms"] = took
        if what == "hold not available" or is_without_hold:
            row["hold_reason"] = _words(fields.get("reason")) or row.get("hold_reason")
        if what in ("quote error", "confirm error"):
            row[what.replace(" ", "_")] = _words(fields.get("error"))
        if what not in ("start", "quote result") or is_without_hold:
            self.ready.append((line, booking_id))

    def _job(self, row: dict[str, Any], booking_id: str, line: int, what: str, fields: dict[str, Any]) -> None:
        attempt, attempts = integer(fields.get("attempt")), integer(fields.get("attempts"))
        seen = attempts if attempts is not None else attempt + 1 if attempt is not None else 0
        row["job_attempts"] = max(row.get("job_attempts") or 0, seen)
        if what == "attempt.success":
            row["job_result"] = "succeeded"
        elif what in ("attempt.error", "attempt.no_hold"):
            row["job_result"] = what.removeprefix("attempt.")
            row["job_error"] = _words(fields.get("error")) or _words(fields.get("reason"))
        elif what and not what.startswith(("scheduled", "attempt")):
            row["job_result"] = what  # exhausted, already_confirmed, cutoff, …

    def _profile(self, row: dict[str, Any], booking_id: str, line: int, what: str, fields: dict[str, Any]) -> None:
        if what in ("request", "job"):
            row["profile_line" if what == "request" else "job_line"] = line
        if what == "request":
            row["allocator_attempt_id"] = row.get("allocator_attempt_id") or text(fields.get("attemptId"))
            row["handler_ms"] = row["profile_handler_ms"] = number(fields.get("handlerMs"))
            row["profile_api_ms"] = number(fields.get("apiMs"))
            row["profile_lock_wait_ms"] = number(fields.get("lockWaitMs"))
            row["profile_received_at"] = parse_instant(fields.get("receivedAt"))
            row["profile_responded_at"] = parse_instant(fields.get("respondedAt"))
            row["profile_inline_continues"] = truth(fields.get("inlineContinues"))
            self._parts(row, "profile", fields)
        elif what in ("inline", "job"):
            for name in ("enqueuedAt", "startedAt", "finishedAt"):
                _instant(row, f"{what}_{name.removesuffix('At')}_at", fields.get(name), latest=name == "finishedAt")
            row[f"{what}_result"] = row.get(f"{what}_result") or _words(fields.get("result"))
            self._parts(row, what, fields)

    def _parts(self, row: dict[str, Any], part: str, fields: dict[str, Any]) -> None:
        """Add up the self times: a job has one block for each of its attempts."""
        for name, measure in _PARTS.items():
            column, took = f"{part}_{measure}", number(fields.get(name))
            row[column] = (row.get(column) or 0.0) + took if took is not None else row.get(column)
        calls = integer(fields.get("databaseCalls"))
        if calls is not None:
            row[f"{part}_database_calls"] = (row.get(f"{part}_database_calls") or 0) + calls

    def _row(self, booking_id: str, line: int) -> dict[str, Any]:
        row = self.facts.get(booking_id)
        if row is None:
            row = self.facts[booking_id] = {"file": str(self.file), "first_line": line}
        return row


_HANDLERS = {INLINE: ServerLog._inline, JOB: ServerLog._job, PROFILE: ServerLog._profile}


def attribute(log: ServerLog, submitted: Mapping[str, tuple[datetime, float]]) -> None:
    """Give each response line of a log to the booking it answers, as ``handler_ms`` and ``compile_ms``.

    Only a booking whose allocator had ended can have been answered. Of several, the client's log tells
    the order of the answers: ``submitted`` has, by booking id, when the client had its answer and how
    long that took. Where neither decides, nobody gets the line: a guess would look like a measurement.
    """
    waiting: dict[str, None] = {}
    answered: set[str] = set()
    ready = iter([*sorted(log.ready), (float("inf"), "")])
    line, booking_id = next(ready)
    for response in log.responses:
        while line < response.line:
            if booking_id not in answered:
                waiting[booking_id] = None
            line, booking_id = next(ready)
        known = sorted((submitted[each][0], each) for each in waiting if each in submitted)
        fitting = [each for _, each in known if response.handler_ms <= submitted[each][1] + response.rounding_ms]
        certain = fitting[:1] if known else list(waiting) if len(waiting) == 1 else []
        for each in certain:
            log.facts[each].setdefault("handler_ms", response.handler_ms)
            log.facts[each]["compile_ms"] = response.compile_ms
        for each in certain or list(waiting)[:1]:
            del waiting[each]
            answered.add(each)


def server_frame(logs: Iterable[ServerLog]) -> pd.DataFrame:
    """One row a booking: what the server's logs say about it; a figure no log gives is missing.

    Durations in ms: ``quote_ms`` and ``confirm_ms`` (a failed one has its ``…_error``), ``aborted_ms`` when
    the inline budget ``inline_budget_ms`` ran out, ``handler_ms`` of the whole request with the development
    server's ``compile_ms`` in it. ``profile_…`` are the exclusive self times of the request, ``inline_…`` those
    of allocator work that outlived it, ``job_…`` those of the auto-assign job, summed over its attempts.
    ``first_line`` of ``file`` names the booking first, ``quote_line``, ``profile_line`` and ``job_line``
    open the blocks of times.
    """
    rows: dict[str, dict[str, Any]] = {}
    for log in logs:
        for booking_id, facts in log.facts.items():
            row = rows.setdefault(booking_id, facts)
            if row is not facts:
                rows[booking_id] = row = dict(row)
                here = row["file"] == facts["file"]  # a line counts in its own file only
                row |= {
                    name: value
                    for name, value in facts.items()
                    if value is not None and row.get(name) is None and (here or not name.endswith("_line"))
                }
    found, known = list(rows.values()), set().union(*rows.values())
    columns: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        kind = ARROW_TYPES[dtype]
        columns[name] = (
            pa.array([row.get(name) for row in found], kind) if name in known else pa.nulls(len(found), kind)
        )
    columns["booking_id"] = pa.array(rows, pa.string())
    return from_arrow(columns, _DTYPES)


@lru_cache(4096)  # times of requests are printed with few digits
def _to_ms(amount: str, unit: str) -> tuple[float, float]:
    """A printed duration, and what its rounding may hide."""
    try:
        took_ms = float(amount) * _MS[unit]
    except ValueError:
        return 0.0, _SLACK_MS
    return took_ms, _MS[unit] * 10 ** -len(amount.partition(".")[2]) / 2 + _SLACK_MS


def _words(value: Any) -> str | None:
    """The text of an error or a reason, masked, whether printed as a string, an object or an Error with its stack."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("error")
    return words(value.split("\n", 1)[0]) if isinstance(value, str) else None


def _instant(row: dict[str, Any], column: str, value: Any, latest: bool) -> None:
    at, known = parse_instant(value), row.get(column)
    if at is not None and column in _TIMES:
        row[column] = at if known is None else max(at, known) if latest else min(at, known)
