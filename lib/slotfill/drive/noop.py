"""A server that does nothing but to confirm every booking: what a measurement of it shows is the measuring's own.

``python -m slotfill.drive.noop`` prints its port and serves on loopback until its standard input ends. The first part
of a path is how long an answer takes, in ms: ``/20/api/bookings``, or ``/20~5/api/bookings`` for 15 to 25.
"""

import asyncio
import json
import os
import random
import sys
import time
from uuid import uuid4

import httptools

SERVER_MS = "serverMs"
"""In the booking of an answer: what it took, from the last byte of the request to the first of the answer."""


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def data_received(self, data: bytes) -> None:
        self._received = time.perf_counter()
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_message_complete(self) -> None:
        mean_ms, _, spread_ms = self._path.split(b"/")[1].partition(b"~")
        delay_ms = float(mean_ms) + float(spread_ms or 0) * random.uniform(-1, 1)
        if delay_ms > 0:
            asyncio.get_running_loop().call_later(delay_ms / 1e3, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if self._transport.is_closing():
            return
        took_ms = (time.perf_counter() - self._received) * 1e3
        booking = {"id": str(uuid4()), "status": "confirmed", SERVER_MS: took_ms}
        body = json.dumps({"booking": booking, "duplicate": False}).encode()
        head = f"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class _Lifeline(asyncio.Protocol):
    """Standard input: its end is that of the process that started this one."""

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().stop()


async def _listen() -> None:
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(_Lifeline, sys.stdin)
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    os.write(sys.stdout.fileno(), f"{server.sockets[0].getsockname()[1]}\n".encode())


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_listen())
    loop.run_forever()
