"""What doctor says of a target: one clear line for each thing, the right exit code, never a traceback or a password.

The database is a real one; where a platform must be ill, the far side of the wire is a server in the test's own hand.
"""

import os
import secrets
import shutil
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import waiting
from sqlalchemy import make_url

from slotfill import doctor, doctor_web
from slotfill.database import connect, guard
from slotfill.drive.target import BASE_URL, DATABASE_URL, Platform, open_platform, remote
from slotfill.errors import BadInput
from slotfill.params import ROOT, Settings

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SECRET = "hunter2"  # not a secret of anything
NOWHERE = f"postgresql://runner:{SECRET}@127.0.0.1:1/bookings"
SCHEMA = (ROOT / "lib" / "whitehorse" / "schema.sql").read_text()
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
OPENSSL = shutil.which("openssl")

Point = Callable[..., Settings]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A healthy platform; for most tests it stands for somebody's own."""
    with TemporaryDirectory(prefix="slotfill-test-") as home, open_platform(Settings(), Path(home)) as running:
        yield running


@pytest.fixture(scope="module")
def administrator(platform: Platform) -> Iterator["psycopg.Connection[Any]"]:
    """The superuser of the platform's server."""
    url = make_url(platform.database_url).set(drivername="postgresql", username="postgres")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_database(platform: Platform, administrator: "psycopg.Connection[Any]") -> Iterator[Callable[..., str]]:
    """Makes a database with the platform's schema, changed by statements, and gives a role's URL of it."""
    made: list[tuple[str, str]] = []

    def make(*statements: str) -> str:
        name, role = f"test_{secrets.token_hex(4)}", f"role_{secrets.token_hex(4)}"
        made.append((name, role))
        administrator.execute(f"CREATE DATABASE {name}")
        administrator.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        admin_url = make_url(platform.database_url).set(drivername="postgresql", username="postgres", database=name)
        with psycopg.connect(admin_url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(SCHEMA.encode(), prepare=False)
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
            for statement in statements:
                connection.execute(statement.format(role=role, database=name).encode(), prepare=False)
        return admin_url.set(username=role, password=SECRET).render_as_string(hide_password=False)

    yield make
    for name, role in made:
        administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        administrator.execute(f"DROP ROLE {role}")


@pytest.fixture
def point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Platform) -> Point:
    """Settings of a target called staging with these addresses; the healthy platform's where none are given.

    It is driven as it is, without a marker, unless a test asks for ``prepare``.
    """
    for name in (BASE_URL, DATABASE_URL):
        monkeypatch.delenv(name, raising=False)

    def make(base_url: str | None = platform.base_url, database_url: str | None = None, **changes: Any) -> Settings:
        file = tmp_path / "env"
        addresses = {BASE_URL: base_url, DATABASE_URL: database_url or platform.database_url}
        file.write_text("".join(f"{name}={value}\n" for name, value in addresses.items() if value))
        return Settings.model_validate({"target": "staging", "env_file": str(file), "prepare": False, **changes})

    return make


def examine(settings: Settings) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and what was said by subject: each line beginning with its status."""
    lines: list[str] = []
    code = doctor.examine(settings, lines.append)
    assert not [line for line in lines if SECRET in line or "\n" in line]
    said: dict[str, list[str]] = {}
    for line in lines:
        said.setdefault(line[6:18].strip(), []).append(f"{line[:5].strip()} {line[19:]}")
    return code, said


def failures(said: Mapping[str, list[str]]) -> list[str]:
    return [line for lines in said.values() for line in lines if line.startswith("FAIL")]


class FarSide(ThreadingHTTPServer):
    """A platform that answers as it is told to: by default as the contract says, and healthy."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if context else "http"
        self.status, self.body, self.page, self.health = 400, b'{"error": "Invalid payload"}', b"", b""
        self.headers: dict[str, str] = {}
        self.wants: dict[str, str] = {}
        """Headers without which a POST is answered 403; each page sets the cookie of a token."""
        self.moved: dict[str, str] = {}
        """Paths that lead elsewhere."""
        self.asked: list[Mapping[str, str]] = []
        """The headers of each request."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up during the handshake is part of the test."""


