"""What OTLP bodies say of requests and their calls: recorded ones, and made ones of every awkward kind."""

import gzip
import json
import os
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from span_bodies import CLIENT, GUEST, INTERNAL, OLD, SERVER, body, get, protobuf, records, server, span, told

from slotfill.errors import BadInput
from slotfill.read import otlp
from slotfill.read.spans import read_spans


@pytest.mark.parametrize("case", ["zc-pb-near-c1", "vo-near-c1", "zc-json-near-c1"])
def test_recorded_bookings_have_the_calls_and_times_that_are_known(corpus: Path, case: str) -> None:
    expected = [one for one in json.loads((corpus / "otlp" / "expected.json").read_text()) if one["case"] == case]
    found = {row["trace_id"]: row for row in records([corpus / "otlp" / case / "otlp"])}
    for truth in expected:
        row = found[truth["trace_id"]]
        assert row["complete"]
        assert row["calls"] == truth["rest_calls"] + truth["other_calls"]
        assert row["database_calls"] == truth["rest_calls"]
        for name, theirs in {
            "chain_len": "chain_len",
            "duplicates": "dup_exact_extra",
            "errors": "error_calls",
            "after_answer_calls": "after_answer_calls",
        }.items():
            assert row[name] == truth[theirs], name
        for name in ("server_ms", "handler_self_ms", "sum_ms", "union_ms", "chain_ms"):
            assert row[name] == pytest.approx(truth[name], abs=1), name
        assert row["targets"]["feature_flag_overrides"] == truth["dup_exact"][0][0]
    assert expected


def test_a_folder_may_hold_other_files(corpus: Path) -> None:
    reading = read_spans([corpus / "otlp" / "zc-json-near-c1"])
    assert len(reading.spans)
    assert any("bookings.jsonl" in note for note in reading.notes)


def test_nested_spans_count_once_whatever_their_vocabulary(tmp_path: Path) -> None:
    spans = [
        server(1, 100),
        span(2, 1, SERVER, 1, 98, **{"http.request.method": "POST", "url.path": "/api/bookings"}),
        span(3, 2, INTERNAL, 2, 90, **{"next.span_type": "AppRouteRouteHandlers.runHandler"}),
        get(4, 3, 10, 20, words=OLD, status=0),
        get(5, 4, 11, 18, status=409),
        get(6, 3, 40, 10, words=OLD),
        span(7, 6, INTERNAL, 41, 2, name="tcp.connect"),
    ]
    (row,) = told(tmp_path, body(*spans))
    assert (row["calls"], row["errors"], row["server_ms"]) == (2, 1, 100)
    assert row["union_ms"] == pytest.approx(28, abs=0.01)
    assert row["handler_self_ms"] == pytest.approx(90 - 28, abs=0.01)


def test_calls_of_a_service_that_was_called_are_not_the_requests_own(tmp_path: Path) -> None:
    spans = [server(1), get(2, 1, 10, 50), server(3, 40, parent=2), get(4, 3, 15, 5), get(5, 3, 25, 5)]
    (row,) = told(tmp_path, body(*spans))
    assert (row["calls"], row["sum_ms"]) == (1, 50)


def test_bodies_mix_bookings_and_send_spans_twice(tmp_path: Path) -> None:
    first = [server(1, trace=1), get(2, 1, 10, 10, trace=1), get(3, 1, 30, 10, trace=1)]
    second = [server(11, trace=2, ms=200), get(12, 11, 10, 30, trace=2)]
    content = body(first[1], second[1]), body(first[0], first[2], first[1]), body(second[0], second[1])
    rows = told(tmp_path, content[0], protobuf(content[1]), gzip.compress(protobuf(content[2])))
    assert {row["trace_id"][-1]: (row["calls"], row["sum_ms"]) for row in rows} == {"1": (2, 20), "2": (1, 30)}


def test_a_request_without_its_server_span_is_incomplete(tmp_path: Path) -> None:
    (row,) = told(tmp_path, body(get(2, 1, 10, 10), get(3, 1, 30, 10)))
    assert not row["complete"]
    assert row["calls"] == 2
    assert row["handler_self_ms"] is None or row["handler_self_ms"] != row["handler_self_ms"]


def test_calls_after_the_answer_are_kept_apart_and_late_ends_are_clipped(tmp_path: Path) -> None:
    spans = [server(1, 100), get(2, 1, 90, 18), get(3, 1, 300, 50), get(4, 1, 100, 5)]
    (row,) = told(tmp_path, body(*spans))
    assert (row["calls"], row["after_answer_calls"]) == (1, 2)
    assert row["handler_self_ms"] == pytest.approx(90, abs=0.01)
    assert row["sum_ms"] == pytest.approx(18, abs=0.01)


def test_the_same_question_twice_is_a_duplicate_and_another_value_or_a_post_is_none(tmp_path: Path) -> None:
    spans = [
        server(1),
        get(2, 1, 10, 2, value="a"),
        get(3, 1, 20, 2, value="a"),
        get(4, 1, 30, 2, value="b"),
        get(5, 1, 40, 2, method="POST", value="a"),
        get(6, 1, 50, 2, method="POST", value="a"),
    ]
    (row,) = told(tmp_path, body(*spans))
    assert row["duplicates"] == 1


