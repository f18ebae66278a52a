"""A tap between real ends: bytes pass whole and at once, calls are recorded, and nothing upsets it."""

import http.client
import json
import os
import re
import signal
import socket
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
            process.wait(10)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_conversation_passes_whole_and_is_recorded(upstream: int, tmp_path: Path) -> None:
    out, body = tmp_path / "calls.ndjson", os.urandom(3 << 20)
    with tapped(f"http://user:s3cret@127.0.0.1:{upstream}", out) as (port, process):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            for _ in range(3):
                client.request("GET", "/rest/v1/bookings?id=eq.1", headers={"Authorization": "Bearer s3cret"})
                assert client.getresponse().read() == b"hello"
            client.request("POST", "/upload", body=body)
            assert client.getresponse().read() == body
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
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
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(64)]
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
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client,
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
            with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection, suppress(OSError):
                say(connection)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
                client.request("GET", "/after")
                assert client.getresponse().read() == b"hello"
        assert psutil.Process(process.pid).memory_info().rss < 300 << 20
    seen = [(one["method"], one["target"]) for one in lines(out)]
    assert seen.count(("GET", "/after")) == len(HOSTILE)
    assert [method for method, target in seen if target != "/after"].count("UNREADABLE") == 2
    assert ("POST", "/") in seen and "TLS" in [method for method, _ in seen]


def test_a_server_that_does_not_answer_is_an_outcome(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        dead = free.getsockname()[1]
    out = tmp_path / "calls.ndjson"
    with tapped(f"http://127.0.0.1:{dead}", out) as (port, _):
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        with connection, suppress(OSError):
            assert connection.recv(10) == b""
    (line,) = lines(out)
    assert (line["status"], line["failed"]) == ("unreachable", True)


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
    done = subprocess.run([SLOTFILL, "tap", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr and len(done.stderr.splitlines()) == 1
