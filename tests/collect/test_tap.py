"""A tap between real ends: bytes pass whole and at once, calls are recorded, and nothing upsets it."""

import http.client
import json
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import waiting

SLOTFILL = Path(sys.executable).with_name("slotfill")


class _Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self._answer(b"hello")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Upstream) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def tapped(url: str, out: Path, *words: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The port of a running ``slotfill tap``, and its process."""
    command = [str(SLOTFILL), "tap", url, "--out", str(out), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            hello = process.stderr.readline()
            found = re.search(r":(\d+);.*adds ([\d.]+) ms", hello)
            assert found, hello
            yield int(found[1]), process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(waiting.PATIENCE_S)


def lines(out: Path) -> list[dict[str, Any]]:
    """The calls so far; the last line may be under way."""
    return [json.loads(line) for line in out.read_text().rpartition("\n")[0].splitlines()]


def test_a_conversation_passes_whole_and_is_recorded(upstream: int, tmp_path: Path) -> None:
    out, body = tmp_path / "calls.ndjson", os.urandom(3 << 20)
    with tapped(f"http://user:s3cret@127.0.0.1:{upstream}", out) as (port, process):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as client:
            for _ in range(3):
                client.request("GET", "/rest/v1/bookings?id=eq.1", headers={"Authorization": "Bearer s3cret"})
                assert client.getresponse().read() == b"hello"
            client.request("POST", "/upload", body=body)
            assert client.getresponse().read() == body
        process.send_signal(signal.SIGINT)
        assert process.wait(waiting.PATIENCE_S) == 0
    seen = lines(out)
    assert [one["target"] for one in seen] == ["bookings"] * 3 + ["/upload"]
    assert len({one["fingerprint"] for one in seen[:3]}) == 1
    assert {one["connection"] for one in seen} == {1}
    assert seen[3]["bytes_sent"] > len(body) and seen[3]["bytes_received"] > len(body)
    assert all(0 < one["first_byte_ms"] <= one["duration_ms"] for one in seen)
    assert "s3cret" not in out.read_text()


def test_sixty_four_connections_at_once(upstream: int, tmp_path: Path) -> None:
    out = tmp_path / "calls.ndjson"
    with tapped(f"http://127.0.0.1:{upstream}", out) as (port, _):
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S) for _ in range(64)]
        for _ in range(3):
            for client in clients:
                client.request("GET", "/")
            for client in clients:
                assert client.getresponse().read() == b"hello"
        for client in clients:
            client.close()
    assert len(lines(out)) == 3 * 64
    assert len({one["connection"] for one in lines(out)}) == 64


def test_each_call_is_held_back_by_the_delay(upstream: int, tmp_path: Path) -> None:
    out = tmp_path / "calls.ndjson"
    with (
        tapped(f"http://127.0.0.1:{upstream}", out, "--delay-ms", "30") as (port, _),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as client,
    ):
        for _ in range(5):
            client.request("POST", "/", body=bytes(1 << 20))
            assert len(client.getresponse().read()) == 1 << 20
    assert len(lines(out)) == 5
    assert all(one["duration_ms"] >= 30 and one["delay_ms"] == 30 for one in lines(out))


def _endless(connection: socket.socket) -> None:
    for _ in range(64):
        connection.sendall(b"x" * (1 << 20))


HOSTILE: dict[str, Callable[[socket.socket], None]] = {
    "cut": lambda connection: connection.sendall(b"GET / HTTP/1.1\r\nHost: a"),
    "nonsense": lambda connection: connection.sendall(b"\0\1\2 no protocol at all"),
    "tls": lambda connection: connection.sendall(b"\x16\x03\x01\x02\x00\x01"),
    "cut body": lambda connection: connection.sendall(
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 99
    ),
    "endless": _endless,
}


def test_hostile_bytes_neither_stop_it_nor_fill_it(upstream: int, tmp_path: Path) -> None:
    out = tmp_path / "calls.ndjson"
    with tapped(f"http://127.0.0.1:{upstream}", out) as (port, process):
        for say in HOSTILE.values():
            with (
                closing(socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)) as connection,
                suppress(OSError),
            ):
                say(connection)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as client:
                client.request("GET", "/after")
                assert client.getresponse().read() == b"hello"
        assert psutil.Process(process.pid).memory_info().rss < 300 << 20
    seen = [(one["method"], one["target"]) for one in lines(out)]
    assert seen.count(("GET", "/after")) == len(HOSTILE)
    # An answer to the half of a request is one that nobody asked for.
    assert [method for method, target in seen if target != "/after"].count("UNREADABLE") in (2, 3)
    assert ("POST", "/") in seen and "TLS" in [method for method, _ in seen]


_ODD = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "no protocol": bytes(range(256)) * 40,
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a head without an end": _ODD + b"X-Long: " + b"y" * 200_000,
    "a length that is no number": _ODD + b"Content-Length: -5\r\n\r\nhello",
    "a length of twenty digits": _ODD + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    "less than its length": _ODD + b"Content-Length: 500\r\n\r\nhello",
    "more than its length": _ODD + b"Content-Length: 2\r\n\r\nhello, more",
    "a chunk of all there is": _ODD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nhello",
    "a chunk without a size": _ODD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
    "a trailer without an end": _ODD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 20_000,
    "answers to nobody": (_ODD + b"Content-Length: 0\r\n\r\n") * 20_000,
    "only interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + os.urandom(5_000),
    "lines without a return": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "nothing": b"",
}


@pytest.fixture(scope="module")
def odd_upstream() -> Iterator[int]:
    """Answers ``GET /N`` with the Nth of ``ANSWERS``, byte for byte, and hangs up."""

    class Odd(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            number = int(self.rfile.readline().split()[1][1:])
            while self.rfile.readline().strip():
                """The rest of the head."""
            self.wfile.write(list(ANSWERS.values())[number])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Odd) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_whatever_a_server_answers_passes_whole_and_is_an_outcome(odd_upstream: int, tmp_path: Path) -> None:
    out = tmp_path / "calls.ndjson"
    with tapped(f"http://127.0.0.1:{odd_upstream}", out) as (port, process):
        for number, answer in enumerate(ANSWERS.values()):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)) as connection:
                connection.sendall(f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                with connection.makefile("rb") as received:
                    assert received.read() == answer
        assert psutil.Process(process.pid).memory_info().rss < 300 << 20
    seen = {kind: [one for one in lines(out) if one["connection"] == place] for place, kind in enumerate(ANSWERS, 1)}
    assert all(seen.values())
    whole = ("more than its length", "answers to nobody", "an upgrade nobody asked for", "lines without a return")
    assert {kind for kind, calls in seen.items() if not any(one["failed"] for one in calls)} <= set(whole)


def test_a_reset_passes_on_so_that_a_cut_answer_is_none(tmp_path: Path) -> None:
    """Whichever end it is: an answer that ends with its connection would look whole, and is recorded as failed."""
    was_read, resets = threading.Event(), []

    class Breaking(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            path = self.request.recv(4096).split()[1]
            self.request.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf of")
            if path == b"/server":
                was_read.wait(waiting.PATIENCE_S)
                _reset_at_close(self.request)
                self.request.close()  # or else the class says its end in good order
                return
            try:
                self.request.recv(1)
            except ConnectionResetError:
                resets.append(path)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Breaking) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out = tmp_path / "calls.ndjson"
        with tapped(f"http://127.0.0.1:{server.server_address[1]}", out) as (port, process):
            for who in ("server", "client", "tap"):
                with closing(socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)) as connection:
                    connection.sendall(f"GET /{who} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    received = b""
                    while not received.endswith(b"half of"):
                        received += connection.recv(4096)
                    was_read.set()
                    if who == "client":
                        _reset_at_close(connection)
                        continue
                    if who == "tap":
                        process.send_signal(signal.SIGINT)
                    with pytest.raises(ConnectionResetError):
                        connection.recv(1)
        waiting.until(lambda: bool(resets), "the server was told of the client")
        server.shutdown()
    told = sorted((one["path"], one["status"], one["failed"]) for one in lines(out))
    assert told == [("/client", "200", True), ("/server", "200", True), ("/tap", "200", True)]


def _reset_at_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_connections_that_are_encrypted_are_told(tmp_path: Path) -> None:
    """A client of Postgres encrypts where the server can, unless it is told not to."""

    class Encrypting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            assert len(self.request.recv(8)) == 8
            self.request.sendall(b"S")
            assert self.request.recv(100).startswith(b"\x16")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Encrypting) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out = tmp_path / "calls.ndjson"
        with tapped(f"postgresql://127.0.0.1:{server.server_address[1]}", out) as (port, process):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)) as connection:
                connection.sendall(struct.pack(">II", 8, 80_877_103))
                assert connection.recv(1) == b"S"
                connection.sendall(b"\x16\x03\x01" + b"s3cret")
                assert connection.recv(1) == b""
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = process.stderr.read().splitlines()
        server.shutdown()
    (line,) = lines(out)
    assert (line["method"], line["status"], line["failed"]) == ("TLS", "unread", False)
    assert said[-2].startswith("0 calls on 1 connections")
    assert "only encrypted connections" in said[-1] and "sslmode=disable" in said[-1]


def _pipelined(connection: socket.socket) -> None:
    connection.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000)


def _reset(connection: socket.socket) -> None:
    _reset_at_close(connection)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">I", len(content) + 4) + content


_STARTUP = struct.pack(">II", 8, 3 << 16)
POSTGRES_TALK: dict[str, Callable[[socket.socket], None]] = {
    "no startup": lambda connection: connection.sendall(b"GET / HTTP/1.1\r\n\r\n"),
    "a startup of two gigabytes": lambda connection: connection.sendall(struct.pack(">II", 2 << 30, 3 << 16)),
    "half a startup": lambda connection: connection.sendall(struct.pack(">II", 9_000, 3 << 16) + b"user"),
    "encryption asked for again and again": lambda connection: connection.sendall(
        struct.pack(">II", 8, 80_877_103) * 5_000
    ),
    "a message of minus one": lambda connection: connection.sendall(_STARTUP + b"Q\xff\xff\xff\xff"),
    "a message of no type": lambda connection: connection.sendall(_STARTUP + _message(b"~", b"")),
    "statements without an end": lambda connection: connection.sendall(
        _STARTUP + b"".join(_message(b"P", b"%d\0" % number + b"x" * 8_000 + b"\0\0\0") for number in range(5_000))
    ),
    "questions nobody answers": lambda connection: connection.sendall(_STARTUP + _message(b"Q", b"select 1\0") * 5_000),
    "not text": lambda connection: connection.sendall(_STARTUP + _message(b"Q", os.urandom(20_000))),
}
HTTP_TALK: dict[str, Callable[[socket.socket], None]] = {
    "pipelined": _pipelined,
    "reset": _reset,
    "http2": lambda connection: connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "two lengths": lambda connection: connection.sendall(
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
    ),
}


@pytest.mark.parametrize(("scheme", "talk", "told"), [("http", HTTP_TALK, 3), ("postgresql", POSTGRES_TALK, 6)])
def test_whatever_a_client_says_to_a_server_that_is_silent_does_not_fill_the_memory(
    scheme: str, talk: dict[str, Callable[[socket.socket], None]], told: int, tmp_path: Path
) -> None:
    """``told`` of the kinds are calls, or no conversation at all; of the others nothing is said yet."""

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(1 << 16):
                    """And say nothing."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out = tmp_path / "calls.ndjson"
        with tapped(f"{scheme}://127.0.0.1:{server.server_address[1]}", out) as (port, process):
            for say in talk.values():
                for _ in range(4):
                    address = ("127.0.0.1", port)
                    with closing(socket.create_connection(address, timeout=waiting.PATIENCE_S)) as connection:
                        say(connection)
            waiting.until(lambda: len({one["connection"] for one in lines(out)}) >= 4 * told, "all were told")
            assert psutil.Process(process.pid).memory_info().rss < 300 << 20
            assert process.poll() is None
        server.shutdown()


def test_a_client_that_does_not_read_is_waited_for_and_not_buffered(tmp_path: Path) -> None:
    size, sent = 256 << 20, 0

    class Flood(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            nonlocal sent
            self.request.recv(4096)
            self.request.sendall(_ODD + b"Content-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                with suppress(OSError):
                    self.request.sendall(bytes(1 << 20))
                    sent += 1 << 20

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Flood) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            tapped(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "calls.ndjson") as (port, process),
            closing(socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(1)
            received, most = 1, 0
            while received < size:
                received += len(connection.recv(1 << 20))
                most = max(most, sent - received)
            assert most < 64 << 20
            assert psutil.Process(process.pid).memory_info().rss < 300 << 20
        server.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b"])
def test_a_server_that_does_not_answer_is_an_outcome(tmp_path: Path, host: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        dead = free.getsockname()[1]
    out = tmp_path / "calls.ndjson"
    with tapped(f"http://{host}:{dead}", out) as (port, _):
        connection = socket.create_connection(("127.0.0.1", port), timeout=waiting.PATIENCE_S)
        with connection, suppress(OSError):
            assert connection.recv(10) == b""
    (line,) = lines(out)
    assert (line["status"], line["failed"]) == ("unreachable", True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_where_calls_cannot_be_written_it_ends_and_says_so(upstream: int) -> None:
    with tapped(f"http://127.0.0.1:{upstream}", Path("/dev/full")) as (port, process):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as client:
            client.request("GET", "/")
            assert client.getresponse().read() == b"hello"
        assert process.wait(waiting.PATIENCE_S) == 2
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1] == "slotfill: --out /dev/full: No space left on device"


def test_where_nobody_reads_its_calls_any_more_it_ends_well(upstream: int) -> None:
    command = [SLOTFILL, "tap", f"http://127.0.0.1:{upstream}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        port = int(process.stderr.readline().split(";")[0].rpartition(":")[2])
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.PATIENCE_S)) as client:
            client.request("GET", "/")
            assert client.getresponse().read() == b"hello"
        assert process.wait(waiting.PATIENCE_S) == 0
        assert "Broken pipe" not in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["https://db.example"], "UPSTREAM_URL must look like"),
        (["nonsense"], "UPSTREAM_URL must look like"),
        (["http://127.0.0.1:1", "--listen", "0.0.0.0:8080"], "--listen must be a port on loopback"),
        (["http://127.0.0.1:1", "--out", "/nowhere/calls"], "--out"),
    ],
)
def test_bad_input_is_one_line(words: list[str], complaint: str) -> None:
    done = subprocess.run(
        [SLOTFILL, "tap", *words], capture_output=True, text=True, timeout=waiting.PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert complaint in done.stderr and len(done.stderr.splitlines()) == 1
