"""What a target is and offers, looked at from outside; nothing is booked and nothing is written.

Each examination yields findings, and goes on as far as it can: a platform that does not answer still
has a database worth describing.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill import homes
from slotfill.database import connect
from slotfill.database.describe import Facts, describe
from slotfill.database.guard import reason_to_refuse
from slotfill.database.reset import plan_reset
from slotfill.drive.answer import clean, http_date, json_object
from slotfill.drive.ask import BoundedTransport
from slotfill.drive.session import Session
from slotfill.drive.target import HOME, Platform, env_file, open_platform, remote, unresolvable
from slotfill.errors import BadInput, Refused, SlotfillError, Unreachable
from slotfill.escape import for_terminal
from slotfill.homes import Home
from slotfill.network_errors import describe_error
from slotfill.params import Settings

OK, WARN, FAIL = "ok", "warn", "FAIL"
HTTP_TIMEOUT_S = 10
FIRST_TIMEOUT_S, SLOW_S = 60, 8
"""A development server compiles a route on its first request."""
MOST_SKEW_MS = 2_000
FULL_SHARE = 0.8
FAR_MS = 20
MOST_REDIRECTS = 5
INDISPENSABLE = ("bookings", "booking_table_assignments", "table_inventory")
"""Without these tables nobody can see whether a booking is confirmed."""
# A development server puts its reloader into every page.
DEV_SIGNS = ("hmr-client", "react-refresh", "webpack-hmr", "next-devtools", "_next/static/development")
_UNTRIED = """
SELECT count(*) AS pending, count(auto_assign_last_result) AS tried
FROM (SELECT status::text, auto_assign_last_result FROM bookings
      WHERE source = 'api' AND restaurant_id IN (SELECT id FROM restaurants WHERE slug = :slug)
      ORDER BY created_at DESC LIMIT 20) AS latest WHERE status = 'pending'"""


@dataclass(frozen=True)
class CheckResult:
    """One line of the examination; ``exit_code`` other than 0 where it hinders a run."""

    subject: str
    status: str
    text: str
    exit_code: int = 0


Sights = Iterator[CheckResult]


def examine(settings: Settings, say: Callable[[str], None]) -> int:
    """Say what is found, line by line; the first failure's exit code, 0 where there is none.

    Nothing that can fail comes after the guard, so that its code says that the run will be refused and nothing else.
    """
    code = 0
    for sight in _sights(settings):
        say(for_terminal(f"{sight.status:5s} {sight.subject:12s} {sight.text}"))
        code = code or sight.exit_code
    return code


def _sights(settings: Settings) -> Sights:
    if settings.embedded:
        with open_platform(settings, HOME) as platform:
            yield CheckResult("target", OK, f"the embedded platform at {platform.base_url}")
            yield from _platform(platform, settings)
        yield from _kept(homes.unused())
        return
    file = env_file(settings)
    yield CheckResult(
        "environment", OK if file.is_file() else WARN, f"{file}{'' if file.is_file() else ' is not there'}"
    )
    try:
        platform = remote(settings)
    except SlotfillError as error:
        yield _failure("environment", error)
        return
    yield CheckResult("target", OK, f"{settings.target} at {platform.base_url}")
    if platform.url_remark:
        yield CheckResult("database URL", OK, platform.url_remark)
    problem = unresolvable(platform.base_url)
    if problem and settings.allow_local_fallback:
        yield CheckResult("dns", WARN, f"{problem}: a run drives the embedded platform, which says nothing of this one")
        return
    yield from _server_log(platform.server_log)
    yield from _platform(platform, settings)


def _kept(found: Sequence[Home]) -> Sights:
    """Databases that stopped runs keep on this machine."""
    for home in found:
        size = f"{home.folder}: {home.size_bytes / 1e6:,.0f} MB"
        if home.is_needed is None:
            yield CheckResult("kept", WARN, f"{size} of {home.run}, which is gone; remove it unless that was moved")
        elif home.is_needed:
            yield CheckResult("kept", OK, f"{size}, for slotfill resume {home.run}")


def _platform(platform: Platform, settings: Settings) -> Sights:
    yield from web_sights(platform, settings)
    yield from _open_telemetry(settings)
    engine = connect.engine(platform.database_url)
    try:
        facts = describe(engine)
        yield from _database(facts)
        yield from _guard(engine, facts, platform, settings)
        yield from _auto_assign(engine, settings.restaurant_slug)
    except SlotfillError as error:
        yield _failure("database", error)
    finally:
        engine.dispose()


def web_sights(platform: Platform, settings: Settings) -> Sights:
    """From the name to the API: each step only where the one before it went well."""
    base_url = platform.base_url
    if problem := unresolvable(base_url):
        yield _failure("dns", Unreachable(problem))
        return
    url = urlsplit(base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    started = time.perf_counter()
    try:
        socket.create_connection((url.hostname or "", port), HTTP_TIMEOUT_S).close()
    except OSError as error:
        yield _failure("tcp", Unreachable(f"{url.hostname}:{port} {describe_error(error)}"))
        return
    yield CheckResult("tcp", OK, f"connected in {(time.perf_counter() - started) * 1e3:.1f} ms")
    try:
        # As the load does it: through the environment's proxies, but not to the platform on this machine.
        transport = BoundedTransport(FIRST_TIMEOUT_S * 1e3, trust_env=not platform.embedded)
        session = Session(platform.headers, settings.csrf)
        hooks: Any = {"request": [session.apply], "response": [session.learn]}
        with httpx.Client(base_url=base_url, transport=transport, event_hooks=hooks) as client:
            yield from _csrf(client, session)
            yield from _api(client)
            yield from _page(client)
            yield from _flags(client)
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # the latter for a redirect to what is no URL
        yield _failure("http", Unreachable(f"{base_url} {describe_error(error)}"))


def _csrf(client: httpx.Client, session: Session) -> Sights:
    """The token that the parameters say where to find."""
    if page := session.page:
        status = client.get(page).status_code
        if session.page:
            yield _failure(
                "csrf", BadInput(f"{page} answers {status} and sets no such cookie; see csrf.page and cookie")
            )
        else:
            yield CheckResult("csrf", OK, f"{page} sets the token, and a POST sends it back")


def _api(client: httpx.Client) -> Sights:
    """An empty payload books nothing, and its answer shows whether this is the booking API."""
    asked_at, started = datetime.now(UTC), time.perf_counter()
    answer = client.post("/api/bookings", json={})
    took_s = time.perf_counter() - started
    if took_s > SLOW_S:
        yield CheckResult(
            "api",
            WARN,
            f"the first answer took {took_s:.0f} s: a development server that compiles? A run warms it up first",
        )
    code = _error_code(answer)
    what = f"POST /api/bookings answers {answer.status_code}{f' {code}' if code else ''} to an empty payload"
    what += ", where the contract has 400"
    if answer.status_code == 400 and "Invalid payload" in _text(answer):
        yield CheckResult("api", OK, "POST /api/bookings answers as the contract says")
    elif answer.is_server_error:
        yield _failure("api", Unreachable(f"{what}; is the platform well?"))
    elif "csrf" in f"{code} {_text(answer)[:2000]}".lower() or "xsrf" in code.lower():
        way_on = (
            "where it asks for a token that a page sets as a cookie, give csrf: {page: /, cookie: NAME, header: NAME}"
        )
        yield _failure("api", BadInput(f"{what}; {way_on} in the parameters, else switch the check off there"))
    elif answer.status_code in (401, 403, 407):
        way_on = "give what it asks for as headers: in the parameters, secrets as ${NAME}"
        yield _failure("api", BadInput(f"{what}; it wants a login or a token: {way_on}"))
    else:
        yield _failure("api", BadInput(f"{what}; is this the booking platform?"))
    if limit := answer.headers.get("X-RateLimit-Limit"):
        yield CheckResult("rate limit", WARN, f"{clean(limit)} bookings a minute; set max_rate_per_min below it")
    else:
        yield CheckResult("rate limit", OK, "not announced (it may still answer 429; the run would be labelled)")
    yield from _web_clock(answer.headers.get("Date", ""), asked_at, took_s)


def _error_code(answer: httpx.Response) -> str:
    """The platform's own name for what it refuses, if it gives one."""
    code = json_object(answer.content).get("code")
    return code[:60] if isinstance(code, str) and code.isprintable() else ""


