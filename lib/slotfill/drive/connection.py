"""The measuring transport: one connection, stamped where bytes leave and where they arrive.

httpx's own transport is stamped in awaited callbacks above its connection pool, so that what it reports holds its own
serialising, its locks and our event loop. This one has a request's bytes ready before the first stamp.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import httptools
import httpx

from slotfill.drive.clock import Clock
from slotfill.drive.wire import Wire

KEEPALIVE_MS = 4_000.0
"""Node and uvicorn close a connection that idles for 5 s; a request must not meet that moment."""
LARGEST_ANSWER, LARGEST_HEAD = 2_000_000, 64_000
"""Bytes. A booking's answer has some 2,000; anything near these limits is none."""


class OversizedAnswer(httpx.RemoteProtocolError):
    """More than an answer of a booking platform can be; the connection is closed."""


class MeasuringTransport(httpx.AsyncBaseTransport):
    """One connection to one origin, kept alive, for one request at a time; no retry.

    A request's ``trace`` extension, if it is a ``Wire``, gets the stamps. The answer comes whole, its body as it was
    sent (not decoded). Raises ConnectError, WriteError, ReadError, RemoteProtocolError, OversizedAnswer.
    """

    def __init__(self, context: ssl.SSLContext, clock: Clock, arrived_ms: Callable[[], float] | None = None) -> None:
        self._context, self._clock = context, clock
        self._arrived_ms = arrived_ms or clock.ms
        self._connection: _Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content, url = _bytes(request), request.url
        wire = request.extensions.get("trace")
        if not isinstance(wire, Wire):
            wire = Wire(self._clock)
        connection = self._reusable(wire)
        if connection is None:
            connection = await self._connect(url, wire)
        try:
            return await connection.exchange(content, wire)
        except BaseException:
            connection.close()  # the rest of an answer must not be taken for the next one's
            raise

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.wait_closed()
            self._connection = None

    def _reusable(self, wire: Wire) -> "_Connection | None":
        connection = self._connection
        if connection is None or not connection.reusable(self._clock.ms() - KEEPALIVE_MS):
            return None
        return connection

    async def _connect(self, url: httpx.URL, wire: Wire) -> "_Connection":
        if self._connection is not None:
            self._connection.close()
        loop, secure = asyncio.get_running_loop(), url.scheme == "https"
        wire.connecting_ms = self._clock.ms()
        try:
            _, self._connection = await loop.create_connection(
                lambda: _Connection(self._clock, self._arrived_ms),
                url.raw_host.decode("ascii"),
                url.port or (443 if secure else 80),
                ssl=self._context if secure else None,
            )
        except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError; the other is a name no resolver takes
            raise httpx.ConnectError(str(error)) from error
        wire.connected_ms = self._clock.ms()
        return self._connection