class _Answering(BaseHTTPRequestHandler):
    server: FarSide

    def do_POST(self) -> None:
        self.server.asked.append(dict(self.headers))
        self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.server.wants.items()
        if any(self.headers[name] != value for name, value in wanted):
            self._answer(403, b'{"error": "CSRF token missing", "code": "CSRF_MISMATCH"}')
        else:
            self._answer(self.server.status, self.server.body)

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        if place := self.server.moved.get(self.path):
            self._answer(302, b"", {"Location": place})
            return
        content = self.server.health if self.path == "/api/health" else self.server.page
        self._answer(200 if content else 404, content)

    def _answer(self, status: int, content: bytes, more: Mapping[str, str] = {}) -> None:
        self.send_response_only(status)
        headers = {"Date": self.date_time_string(), **self.server.headers, **more, "Content-Length": str(len(content))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(far: FarSide) -> Iterator[FarSide]:
    thread = threading.Thread(target=far.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield far
    finally:
        far.shutdown()
        thread.join()
        far.server_close()


@pytest.fixture
def far() -> Iterator[FarSide]:
    with serving(FarSide()) as far:
        yield far


def test_a_healthy_target_has_no_failure_and_says_what_it_is(point: Point, platform: Platform) -> None:
    code, said = examine(point(server_log=str(platform.server_log)))
    assert (code, failures(said)) == (0, [])
    assert said["pooler"] == ["ok none: a direct connection"]
    assert said["schema"] == ["ok every table and column of the contract is there"]
    assert said["server log"] == [f"ok {platform.server_log}"]
    assert all("from ours" in line and line.startswith("ok") for line in said["clock"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"env_file": "/no/such/.env.local"}, "BOOKING_API_BASE_URL is missing"),
        ({"base_url": None}, "BOOKING_API_BASE_URL is missing"),
        ({"base_url": "127.0.0.1:3000"}, "must look like https://host"),
        ({"base_url": f"http://runner:{SECRET}@127.0.0.1"}, "holds a login"),
        ({"database_url": f"mysql://runner:{SECRET}@127.0.0.1/d"}, "must look like postgresql://"),
        ({"database_url": f"postgresql://runner:{SECRET}@127.0.0.1:port/d"}, "malformed"),
        ({"database_url": f"postgresql://runner:{SECRET}@name..dots/d"}, "malformed"),
        ({"server_log": "/no/such/server.log"}, "/no/such/server.log: no such file"),
    ],
)
def test_what_the_user_wrote_wrong_is_named_with_exit_code_2(
    point: Point, changes: dict[str, Any], complaint: str
) -> None:
    environment = {name: changes.pop(name) for name in ("base_url", "database_url") if name in changes}
    code, said = examine(point(**environment, **changes))
    assert code == 2
    [failure] = failures(said)
    assert complaint in failure


def test_a_missing_environment_file_is_pointed_out_even_where_the_process_has_the_addresses(
    point: Point, monkeypatch: pytest.MonkeyPatch, platform: Platform
) -> None:
    monkeypatch.setenv(BASE_URL, platform.base_url)
    monkeypatch.setenv(DATABASE_URL, platform.database_url)
    code, said = examine(point(env_file="/no/such/.env.local"))
    assert code == 0
    assert said["environment"] == ["warn /no/such/.env.local is not there"]


@pytest.mark.parametrize(
    ("addresses", "subject", "complaint"),
    [
        ({"base_url": "http://platform.invalid"}, "dns", "platform.invalid of the base URL does not resolve"),
        ({"base_url": "http://127.0.0.1:1"}, "tcp", "127.0.0.1:1 refuses connections"),
        ({"database_url": f"postgresql://u:{SECRET}@db.invalid/d"}, "database", "host name that does not resolve"),
        ({"database_url": NOWHERE}, "database", "refuses connections"),
    ],
)
def test_what_cannot_be_reached_is_exit_code_5_and_the_rest_is_examined_all_the_same(
    point: Point, addresses: dict[str, str], subject: str, complaint: str
) -> None:
    code, said = examine(point(**addresses))
    assert code == 5
    [failure] = failures(said)
    assert complaint in failure and failure in said[subject]
    assert ("pooler" in said) is (subject != "database")


def test_a_platform_that_does_not_resolve_is_no_failure_where_the_parameters_allow_the_fallback(point: Point) -> None:
    code, said = examine(point(base_url="http://platform.invalid", allow_local_fallback=True))
    assert code == 0
    assert "drives the embedded platform, which says nothing of this one" in said["dns"][0]


@pytest.mark.parametrize("password", [SECRET, ""])
def test_a_wrong_password_is_exit_code_2_and_is_not_repeated(point: Point, platform: Platform, password: str) -> None:
    wrong = make_url(platform.database_url).set(drivername="postgresql", password=password)
    code, said = examine(point(database_url=wrong.render_as_string(hide_password=False)))
    assert code == 2
    [failure] = failures(said)
    assert "refuses the login; check user and password" in failure


