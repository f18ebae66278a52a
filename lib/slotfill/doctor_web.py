"""The platform's web server, looked at from outside: from its name to the booking API, its clock and its pages."""

import socket
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from slotfill.check_result import MOST_SKEW_MS, OK, WARN, CheckResult, Sights, failure
from slotfill.drive.answer import clean, http_date, json_object
from slotfill.drive.ask import BoundedTransport
from slotfill.drive.session import Session
from slotfill.drive.target import Platform, unresolvable
from slotfill.errors import BadInput, Unreachable
from slotfill.network_errors import describe_error
from slotfill.params import Settings

HTTP_TIMEOUT_S = 10
FIRST_TIMEOUT_S, SLOW_S = 60, 8
"""A development server compiles a route on its first request."""
MOST_REDIRECTS = 5
# A development server puts its reloader into every page.
DEV_SIGNS = ("hmr-client", "react-refresh", "webpack-hmr", "next-devtools", "_next/static/development")


def web_sights(platform: Platform, settings: Settings) -> Sights:
    """From the name to the API: each step only where the one before it went well."""
    base_url = platform.base_url
    if problem := unresolvable(base_url):
        yield failure("dns", Unreachable(problem))
        return
    url = urlsplit(base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    started = time.perf_counter()
    try:
        socket.create_connection((url.hostname or "", port), HTTP_TIMEOUT_S).close()
    except OSError as error:
        yield failure("tcp", Unreachable(f"{url.hostname}:{port} {describe_error(error)}"))
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
        yield failure("http", Unreachable(f"{base_url} {describe_error(error)}"))


def _csrf(client: httpx.Client, session: Session) -> Sights:
    """The token that the parameters say where to find."""
    if page := session.page:
        status = client.get(page).status_code
        if session.page:
            yield failure(
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
        yield failure("api", Unreachable(f"{what}; is the platform well?"))
    elif "csrf" in f"{code} {_text(answer)[:2000]}".lower() or "xsrf" in code.lower():
        way_on = (
            "where it asks for a token that a page sets as a cookie, give csrf: {page: /, cookie: NAME, header: NAME}"
        )
        yield failure("api", BadInput(f"{what}; {way_on} in the parameters, else switch the check off there"))
    elif answer.status_code in (401, 403, 407):
        way_on = "give what it asks for as headers: in the parameters, secrets as ${NAME}"
        yield failure("api", BadInput(f"{what}; it wants a login or a token: {way_on}"))
    else:
        yield failure("api", BadInput(f"{what}; is this the booking platform?"))
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
