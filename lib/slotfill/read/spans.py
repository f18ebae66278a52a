"""Spans as flat rows: from OTLP bodies, from folders of them, and from a collector's JSON lines."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from slotfill.attempt import column_type
from slotfill.errors import BadInput
from slotfill.read import otlp
from slotfill.read.otlp import NotOtlp

_SUFFIXES_OF_LINES = frozenset((".jsonl", ".ndjson"))
SUFFIXES = _SUFFIXES_OF_LINES | {".pb", ".json"}
LARGEST_FILE = 1 << 30
"""Bytes of a collector's file that are read, unpacked; a line of it is a body."""
_FIRST_LINES = 10
_MOST_NOTES = 20
"""Of one file."""
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

    What is torn or no OTLP costs itself alone, and is told in the notes. Raises BadInput where a path is missing, where
    nothing can be read of a file that was named, and where nothing at all holds a span.
    """
    rows: list[SpanRow] = []
    notes: list[str] = []
    for file, is_named in _files(paths):
        said: list[str] = []
        before = len(rows)
        try:
            for where, body in _bodies(file):
                rows += _rows_of(where, body, said)
        except (NotOtlp, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            if is_named and len(rows) == before:
                raise BadInput(f"{file}: {reason}") from None
            said.append(f"{file}: {reason}")
        notes += said[:_MOST_NOTES]
        if len(said) > _MOST_NOTES:
            notes.append(f"{file}: the like of {len(said) - _MOST_NOTES:,} more bodies")
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


def _rows_of(where: str, body: bytes | None, said: list[str]) -> list[SpanRow]:
    """The spans in one body (``None``: it is too large); why there are fewer than were sent goes to ``said``."""
    try:
        if body is None:
            raise NotOtlp(f"is larger than {otlp.LARGEST_BODY >> 20} MiB")
        request = otlp.strip(otlp.decode(body))
    except NotOtlp as reason:
        said.append(f"{where}: {reason}")
        return []
    rows = list(span_rows(request))
    sent = sum(1 for _ in otlp.spans_of(request))
    if len(rows) < sent:
        said.append(f"{where}: {sent - len(rows):,} of {sent:,} spans left out: no good identifier or time")
    return rows


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


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """The files, and whether each was named itself."""
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
                yield file, not path.is_dir()


def _may_hold_spans(file: Path) -> bool:
    return file.is_file() and _suffix(file) in SUFFIXES


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix


def _bodies(file: Path) -> Iterator[tuple[str, bytes | None]]:
    """The bodies in a file, each with where it stands: the file as a whole, or each of its lines.

    Raises NotOtlp where the file cannot be read, or not to its end: then after what could.
    """
    if not _holds_json_lines(file):
        with file.open("rb") as source:
            yield str(file), otlp.unpack(source.read(otlp.LARGEST_BODY + 1))
        return
    with _opened(file) as source:
        for number, line in enumerate(_lines(source), start=1):
            if line is None or (line.strip() and not _is_other_signal(line)):
                yield f"{file}:{number}", line


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """The lines, ``None`` for one that is too long."""
    try:
        while line := source.readline(otlp.LARGEST_BODY + 1):
            is_long = len(line) > otlp.LARGEST_BODY
            yield None if is_long else line
            while is_long and line and not line.endswith(b"\n"):
                line = source.readline(1 << 20)
                _require_moderate(source)
            _require_moderate(source)
    except EOFError:
        raise NotOtlp("is a gzip that ends too early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise NotOtlp("is no readable gzip, or not to its end") from None


def _require_moderate(source: BinaryIO) -> None:
    if source.tell() > LARGEST_FILE:
        raise NotOtlp(f"is larger than {LARGEST_FILE >> 20} MiB; the rest is not read")


def _holds_json_lines(file: Path) -> bool:
    """Whether it is named so, or any of the first lines is a whole JSON object and there are others."""
    first: list[bytes] = []
    left = otlp.LARGEST_BODY
    with _opened(file) as source, suppress(EOFError, gzip.BadGzipFile, zlib.error):
        while len(first) < _FIRST_LINES and left > 0 and (line := source.readline(left)):
            left -= len(line)
            first += [line.removeprefix(codecs.BOM_UTF8)] if line.strip() else []
    if _suffix(file) in _SUFFIXES_OF_LINES and first:
        return first[0].strip() != b"{"
    return len(first) > 1 and any(map(_is_object, first))


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as source:
        is_gzip = source.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(file)) if is_gzip else file.open("rb")


def _is_object(line: bytes) -> bool:
    try:
        return line.startswith(b"{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_other_signal(line: bytes) -> bool:
    return line.lstrip().startswith((b'{"resourceMetrics"', b'{"resourceLogs"'))
