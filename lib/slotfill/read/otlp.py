"""OTLP trace bodies, decoded whatever their form and stripped before anything of them is kept.

A span names the URL or the statement it asked for, and with it guests' data; a resource names the command line, paths
and owner of the platform. ``strip`` leaves the shape of a call and a fingerprint of its values, made with a key
that dies with this process, so that the same call twice is still seen as such and no guess can be held against it.
"""

import gzip
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from slotfill.call_shape import fingerprint, name_without_values, path_without_values, without_values
from slotfill.masking import mask
from slotfill.read.otlp_wire import holds_more_than
from slotfill.statement_shape import shows_all, statement_without_values

LARGEST_BODY = 64 << 20
"""Bytes of one body, unpacked; exporters send some hundred kilobytes."""
MOST_PARTS = 500_000
"""Resources, scopes, spans, attributes and their values in one body: empty ones take fifty times their bytes in memory.
"""
FINGERPRINT = "slotfill.fingerprint"
URL_NAMES = ("url.full", "http.url")
PATH_NAMES = ("url.path", "http.target", "http.route", "next.route")
STATEMENT_NAMES = ("db.query.text", "db.statement")
METHOD_NAMES = ("http.request.method", "http.method")
STATUS_NAMES = ("http.response.status_code", "http.status_code", "db.response.status_code")
DATABASE_NAMES = ("db.system.name", "db.system")
OPERATION_NAMES = ("db.operation.name", "db.operation")
TABLE_NAMES = ("db.collection.name", "db.sql.table")
SPAN_TYPE = "next.span_type"
_SHAPES = {
    METHOD_NAMES: re.compile(r"[A-Za-z_]{1,20}"),
    STATUS_NAMES: re.compile(r"-?[0-9]{1,6}|[0-9A-Z_-]{1,40}"),
    DATABASE_NAMES: re.compile(r"(?a)[A-Za-z][\w.]{0,40}"),
    OPERATION_NAMES: re.compile(r"(?a)[A-Za-z][\w.:-]{0,40}"),
    TABLE_NAMES: re.compile(r"(?a)[A-Za-z_\"`][\w.$\"`-]{0,100}"),
    (SPAN_TYPE,): re.compile(r"[A-Za-z.]{1,80}"),
}
"""What is kept as it is where it looks as it should; else only that it was there (``?``)."""
_KEPT = {name: shape for names, shape in _SHAPES.items() for name in names}
_KEPT_OF_RESOURCES = frozenset(
    ("service.name", "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version")
)
_LONGEST_TEXT = 200
_IDS = {"traceId": 16, "trace_id": 16, "spanId": 8, "span_id": 8, "parentSpanId": 8, "parent_span_id": 8}
_LEAST_LIMIT = 32
_ROUND = re.compile(r"[1-9]0+|250+")
_CODE = re.compile(r"\d{1,3}|[A-Za-z_][A-Za-z_. -]{0,60}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}|")


class NotOtlp(ValueError):
    """A body that is no OTLP trace export; the message says why in a few words."""


def decode(body: bytes, largest: int = LARGEST_BODY) -> Any:
    """The ``ExportTraceServiceRequest`` in a body of protobuf or JSON, gzip or not. Raises NotOtlp.

    ``largest``: bytes of the body when unpacked.
    """
    body = unpack(body, largest)
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        try:
            return _from_json(body)
        except NotOtlp:
            # A protobuf body begins with a newline, and one of 123 bytes goes on with a brace.
            if body[:1] != b"\n":
                raise
    try:
        _require_few_parts(holds_more_than(MOST_PARTS, body))
        return ExportTraceServiceRequest.FromString(body)
    except NotOtlp:
        raise
    except (DecodeError, ValueError):
        raise NotOtlp("is no OTLP trace export, neither JSON nor protobuf") from None


def unpack(body: bytes, largest: int = LARGEST_BODY) -> bytes:
    """The body without its gzip, never more than ``largest`` bytes. Raises NotOtlp."""
    if not body.startswith(b"\x1f\x8b"):
        if len(body) > largest:
            raise NotOtlp(f"is larger than {largest >> 20} MiB")
        return body
    parts, left = [], largest
    while body:
        inflate = zlib.decompressobj(wbits=31)
        try:
            part = inflate.decompress(body, left + 1)
        except zlib.error:
            raise NotOtlp("is no readable gzip") from None
        left -= len(part)
        if left < 0:
            raise NotOtlp(f"is larger than {largest >> 20} MiB when unpacked")
        if not inflate.eof:
            raise NotOtlp("is a gzip that ends too early")
        parts.append(part)
        body = inflate.unused_data.lstrip(b"\0")
    return b"".join(parts)


def encode(request: Any) -> bytes:
    """As ``decode`` reads it: gzip over protobuf."""
    return gzip.compress(request.SerializeToString(), compresslevel=3, mtime=0)


def strip(request: Any) -> Any:
    """The same request with only what an analysis needs; doing it twice changes nothing."""
    request.DiscardUnknownFields()
    for resource_spans in request.resource_spans:
        _keep(resource_spans.resource.attributes, _KEPT_OF_RESOURCES)
        for scope_spans in resource_spans.scope_spans:
            _keep(scope_spans.scope.attributes, frozenset())
    had = [(span, attributes(span)) for span in spans_of(request)]
    limit = _length_limit(said for _, said in had)
    for span, said in had:
        _strip_span(span, said, limit)
    return request


def spans_of(request: Any) -> Iterator[Any]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def attributes(owner: Any) -> dict[str, str]:
    """The plain attributes of a span or a resource as text."""
    return {pair.key: text for pair in owner.attributes if (text := _text(pair.value)) is not None}