class _Connection(asyncio.Protocol):
    """The connection's callbacks; at most one exchange at a time."""

    def __init__(self, clock: Clock, arrived_ms: Callable[[], float]) -> None:
        self._clock, self._arrived_ms = clock, arrived_ms
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exchange: _Exchange | None = None
        self._last_used_ms = clock.ms()

    def reusable(self, since_ms: float) -> bool:
        return self._transport is not None and not self._transport.is_closing() and self._last_used_ms >= since_ms

    async def exchange(self, content: bytes, wire: Wire) -> httpx.Response:
        """Send a request's bytes and take in its answer."""
        transport = self._transport
        if transport is None:
            raise httpx.ReadError("the connection was closed as soon as it was made")
        self._exchange = exchange = _Exchange(wire)
        wire.sending_ms = self._clock.ms()
        transport.write(content)
        wire.sent_ms = self._clock.ms()
        try:
            response = await exchange.answer
        finally:
            self._exchange = None
            exchange.let_go()
        self._last_used_ms = self._clock.ms()
        if not exchange.keep_alive:
            self.close()
        return response

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Close, and wait for the loop to have let go of the socket."""
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait([self._closed], timeout=1)

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.answer.done():
            self.close()  # nobody has asked for anything
            return
        exchange.feed(data, self._arrived_ms())
        if exchange.answer.done():
            now_ms, wire = self._clock.ms(), exchange.wire
            if wire.answered_ms is not None:
                # An answer cannot have arrived before its request left, whatever the loop's stamps suggest.
                wire.lag_ms = now_ms - wire.answered_ms

    def eof_received(self) -> bool:
        if self._exchange is not None:
            self._exchange.end(self._arrived_ms())
        return False  # close

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._exchange is not None:
            self._exchange.lost(exc)
        if not self._closed.done():
            self._closed.set_result(None)


class _Exchange:
    """One answer being taken in; the methods named ``on_…`` are the parser's callbacks."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self.keep_alive = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()  # and no list: a body can come in hundreds of thousands of pieces
        self._size = self._head_size = 0
        self._in_body = self._sized = False

    def feed(self, data: bytes, arrived_ms: float) -> None:
        """Take in bytes that arrived at that instant."""
        wire = self.wire
        arrived_ms = max(arrived_ms, wire.sent_ms or 0)  # no answer arrives before its request left
        if wire.answering_ms is None:
            wire.answering_ms = arrived_ms
        wire.answered_ms = arrived_ms
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._complete()
        except httptools.HttpParserError as error:
            self._fail(self._oversized() or httpx.RemoteProtocolError(f"not HTTP: {_plain(error)}"))
        else:
            if oversized := self._oversized():
                self._fail(oversized)

    def end(self, arrived_ms: float) -> None:
        """The server has closed its side: the end of a body that did not say how long it is."""
        if not self.answer.done() and self._in_body and not self._sized:
            self.wire.answered_ms = arrived_ms
            self._complete()

    def lost(self, error: Exception | None) -> None:
        words = "the connection broke" if error else "the server closed the connection before its answer was complete"
        failure = httpx.ReadError(words) if error else httpx.RemoteProtocolError(words)
        failure.__cause__ = error
        self._fail(failure)

    def let_go(self) -> None:
        """Free what came now: parser, exchange and errors hold each other, and the garbage collector comes seldom."""
        self._parser = None
        self._body, self._headers = bytearray(), []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + len(b": \r\n")
        if self._in_body or self._head_size > LARGEST_HEAD:
            return  # a trailer, of which only the size counts, or too much already
        self._headers.append((name, value))
        self._sized = self._sized or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._in_body = not self._informational()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._in_body:  # 100 Continue and its like come before the answer
            self._headers, self._sized = [], False
            return
        self.keep_alive = self._parser.should_keep_alive()
        self._complete()

    def _informational(self) -> bool:
        return 100 <= self._parser.get_status_code() < 200 and not self._parser.should_upgrade()

    def _oversized(self) -> OversizedAnswer | None:
        if self._size > LARGEST_ANSWER:
            return OversizedAnswer(f"an answer of more than {LARGEST_ANSWER:,} bytes")
        if self._head_size > LARGEST_HEAD or (self._size > LARGEST_HEAD and not self._in_body):
            return OversizedAnswer(f"an answer with more than {LARGEST_HEAD:,} bytes of headers")
        return None

    def _complete(self) -> None:
        if self.answer.done():
            return
        if oversized := self._oversized():
            self._fail(oversized)
            return
        status, stream = self._parser.get_status_code(), httpx.ByteStream(bytes(self._body))
        self.answer.set_result(httpx.Response(status, headers=self._headers, stream=stream))

    def _fail(self, error: httpx.TransportError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _bytes(request: httpx.Request) -> bytes:
    """The request as it goes over the wire."""
    head = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    head += [b"%b: %b" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join(head) + b"\r\n\r\n" + request.read()


def _plain(error: Any) -> str:
    return " ".join(str(error).split())[:200]
