"""The client log of one file: which line belongs to which attempt, and which runs died before one."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotfill import events
from slotfill.events import Event
from slotfill.masking import mask
from slotfill.read.attempt_record import AttemptRecord
from slotfill.read.blocks import Block
from slotfill.read.rules import integer, text, words

_BANNER = re.compile(r"[>$] .*\brun-booking-flow\b")
_OPTION = re.compile(r"--(date|time|party-size)[ =](\S+)")
_WORKER = re.compile(r">>> \[worker (\d{1,9})\] Slot (\d\d:\d\d) \(party (\d{1,9})\)")
_PARTY = re.compile(r"\d{1,9}")
_CROSS = re.compile(r"❌\s*(.*)")
_POSTLUDE = re.compile(r"Booking flow failed; see|Stress run halted|.*see (?:summary|diagnostics) above")
_ERROR = re.compile(r"(?:Uncaught )?(?:\w*(?:Error|Exception))\b[^:]*: (.+)")
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9_]{2,}: .+")
_CRASHED = re.compile(r"Node\.js v\d")
_LONGEST_REASON = 300
_MOST_FAILURES = 10_000

_ONCE = {events.STARTING: 0, events.SUBMITTING: 1, events.CREATED: 2}
"""Events that an attempt has once, in this order: without a correlation id, a second one is another attempt's."""


@dataclass(slots=True)
class Run:
    """One start of the booking script; ``reason`` is the error it printed, if any."""

    file: Path
    line: int
    slot: str | None = None
    booking_date: str | None = None
    party_size: int | None = None
    reason: str | None = None


