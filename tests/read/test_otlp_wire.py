"""How much a body holds, told before it is read."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.internal.encoder import _VarintBytes
from span_bodies import body, get, protobuf, server

from slotfill.read import otlp
from slotfill.read.otlp_wire import holds_more_than


def messages(message: Any) -> int:
    """How many messages protobuf itself finds in one."""
    inner = [value for field, value in message.ListFields() if field.message_type is not None]
    single = [one for one in inner if hasattr(one, "ListFields")]
    many = [one for several in inner if not hasattr(several, "ListFields") for one in several]
    return sum(1 + messages(one) for one in single + many)


def nested(depth: int) -> bytes:
    """A span's attribute that is a list in a list in a list."""
    content = b""
    for number in (*(1, 5) * depth, 2, 9, 2, 2, 1):
        content = bytes([number << 3 | 2]) + _VarintBytes(len(content)) + content
    return content


def test_messages_of_real_bodies_are_counted_as_protobuf_has_them(corpus: Path) -> None:
    for file in sorted((corpus / "otlp" / "zc-pb-near-c1" / "otlp").iterdir())[:3]:
        raw = otlp.unpack(file.read_bytes())
        many = messages(otlp.decode(raw))
        assert holds_more_than(many - 1, raw)
        assert not holds_more_than(many, raw)


def test_a_large_body_of_ordinary_spans_is_read() -> None:
    raw = protobuf(body(server(1), *(get(number, 1, number, 1) for number in range(2, 6_000))))
    assert len(raw) > 2 * otlp.MOST_PARTS
    assert len(list(otlp.spans_of(otlp.decode(raw)))) == 5_999


def test_many_fields_that_nobody_knows_are_too_many() -> None:
    assert holds_more_than(10, b"\x78\x01" * 81)


@pytest.mark.parametrize(
    "raw",
    [b"\x0a\x7f" * 30, b"\x0b" * 90, b"\xff" * 90, b"\x0a\x05\x12\x09aaa" * 9, nested(300)],
    ids=["cut", "group", "figure", "inner", "deep"],
)
def test_what_is_no_protobuf_is_told(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends too early|a group|a figure|too deep"):
        holds_more_than(12 if len(raw) < 300 else 140, raw)
