"""What a tap itself adds to a call: measured beside a server that answers at once."""

import asyncio
import socket
import sys

from slotfill.collect.backlog import Backlog
from slotfill.collect.http_wire import HttpConversation
from slotfill.collect.link import Link
from slotfill.collect.ping import ALL_PINGS
from slotfill.collect.side import listen_at, stop
from slotfill.collect.wire import Exchange

PINGS = ALL_PINGS


async def added_ms() -> float:
    """The median of a small call through a link less that of one without, in ms."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", "slotfill.collect.ping")
    ends = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert ends.stdin is not None and ends.stdout is not None
    upstream = ("127.0.0.1", int(await ends.stdout.readline()))
    backlog, links = Backlog(), []

    def take(client: socket.socket) -> None:
        links.append(Link(client, upstream, HttpConversation(_unheard), _unheard, backlog))

    listening = listen_at(("127.0.0.1", 0), take)
    ends.stdin.write(b"%d\n" % listening.getsockname()[1])
    measured = float(await ends.stdout.readline())
    stop(listening)
    for link in links:
        link.abort()
    await ends.wait()
    return measured


def _unheard(exchange: Exchange, ended_ns: int) -> None:
    """Nobody keeps these calls."""
