"""From spans to requests and the calls they made: each request once, each call once.

Instrumentations nest. Zero-code Node.js has two server spans a request and two client spans a call, others have one of
each, so nested server spans count as their outermost and nested client spans as their innermost. What is nested
is told by parents and kinds, never by the name of the instrumentation. A client span above every server span is
whoever asked the platform (a load driver, an edge), and no call of the request.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pandas as pd

from slotfill import call
from slotfill.attempt import column_type
from slotfill.call import Call, Protocol
from slotfill.call_shape import REST, target_of
from slotfill.statement_shape import UNKNOWN, table_of

HANDLER = "AppRouteRouteHandlers.runHandler"
DEEPEST = 100
"""Ancestors of a span that are looked at. Zero-code Node.js nests some ten deep."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONNECTS = re.compile(r"(?i)(?:dns|tcp|tls)\..*|connect")
"""Names of client spans that look up a host or open a connection: part of a call, or before the first one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the platform served. An incomplete one lacks its server span: only its calls are known."""

    trace_id: str
    request_id: str
    complete: bool
    service: str | None
    method: str | None
    path: str | None
    status: str | None
    started_at: datetime
    server_ms: float | None
    handler_started_at: datetime | None
    """The handler is the whole request where no span of its own tells it apart."""
    handler_ms: float | None


class Requests(NamedTuple):
    """``requests``: one row a ``Request``; ``calls``: one row a ``Call``, joined by ``request_id``."""

    requests: pd.DataFrame
    calls: pd.DataFrame


def read_requests(spans: pd.DataFrame) -> Requests:
    """The requests in spans (one row a ``SpanRow``), in the order of their starts, and all their calls."""
    traces: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    rows: Any = spans.astype(object).where(spans.notna(), None).itertuples(index=False)
    for span in rows:
        traces[span.trace_id][span.span_id] = span
    requests: list[Request] = []
    calls: list[Call] = []
    for trace in traces.values():
        for request, its_calls in _Trace(trace).requests():
            requests.append(request)
            calls += its_calls
    table = _frame(sorted(requests, key=lambda request: request.started_at))
    return Requests(table, call.frame(sorted(calls, key=lambda one: one.started_at)))


class _Trace:
    """The spans of one trace by identifier, and who made what."""

    def __init__(self, spans: dict[str, Any]) -> None:
        self._spans = spans
        self._lines = {span_id: self._line(span) for span_id, span in spans.items()}
        self._in_order = sorted(self._served(), key=lambda span: span.start_ns)
        self._servers = {span.span_id: span for span in self._in_order}
        self._outer = self._calls()
        self._inner = Counter(one.span_id for outer in self._outer.values() for one in outer)

    def requests(self) -> Iterable[tuple[Request, list[Call]]]:
        """Each request of the trace with its calls; what belongs to no request of ours is left out."""
        made: defaultdict[str | None, list[Any]] = defaultdict(list)
        for span_id in self._outer:
            span = self._spans[span_id]
            made[self._maker(span)].append(span)
        families: defaultdict[str, list[Any]] = defaultdict(list)
        for span_id, line in self._lines.items():
            for above in line:
                if above.span_id in self._servers:
                    families[above.span_id].append(self._spans[span_id])
        for server in self._in_order:
            calls = [self._call(span, server.span_id, server.end_ns) for span in made.pop(server.span_id, [])]
            yield _request(server, families[server.span_id]), calls
        for lost, spans in made.items():
            if lost is not None:
                yield _incomplete(lost, spans), [self._call(span, lost, None) for span in spans]

    def _line(self, span: Any) -> list[Any]:
        """A span's ancestors, nearest first, up to ``DEEPEST``; a circle of parents ends where it closes."""
        line: list[Any] = []
        seen = {span.span_id}
        while (
            len(line) < DEEPEST and (above := self._spans.get(span.parent_id)) is not None and above.span_id not in seen
        ):
            line.append(above)
            seen.add(above.span_id)
            span = above
        return line

    def _served(self) -> list[Any]:
        """The outermost server spans, one a request; one with a client span between it and another was called."""
        outermost = [
            span for span in self._spans.values() if _is_server(span) and not self._has_above(span, _is_server)
        ]
        called = [span for span in outermost if self._missing(span) and self._has_above(span, _is_client)]
        if not called:
            return outermost
        # Below a client span whose own parent did not come: asked by an edge, if that was all that happened. Where
        # more did, it is a service that was called by a request whose server span is lost.
        clients = filter(_is_client, self._spans.values())
        lines = [[span, *self._lines[span.span_id]] for span in clients if not self._has_above(span, _is_server)]
        callers = {next(filter(_is_client, reversed(line))).span_id for line in lines if line[-1].parent_id}
        own = [span for span in outermost if span not in called]
        return outermost if len(callers) + len(own) == 1 else own

    def _has_above(self, span: Any, holds: Callable[[Any], bool]) -> bool:
        return any(map(holds, self._lines[span.span_id]))

    def _missing(self, span: Any) -> str | None:
        """The parent of a span's first known ancestor, of which nothing came."""
        parent: str | None = [span, *self._lines[span.span_id]][-1].parent_id
        return parent

    def _calls(self) -> dict[str, list[Any]]:
        """The calls by identifier, each with the client spans around it, nearest first.

        They are the innermost of nested client spans, as far as they are ours and not those of a service that was
        called. What asks nothing that we know of is a call only where none is around it or in it.
        """
        entrances = {above.span_id for server in self._in_order for above in self._lines[server.span_id]}
        found: dict[str, list[Any]] = {}
        for span in self._spans.values():
            if not _is_call(span) or span.span_id in entrances:
                continue
            inside = list(takewhile(lambda one: one.span_id not in self._servers, self._lines[span.span_id]))
            callers = [index for index, one in enumerate(inside) if _is_call(one)]
            if callers and any(map(_is_server, inside[: callers[-1]])):
                continue
            outer = [inside[index] for index in callers]
            if _asks(span) or not any(map(_asks, outer)):
                found[span.span_id] = outer
        around = {one.span_id for outer in found.values() for one in outer}
        return {span_id: outer for span_id, outer in found.items() if span_id not in around}

    def _maker(self, span: Any) -> str | None:
        """The request a call belongs to: by its parents, else by time; the missing parent where no server span came."""
        line = self._lines[span.span_id]
        for above in line:
            if above.span_id in self._servers:
                return str(above.span_id)
        missing = self._missing(span)
        if not self._servers:
            return f"{span.trace_id}-lost" if missing is not None else None
        if missing is None:
            return None
        started = bisect_right(self._in_order, span.start_ns, key=lambda server: server.start_ns)
        return str(self._in_order[max(started - 1, 0)].span_id)

    def _call(self, span: Any, request_id: str, answered_ns: int | None) -> Call:
        outer = self._outer[span.span_id]
        url = _first("url", span, *outer)
        path = _path_of(url) or _first("path", span, *outer) or ""
        status = self._status(span, outer)
        statement = _first("statement", span, *outer)
        database = _first("database", span, *outer)
        method = _first("method", span, *outer)
        asked = span.name or "" if statement in (None, UNKNOWN) else statement
        operation = _first("operation", span, *outer) or asked.split(" ")[0]
        is_http = url is not None or method is not None
        protocol: Protocol = "http" if is_http else "postgres" if "postgres" in (database or "") else "other"
        return Call(
            source="span",
            protocol=protocol,
            started_at=_at(span.start_ns),
            duration_ms=_ms(span),
            target=target_of(path) if is_http else _first("table", span, *outer) or table_of(statement) or span.name,
            method=(method if is_http and method else operation).upper()[:20],
            to_database=REST in path if is_http else database is not None,
            failed=int(status) >= 400 if is_http and status and status.isdecimal() else span.error,
            trace_id=span.trace_id,
            request_id=request_id,
            after_answer=answered_ns is not None and span.start_ns >= answered_ns,
            status=status,
            fingerprint=_first("fingerprint", span, *outer),
        )

    def _status(self, span: Any, outer: list[Any]) -> str | None:
        """The code of a call: its own, else that of a span around it alone, unless it failed before any came."""
        alone = [one for one in outer if self._inner[one.span_id] == 1] if not span.error else []
        return next((code for one in (span, *alone) if (code := _code(one)) is not None), None)


