"""Secrets and customers' data in what others wrote: found in any encoding, in linear time, and nothing else touched."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from slotfill.escape import for_cell, for_terminal
from slotfill.masking import mask, without_homes

HIDDEN = "Hx7-qZ2"
"""A piece of every planted secret; it must be nowhere afterwards."""

SECRETS = {
    "stripe": f"sk_live_51{HIDDEN}abcdefgh",
    "supabase": f"sb_secret_{HIDDEN}abcdefghijkl",
    "aws key id": "AKIAHX7QZ2ABCDEFGHIJ",
    "github": "ghp_Hx7qZ2abcdefghijklmnopqrstuvwxyz0123",
    "gitlab": f"glpat-{HIDDEN}abcdefghijklm",
    "slack": f"xoxb-1234-{HIDDEN}-abcdef",
    "google": f"AIza{HIDDEN}{'a' * 30}",
    "openai": f"sk-proj-{HIDDEN}abcdefghijklmnop",
    "npm": f"npm_Hx7qZ2{'b' * 30}",
    "jwt": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{HIDDEN}In0.c2lnbmF0dXJl",
    "basic": f"Authorization: Basic {base64.b64encode(f'user:{HIDDEN}'.encode()).decode()}",
    "bearer": f"Authorization: Bearer {HIDDEN}",
    "url": f"postgresql://app:{HIDDEN}@db.example.com:5432/app",
    "url with @": f"postgresql://app:p@{HIDDEN}@db.example.com:5432/app",
    "url with /": f"redis://app:p/{HIDDEN}@cache.example.com/0",
    "dsn": f"host=db user=app password={HIDDEN} dbname=x",
    "variable": f"SUPABASE_SERVICE_ROLE_KEY={HIDDEN}",
    "cookie": f"Cookie: theme=dark; sb-auth-token={HIDDEN}",
    "session": f"connect.sid=s%3A{HIDDEN}.sig",
    "pem": f"-----BEGIN PRIVATE KEY-----\n{HIDDEN}\n-----END PRIVATE KEY-----",
    "object": f"{{ user: 'app', password: '{HIDDEN}' }}",
    "json": json.dumps({"apiKey": HIDDEN, "n": 1}),
    "list": json.dumps({"password": [HIDDEN]}),
    "two fields": json.dumps({"name": "password", "value": HIDDEN}),
    "raw headers": f"rawHeaders: [ 'apikey', '{HIDDEN}' ]",
    "webhook": f"https://hooks.slack.com/services/T0/B0/{HIDDEN}abcdef",
    "signed link": f"https://x.example.com/c?sv=2022&sig={HIDDEN}abc&se=2026",
    "postgres of others": f"npg_Hx7qZ2{'c' * 12}",
    "option": f"psql --password {HIDDEN} -h db",
    "netrc": f"machine h login u password {HIDDEN}",
    "statement": f"ALTER USER app PASSWORD '{HIDDEN}'",
    "markup": f"<password>{HIDDEN}</password>",
    "address without scheme": f"app:{HIDDEN}@db.example.com:5432/app",
    "coloured": f"{{ password: \x1b[32m'{HIDDEN}'\x1b[39m }}",
}


def _split(secret: str) -> str:
    """As util.inspect breaks a long string."""
    half = len(secret) // 2
    return f"  error: '{secret[:half]}' +\n    '{secret[half:]}',"


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: f"request failed: {secret} (403)",
    "percent": lambda secret: f"GET /x?next={quote(secret, safe='')}&y=1",
    "json": lambda secret: json.dumps({"level": 30, "msg": f"failed with {secret}", "n": 1}),
    "json in json": lambda secret: json.dumps({"log": json.dumps({"msg": f"failed with {secret}"})}),
    "percent twice": lambda secret: f"next={quote(quote(secret, safe=''), safe='')}",
    "escaped": lambda secret: "".join(each if each.isalnum() else f"\\u{ord(each):04x}" for each in secret),
    "entities": lambda secret: f"<p>{html.escape(secret)}</p>",
    "hexadecimal": lambda secret: f"value {secret.encode().hex()}",
    "base64": lambda secret: f"payload {base64.b64encode(f'x {secret}'.encode()).decode()} rejected",
    "util.inspect": lambda secret: f"  error: '{secret.replace(chr(39), chr(92) + chr(39))}',",
    "split over quotes": _split,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_planted_secret_is_found_in_any_encoding(kind: str, encoding: str) -> None:
    secret = SECRETS[kind]
    masked = mask(ENCODINGS[encoding](secret))
    written = (HIDDEN, "Hx7qZ2", "HX7QZ2", "Hx7\\u002dqZ2", HIDDEN.encode().hex(), quote(HIDDEN, safe=""))
    pieces = {*written, base64.b64encode(HIDDEN.encode()).decode()[:8]}
    encoded = {base64.b64encode(("x" * shift + secret).encode()).decode()[8:-8] for shift in range(3)}
    assert not [piece for piece in pieces | (encoded if encoding == "base64" else set()) if piece in masked]
    assert "***" in masked


@pytest.mark.parametrize("kind", SECRETS)
def test_json_stays_json(kind: str) -> None:
    masked = json.loads(mask(json.dumps({"msg": f"failed with {SECRETS[kind]}", "token": HIDDEN, "n": 1})))
    assert masked["n"] == 1 and masked["token"] == "***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("email: 'booking.7@example.com'", "email: 'bo***7@example.com'"),
        ('"phone":"+44 7700 900123"', '"phone":"***"'),
        ("called 07700900123 twice", "called ***23 twice"),
        ("customerName: 'Jane Doe',", "customerName: '***',"),
        ("postgres://app:hunter2@localhost:5432/db", "postgres://***:***@localhost:5432/db"),
        ('SUPABASE_SERVICE_ROLE_KEY="abc.def"', 'SUPABASE_SERVICE_ROLE_KEY="***"'),
        ("confirmationToken: 'f00'", "confirmationToken: '***'"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("https://user@example.com/x", "https://***:***@example.com/x"),
        ("password: invalid-but-mine", "password: ***"),
        ("password: wrong horse", "password: *** horse"),
        ("API_KEY: Required7", "API_KEY: ***"),
        ("next=https%3A%2F%2Fu%3Ahunter2%40h%2Fx", "next=https%3A%2F%2F***:***%40h%2Fx"),
    ],
)
def test_customers_data_and_secrets_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        '[2025-11-15T10:30:21.554Z] [INFO] [submit] Booking created {"durationMs":20699}',
        "bookingId: 'fbf7053b-5e99-4e27-a187-fbfdf48220cd'",
        "slot-fill-2025-11-25-17-30-p2-20251115T104202Z-4aiqqz.log:12",
        "startAt: '2026-12-10T17:15:00', durations 20588 21885 31970",
        "name: 'AbortError'",
        "email: 'bo***7@example.com'",
        "http://localhost:3000/api/bookings?x=1, http://127.0.0.1:54321/rest/v1",
        "https://example.com/path?q=a:b and https://example.com:8443",
        "- Local:        http://localhost:3000",
        " POST /api/bookings 201 in 22.1s (compile: 729ms, render: 21.4s)",
        "Table 04bc201e-56f2-4246-9ad7-73ced4f20385 is not adjacent to the selected set",
        "SUPABASE_SERVICE_ROLE_KEY: Invalid input: expected string, received undefined",
        "SUPABASE_SERVICE_ROLE_KEY: Required",
        "password: must be at least 8 characters, token: expired",
        "SUPABASE_JWT_SECRET: is not set; token: missing (see .env)",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 of commit 469a7b2f0c1d2e3f405162738495a6b7c8d9e0f1",
        "the idempotency key was known; bypass: true, token: null",
        "canceling statement due to statement timeout",
        "relation restaurants, function assign_tables_atomic_v2(uuid, uuid[], text)",
    ],
)
def test_what_an_excerpt_is_for_stays(text: str) -> None:
    assert mask(text) == text


UNITS = (
    *("://a:", "://a:b@", "eyJ-", "eyJ.", "password=", 'password="', "password:'", "name: '", "a@", "a@b.", "0 ", "0("),
    *("-----BEGIN A-----", "Bearer ", "cookie:", "cookie=a", "%3A%2F%2F", "sk-", "' + '", "AAAA", "A-A_", "token:{"),
    *("key", "_key=", "pass", "sid", "sid=\\\\", " ", "x", "\n", "passwordpassword", "a:b@c/", "w.", "%40", "Basic a"),
    *(
        "\\",
        '\\"',
        "+1-",
        "curl -u ",
        "--password ",
        "<",
        "login a password ",
        "&quot;",
        "\\u003d",
        "2f",
        "a:b:",
        "%25",
    ),
    *("\x1b[", "password','", "password password '", "[password:["),
)


@pytest.mark.timeout(300)  # a quadratic pattern would take many minutes
@pytest.mark.parametrize("unit", UNITS)
def test_no_text_is_long_enough_to_hurt(unit: str) -> None:
    assert mask(unit * (250_000 // len(unit)) + " end").endswith(("end", "***"))


def test_a_cut_comes_before_the_work_and_leaves_no_part_of_a_secret() -> None:
    secret = SECRETS["stripe"]
    for cut in range(1, 60):
        masked = mask(f"failed with {secret} and more" + "x" * 100_000, cut)
        assert HIDDEN[:3] not in masked and len(masked) <= cut


def test_homes_are_left_out_of_paths() -> None:
    homes = "at /Users/jane/app/run.ts and /home/joe/x and /homes/y"
    assert without_homes(homes) == "at ~/app/run.ts and ~/x and /homes/y"


def test_a_terminal_is_told_nothing() -> None:
    assert for_terminal("a\x1b[2Jb\x9b31m\x00\x7f\tc\n") == "a\\x1b[2Jb\\x9b31m\\x00\\x7f\tc\n"
    assert for_terminal("caf\udce9 \u202e") == "caf\\udce9 \\u202e"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert for_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["plain", "1-2", "", None, -1, 2.5])
def test_other_cells_stay(value: object) -> None:
    assert for_cell(value) == value
