"""The log files of a level: written line by line, and read back to go on after a stop or crash."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slotfill import events
from slotfill.attempt import EXHAUSTED
from slotfill.drive.clock import Clock
from slotfill.drive.reconcile import InFlight
from slotfill.errors import BadInput
from slotfill.events import Event
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
    _iterations: dict[Any, int] = field(default_factory=dict)
    """By correlation id, of the attempts in flight."""

    @property
    def done(self) -> bool:
        return self.ended in DONE

    def take(self, event: Event) -> None:
        """Follow one line of the log."""
        self.lines += 1
        fields = event.fields
        if not fields:
            return  # torn within its message: every line the runner writes has fields
        iteration = self._iterations.get(fields.get("correlationId"), 0)
        flight = self.in_flight.get(iteration)
        match event.message:
            case events.STARTING:
                self._iterations[fields.get("correlationId")] = fields["iteration"]
                self.in_flight[fields["iteration"]] = InFlight(iteration=fields["iteration"])
            case events.SUBMITTING if flight:
                self.in_flight[iteration] = replace(flight, sent_at=event.at)
            case events.CREATED if flight:
                self.in_flight[iteration] = replace(flight, created=fields)
            case events.SLOT_FINISHED:
                self.ended = fields["state"]
            case events.SLOT_REOPENED:
                self._reopen(event, fields["iterations"])
            case events.RESUMING:
                self.ended = None
            case _ if event.phase == events.FINAL_SUMMARY and fields.get("status") != "aborted":
                self.outcomes[fields["iteration"]] = fields["status"]
                self.in_flight.pop(fields["iteration"], None)

    def _reopen(self, event: Event, iterations: list[int]) -> None:
        """Their requests may have booked all the same: they are in flight, and looked up before they are repeated."""
        self.ended = None
        for iteration in iterations:
            if self.outcomes.pop(iteration, None) is not None:
                self.in_flight[iteration] = InFlight(iteration=iteration, sent_at=event.at)


class SlotLog:
    """One slot's file, opened for appending. Lines are written in whole, so a crash can only tear the last.

    The line that says that a request is about to leave is with the kernel before ``write`` returns: after a crash a key
    that may have booked is known. Other lines follow at the loop's next turn, when what waits for the worker is done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
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
        for line in content.decode(errors="replace").splitlines():
            event = events.parse_event(line)
            if event is not None:
                past.take(event)
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