def _request(server: Any, family: list[Any]) -> Request:
    """The request of a server span; its family are the spans below it."""
    inner = [span for span in family if span.kind == "server"]
    handler = next((span for span in family if span.span_type == HANDLER), server)
    return Request(
        trace_id=server.trace_id,
        request_id=server.span_id,
        complete=True,
        service=server.service,
        method=_first("method", server, *inner),
        path=_first("path", server, *inner) or _path_of(_first("url", server, *inner)),
        status=next((code for one in (server, *inner) if (code := _code(one)) is not None), None),
        started_at=_at(server.start_ns),
        server_ms=_ms(server),
        handler_started_at=_at(handler.start_ns),
        handler_ms=_ms(handler),
    )


def _is_server(span: Any) -> bool:
    return bool(span.kind == "server")


def _is_client(span: Any) -> bool:
    return bool(span.kind == "client")


def _is_call(span: Any) -> bool:
    """A client span that may be a call: opening a connection is none."""
    return _is_client(span) and not _CONNECTS.fullmatch(span.name or "") and (_asks(span) or not span.database)


def _asks(span: Any) -> bool:
    return bool(span.method or span.url or span.path or span.statement or span.operation)


def _code(span: Any) -> str | None:
    """The code that came back; some write 0 where none did."""
    code: str | None = span.status_code
    return None if code is None or (code.isdecimal() and int(code) < 100) else code


def _incomplete(request_id: str, spans: list[Any]) -> Request:
    started = _at(min(span.start_ns for span in spans))
    first = spans[0]
    return Request(first.trace_id, request_id, False, first.service, None, None, None, started, None, None, None)


def _first(column: str, *spans: Any) -> str | None:
    return next((value for span in spans if (value := getattr(span, column)) is not None), None)


def _path_of(url: str | None) -> str | None:
    return urlsplit(url).path or "/" if url else None


def _at(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns / 1e3)


def _ms(span: Any) -> float:
    return float(span.end_ns - span.start_ns) / 1e6


def _frame(requests: list[Request]) -> pd.DataFrame:
    names = [field.name for field in fields(Request)]
    table = pd.DataFrame(map(attrgetter(*names), requests), columns=names)
    for field in fields(Request):
        kind: Any = column_type(str(field.type))
        table[field.name] = table[field.name].astype(kind)
    return table
