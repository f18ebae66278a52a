"""What the readers of a tap's copy make of bytes, however they are cut."""

from collections.abc import Callable
from typing import Any

import pytest

from slotfill.collect.http_wire import HttpConversation
from slotfill.collect.postgres_wire import PostgresConversation
from slotfill.collect.wire import Conversation, Encrypted, Exchange, Unreadable

Talk = list[tuple[str, bytes]]
TRACEPARENT = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = b"jo.bloggs@example.com"


def calls(conversation: Callable[[Any], Conversation], talk: Talk, size: int | None = None) -> list[dict[str, Any]]:
    """The calls in a conversation that arrives whole, or in pieces of ``size`` bytes."""
    seen: list[dict[str, Any]] = []
    reader = conversation(lambda exchange, ended_ns: seen.append(exchange.line(ended_ns)))
    at_ns = 1_000_000_000
    for side, data in talk:
        for start in range(0, len(data), size or len(data)):
            at_ns += 1_000_000
            if not reader.opaque:
                (reader.sent if side == ">" else reader.received)(data[start : start + (size or len(data))], at_ns)
    reader.closed(at_ns + 1_000_000)
    return seen


def get(path: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: db", *headers, b"", body])


@pytest.fixture(params=[None, 1, 7], ids=["whole", "by one", "by seven"])
def size(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_http_calls_are_told_apart_without_a_value(size: int | None) -> None:
    asked = get(
        b"/rest/v1/bookings?email=eq." + SECRET, b"traceparent: " + TRACEPARENT, b"Authorization: Bearer s3cret"
    )
    posted = get(b"/rest/v1/rpc/confirm", b"Content-Length: 21", method=b"POST", body=SECRET)
    chunked = b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n"
    seen = calls(HttpConversation, [(">", asked), ("<", OK), (">", posted), ("<", chunked)], size)
    assert [(one["method"], one["target"], one["status"], one["failed"]) for one in seen] == [
        ("GET", "bookings", "200", False),
        ("POST", "rpc/confirm", "409", True),
    ]
    assert seen[0]["trace_id"] == "ab" * 16
    assert seen[0]["bytes_sent"] == len(asked) and seen[0]["bytes_received"] == len(OK)
    assert seen[1]["bytes_received"] == len(chunked)
    assert "jo.bloggs" not in str(seen) and "s3cret" not in str(seen)


def test_http_pipelining_heads_and_interim_answers(size: int | None) -> None:
    asked = get(b"/a", method=b"HEAD") + get(b"/b") + get(b"/c")
    answers = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK
    answers += b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
    seen = calls(HttpConversation, [(">", asked), ("<", answers)], size)
    assert [(one["path"], one["status"]) for one in seen] == [("/a", "200"), ("/b", "200"), ("/c", "304")]


def test_http_answers_that_end_with_the_connection_and_calls_that_are_cut() -> None:
    until_close = b"HTTP/1.0 200 OK\r\n\r\nsome words"
    (seen,) = calls(HttpConversation, [(">", get(b"/a")), ("<", until_close)])
    assert (seen["status"], seen["failed"]) == ("200", False)
    (cut,) = calls(HttpConversation, [(">", get(b"/a")), ("<", OK[:-1])])
    assert cut["failed"]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (get(b"/ws", b"Upgrade: websocket"), b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        (get(b"db.example:443", method=b"CONNECT"), b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_what_follows_an_upgrade_is_not_read(asked: bytes, answer: bytes, size: int | None) -> None:
    talk = [(">", asked), ("<", answer), (">", b"\x16\x03\x01 anything " + SECRET), ("<", b"\x00\xff")]
    assert len(calls(HttpConversation, talk, size)) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02",
        b"\0" * 100,
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"x" * 100_000,
        get(b"/", b"Content-Length: x"),
    ],
    ids=["tls", "zeros", "version", "endless head", "length"],
)
def test_what_is_no_http_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        calls(HttpConversation, [(">", raw)])


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def packet(code: int, body: bytes = b"") -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body


READY = message(b"Z", b"I")
STARTUP = packet(196_608, b"user\0jo\0\0")
SIGNED_ON = message(b"R", b"\0\0\0\0") + message(b"S", b"a\0b\0") + READY
SYNC = message(b"S")


def extended(text: bytes, value: bytes, name: bytes = b"") -> bytes:
    bind = b"\0" + name + b"\0\0\0\0\x01" + len(value).to_bytes(4, "big") + value + b"\0\0"
    parse = message(b"P", name + b"\0" + text + b"\0\0\0") if text else b""
    return parse + message(b"B", bind) + message(b"D", b"P\0") + message(b"E", b"\0\0\0\0\0")


def answers(*kinds: bytes) -> bytes:
    return b"".join(message(kind, b"SERROR\0C22012\0\0" if kind == b"E" else b"") for kind in kinds)


def test_postgres_calls_are_round_trips_without_a_value(size: int | None) -> None:
    simple = message(b"Q", b"select * from bookings where email = '" + SECRET + b"'\0")
    failing = extended(b"INSERT INTO public.customers VALUES ($1)", SECRET) + SYNC
    error = message(b"E", b"SERROR\0C23505\0M" + SECRET + b"\0\0") + READY
    talk = [
        (">", packet(80_877_103)),
        ("<", b"N"),
        (">", STARTUP),
        ("<", SIGNED_ON),
        (">", simple),
        ("<", message(b"T", b"x") + message(b"D", b"y" * 20_000) + message(b"C", b"SELECT 1\0") + READY),
        (">", failing),
        ("<", error),
        (">", message(b"Q", b"begin\0")),
        ("<", message(b"C", b"BEGIN\0") + READY),
        (">", message(b"X")),
    ]
    seen = calls(PostgresConversation, talk, size)
    assert [(one["method"], one["target"], one["status"]) for one in seen] == [
        ("SELECT", "bookings", None),
        ("INSERT", "customers", "23505"),
        ("BEGIN", "begin", None),
    ]
    assert [one["failed"] for one in seen] == [False, True, False]
    assert "jo.bloggs" not in str(seen)


def test_postgres_pipelines_and_prepared_statements(size: int | None) -> None:
    prepare = message(b"P", b"s1\0select 1 from bookings where id = $1\0\0\0") + SYNC
    both = extended(b"", b"a", b"s1") + SYNC + extended(b"", b"a", b"s1") + SYNC + extended(b"", b"b", b"s1") + SYNC
    talk = [(">", STARTUP), ("<", SIGNED_ON), (">", prepare), ("<", READY), (">", both), ("<", READY * 3)]
    seen = calls(PostgresConversation, talk, size)
    assert [one["method"] for one in seen] == ["PREPARE", "SELECT", "SELECT", "SELECT"]
    assert {one["target"] for one in seen} == {"bookings"}
    fingerprints = [one["fingerprint"] for one in seen]
    assert fingerprints[0] is None
    assert fingerprints[1] == fingerprints[2] != fingerprints[3]


def test_a_copy_is_one_call_in_both_protocols(size: int | None) -> None:
    data = message(b"d", b"a,b\n") * 3 + message(b"c")
    simple: Talk = [(">", message(b"Q", b"copy bookings from stdin\0")), ("<", message(b"G", b"\0\0\0")), (">", data)]
    by_sync: Talk = [(">", extended(b"copy bookings from stdin", b"") + SYNC), ("<", message(b"G", b"\0\0\0"))]
    by_sync.append((">", data + SYNC))
    talk = [(">", STARTUP), ("<", SIGNED_ON), *simple, ("<", READY), *by_sync, ("<", READY)]
    by_flush: Talk = [
        (">", extended(b"copy bookings from stdin", b"") + message(b"H")),
        ("<", answers(b"1", b"2", b"G")),
    ]
    commit = message(b"Q", b"commit\0")
    talk += [*by_flush, (">", data + SYNC + commit), ("<", answers(b"C") + READY), ("<", READY)]
    seen = calls(PostgresConversation, talk, size)
    # A flushed one has no Sync of its own: the one behind the data asks for something.
    assert [one["method"] for one in seen] == ["COPY", "COPY", "COPY", "SYNC", "COMMIT"]
    assert not any(one["failed"] for one in seen)


def test_postgres_questions_that_a_flush_ends_are_calls_of_their_own(size: int | None) -> None:
    flush, failing = message(b"H"), extended(b"select 1 / 0 from d", b"")
    talk = [
        (">", STARTUP),
        ("<", SIGNED_ON),
        (">", flush + message(b"P", b"\0select $1 from a\0\0\0") + message(b"D", b"S\0") + flush),
        ("<", answers(b"1", b"t", b"T")),
        (">", extended(b"", SECRET) + flush + extended(b"select 1 from b", b"") + flush),
        ("<", answers(b"2", b"T", b"D", b"s", b"1", b"2", b"n", b"C")),
        (">", message(b"E", b"\0\0\0\0\0") + flush),
        ("<", answers(b"C")),
        (">", message(b"D", b"Pcursor\0") + SYNC),
        ("<", answers(b"T") + READY),
        (">", failing + flush),
        ("<", answers(b"1", b"2", b"T", b"E")),
        (">", extended(b"select 1 from e", b"") + flush + SYNC),
        ("<", READY),
        (">", extended(b"select 1 from f", b"") + SYNC),
        ("<", answers(b"1", b"2", b"T", b"C") + READY),
    ]
    seen = calls(PostgresConversation, talk, size)
    assert [(one["method"], one["target"], one["failed"], one["status"]) for one in seen] == [
        ("PREPARE", "a", False, None),
        ("SELECT", "a", False, None),
        ("SELECT", "b", False, None),
        ("SELECT", "b", False, None),  # more rows
        ("PREPARE", "prepare", False, None),  # of a portal that was opened by a statement's own words
        ("SELECT", "d", True, "22012"),
        ("SELECT", "e", True, None),  # passed over, because the one before it had failed
        ("SYNC", "SYNC", False, None),
        ("SELECT", "f", False, None),
    ]
    if (
        size is None
    ):  # each ends with the last of its own answers: they are a millisecond apart, and the next question is 1 more
        assert {one["duration_ms"] for one in seen if one["target"] != "e"} == {1.0}


def test_a_lock_is_no_question_asked_twice_and_a_comment_can_carry_the_trace() -> None:
    text = b"select id from bookings where id = 1 for update /*traceparent='" + TRACEPARENT + b"'*/\0"
    talk = [(">", STARTUP), ("<", SIGNED_ON), *([(">", message(b"Q", text)), ("<", READY)] * 2)]
    seen = calls(PostgresConversation, talk)
    assert [one["fingerprint"] for one in seen] == [None, None]
    assert {one["trace_id"] for one in seen} == {"ab" * 16}


@pytest.mark.parametrize(
    ("conversation", "talk"),
    [
        (PostgresConversation, [(">", packet(80_877_103)), ("<", b"S")]),
        (PostgresConversation, [(">", packet(80_877_104)), ("<", b"N"), (">", packet(80_877_103)), ("<", b"S")]),
        (PostgresConversation, [(">", packet(80_877_104)), ("<", b"G")]),
        (PostgresConversation, [(">", b"\x16\x03\x01\x02\x00\x01")]),
        (HttpConversation, [(">", b"\x16\x03\x01\x02\x00\x01")]),
    ],
    ids=["asked for", "asked for twice", "by GSSAPI", "at once", "http"],
)
def test_encryption_is_no_fault_and_told(conversation: Callable[[Any], Conversation], talk: Talk) -> None:
    with pytest.raises(Encrypted):
        calls(conversation, talk)


def test_postgres_cancels_pass_unread() -> None:
    assert calls(PostgresConversation, [(">", packet(80_877_102, b"\0\0\0\1secr"))]) == []


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, STARTUP + b"\xff" * 10], ids=["http", "zeros", "type"]
)
def test_what_is_no_postgres_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        calls(PostgresConversation, [(">", raw)])


def test_an_exchange_that_never_was_described_still_has_a_line() -> None:
    assert Exchange(1, "GET").line(2_000_001)["duration_ms"] == 2.0
