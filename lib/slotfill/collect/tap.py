"""A tap: a forwarding proxy at a border between hops. Bytes go on at once, a copy is read, nothing of a body is kept.

It can hold each call back by a known delay on its way to the server, which is the experiment that proves a cause.
"""

import asyncio
import json
import signal
import socket
import statistics
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from slotfill.address import Address, address_text, parse_listen, parse_upstream
from slotfill.collect import tap_overhead
from slotfill.collect.backlog import Backlog
from slotfill.collect.http_wire import HttpConversation
from slotfill.collect.link import Link
from slotfill.collect.postgres_wire import PostgresConversation
from slotfill.collect.side import TELLS_ARRIVALS, listen_at, stop
from slotfill.collect.unread import unread
from slotfill.collect.wire import TLS, UNREAD, Conversation, Exchange, Record
from slotfill.errors import BadInput

FOLDER = "taps"
"""Below a level's folder (or its round's): one file a tap."""
WRITE_EVERY_S = 0.25
RECENT = 10_000
"""Calls of which the median of what the tap adds is taken."""


class Tap:
    """Listens at ``listen`` and forwards to ``upstream``; calls go to ``out`` as lines of JSON once that is set.

    ``delay_ms`` is the planted delay of an experiment; ``distance_ms`` stands for a way behind the tap that is long.
    """

    def __init__(
        self, border: str, upstream: str, listen: Address, delay_ms: float = 0, distance_ms: float = 0
    ) -> None:
        self.border = border
        self._distance_ms = distance_ms
        self.protocol, self._upstream = parse_upstream(upstream)
        self.delay_ms = delay_ms
        self.added_ms = 0.0
        """What the tap itself adds to a small call, at the median; measured when it opens."""
        self._added: deque[float] = deque(maxlen=RECENT)
        self.out: IO[str] | None = None
        self.listen = listen
        self._connections = 0
        self._links: set[Link] = set()
        self._backlog = Backlog()
        self._lines: list[str] = []
        self.held, self.held_ms = 0, 0.0
        """How many calls were held back since ``out`` was set, and for how long: longer than told on a busy machine."""
        self.counts = {"calls": 0, "connections": 0, "unreadable": 0, "encrypted": 0, "lost": 0}
        """``unreadable`` are connections that went unread, ``encrypted`` those of them with nothing wrong."""
        self.unwritten: OSError | None = None
        """Why calls could not be written, where they could not; they are counted as lost."""
        self.done = asyncio.Event()
        """Whoever taps in the foreground has nothing to wait for any more."""

    @property
    def median_added_ms(self) -> float:
        """What the tap added to the calls it saw lately; before the first, what it measured when it opened."""
        return round(statistics.median(self._added), 3) if self._added else self.added_ms

    @property
    def told(self) -> dict[str, Any]:
        """The counts so far, and of what."""
        return {**self.counts, "protocol": self.protocol}

    async def open(self) -> Address:
        """Begin to listen. Raises OSError where the address is taken."""
        self._listening = listen_at(self.listen, self._take)
        self.added_ms = await tap_overhead.added_ms()
        self._writing = asyncio.create_task(self._write_regularly())
        address: Address = self._listening.getsockname()[:2]
        return address

    async def close(self) -> None:
        """End all connections and write what was seen."""
        stop(self._listening)
        for link in list(self._links):
            link.abort()
        self._writing.cancel()
        with suppress(asyncio.CancelledError):
            await self._writing
        self.write()

    def write(self) -> None:
        """Read and write all that was seen so far."""
        self._backlog.clear()
        self._write()

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        if self.out is None or not lines:
            return
        try:
            self.out.write("".join(lines))
            self.out.flush()
        except OSError as error:
            self.counts["lost"] += len(lines)
            self.unwritten = error
            self.done.set()

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self._write()

    def _take(self, client: socket.socket) -> None:
        self._connections += 1
        self.counts["connections"] += 1
        number = self._connections
        record = partial(self._record, number)
        link = Link(
            client,
            self._upstream,
            self._conversation(record),
            record,
            self._backlog,
            self._hold_ms,
            self._links.discard,
            self._was_held,
        )
        self._links.add(link)

    def _hold_ms(self) -> float:
        return self.delay_ms + self._distance_ms

    def _was_held(self, ms: float) -> None:
        self.held += 1
        self.held_ms += ms

    def _conversation(self, record: Record) -> Conversation:
        return HttpConversation(record) if self.protocol == "http" else PostgresConversation(record)

    def _record(self, connection: int, exchange: Exchange, ended_ns: int) -> None:
        if exchange.status == UNREAD:
            self.counts["unreadable"] += 1
            self.counts["encrypted"] += exchange.method == TLS
        else:
            self.counts["calls"] += 1
        if self.out is not None:
            told = {"border": self.border, "protocol": self.protocol, "connection": connection}
            if not TELLS_ARRIVALS:
                exchange.added_ns = max(exchange.added_ns, round(self.added_ms * 1e6))
            if exchange.status != UNREAD:
                self._added.append(round(exchange.added_ns / 1e6, 3))
            self._lines.append(f"{json.dumps({**told, **exchange.line(ended_ns), 'delay_ms': self.delay_ms})}\n")


class TapListener:
    """A tap that a run starts: told ``{"folder": path}`` or ``{"delay_ms": x}``, it answers the counts so far."""

    def __init__(self, border: str, upstream: str, listen: str, delay_ms: float = 0, distance_ms: float = 0) -> None:
        self._tap = Tap(border, upstream, parse_listen(listen), delay_ms, distance_ms)

    async def open(self) -> str:
        """Begin to listen; ``host:port``. Raises OSError where the address is taken."""
        return address_text(await self._tap.open())

    def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """Obey one order."""
        tap = self._tap
        if "delay_ms" in order:
            tap.delay_ms = float(order["delay_ms"])
        if "folder" in order:
            tap.write()
            if tap.out is not None:
                with suppress(OSError):  # a full disk; the counts say so
                    tap.out.close()
            tap.out = None
            if order["folder"]:
                tap.held, tap.held_ms = 0, 0.0
                folder = Path(order["folder"]) / FOLDER
                folder.mkdir(parents=True, exist_ok=True)
                tap.out = (folder / f"{tap.border}.calls").open("a", encoding="utf-8")
        return {**tap.told, "added_ms": tap.median_added_ms, "held": tap.held, "held_ms": round(tap.held_ms, 3)}

    async def close(self) -> None:
        """Stop, and write what was seen."""
        await self._tap.close()


def serve(tap: Tap, out: IO[str], say: Callable[[str], None]) -> None:
    """Tap in the foreground until SIGINT or SIGTERM.

    Raises BadInput where it cannot listen, and OSError where ``out`` takes no more.
    """
    asyncio.run(_serve(tap, out, say))


async def _serve(tap: Tap, out: IO[str], say: Callable[[str], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, tap.done.set)
    tap.out = out
    try:
        address = await tap.open()
    except OSError as error:
        raise BadInput(f"--listen {address_text(tap.listen)}: {error.strerror or error}") from None
    median = f"it adds {tap.added_ms:.3f} ms to a call (median of {tap_overhead.PINGS})"
    say(f"tap of {tap.protocol} at {address_text(address)}; {median}")
    await tap.done.wait()
    await tap.close()
    counts = tap.counts
    added = f"{tap.median_added_ms:.3f} ms added to a call (median)"
    say(f"{counts['calls']} calls on {counts['connections']} connections, {added}")
    if counts["connections"] and (problem := unread(tap.told)):
        say(problem)
    if tap.unwritten is not None:
        raise tap.unwritten
