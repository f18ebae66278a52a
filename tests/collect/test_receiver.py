"""OTLP in, by HTTP into the real process."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import waiting

from slotfill.collect.collector import Collector
from slotfill.collect.listeners import Listeners
from slotfill.collect.receiver import LARGEST_REQUEST, MOST_WAITING, Receiver
from slotfill.errors import BadInput, Braked
from slotfill.read import otlp, spans
from slotfill.read.kept import read_kept_spans

TRACE = "ab" * 16
GUEST = "jo.bloggs@example.com"


def body(kind: int = 2, span: int = 1) -> bytes:
    spans: dict[str, Any] = {
        "traceId": TRACE,
        "spanId": f"{span:016x}",
        "name": f"GET http://db/?email={GUEST}",
        "kind": kind,
        "startTimeUnixNano": "1795744474000000000",
        "endTimeUnixNano": "1795744474005000000",
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [spans]}]}]}).encode()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with Collector("otlp", "otlp_listen", listen="127.0.0.1:0") as collector:
        yield collector


@pytest.fixture
def client(receiver: Collector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{receiver.address}", trust_env=False, timeout=waiting.PATIENCE_S) as client:
        yield client


def test_bodies_in_every_form_are_kept_stripped_in_the_folder_of_now(
    receiver: Collector, client: httpx.Client, tmp_path: Path
) -> None:
    listeners = Listeners(receiver)
    listeners.begin(tmp_path)
    protobuf = otlp.decode(body(span=2)).SerializeToString()
    sent = [
        client.post("/v1/traces", content=body(), headers={"Content-Type": "application/json"}),
        client.post("/v1/traces", content=protobuf, headers={"Content-Type": "application/x-protobuf"}),
        # As Node.js sends a gzip: in chunks.
        client.post("/v1/traces", content=iter([gzip.compress(body(span=3))]), headers={"Content-Encoding": "gzip"}),
        client.post("/v1/metrics", content=b"\x01anything"),
        client.post("/v1/logs", content=b"{}", headers={"Content-Type": "application/json"}),
    ]
    assert [answer.status_code for answer in sent] == [200] * 5
    assert sent[0].json() == {}
    heard = listeners.end(tmp_path, {TRACE})["otlp"]
    assert (heard["bodies"], heard["spans"], heard["attempts_without_server_span"]) == (3, 3, 0)
    kept = read_kept_spans([tmp_path])
    assert sorted(kept["span_id"]) == [f"{number:016x}" for number in (1, 2, 3)]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert GUEST.encode() not in file.read_bytes()
            assert GUEST.encode() not in otlp.unpack(file.read_bytes())


def test_what_is_no_body_is_refused_and_counted(receiver: Collector, client: httpx.Client, tmp_path: Path) -> None:
    receiver.ask(folder=str(tmp_path))
    assert client.post("/v1/traces", content=b"\xff\xff nonsense").status_code == 400
    assert client.post("/v1/traces", content=b'{"resourceSpans": 1}').status_code == 400
    assert client.post("/v1/traces", content=gzip.compress(body())[:-10]).status_code == 400
    assert client.get("/v1/traces").status_code == 405
    assert client.post("/elsewhere", content=body()).status_code == 404
    assert client.post("/v1/traces", content=body()).status_code == 200
    counts = receiver.ask(folder=None)
    assert (counts["bodies"], counts["unreadable"]) == (1, 3)


def test_a_body_without_an_end_is_not_kept(receiver: Collector, client: httpx.Client, tmp_path: Path) -> None:
    receiver.ask(folder=str(tmp_path))

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    # Its connection may be reset before the answer is read.
    with suppress(httpx.TransportError):
        assert client.post("/v1/traces", content=endless()).status_code == 413
    assert client.post("/v1/traces", content=bytes(LARGEST_REQUEST + 1)).status_code == 413
    assert client.post("/v1/traces", content=body()).status_code == 200
    assert receiver.ask(folder=None)["bodies"] == 1


def test_bodies_that_do_not_end_leave_the_others_bounded_room() -> None:
    receiver = Receiver("127.0.0.1:0")
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": []}

    async def status(content: bytes, end: asyncio.Event | None = None) -> int:
        """The answer to a body; with ``end`` one that goes on, and is cut off then."""
        parts = [{"type": "http.request", "body": content, "more_body": end is not None}]
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not parts and end is not None:
                await end.wait()
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        await receiver._app(scope, receive, send)
        return int(said[0]["status"])

    async def statuses() -> list[int]:
        cut = asyncio.Event()
        most = MOST_WAITING // LARGEST_REQUEST
        slow = [asyncio.create_task(status(bytes(LARGEST_REQUEST - 1), cut)) for _ in range(most)]
        await asyncio.sleep(0)  # until each waits for the rest of its body
        meanwhile = await status(body() + b" " * most)
        cut.set()
        await asyncio.gather(*slow)
        return [meanwhile, await status(body())]

    assert asyncio.run(statuses()) == [503, 200]


def _one(**span: Any) -> bytes:
    """A body of one span with something odd in it."""
    whole = json.loads(body())
    whole["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= span
    return json.dumps(whole).encode()


def _nested(depth: int) -> bytes:
    """A protobuf body whose one attribute is a list in a list in a list."""
    value = b""
    for _ in range(depth):
        value = _field(5, _field(1, value))
    return _field(1, _field(1, _field(1, _field(1, b"a") + _field(2, value))))


def _field(number: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


HOSTILE = {
    "nothing": (b"", 200),
    "empty resources": (b"\x0a\0" * (otlp.MOST_PARTS + 1), 400),
    "empty resources packed": (gzip.compress(b"\x0a\0" * (8 << 20)), 400),
    "packed too large": (gzip.compress(bytes(LARGEST_REQUEST + 1)), 400),
    "empty objects": (b'{"resourceSpans":[' + b"{}," * (2 * otlp.MOST_PARTS) + b"{}]}", 400),
    "empty attributes": (_field(1, _field(2, _field(2, b"\x4a\0" * (otlp.MOST_PARTS + 1)))), 400),
    "empty values": (
        _field(1, _field(2, _field(2, _field(9, _field(2, _field(5, b"\x0a\0" * otlp.MOST_PARTS)))))),
        400,
    ),
    "empty lists in JSON": (b'{"resourceSpans":[],"x":[' + b"[]," * otlp.MOST_PARTS + b"[]]}", 400),
    "lists in lists in JSON": (b"[" * 100_000, 400),
    "objects in objects": (b'{"resourceSpans":' * 50_000, 400),
    "lists in lists": (_nested(300), 400),
    "a few lists in lists": (_nested(20), 200),
    "half a letter": (_one(name="\ud800"), 400),
    "no number": (_one(startTimeUnixNano="NaN"), 400),
    "a number too large": (_one(startTimeUnixNano="9" * 40), 400),
    "no hexadecimals": (_one(traceId="z" * 32), 400),
    "the end before the start": (_one(endTimeUnixNano="1"), 200),
    "no identifiers": (_one(traceId="", spanId=""), 200),
    "a long name": (_one(name="x" * (1 << 20)), 200),
    "a statement without an end": (
        _one(attributes=[{"key": "db.statement", "value": {"stringValue": "'" * 200_001}}]),
        200,
    ),
    "gzip in gzip": (gzip.compress(gzip.compress(body())), 400),
    "gzip of nothing": (gzip.compress(b""), 200),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_body_holds_has_an_outcome_and_the_next_one_is_kept(
    receiver: Collector, client: httpx.Client, tmp_path: Path, kind: str
) -> None:
    receiver.ask(folder=str(tmp_path))
    content, status = HOSTILE[kind]
    # Its connection may be reset before the answer is read.
    with suppress(httpx.TransportError):
        assert client.post("/v1/traces", content=content, timeout=60).status_code == status
    assert client.post("/v1/traces", content=body(span=7), timeout=60).status_code == 200
    receiver.ask(folder=None)
    assert "0000000000000007" in set(span_ids(tmp_path))


def span_ids(folder: Path) -> list[str]:
    """The span ids in the bodies that were kept."""
    kept = [otlp.decode(file.read_bytes()) for file in folder.rglob("*.pb.gz")]
    return [row.span_id for request in kept for row in spans.span_rows(request)]


def test_spans_that_come_outside_of_a_level_are_counted_as_lost(receiver: Collector, client: httpx.Client) -> None:
    receiver.ask(folder=None)
    client.post("/v1/traces", content=body())
    assert receiver.ask(folder=None)["lost"] == 1


def test_an_attempt_without_its_server_span_is_counted(receiver: Collector, tmp_path: Path) -> None:
    listeners = Listeners(receiver, _heard=False)
    listeners.begin(tmp_path)
    assert listeners.end(tmp_path, {TRACE})["otlp"]["attempts_without_server_span"] == 1


def test_a_body_that_is_still_being_written_when_all_server_spans_are_there_is_kept(
    receiver: Collector, client: httpx.Client, tmp_path: Path
) -> None:
    listeners = Listeners(receiver)
    listeners.begin(tmp_path)
    client.post("/v1/traces", content=body())
    waiting.until(lambda: list(tmp_path.rglob("*.pb.gz")), "the server span is written")
    (resource,) = json.loads(body(kind=3))["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    calls = [scope["spans"][0] | {"spanId": f"{number:016x}"} for number in range(2, 5_002)]
    client.post("/v1/traces", content=json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": calls}]}]}).encode())
    assert listeners.end(tmp_path, {TRACE})["otlp"]["spans"] == 5_001
    assert len(read_kept_spans([tmp_path])) == 5_001


def test_a_level_ends_when_nothing_more_comes_for_a_while(
    receiver: Collector, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a job does behind the answer is sent behind it. Waiting is played: it brings bodies, and then time."""
    bodies = [body(kind=3, span=2), body(kind=3, span=3)]
    aged_s = 0.0

    def wait(_: float) -> None:
        nonlocal aged_s
        if bodies:
            client.post("/v1/traces", content=bodies.pop())
        else:
            aged_s += waiting.PATIENCE_S

    clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + aged_s, sleep=wait)
    monkeypatch.setattr("slotfill.collect.listeners.time", clock)
    monkeypatch.setattr("slotfill.collect.listeners.QUIET_S", waiting.PATIENCE_S)
    monkeypatch.setattr("slotfill.collect.listeners.MOST_WAIT_S", waiting.PATIENCE_S)
    listeners = Listeners(receiver)
    listeners.begin(tmp_path)
    client.post("/v1/traces", content=body())
    waiting.until(lambda: list(tmp_path.rglob("*.pb.gz")), "the server span is written")
    assert listeners.end(tmp_path, {TRACE})["otlp"]["spans"] == 3
    assert len(read_kept_spans([tmp_path])) == 3


