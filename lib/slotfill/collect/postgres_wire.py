"""The Postgres wire (protocol 3) as it passes by: each question that its client ends, and may wait for, is one call.

A call is a round trip: a simple query, or all that a client sends up to a Sync or a Flush. Signing in is none. Of a
statement only its first word and its table are kept, of its parameters a fingerprint that dies with this process.
"""

import re
import struct
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from slotfill.call_shape import fingerprint
from slotfill.collect.postgres_messages import LONGEST_KEPT, Messages
from slotfill.collect.wire import MOST_PENDING, TLS_BEGINS, Encrypted, Exchange, Record, Unreadable
from slotfill.statement_shape import statement_without_values, table_of

MOST_STATEMENTS, MOST_STATEMENT_BYTES = 1_000, 1 << 20
"""Of prepared statements that a connection's reader remembers."""
PREPARE = "PREPARE"
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80_877_103, 80_877_104, 80_877_102
_ASKS_BY_HAND = b"PBDECF"
"""Parse, Bind, Describe, Execute, Close and FunctionCall: part of a call that is under way."""
_ENDS_AN_ANSWER = b"123TnCIsVE"
"""What the server says last to one of those: ParseComplete, BindComplete, CloseComplete, RowDescription, NoData,
CommandComplete, EmptyQueryResponse, PortalSuspended, FunctionCallResponse and ErrorResponse."""
_TRACEPARENT = re.compile(r"traceparent='[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-")
_FUNCTION = re.compile(r"(?i)\s*(?:select|call)\s+(?:\*\s+from\s+)?([\w.]+)\s*\(")
_LOCKS = re.compile(r"(?i)\bfor\s+(?:no\s+key\s+)?(?:update|share|key)\b")


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement as it may be told: its first word, its table or function, and whether asking it changes nothing."""

    word: str
    target: str
    reads: bool
    trace_id: str | None


@dataclass(slots=True)
class _Question(Exchange):
    flushed: bool = False
    """Ended by a Flush: no ReadyForQuery tells the end of its answers."""
    unanswered: int = 0
    """Its messages that the server has not answered to their end."""


_FROM_CLIENT = b"BCDEFHPQSXcdfp"
_FROM_SERVER = b"123ACDEGHIKNRSTVWZcdnstv"


class PostgresConversation:
    """One connection, from its first byte."""

    def __init__(self, record: Record) -> None:
        self.opaque = False
        self._record = record
        self._pending: deque[_Question] = deque()
        self._open: _Question | None = None
        """What was asked but not yet ended by a Sync or a Flush."""
        self._executes = False
        self._statements: dict[bytes, str] = {}
        self._statement_bytes = 0
        self._asked: tuple[str, bytes, bool] | None = None
        """Statement and parameters of what is open, and whether they are all of its question."""
        self._bound = ""
        """The statement of the portal that rows are fetched from."""
        self._copy_ended = self._copying = False
        """Of a COPY whose own Sync came before its data."""
        self._skips = False
        """Whether the server passes over all questions up to the next Sync: one before it has failed."""
        self._startup = b""
        self._signed_on = self._answers_encryption = False
        self._client = Messages(b"PBQ", _FROM_CLIENT)
        self._server = Messages(b"E", _FROM_SERVER)
        self._began = 0
        self._late_ns = 0

    def sent(self, data: bytes, at_ns: int, late_ns: int = 0) -> int:
        self._began, self._late_ns = 0, late_ns
        if not self._signed_on:
            data = self._sign_on(data)
        for kind, body, size in self._client.feed(data) if data and not self.opaque else ():
            self._ask(kind, body, size, at_ns)
        return self._began

    def received(self, data: bytes, at_ns: int, late_ns: int = 0) -> None:
        self._late_ns = late_ns
        if self._answers_encryption:
            answer, data = data[:1], data[1:]
            self._answers_encryption = False
            if answer in (b"S", b"G"):
                raise Encrypted("TLS" if answer == b"S" else "GSSAPI")
            if answer != b"N":
                data = answer + data
        if self._pending and self._pending[0].first_byte_ns is None:
            self._pending[0].first_byte_ns = at_ns
        for kind, body, size in self._server.feed(data):
            self._answer(kind, body, size, at_ns)

    def closed(self, at_ns: int, broken: bool = False) -> None:
        for exchange in self._pending:
            exchange.failed, exchange.status = True, exchange.status or "cut"
            self._record(exchange, at_ns)
        self._pending.clear()

    def _sign_on(self, data: bytes) -> bytes:
        """The first packets have no type; what comes behind the startup packet is messages."""
        self._startup += data
        if self._startup[:1] == TLS_BEGINS:
            raise Encrypted("TLS")
        while len(self._startup) >= 8:
            length, code = struct.unpack_from(">II", self._startup)
            if not 8 <= length <= 10_000:
                raise Unreadable("no Postgres startup packet")
            if len(self._startup) < length:
                return b""
            rest, self._startup = self._startup[length:], b""
            if code in (SSL_REQUEST, GSS_REQUEST):
                self._answers_encryption = True
                self._startup = rest
            elif code == CANCEL_REQUEST or code >> 16 == 3:
                self._signed_on = True
                return rest
            else:
                raise Unreadable("no Postgres startup packet")
        return b""

    def _ask(self, kind: bytes, body: bytes, size: int, at_ns: int) -> None:
        if kind == b"Q":
            exchange = self._begin(at_ns)
            _describe(exchange, _text(body.rstrip(b"\0")), b"", len(body) < LONGEST_KEPT)
            self._wait(exchange, size)
        elif kind in _ASKS_BY_HAND:
            if self._open is None:
                self._open, self._asked, self._executes = self._begin(at_ns), None, False
            self._open.bytes_sent += size
            self._open.unanswered += 1
            self._ask_by_hand(kind, body)
            if kind == b"F":
                self._open.method = self._open.target = "function"
                self._wait(self._open, 0)
        elif kind == b"S":
            self._sync(size, at_ns)
        elif kind == b"H" and self._open is not None:
            self._open.flushed = True
            self._ask_no_more(self._open, size)
        elif kind in b"cf" and self._copying:
            self._copy_ended, self._copying = True, False
        if self._pending and kind in b"dcf":
            self._pending[0].bytes_sent += size

    def _ask_by_hand(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            text = _text(rest.partition(b"\0")[0])
            self._remember(name[:256], text)
            if self._asked is None:
                self._asked = text, b"", False
        elif kind == b"B":
            _, _, rest = body.partition(b"\0")
            name, _, values = rest.partition(b"\0")
            bound = self._statements.get(name[:256])
            if bound is not None and not self._executes:
                self._bound = bound
                self._asked = bound, values, len(body) < LONGEST_KEPT and len(bound) < LONGEST_KEPT - 1_000
        elif kind == b"E":
            self._executes = True
            if self._asked is None:
                self._asked = self._bound, b"", False

    def _remember(self, name: bytes, text: str) -> None:
        self._statement_bytes += len(text) - len(self._statements.get(name, ""))
        if len(self._statements) >= MOST_STATEMENTS or self._statement_bytes > MOST_STATEMENT_BYTES:
            self._statements.clear()
            self._statement_bytes = len(text)
        self._statements[name] = text

    def _sync(self, size: int, at_ns: int) -> None:
        if self._open is not None:
            self._ask_no_more(self._open, size)
        elif self._copy_ended:  # the call that copied has a Sync of its own behind the data
            self._copy_ended = False
        else:
            exchange = self._begin(at_ns)
            exchange.method = exchange.target = "SYNC"
            self._wait(exchange, size)

    def _ask_no_more(self, question: _Question, size: int) -> None:
        if not self._executes:
            question.method = PREPARE
        _describe(question, *(self._asked or ("", b"", False)))
        self._wait(question, size)

    def _begin(self, at_ns: int) -> _Question:
        if len(self._pending) >= MOST_PENDING:
            raise Unreadable("questions without answers")
        self._began += 1
        return _Question(started_ns=at_ns, to_database=True, added_ns=self._late_ns)

    def _wait(self, exchange: _Question, size: int) -> None:
        exchange.bytes_sent += size
        self._open = None
        self._pending.append(exchange)

    def _answer(self, kind: bytes, body: bytes, size: int, at_ns: int) -> None:
        asked = self._pending[0] if self._pending else None
        if asked is not None:
            asked.bytes_received += size
        if kind == b"Z":
            self._copy_ended = self._copying = False
            while self._pending:
                first = self._pending[0]
                first.failed = first.failed or (self._skips and first.unanswered > 0)
                self._answered(at_ns)
                if not first.flushed:
                    break
            self._skips = False
        elif kind == b"G":
            self._copying = asked is not None and not asked.flushed
        elif kind == b"W":
            self.opaque = True  # replication: both sides talk at once
        elif asked is not None and kind in _ENDS_AN_ANSWER:
            asked.unanswered -= 1
            if kind == b"E":
                asked.failed, asked.status, asked.unanswered = True, _sqlstate(body), 0
                self._skips = asked.flushed
            if asked.flushed and asked.unanswered <= 0:
                self._answered(at_ns)

    def _answered(self, at_ns: int) -> None:
        asked = self._pending.popleft()
        asked.added_ns += self._late_ns
        self._record(asked, at_ns)


def _describe(exchange: Exchange, text: str, values: bytes, whole: bool) -> None:
    """Name the call by its statement; a fingerprint only where all of the question is known and it only reads."""
    shape = _shape(text)
    prepares = exchange.method == PREPARE
    if not prepares:
        exchange.method = shape.word
    exchange.target = shape.target or exchange.method.lower()
    exchange.trace_id = shape.trace_id
    exchange.fingerprint = fingerprint(text, values) if whole and shape.reads and not prepares else None


@lru_cache(256)
def _shape(text: str) -> Shape:
    plain = statement_without_values(text)
    word = plain.partition(" ")[0].upper().rstrip(";")[:20]
    table, function = table_of(plain), _FUNCTION.match(plain)
    trace = _TRACEPARENT.search(text)
    return Shape(
        word=word if word.isalpha() else "?",
        target=table or (f"rpc/{function[1]}" if function else ""),
        reads=word == "SELECT" and not _LOCKS.search(plain) and (table is not None or function is None),
        trace_id=trace[1] if trace else None,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _sqlstate(body: bytes) -> str | None:
    for field in body.split(b"\0"):
        if field[:1] == b"C" and re.fullmatch(rb"[0-9A-Z]{5}", field[1:]):
            return field[1:].decode()
    return None