def _text(answer: httpx.Response) -> str:
    """The words that are looked for are ASCII: the charset that the platform names decides nothing."""
    return answer.content.decode(errors="replace")


def _web_clock(date: str, asked_at: datetime, took_s: float) -> Sights:
    """The header has whole seconds: on average the clock is half a second further. It was read while we waited."""
    told_at = http_date(date)
    if told_at is None:
        return
    skew_ms = (told_at - asked_at).total_seconds() * 1e3 + 500
    status = OK if -MOST_SKEW_MS < skew_ms < MOST_SKEW_MS + took_s * 1e3 else WARN
    yield CheckResult("clock", status, f"the web server's is {skew_ms / 1e3:+.0f} s from ours (to the second)")


def _page(client: httpx.Client) -> Sights:
    page = _text(_followed(client, "/"))
    if any(sign in page for sign in DEV_SIGNS):
        yield CheckResult("server", WARN, "a development server: it compiles on first requests and leaks connections")
    else:
        yield CheckResult("server", OK, "no sign of a development server")


def _followed(client: httpx.Client, path: str) -> httpx.Response:
    """The page that a path leads to within the platform: elsewhere the headers and the token are nobody's business."""
    answer = client.get(path)
    for _ in range(MOST_REDIRECTS):
        onward = answer.next_request
        if onward is None or _origin(onward.url) != _origin(client.base_url):
            break
        answer = client.send(onward)
    return answer


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _flags(client: httpx.Client) -> Sights:
    """Flags and faults, where the platform tells them; the recorded one does not."""
    told = json_object(client.get("/api/health").content)
    flags, faults = told.get("flags"), told.get("faults")
    if not isinstance(flags, dict) or not isinstance(faults, dict):
        return
    if str(flags.get("FEATURE_AUTO_ASSIGN_ON_BOOKING", True)).lower() == "false":
        yield CheckResult("auto-assign", WARN, "is switched off: no booking is ever confirmed")
    planted = ", ".join(f"{name} {value}" for name, value in faults.items() if isinstance(value, str | float | int))
    yield CheckResult("faults", WARN if faults else OK, f"planted: {clean(planted) or 'none'}")