def test_the_chain_is_the_longest_row_of_calls_one_after_another(tmp_path: Path) -> None:
    spans = [server(1), get(2, 1, 0, 10.4), get(3, 1, 10, 10), get(4, 1, 22, 30), get(5, 1, 23, 2), get(6, 1, 26, 2)]
    (row,) = told(tmp_path, body(*spans))
    assert (row["chain_len"], row["chain_len_about"]) == (3, 4)
    assert row["chain_ms"] == pytest.approx(40.4, abs=0.01)


def test_calls_to_postgres_are_named_by_their_table(tmp_path: Path) -> None:
    asked = {"db.system": "postgresql", "db.statement": f"SELECT * FROM public.customers WHERE email = '{GUEST}'"}  # noqa: S608
    spans = [
        server(1),
        span(2, 1, CLIENT, 5, 1, name="pg-pool.connect", **{"db.system": "postgresql"}),
        span(3, 1, CLIENT, 10, 5, name="pg.query:SELECT", **asked),
    ]
    (row,) = told(tmp_path, body(*spans))
    assert row["targets"] == {"customers": 1}


def test_a_collectors_lines_are_read_and_other_signals_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    lines = [json.dumps(body(server(1))), '{"resourceMetrics":[]}', json.dumps(body(get(2, 1, 10, 5))), '{"resourceSp']
    file.write_text("\n".join(lines))
    reading = read_spans([file])
    assert len(reading.spans) == 2
    assert [note.split(": ")[0] for note in reading.notes] == [f"{file}:4"]


def test_nothing_of_a_guest_or_of_the_machine_is_left(tmp_path: Path) -> None:
    statement = f"INSERT INTO customers (email, phone) VALUES ('{GUEST}', 07123456789) -- {GUEST}"  # noqa: S608
    spans = [
        server(1),
        get(2, 1, 10, 5),
        span(3, 1, CLIENT, 20, 5, name=statement, **{"db.system": "postgresql", "db.statement": statement}),
        span(
            4, 1, CLIENT, 30, 5, **{"http.method": "GET", "http.url": f"https://u:s3cret@db.example/guests/{GUEST}#x"}
        ),
        span(5, 1, INTERNAL, 30, 5, name=f"GET /guests/{GUEST}", **{"http.route": f"/guests/{GUEST}", "note": GUEST}),
        span(6, 1, CLIENT, 40, 5, **{"http.method": "GET", "http.url": f"http://db.example/x?{GUEST}&07123456789"}),
    ]
    spans[1]["events"] = [{"name": "exception", "attributes": [{"key": "message", "value": {"stringValue": GUEST}}]}]
    spans[1]["status"] = {"code": 2, "message": f"no such guest {GUEST}"}
    request = otlp.strip(otlp.decode(json.dumps(body(*spans)).encode()))
    kept = str(request) + str(ExportTraceServiceRequest.FromString(otlp.unpack(otlp.encode(request))))
    for word in ("jo.bloggs", "example.com", "07123456789", "s3cret", "/home/jo", "node "):
        assert word not in kept, word


def test_stripping_a_kept_body_again_changes_nothing(tmp_path: Path) -> None:
    once = otlp.strip(otlp.decode(json.dumps(body(server(1), get(2, 1, 10, 5))).encode()))
    again = otlp.strip(otlp.decode(otlp.encode(once)))
    assert again == once


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x1f\x8b\x08\x00 torn",
        gzip.compress(b"x" * 1000, mtime=0)[:40],
        b"\xff" * 100,
        b"[]",
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz' + b"z" * 30 + b'"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "' + b"9" * 5000 + b'"}]}]}]}',
        b'{"resourceSpans":' + b"[" * 100_000,
        json.dumps(body(span(1, None, "\ud800", 0, 1))).encode(),
        json.dumps(body(span(1, None, 1e999, 0, 1))).encode(),  # type: ignore[arg-type]
        json.dumps(body(span(1, None, SERVER, 0, 1) | {"traceId": ""})).encode(),
        json.dumps(body(span(0, None, SERVER, 0, 1))).encode(),
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_a_hostile_body_is_one_line(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "body.pb"
    file.write_bytes(raw)
    with pytest.raises(BadInput) as refused:
        read_spans([file])
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_gzip_that_swells_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "body.pb.gz"
    file.write_bytes(gzip.compress(bytes(otlp.LARGEST_BODY + 1), compresslevel=1))
    with pytest.raises(BadInput, match="larger than"):
        read_spans([file])


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    spans = [span(1, 2, SERVER, 0, 50), span(2, 1, SERVER, 0, 50), get(3, 2, 10, 5)]
    assert isinstance(told(tmp_path, body(*spans)), list)


def test_calls_below_a_long_row_of_parents_are_of_the_request_all_the_same(tmp_path: Path) -> None:
    inner = [span(number, number - 1, INTERNAL, 0, 50) for number in range(2, 20_000)]
    [request] = told(tmp_path, body(server(1), *inner, get(20_000, 19_999, 10, 5), get(20_001, 50, 20, 5)))
    assert (request["complete"], request["calls"]) == (True, 2)


def test_a_body_of_123_bytes_is_not_taken_for_json() -> None:
    # Its first bytes are those of a newline and a brace.
    request = ExportTraceServiceRequest()
    request.resource_spans.add().schema_url = "x" * 121
    raw = request.SerializeToString()
    assert raw[:2] == b"\n{"
    assert otlp.decode(raw) == request


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spans.json")
    with pytest.raises(BadInput, match="a pipe or a device"):
        read_spans([tmp_path / "spans.json"])
