"""A booking platform that confirms every request after 20 ms with a booking its database holds already, and counts.

Prints its port; when its standard input ends, what it counted: requests in flight (mean, max) and a second.
"""

import asyncio
import json
import sys
import time
from uuid import UUID

import httptools

ANSWER_S = 0.020


class Count:
    def __init__(self) -> None:
        self.now = self.most = self.answered = 0
        self.busy_s = self.first = self.last = 0.0

    def begin(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.first = self.first or time.perf_counter()

    def end(self, began: float) -> None:
        self.now -= 1
        self.answered += 1
        self.last = time.perf_counter()
        self.busy_s += self.last - began

    def told(self) -> dict[str, float]:
        took_s = self.last - self.first
        return {"mean": self.busy_s / took_s, "max": self.most, "per_s": self.answered / took_s}


COUNT = Count()


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.books = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.books = self.books or name.lower() == b"idempotency-key"

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if not self.books:
            self.send(404, {"error": "Not found"}, b"text/html")
            return
        COUNT.begin()
        asyncio.get_running_loop().call_later(ANSWER_S, self.answer, time.perf_counter())

    def answer(self, began: float) -> None:
        COUNT.end(began)
        self.send(201, {"booking": {"id": str(UUID(int=COUNT.answered)), "status": "confirmed"}}, b"application/json")

    def send(self, status: int, content: dict, kind: bytes) -> None:
        body = json.dumps(content).encode()
        head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
        self.transport.write(head + body)


class End(asyncio.Protocol):
    def connection_lost(self, exc: Exception | None) -> None:
        print(json.dumps(COUNT.told()), flush=True)
        asyncio.get_running_loop().stop()


async def listen() -> None:
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(End, sys.stdin)
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(listen())
    loop.run_forever()