def _open_telemetry(settings: Settings) -> Sights:
    """What to set where the platform is started, so that it tells its own times."""
    if settings.otlp_listen is None:
        also = " and telemetry: true" if settings.embedded else ""
        hint = f"not listened for; set otlp_listen: 127.0.0.1:4318{also} to see the platform's calls"
        yield CheckResult("telemetry", OK, hint)
        return
    if settings.embedded:
        sends = "the platform sends there" if settings.telemetry else "telemetry: true has the platform send there"
        yield CheckResult("telemetry", OK, f"a run listens at {settings.otlp_listen}; {sends}")
    else:
        yield CheckResult("telemetry", OK, f"a run listens at {settings.otlp_listen}; start the platform with")
        for line in (
            "NODE_OPTIONS=--require @opentelemetry/auto-instrumentations-node/register",
            f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{settings.otlp_listen}",
            "OTEL_SERVICE_NAME=booking-platform",
        ):
            yield CheckResult("", OK, line)
    try:
        host, _, port = settings.otlp_listen.rpartition(":")
        socket.create_server((host.strip("[]"), int(port)), family=_family(host)).close()
    except OSError as error:
        yield _failure("telemetry", BadInput(f"otlp_listen {settings.otlp_listen}: {error.strerror}"))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if host.startswith("[") else socket.AF_INET


