"""A tap: a forwarding proxy at a border between hops. Bytes go on at once, a copy is read, nothing of a body is kept.

It can hold each call back by a known delay on its way to the server, which is the experiment that proves a cause.
"""

import asyncio
import heapq
import json
import signal
import socket
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from slotfill.collect.http_wire import HttpConversation
from slotfill.collect.postgres_wire import PostgresConversation
from slotfill.collect.wire import Conversation, Exchange, Record, Unreadable

FOLDER = "taps"
"""Below a level's folder (or its round's): one file a tap."""
PORTS = {"http": 80, "postgresql": 5432, "postgres": 5432}
WRITE_EVERY_S = 0.25
PINGS = 200
_PING = b"GET /ping HTTP/1.1\r\nHost: tap\r\n\r\n"
_PONG = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Address = tuple[str, int]


def parse_upstream(url: str) -> tuple[str, Address]:
    """Protocol (``http`` or ``postgresql``) and address of an upstream, without its login. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in PORTS:
        raise ValueError("must look like http://host:port or postgresql://host:port (TLS cannot be read)")
    protocol = "http" if parts.scheme == "http" else "postgresql"
    return protocol, (host, port or PORTS[parts.scheme])


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
        """What the tap itself adds to a call, at the median; measured when it opens."""
        self.out: IO[str] | None = None
        self._listen = listen
        self._connections = 0
        self._links: set[_Link] = set()
        self._lines: list[str] = []
        self.counts = {"calls": 0, "connections": 0, "unreadable": 0}

    async def open(self) -> Address:
        """Begin to listen. Raises OSError where the address is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self._link()), *self._listen, backlog=512)
        self.added_ms = await self._measure()
        self._writing = asyncio.create_task(self._write_regularly())
        address: Address = self._server.sockets[0].getsockname()[:2]
        return address

    async def close(self) -> None:
        """End all connections and write what was seen."""
        self._server.close()
        for link in list(self._links):
            link.abort()
        self._writing.cancel()
        with suppress(asyncio.CancelledError):
            await self._writing
        self.write()

    def write(self) -> None:
        """Write what was seen so far."""
        lines, self._lines = self._lines, []
        if self.out is not None and lines:
            self.out.write("".join(lines))
            self.out.flush()

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self.write()

    def _link(self) -> "_Link":
        self._connections += 1
        self.counts["connections"] += 1
        number = self._connections
        record = lambda exchange, ended_ns: self._record(number, exchange, ended_ns)  # noqa: E731
        link = _Link(
            self._upstream,
            self._conversation(record),
            record,
            lambda: self.delay_ms + self._distance_ms,
            self._links.discard,
        )
        self._links.add(link)
        return link

    def _held_back_ms(self) -> float:
        return self.delay_ms + self._distance_ms

    def _conversation(self, record: Record) -> Conversation:
        return HttpConversation(record) if self.protocol == "http" else PostgresConversation(record)

    def _record(self, connection: int, exchange: Exchange, ended_ns: int) -> None:
        self.counts["calls"] += 1
        if exchange.method == UNREADABLE:
            self.counts["unreadable"] += 1
        if self.out is not None:
            told = {"border": self.border, "protocol": self.protocol, "connection": connection}
            self._lines.append(f"{json.dumps({**told, **exchange.line(ended_ns), 'delay_ms': self.delay_ms})}\n")

    async def _measure(self) -> float:
        """The median of a small call through a tap like this one less that of one without, in ms."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as echo:
            threading.Thread(target=_echo, args=(echo,), daemon=True).start()
            address = echo.getsockname()

            def link() -> _Link:
                return _Link(address, HttpConversation(_unheard), _unheard, lambda: 0.0, _forgotten)

            server = await loop.create_server(lambda: _Client(link()), "127.0.0.1", 0)
            through = server.sockets[0].getsockname()
            direct_ms = await asyncio.to_thread(_ping, address)
            tapped_ms = await asyncio.to_thread(_ping, through)
            server.close()
        return round(max(tapped_ms - direct_ms, 0.0), 3)


class _Timer:
    """Calls back into the loop at an instant, to a tenth of a millisecond; its own timers round up to whole ones."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None], asyncio.AbstractEventLoop]] = []
        self._number = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def call_at(self, at_s: float, call: Callable[[], None]) -> None:
        """Call at an instant of ``time.monotonic``."""
        with self._changed:
            self._number += 1
            heapq.heappush(self._due, (at_s, self._number, call, asyncio.get_running_loop()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tap timer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                left_s = self._due[0][0] - time.monotonic() if self._due else None
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
                _, _, call, loop = heapq.heappop(self._due)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(call)


timer = _Timer()
UNREADABLE = "UNREADABLE"


class _Link:
    """One connection: the client's side, the server's side, and the reader of the copy."""

    def __init__(
        self,
        upstream: Address,
        conversation: Conversation,
        record: Record,
        delay_ms: Callable[[], float],
        ended: Callable[["_Link"], None],
    ) -> None:
        self._upstream = upstream
        self._conversation = conversation
        self._record = record
        self._delay_ms = delay_ms
        self._ended = ended
        self._opened_ns = time.time_ns()
        self._held: deque[tuple[float, bytes]] = deque()
        self._eof_held = False
        self._bytes = [0, 0]
        self._connecting: asyncio.Task[None] | None = None
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None

    def connect(self, client: asyncio.Transport) -> None:
        self.client = client
        client.pause_reading()
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.client is not None
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Server(self), *self._upstream)
        except OSError:
            exchange = Exchange(self._opened_ns, "CONNECT", "", status="unreachable", failed=True)
            self._record(exchange, time.time_ns())
            self.client.abort()
            return
        if self.client.is_closing():
            self.abort()
        else:
            self.client.resume_reading()

    def from_client(self, data: bytes) -> None:
        at_ns, delay_ms = time.time_ns(), self._delay_ms()
        self._bytes[0] += len(data)
        assert self.client is not None and self.server is not None
        if not delay_ms and not self._held:
            self.server.write(data)
            self._read(self._conversation.sent, data, at_ns)
            return
        began = self._read(self._conversation.sent, data, at_ns)
        until = time.monotonic() + (delay_ms / 1e3 if began else 0)
        if self._held:
            until = max(until, self._held[-1][0])
        if not began and not self._held:
            self.server.write(data)
            return
        self._held.append((until, data))
        self.client.pause_reading()  # what comes meanwhile waits with its sender, not here
        timer.call_at(until, self._release)

    def from_server(self, data: bytes) -> None:
        at_ns = time.time_ns()
        self._bytes[1] += len(data)
        assert self.client is not None
        self.client.write(data)
        self._read(self._conversation.received, data, at_ns)

    def client_ended(self) -> None:
        """Half a close is passed on, behind what is held."""
        if self._held:
            self._eof_held = True
        elif self.server is not None and self.server.can_write_eof():
            self.server.write_eof()

    def lost(self) -> None:
        """One side is gone: what the other still has to say is sent, then it goes too."""
        for side in (self.client, self.server):
            if side is not None and not side.is_closing():
                side.close()
        if self._ended is not _forgotten:
            self._ended(self)
        self._read_end(time.time_ns())

    def abort(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.client, self.server):
            if side is not None:
                side.abort()

    def _release(self) -> None:
        if not self._held or self.server is None or self.client is None:
            return
        self.server.write(self._held.popleft()[1])
        if not self._held:
            if self._eof_held and self.server.can_write_eof():
                self.server.write_eof()
            if not self.client.is_closing():
                self.client.resume_reading()

    def _read(self, reader: Callable[[bytes, int], int | None], data: bytes, at_ns: int) -> int:
        """Read the copy; whatever is wrong with it, the bytes are on their way, and the rest goes unread."""
        if self._conversation.opaque:
            return 0
        try:
            return reader(data, at_ns) or 0
        except Unreadable as reason:
            method = "TLS" if data[:1] == b"\x16" else UNREADABLE
            exchange = Exchange(self._opened_ns, method, str(reason), status="unread", failed=method == UNREADABLE)
            exchange.bytes_sent, exchange.bytes_received = self._bytes
            self._conversation.opaque = True
            self._record(exchange, at_ns)
            return 0

    def _read_end(self, at_ns: int) -> None:
        self._conversation.closed(at_ns)


class _Client(asyncio.Protocol):
    def __init__(self, link: _Link) -> None:
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._link.connect(transport)

    def data_received(self, data: bytes) -> None:
        self._link.from_client(data)

    def eof_received(self) -> bool:
        self._link.client_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost()

    def pause_writing(self) -> None:
        if self._link.server is not None:
            self._link.server.pause_reading()

    def resume_writing(self) -> None:
        if self._link.server is not None and not self._link.server.is_closing():
            self._link.server.resume_reading()


class _Server(asyncio.Protocol):
    def __init__(self, link: _Link) -> None:
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._link.server = transport

    def data_received(self, data: bytes) -> None:
        self._link.from_server(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost()

    def pause_writing(self) -> None:
        if self._link.client is not None:
            self._link.client.pause_reading()

    def resume_writing(self) -> None:
        if self._link.client is not None and not self._link.client.is_closing():
            self._link.client.resume_reading()


def _unheard(exchange: Exchange, ended_ns: int) -> None:
    """A call of the tap's own measurement."""


def _forgotten(link: _Link) -> None:
    """Nobody keeps the links of the tap's own measurement."""


def _echo(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while connection.recv(1024):
                    connection.sendall(_PONG)


def _ping(address: Address) -> float:
    """The median of some round trips, in ms."""
    took = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(PINGS):
            started = time.perf_counter()
            connection.sendall(_PING)
            connection.recv(1024)
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e3


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
                tap.out.close()
            tap.out = None
            if order["folder"]:
                folder = Path(order["folder"]) / FOLDER
                folder.mkdir(parents=True, exist_ok=True)
                tap.out = (folder / f"{tap.border}.calls").open("a", encoding="utf-8")
        return {**tap.counts, "added_ms": tap.added_ms}

    async def close(self) -> None:
        """Stop, and write what was seen."""
        await self._tap.close()


def parse_listen(listen: str) -> Address:
    """``host:port`` on loopback; port 0 is any that is free. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65_535 or host not in ("127.0.0.1", "localhost", "[::1]"):
        raise ValueError(f"must be a port on loopback, such as 127.0.0.1:54399, not {listen!r}")
    return host.strip("[]"), int(port)


def address_text(address: Address) -> str:
    """``host:port``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(tap: Tap, out: IO[str], say: Callable[[str], None]) -> None:
    """Tap in the foreground until SIGINT or SIGTERM. Raises OSError where the address is taken."""
    asyncio.run(_serve(tap, out, say))


async def _serve(tap: Tap, out: IO[str], say: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tap.out = out
    address = await tap.open()
    say(
        f"tap of {tap.protocol} at {address_text(address)}; it adds {tap.added_ms:.3f} ms to a call (median of {PINGS})"
    )
    await stopped.wait()
    await tap.close()
    counts = tap.counts
    say(f"{counts['calls']} calls on {counts['connections']} connections")
