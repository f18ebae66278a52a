"""``python -m slotfill.collect.ping``: both ends of a way, a server that answers at once and a client that asks it.

Says on which port the server listens, hears on which port a tap in front of it does, and says what the tap adds to a
call, in ms. A process of its own: inside the tap's, the ends would wait for each other's turn with the interpreter.
"""

import socket
import statistics
import sys
import threading
import time

TURNS, PINGS = 10, 20
"""The two ways take turns, so that what else the machine does meets both."""
ALL_PINGS = TURNS * PINGS
_PING = b"GET /ping HTTP/1.1\r\nHost: tap\r\n\r\n"
_PONG = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def main() -> None:
    """See above."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer, args=(listening,), daemon=True).start()
        direct = listening.getsockname()[1]
        print(direct, flush=True)
        tapped = int(sys.stdin.readline())
        with _connected(direct) as bare_end, _connected(tapped) as taps_end:
            took: dict[socket.socket, list[float]] = {bare_end: [], taps_end: []}
            for _ in range(TURNS):
                for connection, times in took.items():
                    times += [_ping(connection) for _ in range(PINGS)]
            added_s = statistics.median(took[taps_end]) - statistics.median(took[bare_end])
    print(round(max(added_s, 0.0) * 1e3, 3), flush=True)


def _answer(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_answer_one, args=(connection,), daemon=True).start()


def _answer_one(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while connection.recv(1024):
            connection.sendall(_PONG)


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ping(connection: socket.socket) -> float:
    """How long one round trip takes, in seconds."""
    started = time.perf_counter()
    connection.sendall(_PING)
    connection.recv(1024)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
