"""Files of spans that are cut, mixed or large: what is whole is read, and the rest is told."""

import gzip
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from span_bodies import SERVER, body, get, server, span

from slotfill.errors import BadInput
from slotfill.read import otlp
from slotfill.read import spans as reading
from slotfill.read.spans import read_spans


def line(number: int) -> str:
    return json.dumps(body(get(number, 1, 10, 5)))


def read(*paths: Path) -> tuple[int, list[str]]:
    """How many spans there are, and what is told of each place."""
    found = read_spans(paths)
    return len(found.spans), [note.rpartition("/")[2] for note in found.notes]


def test_a_torn_file_in_a_folder_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "1.json.gz").write_bytes(gzip.compress(line(1).encode()))
    (tmp_path / "2.json.gz").write_bytes(gzip.compress(line(2).encode())[:-20])
    (tmp_path / "3.pb").write_bytes(b"\xff" * 100)
    assert read(tmp_path) == (
        1,
        ["2.json.gz: is a gzip that ends too early", "3.pb: is no OTLP trace export, neither JSON nor protobuf"],
    )
    with pytest.raises(BadInput, match="ends too early"):
        read_spans([tmp_path / "1.json.gz", tmp_path / "2.json.gz"])


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.json"])
def test_a_collectors_file_may_begin_and_end_in_the_midst_of_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n".join([line(1)[60:], line(2), line(3), line(4)[:60]]))
    spans, notes = read(tmp_path / name)
    assert spans == 2
    assert [note.split(": ")[0] for note in notes] == [f"{name}:1", f"{name}:4"]


def test_lines_of_a_gzip_that_was_cut_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl.gz"
    lines = "\n".join(line(number) for number in range(1, 3_000))
    file.write_bytes(gzip.compress(lines.encode())[:-2_000])
    spans, notes = read(file)
    assert 0 < spans < 3_000
    assert notes == ["traces.jsonl.gz: is a gzip that ends too early"]


def test_a_collectors_file_may_be_larger_than_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "LARGEST_BODY", 100_000)
    monkeypatch.setattr(reading, "LARGEST_FILE", 300_000)
    many = [line(number) for number in range(1, 1_000)]
    file = tmp_path / "traces.json"
    file.write_text("\n".join([many[0], "{" + " " * 150_000, *many[1:]]))
    spans, notes = read(file)
    assert 2 <= spans < 400
    assert notes == ["traces.json:2: is larger than 0 MiB", "traces.json: is larger than 0 MiB; the rest is not read"]


def test_many_lines_of_something_else_are_not_told_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text("\n".join([line(1), *['{"msg": "ready"}'] * 1_000]))
    spans, notes = read(tmp_path)
    assert spans == 1
    assert notes[-1] == f"traces.jsonl: the like of {1_000 - len(notes) + 1} more bodies"


@pytest.mark.parametrize(
    "bad",
    [
        {"traceId": "zz" * 16},
        {"spanId": "12"},
        {"spanId": 7},
        {"startTimeUnixNano": "9" * 5000},
        {"startTimeUnixNano": "soon"},
        {"attributes": [{"key": 7}]},
        {"name": "\ud800"},
        {"spanId": "0" * 16},
    ],
    ids="-".join,
)
def test_a_bad_span_costs_itself_alone(tmp_path: Path, bad: dict[str, Any]) -> None:
    made = body(server(1), get(2, 1, 10, 5) | bad, get(3, 1, 20, 5), span(4, 1, SERVER, 0, 5))
    (tmp_path / "body.json").write_text(json.dumps(made))
    assert read(tmp_path) == (3, ["body.json: 1 of 4 spans left out: no good identifier or time"])


def test_identifiers_in_base64_are_read_as_those_in_hexadecimals(tmp_path: Path) -> None:
    made = body(server(1), get(2, 1, 10, 5))
    (tmp_path / "hex.json").write_text(json.dumps(made))
    for one in made["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            one[name] = b64encode(bytes.fromhex(one[name])).decode()
    (tmp_path / "base64.json").write_text(json.dumps(made, indent=1))
    assert read(tmp_path) == (2, [])
    assert read(tmp_path / "base64.json") == (2, [])
