"""One request outside a load, for code that blocks: bounded in time and size as the load's own are."""

import asyncio
import threading

import httpx

from slotfill.drive.client import Client, open_transport, traceparent
from slotfill.drive.clock import SystemClock


class BoundedTransport(httpx.BaseTransport):
    """For ``httpx.Client``: the whole of an answer within ``timeout_ms`` and a few megabytes, or ReadTimeout,
    OversizedAnswer. httpx's own time-outs are for each read, which a server that drips never meets."""

    def __init__(self, timeout_ms: float, trust_env: bool) -> None:
        self._timeout_ms = timeout_ms
        self._context = httpx.create_ssl_context(trust_env=trust_env)
        self._trust_env = trust_env

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answers: list[httpx.Response | Exception] = []

        def work() -> None:
            try:
                answers.append(asyncio.run(self._send(request)))
            except TimeoutError:
                answers.append(httpx.ReadTimeout(f"timed out after {self._timeout_ms / 1e3:g} s", request=request))
            except Exception as error:
                answers.append(error)

        # In a thread, because a notebook's own event loop may be running in this one.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
        [answer] = answers
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _send(self, request: httpx.Request) -> httpx.Response:
        request.headers.setdefault("traceparent", traceparent())
        transport = open_transport(str(request.url), self._context, self._trust_env, SystemClock())
        async with Client(transport) as client:
            received = await client.send(request, self._timeout_ms)
        if received.problem:
            raise httpx.DecodingError(received.problem, request=request)
        # As bytes: what a server sends is not always ASCII.
        headers = [(name, value) for name, value in received.headers.raw if name.lower() != b"content-encoding"]
        return httpx.Response(received.status, headers=headers, content=received.content, request=request)
