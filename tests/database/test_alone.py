"""One run at a time on a database."""

import pytest

from slotfill.database.alone import alone
from slotfill.errors import BadInput


def test_a_second_run_on_a_database_is_refused_until_the_first_has_ended(server, new_database):
    url = new_database()
    with (
        alone(url),
        pytest.raises(BadInput, match=r"another slotfill is at work on .*pg_terminate_backend\(\d+\)") as caught,
        alone(url, wait_s=0),
    ):
        pass
    with alone(new_database()):  # another database is another matter
        pass
    with alone(url, wait_s=30):  # the server ends a session after its client
        pass
    assert "\n" not in str(caught.value)


def test_a_session_that_the_server_ends_does_not_fail_the_run(server, new_database):
    with alone(new_database()):
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slotfill run'")
