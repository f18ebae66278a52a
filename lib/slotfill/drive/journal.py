"""The log files of a level: written line by line, and read back to go on after a stop or crash."""

import asyncio
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from slotfill import events
from slotfill.attempt import EXHAUSTED
from slotfill.drive.clock import Clock
from slotfill.drive.reconcile import InFlight
from slotfill.events import Event
from slotfill.plan import SlotPlan

SYNC_EVERY_MS = 500
DONE = ("filled", EXHAUSTED, "failed")
"""Ends of a slot that a resumed run leaves alone; ``aborted`` goes on."""


@dataclass
class Past:
    """What a slot's log says already happened."""

    outcomes: dict[int, str] = field(default_factory=dict)
    """By iteration; an aborted attempt is in flight, not finished."""
    in_flight: InFlight | None = None
    ended: str | None = None
    lines: int = 0

    @property
    def done(self) -> bool:
        return self.ended in DONE

    def take(self, event: Event) -> None:
        """Follow one line of the log."""
        self.lines += 1
        if not event.fields:
            return  # torn within its message: every line the runner writes has fields
        match event.message:
            case events.STARTING:
                self.in_flight = InFlight(iteration=event.fields["iteration"])
            case events.SUBMITTING if self.in_flight:
                self.in_flight = replace(self.in_flight, sent_at=event.at)
            case events.CREATED if self.in_flight:
                status, submit_ms = event.fields.get("initialStatus"), event.fields.get("durationMs")
                self.in_flight = replace(self.in_flight, initial_status=status, submit_ms=submit_ms)
            case events.SLOT_FINISHED:
                self.ended = event.fields["state"]
            case events.RESUMING:
                self.ended = None
            case _ if event.phase == events.FINAL_SUMMARY and event.fields.get("status") != "aborted":
                self.outcomes[event.fields["iteration"]] = event.fields["status"]
                self.in_flight = None


class SlotLog:
    """One slot's file, opened for appending. Every line is one ``write``, so a crash can only tear the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self.past = self._read_back()
        self.dirty = False
        self.finished = False

    def write(self, event: Event) -> None:
        os.write(self._fd, f"{events.format_event(event)}\n".encode())
        self.dirty = True

    def sync(self) -> None:
        """Bring what was written to the disk; blocks, so it belongs off the hot path."""
        if self.dirty:
            self.dirty = False
            os.fsync(self._fd)

    def close(self) -> None:
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
