"""What one log file tells about one attempt: its events, gathered into the facts of an ``Attempt``."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from slotfill import events
from slotfill.events import Event
from slotfill.read.rules import (
    ALLOCATOR,
    EVERYWHERE,
    Rule,
    integer,
    number,
    outcome_named,
    rules_of,
    tables_of,
    truth,
    words,
)

_MADE_AGAIN = ("aborted", "api_error", "api_unreachable", "api_timeout")
_FAILED_REQUEST = re.compile(r"Booking request failed \((\d{3})\)")


@lru_cache(4096)  # events of a kind have the same fields
def _rules(phase: str, names: tuple[str, ...]) -> tuple[Rule, ...]:
    """Those of the rules for a phase that read what an event has."""
    return tuple(rule for rule in rules_of(phase) if rule[0] in names)


@dataclass(slots=True)
class AttemptRecord:
    """What one file says about one attempt: facts named as in ``Attempt``, and how far the telling goes."""

    file: Path
    first_line: int
    facts: dict[str, Any] = field(default_factory=dict)
    events: int = 0
    last_line: int = 0
    steps: set[str] = field(default_factory=set)
    created_at: datetime | None = None
    job_ended_at: datetime | None = None
    state: str | None = None
    failure: str | None = None
    """The platform's text for a request that failed."""
    job_reason: str | None = None
    """What the auto-assign job in the client's own process gave as its last word."""
    ended: bool = False
    """The script went on, or ended in order, after this attempt."""

    @property
    def submitted_only(self) -> bool:
        """The request was sent and nothing was heard of it."""
        return events.CREATED not in self.steps and events.FINAL_SUMMARY not in self.steps

    @property
    def summarised(self) -> bool:
        """The attempt's own summary is there."""
        return events.FINAL_SUMMARY in self.steps

    @property
    def is_open(self) -> bool:
        """Nothing has been said of how it ended."""
        return not self.summarised and self.failure is None

    @property
    def fullness(self) -> tuple[bool, bool, int]:
        """How much is told, to be compared: first how it ended, then in how many events."""
        return self.summarised, self.failure is not None, self.events

    def is_last_of(self, runs: int | None) -> bool:
        """Whether it can be the attempt a script's run of ``runs`` attempts ended with, without saying how."""
        return self.is_open and not self.submitted_only and self.facts.get("iteration") in (None, runs)

    def take(self, line: int, event: Event) -> None:
        """Add what an event says; of one that an attempt has once, the first counts."""
        self.last_line = max(self.last_line, line)
        step = event.phase if event.phase == events.FINAL_SUMMARY else event.message
        if step in self.steps and self._happens_once(step, event):
            return
        if step == events.STARTING and step in self.steps:
            self._begin_anew(line)
        self.events += 1
        self.steps.add(step)
        if step == events.FINAL_SUMMARY and truth(event.fields.get("settled")):
            self.facts.pop("total_ms", None)  # until the answer was given up, which is no measurement of the booking
        self._copy(event.fields, _rules(event.phase, tuple(event.fields)))
        self._copy_allocator(event.fields)
        handle = _HANDLERS.get(event.message) or _HANDLERS.get(event.phase)
        if handle:
            handle(self, line, event)

    def _happens_once(self, step: str, event: Event) -> bool:
        """Whether the first counts. A resumed run makes an attempt again that it had to leave, or that an outage
        failed, or gives it a second summary; one that was measured stands before one that was only looked up."""
        outcome = self.facts.get("outcome")
        if step == events.STARTING:
            return outcome is not None and outcome not in _MADE_AGAIN
        if step == events.FINAL_SUMMARY:
            measured = number(event.fields.get("totalDurationMs")) is not None
            reconciled = bool(self.facts.get("seams")) and "total_ms" not in self.facts
            undecided = reconciled and outcome == "failed_background_timeout"
            return outcome not in _MADE_AGAIN and not undecided and not (measured and reconciled)
        return step in (events.SUBMITTING, events.CREATED)

    def _begin_anew(self, line: int) -> None:
        """What an attempt's first try told is not what its second one does."""
        self.first_line, self.facts, self.steps, self.events = line, {}, set(), 0
        self.created_at = self.job_ended_at = self.state = self.failure = self.job_reason = None

    def _copy(self, fields: dict[str, Any], rules: Iterable[Rule]) -> None:
        for name, fact, read in rules:
            if (value := read(fields.get(name))) is not None:
                self.facts[fact] = value

    def _copy_allocator(self, fields: dict[str, Any]) -> None:
        result = fields.get("autoAssignLastResult") or fields.get("lastAutoAssignResult")
        if isinstance(result, dict):
            self._copy(result, ALLOCATOR)

    def _starting(self, line: int, event: Event) -> None:
        self.facts["started_at"] = event.at

    def _submitting(self, line: int, event: Event) -> None:
        self.facts["submitted_at"] = event.at

    def _created(self, line: int, event: Event) -> None:
        self.created_at = event.at

    def _inline_window_expired(self, line: int, event: Event) -> None:
        polls = integer(event.fields.get("attempts"))
        if polls is not None:
            self.facts["inline_polls"] = polls
        self._since(self.created_at, event.at, "inline_ms")

    def _job(self, line: int, event: Event) -> None:
        self.facts["background_invoked"] = True
        if event.message == events.JOB_INVOKED:
            self.job_ended_at = event.at
            self.facts["background_ms"] = number(event.fields.get("durationMs"))

    def _terminal(self, line: int, event: Event) -> None:
        self.state = "terminal"

    def _diagnostics(self, line: int, event: Event) -> None:
        assignments = event.fields.get("assignments")
        if isinstance(assignments, list):
            tables = [each.get("tableNumber") for each in assignments if isinstance(each, dict)]
            self.facts |= {"tables_assigned": len(assignments), "table_numbers": tables_of(tables)}

    def _summary(self, line: int, event: Event) -> None:
        self.facts |= {"ended_at": event.at, "summary_line": line}
        self.facts["seams"] = self.facts.get("seams", 0) + (truth(event.fields.get("settled")) or False)
        if event.message in events.CONFIRMED_MESSAGES:
            self.facts.setdefault("outcome", events.CONFIRMED_MESSAGES[event.message])
        self.state = words(event.fields.get("state")) or self.state
        if event.message == events.FAILED_TO_CONFIRM:
            self.facts.setdefault("background_invoked", False)
            if "post_job_ms" not in self.facts:
                self._since(self.job_ended_at, event.at, "post_job_ms")

    def _since(self, start: datetime | None, end: datetime | None, fact: str) -> None:
        if start and end and end >= start:
            self.facts[fact] = (end - start).total_seconds() * 1000

    def failure_details(self, fields: dict[str, Any]) -> None:
        """What the script's failure block adds; the attempt's own lines come first."""
        for name, fact, read in (
            *EVERYWHERE,
            ("status", "outcome", outcome_named),
            ("failureReason", "reason", words),
        ):
            if name in fields and (value := read(fields[name])) is not None:
                self.facts.setdefault(fact, value)

    def request_failed(self, message: str) -> None:
        """The request itself failed, in the words of the platform."""
        self.failure = words(message)
        if match := _FAILED_REQUEST.match(message):
            self.facts["http_status"] = int(match[1])


_HANDLERS: dict[str, Callable[[AttemptRecord, int, Event], None]] = {
    events.STARTING: AttemptRecord._starting,
    events.SUBMITTING: AttemptRecord._submitting,
    events.CREATED: AttemptRecord._created,
    events.INLINE_WINDOW_EXPIRED: AttemptRecord._inline_window_expired,
    events.TERMINAL_STATUS: AttemptRecord._terminal,
    events.ASSIGNMENT_DIAGNOSTICS: AttemptRecord._diagnostics,
    events.BACKGROUND_JOB: AttemptRecord._job,
    events.FINAL_SUMMARY: AttemptRecord._summary,
}
