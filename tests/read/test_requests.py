"""Which spans are requests, which are calls, and what became of them: trees of every awkward shape."""

from pathlib import Path
from typing import Any

import pytest
from span_bodies import CLIENT, INTERNAL, NEW, OLD, body, get, server, span, told

from slotfill.analyse.calls import render, requests_table
from slotfill.read.requests import read_requests
from slotfill.read.spans import read_spans

FAILED = {"status": {"code": 2}}


def bare(number: int, parent: int | None, name: str, start_ms: float = 11, ms: float = 5) -> dict[str, Any]:
    """A client span that says nothing of what it asks."""
    return span(number, parent, CLIENT, start_ms, ms, name=name)


@pytest.mark.parametrize(
    "spans",
    [
        [get(2, 1, 10, 30, words=OLD), bare(3, 2, "dns.lookup"), get(4, 2, 11, 28)],
        [get(2, 1, 11, 28), bare(3, 2, "dns.lookup")],
        [get(2, 1, 11, 28), span(3, 2, INTERNAL, 11, 8, name="tcp.connect"), bare(4, 3, "tls.connect")],
        [get(2, 1, 11, 28), bare(3, 2, "http.getconn"), bare(4, 3, "http.dns")],
        [bare(2, 1, "supabase.select", 10, 30), get(3, 2, 11, 28)],
        [bare(2, 1, "dns.lookup", 2, 5), get(3, 1, 11, 28)],
        [bare(2, 1, "grpc.tables.Tables/Find", 10, 30), bare(3, 2, "grpc.stub", 11, 28)],
    ],
    ids=["below undici", "below the only one", "below a connection", "of Go", "around", "beside", "nothing else"],
)
def test_a_span_that_asks_nothing_is_no_call_beside_one_that_does(tmp_path: Path, spans: list[dict[str, Any]]) -> None:
    (row,) = told(tmp_path, body(server(), *spans))
    assert (row["calls"], row["duplicates"], row["sum_ms"]) == (1, 0, pytest.approx(28, abs=0.01))


@pytest.mark.parametrize("parent", [None, 0, 900], ids=["a root", "a root whose parent is zeros", "below ours"])
def test_whoever_asked_the_platform_is_no_call_of_the_booking(tmp_path: Path, parent: int | None) -> None:
    spans = [
        get(2, 1, 10, 5),
        get(3, 1, 20, 5, value="another"),
        get(4, 1, 40, 20, value="a service"),
        server(5, 10, parent=4),
        get(6, 5, 42, 2, value="of the service"),
    ]
    entrance = get(901, 900, -5, 110, method="POST") | {"parentSpanId": "" if parent is None else f"{parent:016x}"}
    (row,) = told(tmp_path, body(entrance, server(1, parent=901), *spans))
    assert row["complete"]
    assert (row["calls"], row["sum_ms"], row["server_ms"]) == (3, pytest.approx(30, abs=0.01), 100)


def test_a_service_that_was_called_is_not_the_booking_whose_server_span_is_lost(tmp_path: Path) -> None:
    called = [get(2, 1, 10, 10), server(3, 8, parent=2), get(4, 3, 12, 2), get(5, 1, 30, 10)]
    (row,) = told(tmp_path, body(*called))
    assert (row["complete"], row["calls"], row["sum_ms"]) == (False, 2, pytest.approx(20, abs=0.01))


def test_a_load_driver_may_send_many_bookings_in_one_trace(tmp_path: Path) -> None:
    spans = [span(900, None, INTERNAL, -10, 500, name="scenario")]
    for booking in (10, 20):
        spans += [
            get(booking, 900, 0, 50),
            server(booking + 1, parent=booking),
            get(booking + 2, booking + 1, 5, booking),
        ]
    rows = told(tmp_path, body(*spans))
    assert sorted(row["sum_ms"] for row in rows) == [pytest.approx(10, abs=0.01), pytest.approx(20, abs=0.01)]


def test_a_call_that_got_no_code_failed_as_its_span_says(tmp_path: Path) -> None:
    around = {NEW["method"]: "GET", NEW["url"]: "http://db.example/rest/v1/bookings", NEW["status"]: 200}
    no_code = span(6, 5, CLIENT, 41, 5, name="GET", **{NEW["method"]: "GET"})
    spans = [
        get(2, 1, 10, 5, status=0) | FAILED,
        get(3, 1, 20, 5, status=0),
        get(4, 1, 30, 5, status=409),
        span(5, 1, CLIENT, 40, 20, **around),
        no_code | FAILED,
        get(7, 5, 50, 5),
        span(8, 1, CLIENT, 70, 20, **around | {NEW["status"]: 503}),
        span(9, 8, CLIENT, 71, 5, name="GET", **{NEW["method"]: "GET"}),
    ]
    (row,) = told(tmp_path, body(server(), *spans))
    assert (row["calls"], row["errors"]) == (6, 4)  # cut off, refused, the first of two attempts, and unavailable


def test_a_call_of_a_span_that_asks_nothing_keeps_its_own_failure(tmp_path: Path) -> None:
    (row,) = told(tmp_path, body(server(), bare(2, 1, "grpc.tables.Tables/Find") | FAILED))
    assert (row["calls"], row["errors"]) == (1, 1)


def test_two_traces_with_the_same_span_identifiers_keep_their_calls_apart(tmp_path: Path) -> None:
    contents = [
        body(server(trace=trace), *(get(2 + n, 1, 10 + n, 1, trace=trace) for n in range(trace))) for trace in (1, 2)
    ]
    assert [row["calls"] for row in told(tmp_path, *contents)] == [1, 2]


def test_calls_after_an_answer_that_nobody_saw_are_not_told_as_none(tmp_path: Path) -> None:
    told(tmp_path, body(get(2, 1, 10, 10), server(1, trace=2)))
    table = requests_table(*read_requests(read_spans([tmp_path]).spans))
    _, *lines = render(table).splitlines()
    assert {line.split()[1]: line.split()[-1] for line in lines} == {"incomplete": "-", "POST": "0"}
    assert '"after_answer_calls": null' in render(table, "json")
