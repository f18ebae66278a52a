"""When bytes arrived at a socket, by the kernel: a process that waits for a core or its turn reads them later."""

import socket
import struct
import sys
import time
from contextlib import suppress

TIMESTAMPNS = 35
"""SO_TIMESTAMPNS of Linux, and the type of what it says; Python has no name for it."""
_INSTANT = struct.Struct("qq")


def stamp_arrivals(fd: int) -> bool:
    """Have the kernel note when bytes arrive at a TCP socket; whether it can."""
    if sys.platform != "linux":
        return False
    with suppress(OSError), _Borrowed(fd) as borrowed:
        borrowed.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        return True
    return False


def waited_s(fd: int) -> float:
    """How long the bytes that are to be read have been waiting for it, in seconds; 0 where nobody knows."""
    with suppress(OSError, ValueError), _Borrowed(fd) as borrowed:
        _, notes, _, _ = borrowed.recvmsg(1, 64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        for level, kind, content in notes:
            if (level, kind, len(content)) == (socket.SOL_SOCKET, TIMESTAMPNS, _INSTANT.size):
                seconds, nanoseconds = _INSTANT.unpack(content)
                return max(0.0, float(time.time_ns() - seconds * 1_000_000_000 - nanoseconds) / 1e9)
    return 0.0


class _Borrowed(socket.socket):
    """A socket over somebody else's file descriptor, which is left open."""

    def __init__(self, fd: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)

    def __exit__(self, *_: object) -> None:
        self.detach()