@pytest.mark.skipif(OPENSSL is None, reason="no openssl to make a certificate with")
def test_an_expired_certificate_is_exit_code_5(
    point: Point, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, administrator: object
) -> None:
    key, certificate = expired_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # trusted, so that its age is all that is wrong
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(FarSide(context)) as far:
        code, said = examine(point(base_url=far.url))
    assert code == 5
    [failure] = failures(said)
    assert f"{far.url} presents an expired certificate" in failure


@pytest.mark.skipif(OPENSSL is None, reason="no openssl to make a certificate with")
def test_a_certificate_that_nobody_trusts_is_told_apart_from_an_expired_one(
    point: Point, tmp_path: Path, administrator: object
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([OPENSSL, *words, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(FarSide(context)) as far:
        code, said = examine(point(base_url=far.url))
    assert code == 5
    [failure] = failures(said)
    assert f"{far.url} presents a certificate that no trusted authority signed" in failure


def expired_certificate(folder: Path) -> tuple[Path, Path]:
    """Key and certificate, self-made, of a day long gone."""
    (folder / "index").touch()
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\nrand_serial = yes\n"
        "default_md = sha256\npolicy = any\nx509_extensions = names\n[any]\ncommonName = supplied\n"
        "[names]\nsubjectAltName = IP:127.0.0.1\n"
    )
    key, request, certificate = (folder / name for name in ("key.pem", "request.pem", "certificate.pem"))
    new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1"]
    sign = ["ca", "-batch", "-notext", "-selfsign", "-config", folder / "ca.conf", "-keyfile", key, "-in", request]
    dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-out", certificate]
    for command in (new, [*sign, *dates]):
        subprocess.run([OPENSSL, *command], check=True, capture_output=True)
    return key, certificate


def test_what_the_schema_lacks_is_named_with_what_it_disables(point: Point, new_database: Callable[..., str]) -> None:
    url = new_database("DROP TABLE observability_events", "ALTER TABLE booking_state_history DROP COLUMN changed_at")
    code, said = examine(point(database_url=url))
    assert code == 0
    assert said["schema"] == [
        "warn booking_state_history.changed_at is missing: the instant of confirmation (poll lag)",
        "warn observability_events is missing: seeing the background job from outside",
    ]


def test_a_database_that_is_not_a_booking_platforms_is_exit_code_2(
    point: Point, new_database: Callable[..., str]
) -> None:
    url = new_database("DROP TABLE bookings CASCADE")
    code, said = examine(point(database_url=url))
    assert code == 2
    [failure] = failures(said)
    assert "bookings is missing" in failure


def test_a_role_that_only_reads_is_told_what_it_may_not(point: Point, new_database: Callable[..., str]) -> None:
    url = new_database(
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    code, said = examine(point(database_url=url))
    assert code == 0
    [rights] = said["rights"]
    assert rights.startswith("warn role_") and "may not write" in rights and "bookings" in rights


def test_a_table_the_role_may_not_read_is_named(point: Point, new_database: Callable[..., str]) -> None:
    url = new_database("REVOKE ALL ON customers FROM {role}")
    code, said = examine(point(database_url=url))
    assert (code, said["schema"]) == (0, ["warn customers cannot be read: the role may not read"])


def test_a_role_without_a_second_connection_is_told_so(
    point: Point, new_database: Callable[..., str], administrator: "psycopg.Connection[Any]"
) -> None:
    url = new_database("ALTER ROLE {role} CONNECTION LIMIT 1")
    code, said = examine(point(database_url=url))
    assert code == 5
    [failure] = failures(said)
    assert "has no connection left" in failure


def test_the_guard_says_what_it_would_refuse_and_why(point: Point, new_database: Callable[..., str]) -> None:
    settings = point(database_url=new_database("GRANT CREATE ON DATABASE {database} TO {role}"), prepare=True)
    code, said = examine(settings)
    [unmarked] = failures(said)
    assert code == 4 and said["guard"] == [unmarked]
    assert "a run will be refused" in unmarked and "carries no marker" in unmarked and "prepare: false" in unmarked
    as_it_is = settings.model_copy(update={"prepare": False})
    code, said = examine(as_it_is)
    assert code == 0 and said["guard"][0].startswith("warn reset and seeds are refused, a run drives it as it is")
    engine = connect.engine(remote(settings).database_url)
    guard.mark(engine, "playground", "a tester")
    code, said = examine(settings)
    [wrong] = failures(said)
    assert code == 4 and "'playground'" in wrong and "'staging'" in wrong
    guard.mark(engine, "staging", "a tester")
    code, said = examine(settings)
    assert (code, said["guard"]) == (0, ["ok marked as staging by a tester: may be reset and seeded"])
    engine.dispose()


@pytest.mark.parametrize(
    ("addresses", "code"), [({"base_url": "http://127.0.0.1:1"}, 5), ({"server_log": "/no/such/server.log"}, 2)]
)
def test_another_failure_goes_before_the_guards(point: Point, addresses: dict[str, str], code: int) -> None:
    found, said = examine(point(**addresses, prepare=True))
    assert found == code
    assert len(failures(said)) == 2 and "a run will be refused" in said["guard"][0]


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_recognised_by_its_mode(point: Point, platform: Platform, tmp_path: Path, mode: str) -> None:
    with pooled(platform.database_url, mode, tmp_path) as url:
        code, said = examine(point(database_url=url))
    assert (code, said["pooler"]) == (0, [f"ok {mode} mode"])


@contextmanager
def pooled(database_url: str, mode: str, folder: Path) -> Iterator[str]:
    """A PgBouncer in front of a database; it refuses to run as root."""
    server, port = make_url(database_url), waiting.free_port()
    behind = f"host={server.host} port={server.port} user={server.username} password={server.password}"
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = {behind}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\n"
    )
    root = os.geteuid() == 0
    with (folder / "pgbouncer.ini").open("rb") as settings, (folder / "pgbouncer.log").open("wb") as log:
        # By its open file, because another account may not reach the folder.
        process = subprocess.Popen(
            [str(PGBOUNCER), f"/dev/fd/{settings.fileno()}"],
            user="nobody" if root else None,
            pass_fds=[settings.fileno()],
            stdout=log,
            stderr=log,
            cwd="/",
        )
    url = server.set(drivername="postgresql", password="any", host="127.0.0.1", port=port)
    try:
        waiting.until(lambda: _answers(url.render_as_string(hide_password=False)), "the pooler answers")
        yield url.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(waiting.PATIENCE_S)


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False


def test_a_clock_that_is_wrong_is_told(point: Point, far: FarSide) -> None:
    far.headers["Date"] = "Tue, 08 Dec 2026 12:00:00 GMT"
    skewed = examine(point(base_url=far.url))[1]["clock"][0]
    assert skewed.startswith("warn the web server's is")


@pytest.mark.parametrize("date", ["yesterday", "", "Tue, 99 Dec 2026 12:00:00 GMT"])
def test_a_date_that_is_none_is_passed_over(point: Point, far: FarSide, date: str) -> None:
    far.headers["Date"] = date
    code, said = examine(point(base_url=far.url))
    assert code == 0
    assert len(said["clock"]) == 1  # the database's


def test_what_a_tap_will_find_is_told(point: Point, platform: Platform) -> None:
    class Encrypting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(b"S")

    plain, listen = make_url(platform.database_url).port, "127.0.0.1:54399"
    with socketserver.TCPServer(("127.0.0.1", 0), Encrypting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        encrypting = server.server_address[1]
        upstreams = {"plain": plain, "tls": encrypting, "dead": 1, "nowhere": plain}
        taps = {
            name: {"upstream": f"postgresql://127.0.0.1:{port}", "listen": listen} for name, port in upstreams.items()
        }
        taps["nowhere"]["listen"] = "127.0.0.1:0"
        code, said = examine(point(taps=taps))
        server.shutdown()
    assert code == 0
    assert said["tap plain"] == [
        f"ok postgresql at 127.0.0.1:{plain}; a run listens at {listen}; send the platform there"
    ]
    assert said["tap tls"][0].startswith("warn") and "sslmode=disable" in said["tap tls"][0]
    assert said["tap dead"] == [
        "warn postgresql at 127.0.0.1:1 refuses connections; is the server running there? (Connection refused)"
    ]
    assert said["tap nowhere"][0].startswith("warn") and "set taps.nowhere.listen" in said["tap nowhere"][0]


def test_a_rate_limit_is_told_with_what_to_set(point: Point, far: FarSide) -> None:
    far.headers["X-RateLimit-Limit"] = "60"
    assert examine(point(base_url=far.url))[1]["rate limit"] == [
        "warn 60 bookings a minute; set max_rate_per_min below it"
    ]


def test_a_development_server_is_recognised_by_its_page(point: Point, far: FarSide) -> None:
    far.page = b'<html><script src="/_next/static/chunks/react-refresh.js"></script></html>'
    assert examine(point(base_url=far.url))[1]["server"][0].startswith("warn a development server")
    far.page = b"<html>The White Horse</html>"
    assert examine(point(base_url=far.url))[1]["server"][0].startswith("ok")


@pytest.mark.parametrize(
    ("status", "body", "code"), [(404, b"not found", 2), (200, b"<html>", 2), (502, b"bad gateway", 5), (400, b"", 2)]
)
def test_a_server_that_is_not_the_booking_api_is_told_apart(
    point: Point, far: FarSide, status: int, body: bytes, code: int
) -> None:
    far.status, far.body = status, body
    found, said = examine(point(base_url=far.url))
    assert found == code
    [failure] = failures(said)
    assert f"POST /api/bookings answers {status}" in failure


def test_a_platform_that_checks_a_csrf_token_is_told_with_its_code_and_what_to_do(point: Point, far: FarSide) -> None:
    far.page, far.headers["Set-Cookie"] = b"<html>", "sr-csrf=a%3D1; Path=/; Secure"
    far.wants = {"x-csrf": "a=1", "Cookie": "sr-csrf=a%3D1", "Authorization": f"Bearer {SECRET}"}
    code, said = examine(point(base_url=far.url))
    [failure] = failures(said)
    assert code == 2 and "answers 403 CSRF_MISMATCH" in failure and "csrf: {page: /" in failure


def test_a_csrf_token_and_a_header_from_the_environment_are_sent_as_the_parameters_say(
    point: Point, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.page, far.headers["Set-Cookie"] = b"<html>", "sr-csrf=a%3D1; Path=/; Secure"
    far.wants = {"x-csrf": "a=1", "Cookie": "sr-csrf=a%3D1", "Authorization": f"Bearer {SECRET}"}
    changes = {
        "headers": {"Authorization": "Bearer ${PLATFORM_LOGIN}"},
        "csrf": {"page": "/", "cookie": "sr-csrf", "header": "x-csrf"},
    }
    monkeypatch.setenv("PLATFORM_LOGIN", SECRET)
    code, said = examine(point(base_url=far.url, **changes))
    assert (code, failures(said)) == (0, []) and said["csrf"] == ["ok / sets the token, and a POST sends it back"]
    changes["csrf"]["cookie"] = "another"
    code, said = examine(point(base_url=far.url, **changes))
    assert code == 2 and "sets no such cookie" in failures(said)[0]
    monkeypatch.delenv("PLATFORM_LOGIN")
    code, said = examine(point(base_url=far.url, **changes))
    assert code == 2 and "headers: PLATFORM_LOGIN is not set" in failures(said)[0]


def test_a_redirect_to_another_host_is_given_no_secret_and_one_within_the_platform_is_followed(
    point: Point, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_LOGIN", SECRET)
    settings = point(
        base_url=far.url,
        headers={"Authorization": "Bearer ${PLATFORM_LOGIN}"},
        csrf={"page": "/token", "cookie": "sr-csrf", "header": "x-csrf"},
    )
    far.page, far.headers["Set-Cookie"] = b"<script src=/react-refresh.js>", "sr-csrf=ours; Path=/"
    far.moved["/"] = "/home"
    with serving(FarSide()) as foreign:
        foreign.page, foreign.headers["Set-Cookie"] = b"<html>", "sr-csrf=theirs; Path=/"
        far.moved["/home"] = foreign.url
        examine(settings)
        far.moved["/home"] = "/in"
        code, said = examine(settings)
    assert not foreign.asked
    assert {headers["Authorization"] for headers in far.asked} == {f"Bearer {SECRET}"}
    assert "theirs" not in str(far.asked)
    assert code == 0 and said["server"][0].startswith("warn a development server")


def test_what_a_platform_says_reaches_the_terminal_without_control_characters(point: Point, far: FarSide) -> None:
    far.health = b'{"flags": {}, "faults": {"\\u001b[2J\\u202e": "x", "nested": {"a": 1}}}'
    far.headers["X-RateLimit-Limit"] = "60\x9b2J"
    code, said = examine(point(base_url=far.url))
    assert code == 0
    assert said["faults"] == [r"warn planted: \x1b[2J\u202e x"]
    assert "60" in said["rate limit"][0]
    assert all(line.isprintable() for lines in said.values() for line in lines)


def test_a_slow_first_answer_is_a_warning(point: Point, far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_web, "SLOW_S", 0)
    code, said = examine(point(base_url=far.url))
    assert code == 0 and said["api"][0].startswith("warn the first answer took 0 s: a development server")


@pytest.mark.parametrize("health", [b"flags", b"[]", b'{"flags": 1, "faults": []}', b'{"flags": {}}', b'"flags"'])
def test_a_health_page_of_another_make_is_passed_over(point: Point, far: FarSide, health: bytes) -> None:
    far.health = health
    code, said = examine(point(base_url=far.url))
    assert code == 0
    assert "faults" not in said


def test_bookings_that_nobody_tried_to_seat_show_the_switched_off_allocator(
    point: Point, new_database: Callable[..., str]
) -> None:
    guest = (
        "WITH venue AS (INSERT INTO restaurants (slug, name) VALUES ('v', 'V') RETURNING id), "
        "guest AS (INSERT INTO customers (restaurant_id, full_name, email, phone) "
        "SELECT id, 'A', 'a@b.example', '1' FROM venue RETURNING id, restaurant_id) "
        "INSERT INTO bookings (restaurant_id, customer_id, booking_date, start_time, end_time, start_at, end_at, "
        "party_size, booking_type, reference, customer_name, customer_email, customer_phone) "
        "SELECT restaurant_id, id, '2026-12-08', '18:00', '20:00', now(), now() + '2 h', 2, 'dinner', "
        "'R' || n, 'A', 'a@b.example', '1' FROM guest, generate_series(1, 3) n"
    )
    url = new_database(guest)
    assert "auto-assign" not in examine(point(database_url=url))[1], "another venue's bookings say nothing of this one"
    code, said = examine(point(database_url=url, restaurant_slug="v"))
    assert code == 0
    [sign] = said["auto-assign"]
    assert "the last 3 pending bookings were never tried: is it switched off?" in sign
    tried = new_database(guest, """UPDATE bookings SET auto_assign_last_result = '{{"success": false}}'""")
    assert "auto-assign" not in examine(point(database_url=tried, restaurant_slug="v"))[1]


def test_the_embedded_platform_tells_its_faults_and_that_auto_assign_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "HOME", tmp_path / "platform")
    flags = {"FEATURE_AUTO_ASSIGN_ON_BOOKING": "false"}
    code, said = examine(Settings(flags=flags, faults={"db_rtt_ms": 5}))
    assert code == 0
    assert said["auto-assign"] == ["warn is switched off: no booking is ever confirmed"]
    assert said["faults"] == ["warn planted: db_rtt_ms 5.0"]
    assert said["guard"] == ["ok embedded: may be reset and seeded"]


def test_the_shells_own_postgres_is_not_the_embedded_platforms(tmp_path: Path) -> None:
    """Each of these alone hinders a connection; web, worker and we ourselves hear none of them."""
    shell = {
        "PGSSLMODE": "verify-full", "PGSERVICE": "nope", "PGOPTIONS": "-c statement_timeout=1",
        "PGHOSTADDR": "192.0.2.1",
        "PGCLIENTENCODING": "SQL_ASCII", "PGDATESTYLE": "German", "PGPASSFILE": "/nowhere", "PGREQUIREAUTH": "none",
        "PGCHANNELBINDING": "require", "PGTARGETSESSIONATTRS": "standby", "PGTZ": "Asia/Tokyo",
    }  # fmt: skip
    answer = subprocess.run(
        [Path(sys.executable).with_name("slotfill"), "db", "seed-intelligent"],
        check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **shell},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "rows put in" in answer.stdout


@pytest.mark.parametrize("url", ["file:./dev.db", "mysql://u:hunter2@h/d", "prisma://h/?api_key=hunter2"])
def test_a_database_url_of_another_kind_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(BadInput, match=r"^DATABASE_URL must look like postgresql://") as caught:
        examine(Settings())
    assert SECRET not in str(caught.value)


def test_a_url_as_prisma_or_supabase_give_it_works_and_what_was_dropped_is_said(
    point: Point, platform: Platform
) -> None:
    url = f"{platform.database_url}?pgbouncer=true&connection_limit=1&sslmode=prefer&supa=base-pooler.x&ssl=false"
    code, said = examine(point(database_url=url))
    assert code == 0, failures(said)
    [line] = said["database URL"]
    assert "pgbouncer, connection_limit, supa left out" in line and "ssl=false is read as sslmode=disable" in line
