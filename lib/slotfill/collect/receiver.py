"""OTLP in: an HTTP endpoint on loopback to which a platform's OpenTelemetry sends its spans.

A body is decoded at once, so that the sender hears whether it was one, and stripped and written by a thread of low
priority, so that the load goes on undisturbed. What waits in between is bounded.
"""

import asyncio
import os
import queue
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from slotfill.read import otlp
from slotfill.read.otlp import NotOtlp

FOLDER = "otlp"
"""Below a level's folder (or its round's): one file a body, stripped."""
LARGEST_REQUEST = 16 << 20
MOST_WAITING = 32 << 20
"""Bytes of bodies that arrive or are not written yet; above, the sender is asked to come again."""
MOST_CONNECTIONS = 64
TRACES = "/v1/traces"
PATHS = (TRACES, "/v1/metrics", "/v1/logs")
NICENESS = 10
DRAIN_TIMEOUT_S = 20
BODY_TIMEOUT_S = 30

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Receiver:
    """Told ``{"folder": path}`` it writes there from now on, told ``null`` nowhere; it answers the counts till then."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._arriving_bytes = 0
        self._folder: Path | None = None
        self._number = 0
        self._counts = dict.fromkeys(("bodies", "spans", "unreadable", "refused", "lost"), 0)
        self._lock = threading.Lock()
        self._writer = threading.Thread(target=self._write_all, name="otlp writer", daemon=True)

    async def open(self) -> str:
        """Begin to listen; ``host:port``. Raises OSError where the port is taken."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listening = socket.create_server(self._address, family=family)
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_level="critical",
            limit_concurrency=MOST_CONNECTIONS,
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        self._writer.start()
        host, port = listening.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """Write what waits, answer the counts since the last order, and go on in the folder of this one."""
        self._drain()
        with self._lock:
            counts, self._counts = self._counts, dict.fromkeys(self._counts, 0)
            self._folder = Path(order["folder"]) / FOLDER if order["folder"] else None
            self._number = 0
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._number = len(list(self._folder.glob("*.pb.gz")))
        return counts

    async def close(self) -> None:
        """Stop listening, and write what was heard."""
        self._server.should_exit = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._serving, 3)
        self._waiting.put(None)
        self._writer.join()

    async def _app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/")
        if path not in PATHS:
            await _answer(send, 404, b"")
        elif scope["method"] != "POST":
            await _answer(send, 405, b"")
        else:
            await self._answer_signal(scope, receive, send, is_trace=path == TRACES)

    async def _answer_signal(self, scope: dict[str, Any], receive: Receive, send: Send, is_trace: bool) -> None:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await self._body(receive)
        except (_Refused, TimeoutError) as refusal:
            self._counts["refused"] += 1
            await _answer(send, refusal.status if isinstance(refusal, _Refused) else 408, b"")
        else:
            await _answer(send, self._take(body) if is_trace else 200, _empty(scope), _content_type(scope))

    async def _body(self, receive: Receive) -> bytes:
        """The whole body. Raises _Refused where it or all that arrive are too large, without keeping it."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Refused(400)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._arriving_bytes += len(part)
                if size > LARGEST_REQUEST:
                    raise _Refused(413)
                if self._arriving_bytes + self._waiting_bytes > MOST_WAITING:
                    raise _Refused(503)
                if not message.get("more_body"):
                    return b"".join(parts)
        finally:
            self._arriving_bytes -= size

    def _take(self, body: bytes) -> int:
        """Put a body in the queue; the HTTP status for its sender.

        What waits is protobuf again: read, it may take many times its bytes.
        """
        try:
            waits = otlp.decode(body, LARGEST_REQUEST).SerializeToString()
        except NotOtlp:
            self._counts["unreadable"] += 1
            return 400
        if self._waiting_bytes + len(waits) > MOST_WAITING:
            self._counts["refused"] += 1
            return 503
        with self._lock:
            self._waiting_bytes += len(waits)
        self._waiting.put(waits)
        return 200

    def _write_all(self) -> None:
        # On Linux a thread has a priority of its own; elsewhere it stays as it is.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (waiting := self._waiting.get()) is not None:
            try:
                self._write(otlp.strip(otlp.decode(waiting)))
            except Exception:  # whatever a body has in it, the next ones are written
                self._counts["unreadable"] += 1
            finally:
                with self._lock:
                    self._waiting_bytes -= len(waiting)

    def _write(self, request: Any) -> None:
        spans = sum(1 for _ in otlp.spans_of(request))
        with self._lock:
            if self._folder is None:
                self._counts["lost"] += spans
                return
            self._counts["bodies"] += 1
            self._counts["spans"] += spans
            self._number += 1
            file = self._folder / f"{self._number:04d}.traces.pb.gz"
        partial = file.with_suffix(".partial")
        try:
            partial.write_bytes(otlp.encode(request))
            partial.rename(file)
        except OSError:  # a full disk; the counts say so
            with self._lock:
                self._counts["lost"] += spans

    def _drain(self) -> None:
        """Wait until all that was heard so far is written."""
        until = time.monotonic() + DRAIN_TIMEOUT_S
        while self._waiting_bytes and time.monotonic() < until:
            time.sleep(0.01)


class _Refused(Exception):
    """A body that is not read to its end; ``status`` is the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _is_json(scope: dict[str, Any]) -> bool:
    return b"json" in dict(scope["headers"]).get(b"content-type", b"")


def _empty(scope: dict[str, Any]) -> bytes:
    """An empty answer in the sender's language."""
    return b"{}" if _is_json(scope) else b""


def _content_type(scope: dict[str, Any]) -> bytes:
    return b"application/json" if _is_json(scope) else b"application/x-protobuf"


async def _answer(send: Send, status: int, body: bytes, content_type: bytes = b"text/plain") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if status >= 400:  # what is left of the body is not waited for
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
