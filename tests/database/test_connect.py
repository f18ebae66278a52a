import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from slotfill.database import connect, guard
from slotfill.database.describe import describe
from slotfill.database.guard import Target
from slotfill.database.integrity import check
from slotfill.database.reset import reset
from slotfill.database.samples import Sampler
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.drive.target import LAYOUT
from slotfill.errors import BadInput, Refused, Unreachable

SECRET = "hush-hush"
SCHEMA = Path(__file__).parents[2] / "lib" / "whitehorse" / "schema.sql"
EMBEDDED = Target("embedded", LAYOUT)


def fails_with(kind, url):
    engine = connect.engine(url)
    with pytest.raises(kind) as caught, connect.reading(engine):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_scheme_connects(server, scheme, connected):
    url = server.url().replace("postgresql", scheme, 1)
    with connect.reading(connected(url)) as connection:
        assert connection.exec_driver_sql("SELECT current_setting('application_name')").scalar() == "slotfill"


@pytest.mark.parametrize("url", ["", "mysql://u:hush-hush@h/d", "postgresql://u:hush-hush@h:port/d", "h:5432/d"])
def test_what_is_no_postgres_url_is_bad_input_without_the_password(url):
    with pytest.raises(BadInput) as caught:
        connect.engine(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("password", ["two words", "100%", "it's", "back\\slash", "grün €", "a/b:c@d?e#f"])
def test_odd_passwords_work_on_both_clients_and_are_repeated_by_none(server, connected, tmp_path, until, password):
    server.execute(sql.SQL("CREATE ROLE odd LOGIN PASSWORD {}").format(password))
    url = server.url(user="odd", password=quote(password, safe=""))
    with connect.reading(connected(url)) as connection:
        assert connection.exec_driver_sql("SELECT current_user").scalar() == "odd"
    with Sampler(url, tmp_path / "samples.parquet", 20) as sampler:
        until(sampler, lambda frame: (frame["metric"] == "connections").any())
    server.execute("DROP ROLE odd")
    message = fails_with(BadInput, url)
    assert password not in message and quote(password, safe="") not in message


SETTINGS = ("DateStyle", "IntervalStyle", "TimeZone", "client_encoding", "bytea_output", "statement_timeout")
OURS = ["ISO, MDY", "postgres", "UTC", "UTF8", "hex", "2min"]


@pytest.fixture(params=["UTF8", "SQL_ASCII", "LATIN1"])
def strange(request, server, new_database):
    """A database in another encoding that, by itself or by its role, wants everything else to be different, too."""
    url = new_database(None, f"TEMPLATE template0 ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'")
    name = connect.parse_url(url).database
    for setting, value in {
        "DateStyle": "German", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kathmandu", "bytea_output": "escape",
        "client_encoding": "SQL_ASCII", "statement_timeout": "1000",
    }.items():  # fmt: skip
        server.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    return url


def test_settings_are_ours_whatever_database_and_shell_say(strange, connected, monkeypatch):
    for name, value in {
        "PGDATESTYLE": "SQL, DMY", "PGCLIENTENCODING": "SQL_ASCII", "PGTZ": "Asia/Tokyo", "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c statement_timeout=1", "PGSERVICE": "nope", "PGPORT": "1", "PGCONNECT_TIMEOUT": "x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with connect.reading(connected(strange)) as connection:
        assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in SETTINGS] == OURS
        assert (
            connection.exec_driver_sql("SELECT timestamptz '2026-01-02 03:04Z'").scalar().isoformat().startswith("2026")
        )


def test_everything_works_on_such_a_database(strange, connected, execute, day, tmp_path, until):
    database = connected(strange)
    execute(database, "SET LOCAL statement_timeout = 0", SCHEMA.read_text())
    reset(database, target=EMBEDDED)
    seed_intelligent(database, 1, target=EMBEDDED)
    seed_today(database, day, 1, target=EMBEDDED)
    assert {found.status for found in check(database).checks} == {"passed"}
    guard.mark(database, "staging", "a tester")
    assert describe(database).marker.name == "staging"
    with Sampler(strange, tmp_path / "samples.parquet", 20) as sampler:
        frame = until(sampler, lambda frame: (frame["metric"] == "connections").any())
    assert (frame["kind"] != "error").all()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGSSLMODE", "require"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLMODE", "nonsense"),
        ("PGCHANNELBINDING", "require"),
        ("PGREQUIREAUTH", "none"),
        ("PGGSSENCMODE", "require"),
    ],
)
def test_a_variable_of_the_shell_that_is_at_fault_is_named(server, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert variable in fails_with(BadInput, server.url())


def test_a_variable_of_the_shell_that_is_not_at_fault_is_not(monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "PGSSLMODE" not in fails_with(Unreachable, f"postgresql://u:{SECRET}@127.0.0.1:1/d")


def test_wrong_password_is_bad_input(server):
    assert "password" in fails_with(BadInput, server.url(password=SECRET))


def test_unknown_database_is_bad_input(server):
    assert "nowhere" in fails_with(BadInput, server.url("nowhere"))


def test_host_that_does_not_resolve_is_unreachable():
    assert "does not resolve" in fails_with(Unreachable, f"postgresql://u:{SECRET}@no-such-host.invalid/d")


def test_refused_connection_is_unreachable():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but nobody listens
        assert "refuses" in fails_with(Unreachable, f"postgresql://u:{SECRET}@127.0.0.1:{closed.getsockname()[1]}/d")


def test_full_server_is_unreachable(server, new_database):
    url = new_database(None)
    server.execute("ALTER ROLE postgres CONNECTION LIMIT 100")
    name = connect.parse_url(url).database
    server.execute(f"CREATE ROLE crowd LOGIN PASSWORD '{SECRET}'; ALTER DATABASE {name} CONNECTION LIMIT 1")
    crowd = f"postgresql://crowd:{SECRET}@127.0.0.1:{server.port}/{name}"
    with psycopg.connect(crowd):
        assert "no connection left" in fails_with(Unreachable, crowd)
    server.execute("DROP ROLE crowd")


@pytest.mark.parametrize(
    "text",
    [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for role "x"',
        "FATAL:  (EMAXCONN) max client connections reached, limit: 200",
        "FATAL:  (EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
        "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms in Transaction mode",
    ],
)
def test_every_text_of_a_full_server_or_pooler_is_known(text):
    error = connect.DBAPIError("", {}, psycopg.OperationalError(text))
    explained = connect.explain(error, connect.parse_url(f"postgresql://u:{SECRET}@h/d"))
    assert isinstance(explained, Unreachable)
    assert "no connection left" in str(explained)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the expired certificate, and is not here")
def test_expired_certificate_is_unreachable(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", tmp_path / "request"]
    subprocess.run([*request, "-subj", "/CN=localhost"], check=True, capture_output=True)
    sign = ["openssl", "x509", "-req", "-in", tmp_path / "request", "-signkey", key, "-days", "-1", "-out", certificate]
    subprocess.run(sign, check=True, capture_output=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer_with_tls, args=(listener, certificate, key)).start()
        options = f"sslmode=verify-ca&sslrootcert={certificate}"
        port = listener.getsockname()[1]
        message = fails_with(Unreachable, f"postgresql://u:{SECRET}@127.0.0.1:{port}/d?{options}")
    assert "certificate that is expired" in message


def answer_with_tls(listener, certificate, key):
    """Say yes to Postgres' request for TLS once, and present the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    client, _ = listener.accept()
    with client:
        client.recv(8)
        client.sendall(b"S")
        with pytest.raises(ssl.SSLError), context.wrap_socket(client, server_side=True):
            pass


def test_read_only_transaction_cannot_write(venue):
    with pytest.raises(BadInput, match="read-only"), connect.reading(venue) as connection:
        connection.exec_driver_sql("DELETE FROM restaurants")


def test_work_is_rolled_back_whole(venue, fetch):
    def half(connection):
        connection.exec_driver_sql("DELETE FROM allowed_capacities")
        raise Refused("in the middle")

    with pytest.raises(Refused):
        connect.write(venue, half)
    assert fetch(venue, "SELECT count(*) FROM allowed_capacities") == [(5,)]


def test_work_is_done_again_after_a_deadlock(venue):
    tries = []

    def work(connection):
        tries.append(1)
        if len(tries) < 3:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40P01'; END $$")
        return len(tries)

    assert connect.write(venue, work) == 3
