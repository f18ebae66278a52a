"""Spans as flat rows: from OTLP bodies, from folders of them, and from a collector's JSON lines."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.attempt import column_type
from slotfill.errors import BadInput
from slotfill.read import otlp
from slotfill.read.otlp import NotOtlp

SUFFIXES = frozenset((".pb", ".json", ".jsonl", ".ndjson"))
_LATEST_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One stripped span. ``None`` means that its attributes do not say."""

    trace_id: str
    span_id: str
    parent_id: str | None
    kind: str
    name: str
    service: str | None
    start_ns: int
    """Unix nanoseconds, as ``end_ns``; never after it."""
    end_ns: int
    error: bool
    """The span's own word; the platform's instrumentations differ in what they call an error."""
    method: str | None = None
    url: str | None = None
    path: str | None = None
    status_code: str | None = None
    database: str | None = None
    operation: str | None = None
    table: str | None = None
    statement: str | None = None
    span_type: str | None = None
    fingerprint: str | None = None


COLUMNS = tuple(field.name for field in fields(SpanRow))
_FROM_ATTRIBUTES = {
    "method": otlp.METHOD_NAMES,
    "url": otlp.URL_NAMES,
    "path": otlp.PATH_NAMES,
    "status_code": otlp.STATUS_NAMES,
    "database": otlp.DATABASE_NAMES,
    "operation": otlp.OPERATION_NAMES,
    "table": otlp.TABLE_NAMES,
    "statement": otlp.STATEMENT_NAMES,
    "span_type": (otlp.SPAN_TYPE,),
    "fingerprint": (otlp.FINGERPRINT,),
}


@dataclass(frozen=True)
class SpansReading:
    """What files hold: the spans, each once, and what was passed over with its reason, one line each."""

    spans: pd.DataFrame
    """One row a span, one column a field of ``SpanRow``."""
    notes: tuple[str, ...] = ()


def read_spans(paths: Sequence[Path]) -> SpansReading:
    """The spans in files, or in all files of folders that may hold some (``SUFFIXES``, also with ``.gz``).

    Raises BadInput where a path is missing, or where nothing at all holds a span.
    """
    rows: list[SpanRow] = []
    notes: list[str] = []
    for file in _files(paths):
        for where, body in _bodies(file):
            try:
                rows += span_rows(otlp.strip(otlp.decode(body)))
            except NotOtlp as reason:
                notes.append(f"{where}: {reason}")
    if not rows:
        first = f" ({notes[0]})" if notes else ""
        raise BadInput(f"{paths[0]}: holds no OTLP spans{first}; give .pb or .json bodies, or a collector's JSON lines")
    return SpansReading(frame(rows), tuple(notes))


def frame(rows: Iterable[SpanRow]) -> pd.DataFrame:
    """One row a span and each span once, however often it was sent; the columns are there even with no rows."""
    table = pd.DataFrame(map(attrgetter(*COLUMNS), rows), columns=list(COLUMNS))
    for field in fields(SpanRow):
        kind: Any = column_type(str(field.type))
        table[field.name] = table[field.name].astype(kind)
    return table.drop_duplicates(["trace_id", "span_id"], ignore_index=True)


def span_rows(request: Any) -> Iterator[SpanRow]:
    """The spans of a stripped request; one without an identifier or with impossible times is left out."""
    for resource_spans in request.resource_spans:
        service = next(
            (p.value.string_value for p in resource_spans.resource.attributes if p.key == "service.name"), None
        )
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if _is_usable(span):
                    yield _row(span, service)


def _row(span: Any, service: str | None) -> SpanRow:
    said = otlp.attributes(span)
    found = {
        column: next((said[name] for name in names if said.get(name)), None)
        for column, names in _FROM_ATTRIBUTES.items()
    }
    return SpanRow(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else None,  # some write zeros for none
        kind=otlp.KINDS.get(span.kind, "internal"),
        name=span.name,
        service=service,
        start_ns=span.start_time_unix_nano,
        end_ns=max(span.end_time_unix_nano, span.start_time_unix_nano),
        error=span.status.code == span.status.STATUS_CODE_ERROR,
        **found,
    )


def _is_usable(span: Any) -> bool:
    known = len(span.trace_id) == 16 and any(span.trace_id) and len(span.span_id) == 8 and any(span.span_id)
    return known and 0 < span.start_time_unix_nano < _LATEST_NS and span.end_time_unix_nano < _LATEST_NS


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: no such file or folder")
        if not (path.is_dir() or path.is_file()):
            raise BadInput(f"{path}: a pipe or a device, not a file; save what it gives to a file first")
        found = sorted(filter(_may_hold_spans, path.rglob("*"))) if path.is_dir() else [path]
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _may_hold_spans(file: Path) -> bool:
    return file.is_file() and Path(file.name.removesuffix(".gz")).suffix in SUFFIXES


def _bodies(file: Path) -> Iterator[tuple[str, bytes]]:
    """The bodies in a file, each with where it stands: the file as a whole, or each of its lines."""
    try:
        with file.open("rb") as source:
            content = otlp.unpack(source.read(otlp.LARGEST_BODY + 1))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None
    except NotOtlp as reason:
        raise BadInput(f"{file}: {reason}") from None
    if _is_json_lines(content):
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip() and not _is_other_signal(line):
                yield f"{file}:{number}", line
    else:
        yield str(file), content


def _is_json_lines(content: bytes) -> bool:
    """Whether the first line is a whole JSON object and others follow."""
    first, newline, rest = content.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    if not first.startswith(b"{") or not newline or not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _is_other_signal(line: bytes) -> bool:
    return line.lstrip().startswith((b'{"resourceMetrics"', b'{"resourceLogs"'))
