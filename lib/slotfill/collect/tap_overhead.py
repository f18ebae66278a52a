"""What a tap itself adds to a call: measured beside a server that answers at once."""

import asyncio
import socket
import statistics
import threading
import time
from contextlib import suppress

from slotfill.collect.address import Address
from slotfill.collect.backlog import Backlog
from slotfill.collect.http_wire import HttpConversation
from slotfill.collect.link import ClientSide, Link
from slotfill.collect.wire import Exchange

PINGS = 200
_PING = b"GET /ping HTTP/1.1\r\nHost: tap\r\n\r\n"
_PONG = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def added_ms() -> float:
    """The median of a small call through a link less that of one without, in ms."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as echo:
        threading.Thread(target=_echo, args=(echo,), daemon=True).start()
        address = echo.getsockname()

        def link() -> Link:
            return Link(
                address,
                HttpConversation(_unheard),
                _unheard,
                Backlog(),
                lambda: 0.0,
                lambda link: None,
                lambda ms: None,
            )

        server = await loop.create_server(lambda: ClientSide(link()), "127.0.0.1", 0)
        through = server.sockets[0].getsockname()
        direct_ms = await asyncio.to_thread(_ping, address)
        tapped_ms = await asyncio.to_thread(_ping, through)
        server.close()
    return round(max(tapped_ms - direct_ms, 0.0), 3)


def _unheard(exchange: Exchange, ended_ns: int) -> None:
    """Nobody keeps these calls."""


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