@pytest.mark.parametrize("last", [False, True])
def test_spans_that_come_behind_a_level_are_still_its_own(
    receiver: Collector, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    monkeypatch.setattr("slotfill.collect.listeners.MOST_WAIT_S", 0.0)
    listeners, folder, told = Listeners(receiver), tmp_path / "concurrency-1", []
    listeners.begin(folder)
    client.post("/v1/traces", content=body(kind=3))
    listeners.end(folder, {TRACE}, lambda heard: told.append(heard["otlp"].copy()))
    client.post("/v1/traces", content=body(span=2))
    client.post("/v1/traces", content=b"\xff\xff nonsense")
    if last:
        listeners.close()
    else:
        listeners.begin(tmp_path / "concurrency-4")
    counted = [[heard[name] for name in ("spans", "unreadable", "attempts_without_server_span")] for heard in told]
    assert counted == [[1, 0, 1], [2, 1, 0]]
    assert sorted(read_kept_spans([folder])["kind"]) == ["client", "server"]
    receiver.ask(folder=None)


def test_a_body_that_was_torn_on_disk_is_counted_and_the_others_are_read(
    receiver: Collector, client: httpx.Client, tmp_path: Path
) -> None:
    listeners = Listeners(receiver)
    for span in (1, 2):
        listeners.begin(tmp_path)
        client.post("/v1/traces", content=body(span=span))
        heard = listeners.end(tmp_path, {TRACE})
        assert (heard["otlp"]["unreadable"], heard["otlp"]["attempts_without_server_span"]) == (span - 1, 0)
        torn = tmp_path / "otlp" / "0001.traces.pb.gz"
        torn.write_bytes(torn.read_bytes()[:30])


def test_a_taken_port_is_one_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match="in use"), Collector("otlp", "otlp_listen", listen=f"127.0.0.1:{port}"):
            pass


def test_modules_of_the_working_folder_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json.py", "asyncio.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with Collector("tap", "tap", border="web", upstream="http://127.0.0.1:9", listen="127.0.0.1:0") as collector:
        assert collector.address
    assert not (tmp_path / "imported").exists()


def test_a_listener_that_died_is_a_brake(tmp_path: Path) -> None:
    with Collector("otlp", "otlp_listen", listen="127.0.0.1:0") as collector:
        listeners = Listeners(collector)
        assert listeners.problem() is None
        collector._process.kill()
        collector._process.wait()
        assert "has ended by itself" in (listeners.problem() or "")
        with pytest.raises(Braked):
            listeners.begin(tmp_path)
        assert "problem" in listeners.end(tmp_path, set())["otlp"]
