"""What a target is and offers, looked at from outside; nothing is booked and nothing is written.

Each examination yields findings, and goes on as far as it can: a platform that does not answer still
has a database worth describing.
"""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill import homes
from slotfill.check_result import MOST_SKEW_MS, OK, WARN, CheckResult, Sights, failure
from slotfill.database import connect
from slotfill.database.describe import Facts, describe
from slotfill.database.guard import reason_to_refuse
from slotfill.database.reset import plan_reset
from slotfill.doctor_taps import tap_sights
from slotfill.doctor_web import web_sights
from slotfill.drive.target import HOME, Platform, env_file, open_platform, remote, unresolvable
from slotfill.errors import BadInput, Refused, SlotfillError
from slotfill.escape import for_terminal
from slotfill.homes import Home
from slotfill.params import Settings

FULL_SHARE = 0.8
FAR_MS = 20
INDISPENSABLE = ("bookings", "booking_table_assignments", "table_inventory")
"""Without these tables nobody can see whether a booking is confirmed."""
_UNTRIED = """
SELECT count(*) AS pending, count(auto_assign_last_result) AS tried
FROM (SELECT status::text, auto_assign_last_result FROM bookings
      WHERE source = 'api' AND restaurant_id IN (SELECT id FROM restaurants WHERE slug = :slug)
      ORDER BY created_at DESC LIMIT 20) AS latest WHERE status = 'pending'"""


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
        yield failure("environment", error)
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
    yield from tap_sights(platform, settings)
    engine = connect.engine(platform.database_url)
    try:
        facts = describe(engine)
        yield from _database(facts)
        yield from _guard(engine, facts, platform, settings)
        yield from _auto_assign(engine, settings.restaurant_slug)
    except SlotfillError as error:
        yield failure("database", error)
    finally:
        engine.dispose()


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
        yield failure("telemetry", BadInput(f"otlp_listen {settings.otlp_listen}: {error.strerror}"))


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
        yield failure("schema", BadInput(what)) if gap.missing in INDISPENSABLE else CheckResult("schema", WARN, what)
    for table, reason in facts.hidden.items():
        what = f"{table} cannot be read: {reason}"
        yield failure("schema", BadInput(what)) if table in INDISPENSABLE else CheckResult("schema", WARN, what)
    if not facts.gaps and not facts.hidden:
        yield CheckResult("schema", OK, "every table and column of the contract is there")


def _guard(engine: Engine, facts: Facts, platform: Platform, settings: Settings) -> Sights:
    with connect.reading(engine) as connection:
        reason = reason_to_refuse(connection, engine.url, platform.target)
    if reason and settings.prepare:
        way_on = "" if platform.embedded else "; with prepare: false it is driven as it is"
        yield failure("guard", Refused(f"a run will be refused, as it begins with a reset{way_on}: {reason}"))
    elif settings.prepare and (obstacles := _obstacles(engine, settings.restaurant_slug)):
        yield failure("guard", Refused(f"a run will be refused, as it begins with a reset: {obstacles}"))
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
        yield failure("server log", BadInput(f"{file}: no such file; name the platform's standard output"))
    else:
        yield CheckResult("server log", OK, str(file))
