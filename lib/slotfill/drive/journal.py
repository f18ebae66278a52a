"""The log files of a level: written line by line, and read back to go on after a stop or crash."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slotfill import events
from slotfill.drive.clock import Clock
from slotfill.drive.reconcile import InFlight
from slotfill.errors import BadInput
from slotfill.events import Event
from slotfill.outcomes import EXHAUSTED
from slotfill.plan import SlotPlan

SYNC_EVERY_MS = 500
DONE = ("filled", EXHAUSTED, "failed")
"""Ends of a slot that a resumed run leaves alone; ``aborted`` goes on."""
MOST_PENDING = 65_536
_AT_ONCE = (events.SUBMITTING, events.SLOT_PLANNED)


@dataclass
class Past:
    """What a slot's log says already happened."""

    outcomes: dict[int, str] = field(default_factory=dict)
    """By iteration; an aborted attempt is in flight, not finished."""
    in_flight: dict[int, InFlight] = field(default_factory=dict)
    """By iteration: begun, and without an outcome."""
    ended: str | None = None
    lines: int = 0
    _iterations: dict[str | None, int] = field(default_factory=dict)
    """By correlation id, of the attempts in flight."""

    @property
    def done(self) -> bool:
        """Its end was written, and an outcome of each attempt that began: damage can have taken a line of those."""
        return self.ended in DONE and not self.in_flight

    def take(self, event: Event) -> None:
        """Follow one line of the log. Raises ValueError where it is not as the runner wrote it."""
        self.lines += 1
        fields = event.fields
        if not fields:
            return  # torn within its message: every line the runner writes has fields
        attempt = None if fields.get("correlationId") is None else _text(fields, "correlationId")
        iteration = self._iterations.get(attempt, 0)
        flight = self.in_flight.get(iteration)
        match event.message:
            case events.STARTING:
                iteration = self._iterations[attempt] = _iteration(fields.get("iteration"))
                self.in_flight[iteration] = InFlight(iteration=iteration)
            case events.SUBMITTING if flight:
                if event.at is None:
                    raise ValueError("its instant is none")
                self.in_flight[iteration] = replace(flight, sent_at=event.at)
            case events.CREATED if flight:
                self.in_flight[iteration] = replace(flight, created=_created(fields))
            case events.SLOT_FINISHED:
                self.ended = _text(fields, "state")
            case events.SLOT_REOPENED:
                self._reopen(event, _iterations(fields.get("iterations")))
            case events.RESUMING:
                self.ended = None
            case _ if event.phase == events.FINAL_SUMMARY and fields.get("status") != "aborted":
                iteration = _iteration(fields.get("iteration"))
                self.outcomes[iteration] = _text(fields, "status")
                self.in_flight.pop(iteration, None)

    def _reopen(self, event: Event, iterations: list[int]) -> None:
        """Their requests may have booked all the same: they are in flight, and looked up before they are repeated."""
        self.ended = None
        for iteration in iterations:
            if self.outcomes.pop(iteration, None) is not None:
                self.in_flight[iteration] = InFlight(iteration=iteration, sent_at=event.at)


def _iteration(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("its iteration is no whole number from 1")
    return value


def _iterations(values: Any) -> list[int]:
    if not isinstance(values, list):
        raise ValueError("its iterations are no list")
    return [_iteration(value) for value in values]


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise ValueError(f"its {name} is no text")
    return str(fields[name])


def _created(fields: dict[str, Any]) -> dict[str, Any]:
    """What a resumed attempt takes from its answer, as ``Record.restore`` needs it."""
    for name, kind in (("durationMs", (int, float)), ("initialStatus", str), ("httpStatus", int)):
        if fields.get(name) is not None and (not isinstance(fields[name], kind) or isinstance(fields[name], bool)):
            raise ValueError(f"its {name} is not what it was")
    return fields


class SlotLog:
    """One slot's file, opened for appending. Lines are written in whole, so a crash can only tear the last.

    The line that says that a request is about to leave is with the kernel before ``write`` returns: after a crash a key
    that may have booked is known. Other lines follow at the loop's next turn, when what waits for the worker is done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # A link would lead the lines elsewhere, and a pipe, opened for both, to nobody.
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
        self._pending = bytearray()
        self.past = self._read_back()
        self.dirty = False
        self.finished = False

    def write(self, event: Event) -> None:
        """Raises BadInput where the disk takes no more; the line is kept until it does."""
        if not self._pending and event.message not in _AT_ONCE:
            asyncio.get_running_loop().call_soon(self._flush_later)
        self._pending += events.encode_event(event)
        self._pending += b"\n"
        if event.message in _AT_ONCE or len(self._pending) > MOST_PENDING:
            self.flush()

    def flush(self) -> None:
        """Hand what was written to the kernel. Raises BadInput."""
        try:
            while self._pending:
                written = os.write(self._fd, self._pending)
                del self._pending[:written]
                self.dirty = True
        except OSError as error:
            raise BadInput(
                f"{self.path}: cannot be written ({error.strerror}); slotfill resume goes on later"
            ) from None

    def _flush_later(self) -> None:
        with suppress(BadInput):  # the next line that must be written at once says so where somebody hears it
            self.flush()

    def sync(self) -> None:
        """Bring what was written to the disk; blocks, so it belongs off the hot path."""
        if self.dirty:
            self.dirty = False
            os.fsync(self._fd)

    def close(self) -> None:
        self.flush()
        self.sync()
        os.close(self._fd)

    def _read_back(self) -> Past:
        past, content = Past(), os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if content and not content.endswith(b"\n"):
            os.write(self._fd, b"\n")  # a torn line stays readable as torn, and the next one starts afresh
        # Not splitlines(), which cuts where a text field holds U+2028 or U+0085, too.
        for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
            event = events.parse_event(line)
            if event is not None:
                try:
                    past.take(event)
                except ValueError as error:
                    os.close(self._fd)
                    raise BadInput(
                        f"{self.path}:{number}: this line was changed since it was written ({error}), so the slot "
                        "cannot go on; put it back, or begin a new run"
                    ) from None
        return past


class Journal:
    """The logs of a level's slots in its folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._open: list[SlotLog] = []

    def past(self, slot: SlotPlan) -> Past:
        """What the folder says of a slot; nothing where it has no log."""
        path = self._existing(slot)
        if path is None:
            return Past()
        log = SlotLog(path)
        log.close()
        return log.past

    def open(self, slot: SlotPlan) -> SlotLog:
        """The slot's log, new or taken up again."""
        path = self._existing(slot) or self._folder / slot.log_name(self._clock.now())
        log = SlotLog(path)
        self._open.append(log)
        return log

    async def keep_synced(self) -> None:
        """Sync and close in the background until cancelled."""
        while True:
            await self._clock.sleep(SYNC_EVERY_MS)
            for log in list(self._open):
                await asyncio.to_thread(log.sync)
                if log.finished:
                    self._open.remove(log)
                    log.close()

    def close(self) -> None:
        """Sync and close whatever is open."""
        while self._open:
            self._open.pop().close()

    def _existing(self, slot: SlotPlan) -> Path | None:
        # The instant in the name is the only part that the plan does not fix.
        stem = f"slot-fill-{slot.date}-{slot.time.replace(':', '-')}-p{slot.party_size}-*-{slot.tag}.log"
        return next(iter(sorted(self._folder.glob(stem))), None)