class ClientLog:
    """Takes the events, blocks and plain lines of one file in their order; then ``finish``."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.records: list[AttemptRecord] = []
        self.label: str | None = None
        self.concurrency: int | None = None
        self._by_id: dict[str, AttemptRecord] = {}
        self._current: AttemptRecord | None = None  # of the attempts without a correlation id
        self._failures: list[tuple[int, str]] = []
        self._runs: list[Run] = []
        self._planned: Run | None = None
        self._workers: dict[tuple[str | None, int | None], int] = {}
        self._fatal: Run | None = None

    @property
    def identities(self) -> Collection[str]:
        """The ids of the attempts that the lines named."""
        return self._by_id.keys()

    @property
    def has_unnamed(self) -> bool:
        """Whether an attempt without a correlation id was begun: it takes the lines that name none."""
        return self._current is not None

    @property
    def looks_back(self) -> bool:
        """Whether ``finish`` has to look at all attempts."""
        return bool(self._failures or self._runs or self._workers or self._planned)

    def event(self, line: int, event: Event) -> bool:
        """Take an event; False where it says nothing that can be placed."""
        if event.message in (events.SLOT_PLANNED, events.SLOT_FINISHED, events.SLOT_REOPENED, events.RESUMING):
            self._slot(line, event)
            return True
        if not event.fields and event.message != events.TRIGGERING_JOB and not _is_failure(event):
            return False  # cut before its fields
        telling = self._telling(line, event)
        if telling is None:
            return False
        telling.take(line, event)
        if _is_failure(event):
            telling.request_failed(event.message)
        return True

    def block(self, block: Block) -> None:
        """Take a ``[stress]`` block: the script's own account of a slot."""
        if block.what == "Summary" and "  failures: 0," in block.lines:
            return
        fields = block.fields()
        if block.what == "Failure details":
            telling = self._by_id.get(str(fields.get("correlationId"))) or self._current
            if telling is not None:
                telling.failure_details(fields)
        elif block.what == "Summary" and integer(fields.get("failures")):
            last = [each for each in self.records[-64:] if each.is_last_of(integer(fields.get("totalRuns")))]
            if len(last) == 1:
                last[0].ended = True

    def plain(self, line: int, content: str) -> None:
        """Take a line that is neither: banners, errors and failure messages count, the rest is left."""
        if match := _CROSS.match(content):
            if not _POSTLUDE.match(match[1]) and len(self._failures) < _MOST_FAILURES:
                self._failures.append((line, mask(match[1].strip(), _LONGEST_REASON)))
        elif match := _WORKER.match(content):
            self._workers[match[2], int(match[3])] = int(match[1])
        elif _BANNER.match(content):
            self._banner(line, content)
        elif match := _ERROR.match(content):
            self._error(line, mask(match[1], _LONGEST_REASON))
        elif _ENVIRONMENT.match(content):
            self._more_of_error(mask(content, _LONGEST_REASON))
        elif _CRASHED.match(content) and self._fatal and not self._runs:
            self._runs.append(self._fatal)

    def finish(self) -> list[Run]:
        """Settle what needs the whole file; gives back the runs that died before their first attempt."""
        self._place_failures()
        for telling in self.records:
            facts = telling.facts
            worker = self._workers.get((facts.get("slot"), facts.get("party_size")))
            if worker is not None:
                facts.setdefault("worker", worker)
        if self._planned and not self.records:
            return [self._planned]
        return self._died()

    # --- which attempt a line belongs to

    def _telling(self, line: int, event: Event) -> AttemptRecord | None:
        correlation_id = text(event.fields.get("correlationId"))
        if correlation_id is None:
            return self._by_position(line, event)
        if correlation_id not in self._by_id:
            adopted = self._adopted(event)
            self._by_id[correlation_id] = adopted or self._new(line)
        return self._by_id[correlation_id]

    def _adopted(self, event: Event) -> AttemptRecord | None:
        """Older logs name the correlation id only in the summary: it is that of the attempt before it."""
        current = self._current
        if event.phase != events.FINAL_SUMMARY or current is None or events.FINAL_SUMMARY in current.steps:
            return None
        if current.facts.get("booking_id") not in (None, event.fields.get("bookingId")):
            return None
        return current

    def _by_position(self, line: int, event: Event) -> AttemptRecord | None:
        current = self._current
        step = _ONCE.get(event.message)
        if current is None or events.FINAL_SUMMARY in current.steps or (step is not None and _past(current, step)):
            if step is None and event.phase != events.FINAL_SUMMARY:
                return None
            self._current = current = self._new(line)
        return current

    def _new(self, line: int) -> AttemptRecord:
        telling = AttemptRecord(self.file, line)
        self.records.append(telling)
        return telling

    # --- failures and runs

    def _place_failures(self) -> None:
        """Give each failure without an id to an attempt that was heard of no more: a timeout to the oldest.

        Only the latest attempt of a slot comes into question: its worker would not have gone on before.
        """
        begun = iter([*self.records, None])
        latest: dict[Any, AttemptRecord] = {}
        telling = next(begun)
        for line, message in self._failures:
            while telling is not None and telling.first_line < line:
                place = telling.facts.get("slot"), telling.facts.get("party_size")
                latest.pop(place, None)
                latest[place] = telling
                telling = next(begun)
            outcome = outcome_of_request(message)
            open_ones = [each for each in latest.values() if each.is_open and each.last_line < line]
            open_ones = [each for each in open_ones if each.submitted_only or outcome is None]
            if open_ones:
                open_ones[0 if outcome == "api_timeout" else -1].request_failed(message)
            elif not self.records:
                self._run_failed(line, message)

    def _run_failed(self, line: int, message: str) -> None:
        if not self._runs:
            self._runs.append(Run(self.file, line))
        self._runs[-1].reason = self._runs[-1].reason or message

    def _slot(self, line: int, event: Event) -> None:
        fields = event.fields
        self.label = text(fields.get("label")) or self.label
        self.concurrency = integer(fields.get("concurrency")) or self.concurrency
        if event.message == events.SLOT_PLANNED and self._planned is None:
            self._planned = Run(self.file, line, text(fields.get("slot")), text(fields.get("date")))
            self._planned.party_size = integer(fields.get("partySize"))
            self._planned.reason = "stopped before its first attempt"
        if self._planned and (reason := words(fields.get("reason"))):
            self._planned.reason = reason

    def _banner(self, line: int, content: str) -> None:
        options = dict(_OPTION.findall(content.replace("\\", "")))
        party = options.get("party-size", "")
        self._runs.append(
            Run(
                self.file,
                line,
                options.get("time"),
                options.get("date"),
                int(party) if _PARTY.fullmatch(party) else None,
            )
        )

    def _error(self, line: int, message: str) -> None:
        self._fatal = self._fatal or Run(self.file, line, reason=message)
        if self._runs and self._runs[-1].reason is None:
            self._runs[-1].reason = message

    def _more_of_error(self, content: str) -> None:
        run = self._runs[-1] if self._runs else self._fatal
        if run and run.reason and len(run.reason) < _LONGEST_REASON:
            run.reason += ("" if run.reason.endswith(":") else ";") + " " + content

    def _died(self) -> list[Run]:
        """The runs that no attempt of their slot and party follows before the next such run."""
        starts: dict[Any, list[int]] = defaultdict(list)
        for telling in self.records:
            starts[telling.facts.get("slot"), telling.facts.get("party_size")].append(telling.first_line)
        again: dict[Any, int] = {}
        died = []
        for run in reversed(self._runs):
            key = _key(run, starts)
            until = again.get(key)
            again[key] = run.line
            if not any(_between(starts[each], run.line, until) for each in {key, (None, None)}):
                run.reason = run.reason or "ended before its first attempt"
                died.append(run)
        return died[::-1]


def outcome_of_request(message: str) -> str | None:
    """The outcome that the platform's text for a failed request stands for; ``None`` for another text."""
    if events.REQUEST_TIMED_OUT in message:
        return "api_timeout"
    if re.search(rf"{events.FETCH_FAILED}|ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|socket hang up", message):
        return "api_unreachable"
    if match := re.search(r"Booking request failed \((\d)(\d\d)\)", message):
        if match[1] + match[2] == "429":
            return "rate_limited"
        return "api_error" if match[1] == "5" else "api_rejected"
    return None


def _is_failure(event: Event) -> bool:
    return event.phase == events.SUBMIT and (event.level == "ERROR" or outcome_of_request(event.message) is not None)


def _past(telling: AttemptRecord, step: int) -> bool:
    return any(step <= _ONCE.get(done, 3) for done in telling.steps)


def _between(lines: list[int], after: int, until: int | None) -> bool:
    first = bisect_right(lines, after)
    return first < len(lines) and (until is None or lines[first] < until)


def _key(run: Run, starts: dict[Any, list[int]]) -> tuple[str | None, int | None]:
    """Slot and party of a run; the script draws a party of its own where none was given."""
    if run.party_size is None:
        return next(((slot, party) for slot, party in starts if slot == run.slot), (run.slot, None))
    return run.slot, run.party_size
