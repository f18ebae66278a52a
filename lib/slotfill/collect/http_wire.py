"""HTTP/1.1 as it passes by: where each message begins and ends, and of its head only what is no secret."""

import re
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from slotfill.call_shape import REST, fingerprint, path_without_values, target_of, without_values
from slotfill.collect.wire import MOST_PENDING, TLS_BEGINS, Encrypted, Exchange, Record, Unreadable

CONNECT = "CONNECT"
LONGEST_HEAD = 64 << 10
LONGEST_SIZE_LINE = 1 << 10
_REQUEST = re.compile(rb"([A-Z]{1,20}) (\S{1,65536}) HTTP/1\.[01]\r?\n")
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Body(Enum):
    """How a message's body is framed (RFC 9112, section 6)."""

    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    OPAQUE = auto()
    """No message any more: the connection is something else from here on."""


class _Messages:
    """One direction: finds the heads and the ends, and keeps nothing of a body."""

    def __init__(
        self,
        on_head: Callable[[bytes, int], tuple[Body, int]],
        on_bytes: Callable[[int, int], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._on_head, self._on_bytes, self._on_end = on_head, on_bytes, on_end
        self._head = b""
        self._read: Callable[[bytes, int], bytes] = self._read_head
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether no message is under way."""
        return self._read == self._read_head and not self._head

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take the next bytes. Raises Unreadable."""
        while data:
            data = self._read(data, at_ns)

    def end(self, at_ns: int) -> None:
        """The sender has closed: the end of a body that has no other."""
        if self._read == self._read_until_close:
            self._message_ends(at_ns)

    def _read_head(self, data: bytes, at_ns: int) -> bytes:
        if not self._head:
            data = data.lstrip(b"\r\n")
            if not data:
                return b""
            if data[:1] == TLS_BEGINS:
                raise Encrypted("TLS")
        before = len(self._head)
        self._head += data[: LONGEST_HEAD + 4]
        end = _HEAD_END.search(self._head, max(before - 3, 0))
        if end is None:
            if len(self._head) > LONGEST_HEAD:
                raise Unreadable("a head that does not end")
            if not self._head[:1].isalpha():
                raise Unreadable("no HTTP")
            return b""
        head, rest = self._head[: end.end()], data[end.end() - before :]
        self._head = b""
        framing, self._left = self._on_head(head, at_ns)
        self._on_bytes(len(head), at_ns)
        if framing is Body.LENGTH:
            if self._left:
                self._read = self._read_length
            else:
                self._message_ends(at_ns)
        elif framing is Body.CHUNKED:
            self._read = self._read_chunk_size
        elif framing is Body.UNTIL_CLOSE:
            self._read = self._read_until_close
        else:
            self._read = self._read_nothing
        return rest

    def _read_length(self, data: bytes, at_ns: int) -> bytes:
        taken = min(len(data), self._left)
        self._left -= taken
        self._on_bytes(taken, at_ns)
        if not self._left:
            self._message_ends(at_ns)
        return data[taken:]

    def _read_chunk_size(self, data: bytes, at_ns: int) -> bytes:
        line, newline, rest = data.partition(b"\n")
        self._head += line
        self._on_bytes(len(line) + len(newline), at_ns)
        if len(self._head) > LONGEST_SIZE_LINE:
            raise Unreadable("a chunk without a size")
        if not newline:
            return b""
        size, self._head = self._head.partition(b";")[0].strip(), b""
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size):
            raise Unreadable("a chunk without a size")
        self._left = int(size, 16)
        if self._left:
            self._left += 2  # the line's end behind the data
            self._read = self._read_chunk
        else:
            self._read = self._read_trailer
        return rest

    def _read_chunk(self, data: bytes, at_ns: int) -> bytes:
        taken = min(len(data), self._left)
        self._left -= taken
        self._on_bytes(taken, at_ns)
        if not self._left:
            self._read = self._read_chunk_size
        return data[taken:]

    def _read_trailer(self, data: bytes, at_ns: int) -> bytes:
        line, newline, rest = data.partition(b"\n")
        self._head += line
        self._on_bytes(len(line) + len(newline), at_ns)
        if len(self._head) > LONGEST_HEAD:
            raise Unreadable("a trailer that does not end")
        if newline:
            last, self._head = not self._head.strip(), b""
            if last:
                self._message_ends(at_ns)
        return rest

    def _read_until_close(self, data: bytes, at_ns: int) -> bytes:
        self._on_bytes(len(data), at_ns)
        return b""

    def _read_nothing(self, data: bytes, at_ns: int) -> bytes:
        return b""

    def _message_ends(self, at_ns: int) -> None:
        self._read, self._head = self._read_head, b""
        self._on_end(at_ns)


class HttpConversation:
    """One connection: requests in order, each with its answer; pipelining, 100-continue, upgrade and CONNECT."""

    def __init__(self, record: Record) -> None:
        self.opaque = False
        self._record = record
        self._pending: deque[Exchange] = deque()
        self._asking: Exchange | None = None
        self._began = 0
        self._interim = False
        self._status = b""
        self._requests = _Messages(self._request_head, self._request_bytes, self._request_end)
        self._responses = _Messages(self._response_head, self._response_bytes, self._response_end)
        self._heard_ns: int | None = None
        self._late_ns = 0

    def sent(self, data: bytes, at_ns: int, late_ns: int = 0) -> int:
        self._late_ns = late_ns
        if self._requests.between:
            self._heard_ns = at_ns
        self._began = 0
        self._requests.feed(data, at_ns)
        return self._began

    def received(self, data: bytes, at_ns: int, late_ns: int = 0) -> None:
        self._late_ns = late_ns
        if self._pending and self._pending[0].first_byte_ns is None:
            self._pending[0].first_byte_ns = at_ns
        self._responses.feed(data, at_ns)

    def closed(self, at_ns: int, broken: bool = False) -> None:
        if not broken:
            self._responses.end(at_ns)
        for exchange in self._pending:
            exchange.failed, exchange.status = True, exchange.status or "cut"
            self._record(exchange, at_ns)
        self._pending.clear()

    def _request_head(self, head: bytes, at_ns: int) -> tuple[Body, int]:
        match = _REQUEST.match(head)
        if match is None or len(self._pending) >= MOST_PENDING:
            raise Unreadable("no HTTP/1.1 request")
        headers, method, url = _headers(head), match[1].decode(), match[2]
        started_ns, self._heard_ns = self._heard_ns or at_ns, None
        self._asking = Exchange(started_ns, method, added_ns=self._late_ns)
        _describe(self._asking, url.decode("latin-1"), headers.get(b"traceparent", b""))
        self._pending.append(self._asking)
        self._began += 1
        return (Body.OPAQUE, 0) if method == CONNECT else _framing(headers, Body.LENGTH)

    def _request_bytes(self, count: int, at_ns: int) -> None:
        if self._asking is not None:
            self._asking.bytes_sent += count

    def _request_end(self, at_ns: int) -> None:
        self._asking = None

    def _response_head(self, head: bytes, at_ns: int) -> tuple[Body, int]:
        match = _RESPONSE.match(head)
        if match is None:
            raise Unreadable("no HTTP/1.1 response")
        self._status = match[1]
        status, asked = int(match[1]), self._pending[0] if self._pending else None
        self._interim = 100 <= status < 200 and status != 101
        if asked is None:
            raise Unreadable("an answer that nobody asked for")
        if not self._interim:
            asked.status, asked.failed = match[1].decode(), status >= 400
        if status == 101 or (asked.method == CONNECT and 200 <= status < 300):
            self._response_end(at_ns)
            self.opaque = True
            return Body.OPAQUE, 0
        if status < 200 or status in (204, 304) or asked.method == "HEAD":
            return Body.LENGTH, 0
        return _framing(_headers(head), Body.UNTIL_CLOSE)

    def _response_bytes(self, count: int, at_ns: int) -> None:
        if self._pending:
            self._pending[0].bytes_received += count

    def _response_end(self, at_ns: int) -> None:
        if self._interim:
            self._interim = False
        elif self._pending:
            answered = self._pending.popleft()
            answered.added_ns += self._late_ns
            self._record(answered, at_ns)


def _describe(exchange: Exchange, url: str, traceparent: bytes) -> None:
    if exchange.method == CONNECT:
        exchange.target = CONNECT
        return
    path = path_without_values(url)
    trace = _TRACEPARENT.fullmatch(traceparent)
    exchange.path, exchange.target, exchange.to_database = without_values(url), target_of(path), REST in path
    exchange.trace_id = trace[1].decode() if trace else None
    exchange.fingerprint = fingerprint(exchange.method, url) if exchange.method in ("GET", "HEAD") else None


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\n")[1:]
    pairs = (line.partition(b":") for line in lines)
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _framing(headers: dict[bytes, bytes], without: Body) -> tuple[Body, int]:
    if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
        return Body.CHUNKED, 0
    length = headers.get(b"content-length")
    if length is None:
        return without, 0
    if not re.fullmatch(rb"\d{1,18}", length):
        raise Unreadable("a Content-Length that is no number")
    return Body.LENGTH, int(length)
