"""How much a body of protobuf holds, told off its wire before anything is made of it.

An empty message takes two bytes there and a hundred in memory, so a small body can be a very large request; protobuf
itself knows no limit but depth.
"""

from functools import cache
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_FIELDS_PER_MESSAGE = 8
_LONGEST_VARINT = 10
_DEEPEST = 100
"""As protobuf has it."""


def holds_more_than(most: int, body: bytes) -> bool:
    """Whether a trace export has more than ``most`` messages (spans, attributes, their values), or 8 times the fields.

    Raises ValueError where it is no protobuf.
    """
    if len(body) <= 2 * most:  # a message takes two bytes at least
        return False
    try:
        return _is_above(most, body)
    except IndexError:
        raise ValueError("ends too early") from None


def _is_above(most: int, body: bytes) -> bool:
    messages = fields = 0
    outer: list[tuple[int, int, dict[int, Any]]] = [(0, len(body), _inner(ExportTraceServiceRequest.DESCRIPTOR))]
    while outer:
        at, end, inner = outer.pop()
        while at < end:
            fields += 1
            if messages > most or fields > _FIELDS_PER_MESSAGE * most:
                return True
            tag, at = _varint(body, at)
            wire_type = tag & 7
            if wire_type == 2:
                size, at = _varint(body, at)
                if at + size > end:
                    raise ValueError("ends too early")
                kind = inner.get(tag >> 3)
                messages += kind is not None
                if kind is not None and size:
                    if len(outer) == _DEEPEST:
                        raise ValueError("is too deep")
                    outer.append((at + size, end, inner))
                    end, inner = at + size, _inner(kind)
                else:
                    at += size
            elif wire_type == 0:
                _, at = _varint(body, at)
            elif wire_type in (1, 5):
                at += 8 if wire_type == 1 else 4
            else:
                raise ValueError("has a group in it")
    return messages > most


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The figure and where it ends."""
    figure = body[at]
    if figure < 0x80:
        return figure, at + 1
    figure &= 0x7F
    for place in range(1, _LONGEST_VARINT):
        byte = body[at + place]
        figure |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return figure, at + place + 1
    raise ValueError("has a figure without an end")


@cache
def _inner(kind: Any) -> dict[int, Any]:
    return {field.number: field.message_type for field in kind.fields if field.message_type is not None}
