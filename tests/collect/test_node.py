"""A platform that runs on Node: seen by a tap in front of its REST layer, and by OpenTelemetry's zero-code spans."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import waiting

from slotfill import attempt
from slotfill.analyse.inside import Inside, look_inside
from slotfill.attempt import Attempt
from slotfill.collect.collector import Collector
from slotfill.read import otlp, spans
from slotfill.read.taps import read_taps

NODE = shutil.which("node")
REGISTER = "@opentelemetry/auto-instrumentations-node/register"
PLATFORM = Path(__file__).with_name("platform.js")
CALLED = {"restaurants": 1, "bookings": 1, "rpc/create_booking": 1}
TRACES = ("a1" * 16, "b2" * 16)
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")


def is_instrumented() -> bool:
    """Whether Node finds the zero-code instrumentation (``npm install``, and NODE_PATH)."""
    found = NODE and subprocess.run([NODE, "-e", f"require.resolve('{REGISTER}')"], capture_output=True, check=False)
    return bool(found) and found.returncode == 0


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Collector]:
    """A tap in front of a REST layer, recording into ``tmp_path``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Rest) as rest:
        rest.daemon_threads = True
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        upstream = f"http://127.0.0.1:{rest.server_address[1]}"
        with Collector("tap", "tap rest", border="rest", upstream=upstream, listen="127.0.0.1:0") as collector:
            collector.ask(folder=str(tmp_path))
            yield collector
        rest.shutdown()


@contextmanager
def platform(tap: Collector, *words: str, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of a running platform whose REST layer is found by way of the tap."""
    assert NODE is not None
    command = [NODE, str(PLATFORM), f"http://{tap.address}", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, **(environ or {})}) as process:
        assert process.stdin is not None and process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def book(url: str) -> list[Attempt]:
    """Two bookings at once, each with a trace of its own."""

    def post(number: int) -> Attempt:
        headers = {"traceparent": f"00-{TRACES[number]}-{'c3' * 8}-01"}
        sent = datetime.now(UTC)
        assert httpx.post(f"{url}/api/bookings", headers=headers, timeout=60, trust_env=False).status_code == 201
        return Attempt(
            label="concurrency-2",
            concurrency=2,
            correlation_id=f"booking {number}",
            outcome="confirmed_inline_api",
            file="log",
            first_line=1,
            last_line=2,
            trace_id=TRACES[number],
            sent_at=sent,
            answered_at=datetime.now(UTC),
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(post, range(2)))


def require_each_call_joined(inside: Inside) -> None:
    assert list(inside.attempts["joined"]) == ["trace", "trace"]
    assert list(inside.attempts["calls"]) == [3, 3]
    for name in ("booking 0", "booking 1"):
        assert dict(inside.waterfall(name)["target"].value_counts()) == CALLED


def test_a_tap_joins_what_node_asks_by_the_trace_that_it_passes_on(tap: Collector, tmp_path: Path) -> None:
    with platform(tap, "forward") as url:
        attempts = book(url)
    counts = tap.ask(folder=None)
    assert (counts["calls"], counts["unreadable"]) == (6, 0)
    kept = tmp_path / "taps" / "rest.calls"
    inside = look_inside(attempt.frame(attempts), spans.frame([]), read_taps([kept]))
    require_each_call_joined(inside)
    assert list(inside.attempts["chain_len"]) == [3, 3]
    assert "bloggs" not in kept.read_text() and "white-horse" not in kept.read_text()


@pytest.mark.skipif(not is_instrumented(), reason=f"needs {REGISTER} where Node finds it (npm install, NODE_PATH)")
def test_zero_code_spans_of_node_join_as_the_tap_does(tap: Collector, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    with Collector("otlp", "otlp_listen", listen=listen) as receiver:
        receiver.ask(folder=str(tmp_path))
        environ = {
            "NODE_OPTIONS": f"--require {REGISTER}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{listen}",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_NODE_RESOURCE_DETECTORS": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with platform(tap, environ=environ) as url:
            attempts = book(url)
            heard = spans_of(tmp_path, 2 * (1 + 3))
        receiver.ask(folder=None)
    tap.ask(folder=None)
    tapped = read_taps([tmp_path / "taps" / "rest.calls"])
    assert sorted(tapped["trace_id"]) == sorted(TRACES * 3)
    require_each_call_joined(look_inside(attempt.frame(attempts), spans.frame(heard), tapped))
    require_each_call_joined(look_inside(attempt.frame(attempts), spans.frame([]), tapped))


def spans_of(folder: Path, least: int) -> list[spans.SpanRow]:
    """What has been heard, once it is so many spans of servers and clients."""
    rows: list[spans.SpanRow] = []
    until = time.monotonic() + waiting.PATIENCE_S
    while time.monotonic() < until:
        kept = [otlp.decode(file.read_bytes()) for file in sorted(folder.rglob("*.pb.gz"))]
        rows = [row for request in kept for row in spans.span_rows(request)]
        if sum(row.kind in ("server", "client") for row in rows) >= least:
            break
        time.sleep(0.1)
    return rows
