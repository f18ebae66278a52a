"""One connection through a tap: bytes go on at once, a copy is read, and a call can be held back by a known delay."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from slotfill.collect.address import Address
from slotfill.collect.backlog import Backlog
from slotfill.collect.timer import timer
from slotfill.collect.wire import Conversation, Exchange, Record, Unreadable

UNREADABLE = "UNREADABLE"


class Link:
    """One connection: the client's side, the server's side, and the reader of the copy."""

    def __init__(
        self,
        upstream: Address,
        conversation: Conversation,
        record: Record,
        backlog: Backlog,
        delay_ms: Callable[[], float],
        ended: Callable[["Link"], None],
        held: Callable[[float], None],
    ) -> None:
        self._upstream = upstream
        self._conversation = conversation
        self._record = record
        self._backlog = backlog
        self._delay_ms = delay_ms
        self._ended = ended
        self._was_held = held
        self._opened_ns = time.time_ns()
        self._held: deque[tuple[float, float, bytes]] = deque()
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
            await asyncio.get_running_loop().create_connection(lambda: ServerSide(self), *self._upstream)
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
            self._read_later(self._conversation.sent, data, at_ns)
            return
        self._backlog.clear()
        began = self._read(self._conversation.sent, data, at_ns)
        now = time.monotonic()
        until = now + (delay_ms / 1e3 if began else 0)
        if self._held:
            until = max(until, self._held[-1][0])
        if not began and not self._held:
            self.server.write(data)
            return
        self._held.append((until, now, data))
        self.client.pause_reading()  # what comes meanwhile waits with its sender, not here
        timer.call_at(until, self._release)

    def from_server(self, data: bytes) -> None:
        at_ns = time.time_ns()
        self._bytes[1] += len(data)
        assert self.client is not None
        self.client.write(data)
        self._read_later(self._conversation.received, data, at_ns)

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
        self._ended(self)
        self._backlog.add(0, partial(self._conversation.closed, time.time_ns()))

    def abort(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.client, self.server):
            if side is not None:
                side.abort()

    def _release(self) -> None:
        if not self._held or self.server is None or self.client is None:
            return
        _, since, data = self._held.popleft()
        self.server.write(data)
        self._was_held((time.monotonic() - since) * 1e3)
        if not self._held:
            if self._eof_held and self.server.can_write_eof():
                self.server.write_eof()
            if not self.client.is_closing():
                self.client.resume_reading()

    def _read_later(self, reader: Callable[[bytes, int], int | None], data: bytes, at_ns: int) -> None:
        if not self._conversation.opaque:
            self._backlog.add(len(data), partial(self._read, reader, data, at_ns))

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


class ClientSide(asyncio.Protocol):
    def __init__(self, link: Link) -> None:
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


class ServerSide(asyncio.Protocol):
    def __init__(self, link: Link) -> None:
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
