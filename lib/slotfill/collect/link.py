"""One connection through a tap: bytes go on at once, a copy is read, and a call can be held back by a known delay."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from slotfill.address import Address
from slotfill.collect.backlog import Backlog
from slotfill.collect.side import Side, connected
from slotfill.collect.timer import timer
from slotfill.collect.wire import TLS, UNREAD, UNREADABLE, Conversation, Encrypted, Exchange, Record, Unreadable

Reader = Callable[[bytes, int, int], int | None]


class Link:
    """One connection: the client's side, the server's side, and the reader of the copy."""

    def __init__(
        self,
        client: socket.socket,
        upstream: Address,
        conversation: Conversation,
        record: Record,
        backlog: Backlog,
        delay_ms: Callable[[], float] = lambda: 0.0,
        ended: Callable[["Link"], None] = lambda link: None,
        held: Callable[[float], None] = lambda ms: None,
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
        self._eof_held = self._is_lost = False
        self._bytes = [0, 0]
        self._client = Side(client, self._from_client, self._client_ended, self._broken)
        self._server: Side | None = None
        self._connecting = asyncio.create_task(self._connect())

    def abort(self) -> None:
        """End it at once; whoever waits for the rest of an answer is told that there is none."""
        self._connecting.cancel()
        self._client.abort(reset=True)
        if self._server is not None:
            self._server.abort()
        self._lost(broken=True)

    async def _connect(self) -> None:
        try:
            own = await connected(self._upstream)
        except OSError:
            exchange = Exchange(self._opened_ns, "CONNECT", "", status="unreachable", failed=True)
            self._record(exchange, time.time_ns())
            self.abort()
            return
        self._server = Side(own, self._from_server, self._lost, self._broken)
        self._server.other, self._client.other = self._client, self._server
        self._client.release("begin")
        self._server.release("begin")

    def _from_client(self, data: bytes, arrived_ns: int) -> None:
        assert self._server is not None
        delay_ms = self._delay_ms()
        self._bytes[0] += len(data)
        at_ns = time.time_ns()
        if not delay_ms and not self._held:
            self._server.write(data)
            self._read_later(self._conversation.sent, data, at_ns, at_ns - arrived_ns)
            return
        self._backlog.clear()
        began = self._read(self._conversation.sent, data, at_ns, at_ns - arrived_ns)
        now = time.monotonic()
        until = now + (delay_ms / 1e3 if began else 0)
        if self._held:
            until = max(until, self._held[-1][0])
        if not began and not self._held:
            self._server.write(data)
            return
        self._held.append((until, now, data))
        self._client.hold("delay")  # what comes meanwhile waits with its sender, not here
        timer.call_at(until, self._release)

    def _from_server(self, data: bytes, arrived_ns: int) -> None:
        self._bytes[1] += len(data)
        late_ns = time.time_ns() - arrived_ns  # whoever waits for it runs before the writing has returned
        self._client.write(data)
        self._read_later(self._conversation.received, data, arrived_ns, late_ns)

    def _client_ended(self) -> None:
        """Half a close is passed on, behind what is held."""
        if self._held:
            self._eof_held = True
        elif self._server is not None:
            self._server.end()

    def _broken(self) -> None:
        """One side was reset, and so is the other: an end in good order would make a cut answer look whole."""
        self._lost(broken=True)

    def _lost(self, broken: bool = False) -> None:
        """One side is gone: what the other still has to be told is sent, then it goes too."""
        for side in (self._client, self._server):
            if side is not None and not side.is_closed:
                side.close(reset=broken)
        if not self._is_lost:
            self._is_lost = True
            self._ended(self)
            self._backlog.add(0, partial(self._conversation.closed, time.time_ns(), broken))

    def _release(self) -> None:
        if not self._held or self._server is None:
            return
        _, since, data = self._held.popleft()
        self._server.write(data)
        self._was_held((time.monotonic() - since) * 1e3)
        if not self._held:
            if self._eof_held:
                self._server.end()
            self._client.release("delay")

    def _read_later(self, reader: Reader, data: bytes, at_ns: int, late_ns: int) -> None:
        if not self._conversation.opaque:
            self._backlog.add(len(data), partial(self._read, reader, data, at_ns, late_ns))

    def _read(self, reader: Reader, data: bytes, at_ns: int, late_ns: int) -> int:
        """Read the copy; whatever is wrong with it, the bytes are on their way, and the rest goes unread."""
        if self._conversation.opaque:
            return 0
        try:
            return reader(data, at_ns, late_ns) or 0
        except Unreadable as reason:
            method = TLS if isinstance(reason, Encrypted) else UNREADABLE
            exchange = Exchange(self._opened_ns, method, str(reason), status=UNREAD, failed=method == UNREADABLE)
            exchange.bytes_sent, exchange.bytes_received = self._bytes
            self._conversation.opaque = True
            self._record(exchange, at_ns)
            return 0
