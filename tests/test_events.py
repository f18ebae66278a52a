"""The log grammar: what is written is read back, and what was cut is not taken for a line."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotfill import events
from slotfill.events import Event, format_event, parse_event

AT = datetime(2025, 11, 15, 10, 30, 21, 554000, tzinfo=UTC)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
readable = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    scalars.filter(lambda value: not isinstance(value, str)) | readable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(readable, inner, max_size=4),
    max_leaves=12,
)
moments = st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)


def test_a_line_of_the_platform_is_read_and_written_back_unchanged() -> None:
    line = (
        "[2025-11-15T10:30:21.554Z] [INFO] [submit] Booking created "
        '{"correlationId":"4e77d08f","duplicate":false,"initialStatus":"confirmed","durationMs":20699}'
    )
    event = parse_event(line)
    assert event is not None
    assert (event.at, event.level, event.phase, event.message) == (AT, "INFO", events.SUBMIT, events.CREATED)
    assert event.fields["durationMs"] == 20699
    assert format_event(event) == line


@given(at=moments, message=readable, fields=st.dictionaries(readable, json_values, max_size=5))
def test_every_event_survives_writing_and_reading(at: datetime, message: str, fields: dict[str, object]) -> None:
    event = Event(at, "WARN", events.INLINE_POLL, " ".join(message.split()), fields)
    line = format_event(event)
    assert "\n" not in line and "\r" not in line
    assert parse_event(line) == event


@given(
    fields=st.dictionaries(readable.map(lambda text: text.replace("{", "")), st.integers(), min_size=1), data=st.data()
)
def test_a_line_cut_inside_its_fields_is_no_event(fields: dict[str, object], data: st.DataObject) -> None:
    line = format_event(Event(AT, "INFO", events.SUBMIT, "Booking created", fields))
    cut = data.draw(st.integers(line.index(" {") + 2, len(line) - 1))
    assert parse_event(line[:cut]) is None


def test_the_plain_form_is_read_like_the_pretty_one() -> None:
    fields = {"correlationId": "c", "durationMs": 5}
    plain = {"timestamp": "2025-11-15T10:30:21.554Z", "level": "info", "phase": "submit", "message": "Booking created"}
    assert parse_event(json.dumps(plain | fields)) == Event(AT, "INFO", "submit", "Booking created", fields)


def test_a_message_may_hold_braces_of_its_own() -> None:
    event = Event(AT, "ERROR", events.SUBMIT, events.request_failed(400, '{"error":"Invalid {payload}"}'), {"a": 1})
    assert parse_event(format_event(event)) == event
    assert parse_event(format_event(Event(AT, "ERROR", "submit", 'odd {"a":1}'))) == Event(
        AT, "ERROR", "submit", 'odd {"a":1}'
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[supabase] strict hold enforcement active",
        '{"phase":"submit"}',
        "[1,2,3]",
        '[2025-11-15T10:30:21.554Z] [INFO] [submit] Booking created {"correlationId":"4e77',
        "[2025-11-15T10:30:21.554Z] [INFO] [submit] x " + '{"a":' * 5000,
    ],
)
def test_what_is_no_whole_event_is_none(line: str) -> None:
    assert parse_event(line) is None


def test_instants_are_utc_with_milliseconds() -> None:
    assert events.format_instant(AT.astimezone(timezone(timedelta(hours=2)))) == "2025-11-15T10:30:21.554Z"
    assert events.parse_instant("2025-11-15T12:30:21.554+02:00") == AT
    assert events.parse_instant("2025-99-15T12:30:21Z") is None
    assert events.parse_instant(17) is None


def test_a_lone_surrogate_does_not_stop_the_writer() -> None:
    format_event(Event(AT, "INFO", "submit", "x\ud800", {"name": "\udfff"})).encode()


def test_a_field_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError):
        format_event(Event(AT, "INFO", "submit", "x", {"durationMs": float("nan")}))
