"""The texts of a database under pressure: every one is found, and others are not taken for them."""

import pyarrow as pa
import pytest

from slotfill.database_errors import SERVER_ONLY, TEXTS, error_kind, error_places, is_database_error


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TEXTS.items() for text in texts])
def test_every_text_is_found_in_a_line_and_in_a_block(kind: str, text: str) -> None:
    line = f"Error: {text.upper()}: 3"
    assert error_kind(line) == kind
    lines = ["before", line, "after"]
    assert error_places(pa.array(lines)) == [1]
    assert is_database_error(line) is (kind not in SERVER_ONLY)


@pytest.mark.parametrize(
    "text",
    [
        "FATAL: sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'too many connections for role "postgres"',
        "Max client connections reached",
        "(EMAXCONN) max client connections reached, limit: 200",
        "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
        "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms in Transaction mode",
        "(EDBHANDLEREXITED) connection to database closed. Check logs",
        "Connection terminated unexpectedly",
        "timeout exceeded when trying to connect",
        "Query read timeout",
        "canceling statement due to statement timeout",
        "terminating connection due to transaction timeout",
        "Restaurant lookup failed [RESTAURANT_LOOKUP_FAILED]",
        "server closed the connection unexpectedly",
        "FATAL: the database system is starting up",
        "canceling statement due to conflict with recovery",
    ],
)
def test_the_texts_of_a_database_under_pressure_are_known(text: str) -> None:
    assert is_database_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "Insufficient filtered capacity",
        "Invalid payload",
        "fetch failed (ConnectError)",
        "the server closed the connection before its answer was complete",
    ],
)
def test_other_texts_are_not_taken_for_the_databases(text: str) -> None:
    assert not is_database_error(text)
