"""When bytes arrived, whenever they are read."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from slotfill.collect.side import TELLS_ARRIVALS, receive, stamp_arrivals

pytestmark = pytest.mark.skipif(not TELLS_ARRIVALS, reason="the kernel does not tell when bytes arrive")
LATE_S = 0.05


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        closing(socket.create_connection(listening.getsockname())) as one,
    ):
        other, _ = listening.accept()
        with other:
            yield one, other


def eventually(tried: Callable[[], bool]) -> bool:
    """Whether it is so in the end: the kernel begins to stamp some time after it was first asked to."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if tried():
            return True
    return False


def test_a_tap_that_reads_late_knows_when_the_bytes_arrived(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, own = ends
    stamp_arrivals(own)

    def is_known() -> bool:
        began_ns = time.time_ns()
        sender.sendall(b"hello")
        select.select([own], [], [])
        there_ns = time.time_ns()
        time.sleep(LATE_S)
        data, arrived_ns = receive(own)
        assert data == b"hello"
        assert arrived_ns >= began_ns
        return arrived_ns <= there_ns

    assert eventually(is_known)