def _require_few_parts(holds_more: bool) -> None:
    if holds_more:
        raise NotOtlp(f"holds more than {MOST_PARTS:,} spans, attributes and values")


def _from_json(body: bytes) -> Any:
    _require_few_parts(body.count(b"{") + body.count(b"[") > MOST_PARTS or body.count(b",") > 4 * MOST_PARTS)
    try:
        content = json.loads(body.decode("utf-8-sig"))
        if not isinstance(content, dict) or not {"resourceSpans", "resource_spans"} & set(content):
            raise NotOtlp("holds no resourceSpans")
        for scope_spans in _scopes(content):
            scope_spans["spans"] = list(map(_with_ids, scope_spans.get("spans") or []))
        try:
            request = ParseDict(content, ExportTraceServiceRequest(), ignore_unknown_fields=True)
        except Exception:  # as below
            for scope_spans in _scopes(content):
                scope_spans["spans"] = [span if _is_span(span) else {} for span in scope_spans["spans"]]
            request = ParseDict(content, ExportTraceServiceRequest(), ignore_unknown_fields=True)
        sent = [span for scope_spans in _scopes(content) for span in scope_spans["spans"]]
        if sent and not any(sent):
            raise NotOtlp("holds no span that can be read")
        return request
    except ParseError as error:
        raise NotOtlp(f"is no OTLP JSON ({' '.join(str(error).split())[:100]})") from None
    except NotOtlp:
        raise
    except Exception:  # whatever json, the loops above and protobuf's own code make of it: SystemError, even
        raise NotOtlp("is no OTLP JSON") from None


def _scopes(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_spans in content.get("resourceSpans") or content.get("resource_spans") or []:
        yield from resource_spans.get("scopeSpans") or resource_spans.get("scope_spans") or []


def _with_ids(span: dict[str, Any]) -> dict[str, Any]:
    """The span with its identifiers as protobuf has them in JSON, in base64 where OTLP writes hexadecimals.

    One with another identifier is left empty: it does not cost the others of its body.
    """
    span.pop("links", None)
    span.pop("events", None)
    for name, size in _IDS.items():
        if span.get(name):
            span[name] = _id_as_base64(span[name], size)
            if not span[name]:
                return {}
    return span


def _id_as_base64(value: Any, size: int) -> str:
    try:
        raw = bytes.fromhex(value) if len(value) == 2 * size else b64decode(value, validate=True)
    except (TypeError, ValueError):
        return ""
    return b64encode(raw).decode() if len(raw) == size else ""


def _is_span(content: Any) -> bool:
    """Whether protobuf can read the span."""
    try:
        ParseDict(content, Span(), ignore_unknown_fields=True)
    except Exception:  # as below
        return False
    return True


def _length_limit(said: Iterable[dict[str, str]]) -> int | None:
    """The length at which the sender cut its attributes, guessed: none is longer, and the figure is a round one.

    An exporter that was told OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT does not tell it on.
    """
    longest = max((len(text) for texts in said for text in texts.values()), default=0)
    is_round = _ROUND.fullmatch(str(longest)) or longest & (longest - 1) == 0 or longest & (longest + 1) == 0
    return longest if is_round and longest >= _LEAST_LIMIT else None


def _strip_span(span: Any, had: dict[str, str], limit: int | None) -> None:
    system = _first_of(had, DATABASE_NAMES)
    kept = {name: had[name] if shape.fullmatch(had[name]) else "?" for name, shape in _KEPT.items() if name in had}
    kept |= {name: without_values(had[name]) for name in URL_NAMES if name in had}
    kept |= {name: path_without_values(had[name]) for name in PATH_NAMES if name in had}
    kept |= {name: statement_without_values(had[name], system) for name in STATEMENT_NAMES if name in had}
    stripped_before = _FINGERPRINT.fullmatch(had.get(FINGERPRINT, "-"))
    same = had[FINGERPRINT] if stripped_before else _fingerprint_of(had, system, limit)
    if same is not None:
        kept[FINGERPRINT] = same
    span.name = name_without_values(span.name, of_next=SPAN_TYPE in had)
    del span.attributes[:]
    for name, text in sorted(kept.items()):
        span.attributes.add(key=name).value.string_value = text
    del span.events[:]
    del span.links[:]
    span.trace_state = ""
    span.status.message = ""


def _fingerprint_of(had: dict[str, str], system: str | None, limit: int | None) -> str | None:
    """Of a call that only reads and shows all it asks: what lies in a body or a placeholder nobody knows.

    Empty for what was cut: later nobody could tell that any more.
    """
    url, statement = _first_of(had, URL_NAMES), _first_of(had, STATEMENT_NAMES)
    if url is not None:
        asked, verb = url, (_first_of(had, METHOD_NAMES) or "").upper()
        is_known = verb in ("GET", "HEAD")
    else:
        asked, verb = statement or "", "SELECT"
        reads = statement_without_values(asked, system).upper().startswith("SELECT ")
        is_known = reads and shows_all(asked, system)
    if not is_known:
        return None
    return fingerprint(verb, asked) if len(asked) != limit else ""


def _first_of(had: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((had[name] for name in names if name in had), None)


def _keep(pairs: Any, names: frozenset[str]) -> None:
    kept = {pair.key: text for pair in pairs if pair.key in names and (text := _text(pair.value)) is not None}
    del pairs[:]
    for name, text in sorted(kept.items()):
        pairs.add(key=name).value.string_value = _plain(text)


def _text(value: Any) -> str | None:
    kind = value.WhichOneof("value")
    if kind not in ("string_value", "int_value", "bool_value", "double_value"):
        return None
    return str(getattr(value, kind))


def _plain(text: str) -> str:
    return text if _CODE.fullmatch(text) else mask(text)[:_LONGEST_TEXT]


KINDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}
