"""One side of a connection through a tap: what arrives comes with its instant, what is written goes at once.

The instant is the kernel's, where it tells: a tap that waits for a core reads late, and what it holds up is known for
each call. So this is a socket in the event loop's hands, and none of its transports, which do not say.
"""

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

TELLS_ARRIVALS = sys.platform == "linux"
LARGEST_READ = 64 << 10
MOST_UNSENT = 64 << 10
"""Bytes that wait for one side to take them; above, the other side is not read."""
ACCEPT_AGAIN_S = 1.0
"""After this process, or the machine, had no descriptor left."""
_TIMESTAMPNS = 35
"""SO_TIMESTAMPNS of Linux, and the type of what it says; Python has no name for it."""
_INSTANT = struct.Struct("qq")
_NO_LINGERING = struct.pack("ii", 1, 0)
"""For SO_LINGER: whoever closes resets."""


class Side:
    """``arrived`` is told bytes and their instant (Unix ns), ``ended`` that no more come, ``lost`` that it is gone."""

    def __init__(
        self,
        own: socket.socket,
        arrived: Callable[[bytes, int], None],
        ended: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        own.setblocking(False)
        with suppress(OSError):  # a peer that has gone already
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stamp_arrivals(own)
        self._own = own
        self._arrived, self._ended, self._lost = arrived, ended, lost
        self._loop = asyncio.get_running_loop()
        self._holds: set[str] = {"begin"}
        self._unsent = bytearray()
        self._ends = self._closes = self._resets = False
        self.is_closed = False
        self.other: Side | None = None

    def hold(self, why: str) -> None:
        """Do not read until ``release`` with the same reason."""
        if not self._holds and not self.is_closed:
            self._loop.remove_reader(self._own)
        self._holds.add(why)

    def release(self, why: str) -> None:
        """Read again, where nothing else holds."""
        held = bool(self._holds)
        self._holds.discard(why)
        if held and not self._holds and not self.is_closed:
            self._loop.add_reader(self._own, self._read)

    def write(self, data: bytes) -> None:
        """Send, and keep what is not taken yet."""
        if self.is_closed or self._closes:
            return
        sent = 0 if self._unsent else self._send(data)
        if sent is None or sent == len(data):
            return
        if not self._unsent:
            self._loop.add_writer(self._own, self._write_on)
        self._unsent += data[sent:]
        if len(self._unsent) > MOST_UNSENT and self.other is not None:
            self.other.hold("full")

    def end(self) -> None:
        """Say that nothing more is written, behind what is still to be sent."""
        self._ends = True
        if not self._unsent and not self.is_closed:
            with suppress(OSError):
                self._own.shutdown(socket.SHUT_WR)

    def close(self, reset: bool = False) -> None:
        """Go, behind what is still to be sent; with ``reset`` so that the peer knows that there was to be more."""
        self.hold("close")
        self._closes = True
        self._resets = reset
        if not self._unsent:
            self.abort(reset)

    def abort(self, reset: bool = False) -> None:
        """Go at once."""
        if not self.is_closed:
            if reset:
                with suppress(OSError):
                    self._own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
            self.hold("close")
            self._loop.remove_writer(self._own)
            self.is_closed = True
            self._own.close()

    def _read(self) -> None:
        try:
            data, arrived_ns = receive(self._own)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            self._lost()
            return
        if data:
            self._arrived(data, arrived_ns)
        else:
            self.hold("end")
            self._ended()

    def _send(self, data: bytes | bytearray) -> int | None:
        """How many bytes were taken; ``None`` where the side is gone."""
        try:
            return self._own.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.abort()
            self._loop.call_soon(self._lost)
            return None

    def _write_on(self) -> None:
        sent = self._send(self._unsent)
        if sent is None:
            return
        del self._unsent[:sent]
        if len(self._unsent) <= MOST_UNSENT and self.other is not None:
            self.other.release("full")
        if not self._unsent:
            self._loop.remove_writer(self._own)
            if self._closes:
                self.abort(self._resets)
            elif self._ends:
                self.end()


def listen_at(address: tuple[str, int], take: Callable[[socket.socket], None]) -> socket.socket:
    """Have each connection that is made taken, until the socket is closed by ``stop``. Raises OSError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listening = socket.create_server(address, family=family, backlog=512)
    listening.setblocking(False)
    stamp_arrivals(listening)  # which all that it accepts inherit
    loop = asyncio.get_running_loop()

    def accept() -> None:
        try:
            while True:
                take(listening.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop.remove_reader(listening)
            loop.call_later(ACCEPT_AGAIN_S, again)

    def again() -> None:
        if listening.fileno() >= 0:
            loop.add_reader(listening, accept)

    again()
    return listening


def stop(listening: socket.socket) -> None:
    """Accept no more."""
    asyncio.get_running_loop().remove_reader(listening)
    listening.close()


async def connected(address: tuple[str, int]) -> socket.socket:
    """A connection to whatever of a name's addresses answers first. Raises OSError."""
    loop = asyncio.get_running_loop()
    failed: OSError = ConnectionRefusedError()
    try:
        found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except ValueError as error:  # a name that no resolver would take
        raise OSError(f"{address[0]}: {error}") from None
    for family, kind, protocol, _, where in found:
        own = socket.socket(family, kind, protocol)
        own.setblocking(False)
        try:
            await loop.sock_connect(own, where)
        except OSError as error:
            own.close()
            failed = error
        except BaseException:
            own.close()
            raise
        else:
            return own
    raise failed


def stamp_arrivals(own: socket.socket) -> None:
    """Have the kernel note when bytes arrive, where it can."""
    if TELLS_ARRIVALS:
        with suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


def receive(own: socket.socket) -> tuple[bytes, int]:
    """Bytes, and when the last of them arrived: Unix nanoseconds. Raises OSError."""
    data, notes, _, _ = own.recvmsg(LARGEST_READ, 64)
    now_ns = time.time_ns()
    for level, kind, content in notes:
        if (level, kind, len(content)) == (socket.SOL_SOCKET, _TIMESTAMPNS, _INSTANT.size):
            seconds, nanoseconds = _INSTANT.unpack(content)
            return data, min(now_ns, seconds * 1_000_000_000 + nanoseconds)
    return data, now_ns