def _database(facts: Facts) -> Sights:
    yield CheckResult("database", OK, f"Postgres {facts.version} as {facts.role}")
    far = facts.round_trip_ms > FAR_MS
    yield CheckResult("distance", WARN if far else OK, f"{facts.round_trip_ms:.1f} ms a round trip from here")
    skewed = abs(facts.clock_skew_ms) > MOST_SKEW_MS
    yield CheckResult("clock", WARN if skewed else OK, f"the database's is {facts.clock_skew_ms:+.0f} ms from ours")
    full = facts.connections > FULL_SHARE * facts.max_connections
    yield CheckResult("connections", WARN if full else OK, f"{facts.connections} of {facts.max_connections} in use")
    yield CheckResult("pooler", OK, {"none": "none: a direct connection"}.get(facts.pooler, f"{facts.pooler} mode"))
    if not facts.sees_all_sessions:
        yield CheckResult(
            "samples", WARN, "other roles' sessions are hidden; grant pg_monitor to see what they wait for"
        )
    if not facts.has_statements:
        yield CheckResult("samples", WARN, "pg_stat_statements is absent: no time per statement")
    for gap in facts.gaps:
        what = f"{gap.missing} is missing: {gap.disables}"
        yield _failure("schema", BadInput(what)) if gap.missing in INDISPENSABLE else CheckResult("schema", WARN, what)
    for table, reason in facts.hidden.items():
        what = f"{table} cannot be read: {reason}"
        yield _failure("schema", BadInput(what)) if table in INDISPENSABLE else CheckResult("schema", WARN, what)
    if not facts.gaps and not facts.hidden:
        yield CheckResult("schema", OK, "every table and column of the contract is there")


def _guard(engine: Engine, facts: Facts, platform: Platform, settings: Settings) -> Sights:
    with connect.reading(engine) as connection:
        reason = reason_to_refuse(connection, engine.url, platform.target)
    if reason and settings.prepare:
        way_on = "" if platform.embedded else "; with prepare: false it is driven as it is"
        yield _failure("guard", Refused(f"a run will be refused, as it begins with a reset{way_on}: {reason}"))
    elif settings.prepare and (obstacles := _obstacles(engine, settings.restaurant_slug)):
        yield _failure("guard", Refused(f"a run will be refused, as it begins with a reset: {obstacles}"))
    elif reason:
        yield CheckResult(
            "guard", WARN, f"reset and seeds are refused, a run drives it as it is (prepare: false): {reason}"
        )
    else:
        marked = f"marked as {facts.marker.name} by {facts.marker.marked_by}" if facts.marker else "embedded"
        yield CheckResult("guard", OK, f"{marked}: may be reset and seeded")
    if facts.read_only or facts.unwritable:
        yield CheckResult("rights", WARN, f"{facts.role} may not write {', '.join(facts.unwritable) or 'anything'}")


def _obstacles(engine: Engine, slug: str) -> str:
    try:
        return "; ".join(plan_reset(engine, slug).obstacles)
    except BadInput:
        return ""  # the schema's findings have said what is missing


def _auto_assign(engine: Engine, slug: str) -> Sights:
    """Bookings that nobody ever tried to seat are the mark of the switched-off allocator."""
    try:
        with connect.reading(engine) as connection:
            pending, tried = connection.execute(sa.text(_UNTRIED), {"slug": slug}).one()
    except SlotfillError:
        return  # the schema's findings have said what is missing
    if pending and not tried:
        yield CheckResult(
            "auto-assign", WARN, f"the last {pending} pending bookings were never tried: is it switched off?"
        )


def _server_log(file: Path | None) -> Sights:
    if file is None:
        yield CheckResult("server log", WARN, "none named (server_log): the submit cannot be split into its hops")
    elif not file.is_file():
        yield _failure("server log", BadInput(f"{file}: no such file; name the platform's standard output"))
    else:
        yield CheckResult("server log", OK, str(file))


def _failure(subject: str, error: SlotfillError) -> CheckResult:
    return CheckResult(subject, FAIL, str(error), error.exit_code)
