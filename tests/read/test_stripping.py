"""What is kept of a span: nothing of a guest, and still which call it was."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from span_bodies import CLIENT, NEW, SERVER, body, get, server, span, told

from slotfill.read import otlp
from slotfill.read.spans import SpanRow, span_rows

SQL = "SELECT * FROM customers WHERE "


def kept(made: dict[str, Any]) -> tuple[str, SpanRow]:
    """All that is kept of a span, as text and as a row; keeping it once more changes nothing."""
    request = otlp.strip(otlp.decode(json.dumps(body(made)).encode()))
    assert otlp.strip(otlp.decode(otlp.encode(request))) == request
    (row,) = span_rows(request)
    return str(request), row


def asked(statement: str, system: str | None = "postgresql", **said: str) -> dict[str, Any]:
    systems = {"db.system": system} if system else {}
    return span(2, 1, CLIENT, 5, 5, **systems, **{"db.statement": statement}, **said)


@pytest.mark.parametrize(
    ("statement", "system", "shape"),
    [
        ("SET guest:jane@x.com [1 other arguments]", "redis", "SET"),
        ("HSET session name Jane", "redis", "HSET"),
        ('{"find":"bookings","filter":{"full_name":"Jane Doe"}}', "mongodb", "?"),
        ("Jane has booked", None, "?"),
        (f"{SQL}full_name = 'Jane Doe'", None, f"{SQL}full_name = ?"),
        (f'{SQL}full_name = "Jane Doe"', "mysql", f"{SQL}full_name = ?"),
        (f'{SQL}full_name = "Jane"', "sqlite", f"{SQL}full_name = ?"),
        (f'{SQL}note = "the \\" of Jane" AND x = 1', "mariadb", f"{SQL}note = ?"),
        (f"{SQL}id = 7 # Jane's", "mysql", f"{SQL}id = ?"),
        ("SELECT `id` FROM `customers` WHERE id = 0x4A616E65", "mysql", "SELECT `id` FROM `customers` WHERE id = ?"),
        (f"{SQL}path = 'C:\\' AND email = 'jane@x.com'", "postgresql", f"{SQL}path = ?"),
        (f"{SQL}name = 'O\\'Jane' AND x = 1", "postgresql", f"{SQL}name = ?"),
        (f"{SQL}path = E'C:\\'' AND email = 'jane@x.com'", "postgresql", f"{SQL}path = ? AND email = ?"),
        (f"{SQL}day = date'2026-11-27' AND n = 'Jane'", "postgresql", f"{SQL}day = date? AND n = ?"),
        (f"{SQL}\"o'brien\" = 'Jane'", "postgresql", f"{SQL}? = ?"),
        (f'{SQL}"full_name" = $1', "postgresql", f'{SQL}"full_name" = $1'),
        (f"{SQL}note = $a1$Jane's$a1$ AND x = -1.5e3", "postgresql", f"{SQL}note = ? AND x = ?"),
        ("/* of /* Jane */ Doe */ SELECT 1", "postgresql", ""),
        (f"{SQL}note = q'[it's Jane]' AND x = 1", "oracle", f"{SQL}note = ?"),
        (f"{SQL}email = jane@x.com", "postgresql", f"{SQL}email = ?"),
        (f"{SQL}email = 'jane@x.c", "postgresql", f"{SQL}email = ?"),
    ],
)
def test_a_statement_is_kept_without_its_values(statement: str, system: str | None, shape: str) -> None:
    text, row = kept(asked(statement, system, **({"db.operation": "find"} if system == "mongodb" else {})))
    assert (row.statement or "") == shape
    assert "Jane" not in text
    assert "jane@" not in text


SIGNS = "' '' \" \\ $ $a$ e' q' N' -- /* */ # ` a.b @x jane@x.com :id ? / :// {id} Jane-Doe 12 .5 0x4f ( ) [ ] é %"
PIECES = st.lists(st.sampled_from([*SIGNS.split(), "SELECT ", "fetch ", "GET ", " ", "\n", "&", "="]), max_size=14).map(
    "".join
)


@given(text=PIECES, system=st.sampled_from(["postgresql", "mysql", "redis", None]))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_whatever_is_stripped_twice_is_stripped_once(text: str, system: str | None) -> None:
    said = {"db.system": system} if system else {}
    paths = {"http.target": text, NEW["url"]: f"http://h/{text}"}
    kept(span(2, 1, CLIENT, 5, 5, name=text, **said, **paths, **{"db.statement": f"SELECT {text}"}))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("confirm booking for Jane Doe", "{name}"),
        ("jane@x.com", "{name}"),
        ("fetch rest/v1/customers?full_name=eq.Jane+Doe", "fetch rest/v1/customers"),
        ("fetch GET https://h/rest/v1/c?full_name=eq.Jane Doe", "fetch GET https://h/rest/v1/c"),
        ("GET /guests/Jane-Doe http send", "GET /guests/{id}"),
        ("SELECT name FROM customers WHERE name = 'Jane'", "SELECT customers"),
        ("SELECT platform.customers", "SELECT platform.customers"),
        ("pg.query:SELECT Jane", "pg.query:SELECT"),
        ("grpc.tables.Tables/Find", "grpc.tables.Tables/Find"),
        ("tcp.connect", "tcp.connect"),
        ("POST", "POST"),
    ],
)
def test_a_spans_name_is_kept_where_its_shape_is_known(name: str, shape: str) -> None:
    text, row = kept(span(2, 1, CLIENT, 5, 5, name=name))
    assert row.name == shape
    assert "Jane" not in text


def test_names_that_next_gives_its_own_spans_stay() -> None:
    named = span(2, 1, SERVER, 5, 5, name="executing api route (app) /api/bookings", **{"next.span_type": "A.b"})
    assert kept(named)[1].name == "executing api route (app) /api/bookings"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/api/bookings/confirm/aB3xK9pQz2LmN8rT", "/api/bookings/confirm/{id}"),
        ("/api/bookings/confirm/aBxKpQzLmNrTwQ", "/api/bookings/confirm/{id}"),
        ("/api/bookings/X7Q2KP", "/api/bookings/{id}"),
        ("/api/bookings/cafe1babe2dead", "/api/bookings/{id}"),
        ("/guests/Jane-Doe", "/guests/{id}"),
        ("/guests/Jörg", "/guests/{id}"),
        ("/users/v1/jane_doe1987", "/users/v1/{id}"),
        ("/rest/v1/rpc/count_covers_2024", "/rest/v1/rpc/count_covers_2024"),
        ("/oauth2/v1/getAvailableTables/[bookingId2]", "/oauth2/v1/getAvailableTables/[bookingId2]"),
    ],
)
def test_a_part_of_a_path_that_is_no_word_is_an_identifier(path: str, shape: str) -> None:
    _, row = kept(
        span(2, 1, CLIENT, 5, 5, name="GET", **{"http.target": path, NEW["url"]: f"http://[::1]:54331{path}"})
    )
    assert row.path == shape
    assert row.url == f"http://[::1]:54331{shape}"


def test_a_word_in_the_place_of_a_code_is_not_kept() -> None:
    said = {NEW["method"]: "GET Jane Doe", NEW["status"]: "Jane Doe", "db.operation": "Jane Doe", "db.system": "Jane D"}
    text, row = kept(get(2, 1, 5, 5) | span(2, 1, CLIENT, 5, 5, **said))
    assert (row.method, row.status_code, row.operation) == ("?", "?", "?")
    assert "Jane" not in text


@pytest.mark.parametrize(
    ("condition", "duplicates"),
    [
        ("id = 7", 2),
        ("at = '12:30:00' AND email = 'a@b' AND kind = 'web'::text", 2),
        ("id = :id", 0),
        ("id = :1", 0),
        ("id = @p1", 0),
        ("id = %b", 0),
        ("id = {id:Int32}", 0),
        ("id = $1", 0),
        ("id = ?", 0),
    ],
)
def test_the_very_same_is_asked_only_where_the_values_are_known(
    tmp_path: Path, condition: str, duplicates: int
) -> None:
    calls = [asked(SQL + condition) | {"spanId": f"{number:016x}"} for number in (2, 3, 4)]
    (row,) = told(tmp_path, body(server(), *calls))
    assert (row["calls"], row["duplicates"]) == (3, duplicates)


@pytest.mark.parametrize("limit", [64, 255, 500])
def test_what_the_sender_cut_may_have_been_another_question(tmp_path: Path, limit: int) -> None:
    url = "http://db/rest/v1/bookings?select=" + ",".join(["column"] * 100)
    statement = SQL + " AND ".join(["number = 1"] * 100)
    reads = [get(number, 1, 10 * number, 2, value="a") for number in (2, 3)]
    cut = [span(number, 1, CLIENT, 10, 5, **{NEW["method"]: "GET", NEW["url"]: url[:limit]}) for number in (4, 5)]
    cut += [asked(statement[:limit]) | {"spanId": f"{number:016x}"} for number in (6, 7)]
    content = body(server(), *reads, *cut)
    kept_again = otlp.strip(otlp.decode(json.dumps(content).encode()))
    (row,) = told(tmp_path, content)
    (again,) = told(tmp_path / "again", kept_again.SerializeToString())
    assert (row["duplicates"], again["duplicates"]) == (1, 1)
