"""One worker's way to the platform: every request has a whole-time limit, a size limit and a trace of its own."""

import asyncio
import random
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

import httpx

from slotfill.drive.clock import Clock
from slotfill.drive.connection import KEEPALIVE_MS, LARGEST_ANSWER, MeasuringTransport, OversizedAnswer
from slotfill.drive.session import Session
from slotfill.drive.wire import Wire
from slotfill.errors import BadInput
from slotfill.masking import mask

USER_AGENT = "slotfill-booking-flow"
HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"}
_IDS = random.Random()  # told apart is all that they have to be, and the system's source costs a tenth of an attempt
# Each knows both forms of its name: gzip's and zlib's wrapper, and deflate without one.
_WINDOW_BITS = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}


@dataclass(frozen=True, slots=True)
class Received:
    """An answer, whole. ``content`` is decoded; where that cannot be done it is empty and ``problem`` says why."""

    status: int
    headers: httpx.Headers
    content: bytes
    problem: str | None = None

    @property
    def content_type(self) -> str:
        return str(self.headers.get("content-type", "no content type"))


class Client:
    """Sends requests over one transport, one at a time, without redirects or retries."""

    def __init__(self, transport: httpx.AsyncBaseTransport, session: Session | None = None) -> None:
        self._transport = transport
        self._session = session or Session()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def open_session(self, base_url: str, timeout_ms: float) -> None:
        """Ask for the CSRF token that the platform's answers to a POST depend on, where the parameters name one.

        Raises what ``send`` raises, and BadInput where the page sets no such cookie.
        """
        if page := self._session.page:
            received = await self.get(f"{base_url}{page}", timeout_ms)
            if self._session.page:
                raise BadInput(
                    f"csrf: {page} answers {received.status} and sets no such cookie; see csrf.page and csrf.cookie"
                )

    async def get(self, url: str, timeout_ms: float) -> Received:
        """Raises what ``send`` raises."""
        return await self.send(httpx.Request("GET", url, headers=HEADERS | {"traceparent": traceparent()}), timeout_ms)

    async def post(self, url: str, content: bytes, timeout_ms: float) -> Received:
        """Raises what ``send`` raises."""
        headers = HEADERS | {"Content-Type": "application/json", "traceparent": traceparent()}
        return await self.send(httpx.Request("POST", url, headers=headers, content=content), timeout_ms)

    async def send(self, request: httpx.Request, timeout_ms: float, wire: Wire | None = None) -> Received:
        """Send a request and take in the whole answer within ``timeout_ms``; ``wire`` gets its stamps.

        Raises TimeoutError, OversizedAnswer, and httpx.TransportError where there is no answer at all.
        """
        self._session.apply(request)
        if wire is not None:
            request.extensions["trace"] = wire
        async with asyncio.timeout(timeout_ms / 1e3):
            response = await self._transport.handle_async_request(request)
            try:
                raw = await _whole(response)
            finally:
                await response.aclose()
        self._session.learn(response)
        content, problem = _decoded(raw, response.headers.get("content-encoding", ""))
        return Received(response.status_code, response.headers, content, problem)


def traceparent(trace_id: str | None = None) -> str:
    """A W3C trace context of its own, sampled, so that a platform with tracing records this very request."""
    return f"00-{trace_id or new_trace_id()}-{_IDS.getrandbits(64):016x}-01"


def new_trace_id() -> str:
    """32 hexadecimal digits."""
    return f"{_IDS.getrandbits(128):032x}"


def open_transport(
    url: str, context: ssl.SSLContext, trust_env: bool, clock: Clock, arrived_ms: Callable[[], float] | None = None
) -> httpx.AsyncBaseTransport:
    """The way to a URL: the measuring transport; with ``trust_env``, httpx's own where the environment names a proxy.

    Raises BadInput for a proxy that cannot be used.
    """
    proxy = _environment_proxy(url) if trust_env else None
    if proxy is None:
        return MeasuringTransport(context, clock, arrived_ms)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_MS / 1e3)
    try:
        address = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
        return httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=address)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise BadInput(f"the environment's proxy {mask(proxy)} cannot be used: {error}; set NO_PROXY") from None


def _environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL, if any: ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY`` and so on."""
    parsed, proxies = httpx.URL(url), getproxies()
    proxy = proxies.get(parsed.scheme) or proxies.get("all")
    return None if not proxy or proxy_bypass(parsed.netloc.decode("ascii")) else proxy


async def _whole(response: httpx.Response) -> bytes:
    """The body as it was sent. Raises OversizedAnswer."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    parts, size = [], 0
    async for part in response.stream:
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise OversizedAnswer(f"an answer of more than {LARGEST_ANSWER:,} bytes")
    return b"".join(parts)


def _decoded(raw: bytes, encodings: str) -> tuple[bytes, str | None]:
    """The body, and why it cannot be read, if so. Bounded: a small body can unpack to gigabytes."""
    names = [name for each in encodings.lower().split(",") if (name := each.strip()) not in ("", "identity")]
    if not names or not raw:
        return raw, None
    if len(names) > 1 or names[0] not in _WINDOW_BITS:
        return b"", f"an answer in an encoding nobody asked for ({encodings[:40]})"
    for bits in _WINDOW_BITS[names[0]]:
        unpacker = zlib.decompressobj(bits)
        try:
            content = unpacker.decompress(raw, LARGEST_ANSWER)
        except zlib.error:
            continue
        if unpacker.unconsumed_tail:
            return b"", f"an answer that unpacks to more than {LARGEST_ANSWER:,} bytes"
        if unpacker.eof:
            return content, None
    return b"", f"an answer whose {names[0]} is broken"
