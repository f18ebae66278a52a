"""OTLP bodies as tests make them, and the requests that are read from them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slotfill.analyse.calls import requests_table
from slotfill.read import otlp
from slotfill.read.requests import read_requests
from slotfill.read.spans import read_spans

T0 = 1_795_744_474_000
SERVER, CLIENT, INTERNAL = 2, 3, 1
GUEST = "jo.bloggs@example.com"
OLD = {"method": "http.method", "url": "http.url", "status": "http.status_code"}
NEW = {"method": "http.request.method", "url": "url.full", "status": "http.response.status_code"}


def span(
    number: int, parent: int | None, kind: int, start_ms: float, ms: float, trace: int = 1, **said: Any
) -> dict[str, Any]:
    """A span as OTLP JSON has it."""
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent is not None else "",
        "name": said.pop("name", "span"),
        "kind": kind,
        "startTimeUnixNano": str(int((T0 + start_ms) * 1_000_000)),
        "endTimeUnixNano": str(int((T0 + start_ms + ms) * 1_000_000)),
        "attributes": [{"key": key, "value": _value(value)} for key, value in said.items()],
        "status": {},
    }


def get(
    number: int,
    parent: int,
    start_ms: float,
    ms: float,
    table: str = "bookings",
    words: dict[str, str] = NEW,
    **rest: Any,
) -> dict[str, Any]:
    status, method = rest.pop("status", 200), rest.pop("method", "GET")
    url = f"http://db.example:54331/rest/v1/bookings?email=eq.{rest.pop('value', GUEST)}"
    said = {words["method"]: method, words["url"]: url, words["status"]: status}
    return span(number, parent, CLIENT, start_ms, ms, **{"name": f"fetch {method} {url}", **said, **rest})


def server(number: int = 1, ms: float = 100, trace: int = 1, parent: int = 900) -> dict[str, Any]:
    return span(number, parent, SERVER, 0, ms, trace, **{"http.method": "POST", "http.target": "/api/bookings"})


def body(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {
        "attributes": [
            {"key": "service.name", "value": {"stringValue": "booking-platform"}},
            {"key": "process.command_line", "value": {"stringValue": "node /home/jo/server.js --token s3cret"}},
        ]
    }
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def protobuf(content: dict[str, Any]) -> bytes:
    return bytes(otlp.decode(json.dumps(content).encode()).SerializeToString())


def told(folder: Path, *bodies: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    """The requests in a folder of these bodies."""
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(bodies):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{number:04d}.{'json' if isinstance(content, dict) else 'pb'}").write_bytes(raw)
    return records([folder])


def records(paths: Sequence[Path]) -> list[dict[str, Any]]:
    table = requests_table(*read_requests(read_spans(paths).spans))
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _value(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
