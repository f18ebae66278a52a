import html
import json
import os
import re
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy.engine import URL

from slotfill.database import environment
from slotfill.database.url import address, hosts, keywords, parse_url, plain, reached, remark, without_password
from slotfill.errors import BadInput

ODD = [
    "two words",
    "100%",
    "%41",
    "it's",
    'say "hi"',
    "back\\slash",
    "\\\\'",
    "grün €",
    "😀",
    "a/b:c@d?e#f",
    "tab\there",
    "+",
]


def connects_to(url):
    """What psycopg is told of a URL, without what is the same for all."""
    ours = ("client_encoding", "application_name", "connect_timeout", "prepare_threshold")
    return {name: value for name, value in keywords(parse_url(url)).items() if name not in ours and value is not None}


@pytest.mark.parametrize("password", ODD)
def test_an_escaped_password_arrives_as_it_is(password):
    url = parse_url(f"postgresql://u:{quote(password, safe='')}@h:5/d")
    assert url.password == password
    assert keywords(parse_url(plain(url)))["password"] == password


@pytest.mark.parametrize("password", ["two words", "100%", "it's", "back\\slash", "grün €", "a/b:c?e#f"])
def test_a_password_that_nobody_escaped_arrives_too_where_it_can(password):
    assert connects_to(f"postgresql://u:{password}@h:5/d") == {
        "user": "u", "password": password, "host": "h", "port": "5", "dbname": "d",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@hush@h/d",
        "postgresql://u:x@hush@h:5432/d?sslmode=require",
        "postgresql://u:x@h/d?host=hush@h",
        "postgresql://u:x@h%40hush/d",
        "postgresql://u:hush@h:port/d",
        "postgresql://u:hush@h:99999/d",
        "postgresql://u:hush@h host/d",
        "postgresql://u:hush@" + "h" * 70 + "/d",
    ],
)
def test_what_is_no_host_is_refused_and_nothing_of_it_is_repeated(url):
    with pytest.raises(BadInput, match=r"^DATABASE_URL is malformed") as caught:
        parse_url(url, "DATABASE_URL")
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("file:./dev.db", "file"),
        ("mysql://u:hush@h/d", "mysql"),
        ("prisma://h/?api_key=hush", "prisma"),
        ("hush", None),
    ],
)
def test_another_kind_of_url_is_named_by_its_variable_and_scheme(url, scheme):
    with pytest.raises(BadInput, match=r"^SUPABASE_DB_URL must look like postgresql://") as caught:
        parse_url(url, "SUPABASE_DB_URL")
    assert "hush" not in str(caught.value)
    assert str(caught.value).endswith(f"not {scheme}:") == (scheme is not None)


@pytest.mark.parametrize(
    ("options", "kept", "left_out"),
    [
        ("pgbouncer=true", {}, "pgbouncer"),
        ("pgbouncer=true&connection_limit=1&pool_timeout=0", {}, "pgbouncer, connection_limit, pool_timeout"),
        ("sslmode=require&supa=base-pooler.x", {"sslmode": "require"}, "supa"),
        ("uselibpqcompat=true&sslmode=require", {"sslmode": "require"}, "uselibpqcompat"),
        ("workaround=supabase-pooler.vercel&statement_cache_size=0", {}, "workaround, statement_cache_size"),
        ("schema=public", {}, "schema"),
        ("connect_timeout=0&application_name=x&client_encoding=latin1", {}, "connect_timeout"),
        ("ssl=%7B%22rejectUnauthorized%22%3Afalse%7D", {}, "ssl"),
        ("service=other", {}, "service"),
    ],
)
def test_what_is_meant_for_other_clients_is_left_out_and_said(options, kept, left_out):
    url = f"postgresql://u@h/d?{options}"
    assert connects_to(url) == {"user": "u", "host": "h", "dbname": "d", **kept}
    assert left_out in remark(url) and "left out" in remark(url)


@pytest.mark.parametrize(
    ("option", "sslmode"),
    [
        ("sslmode=no-verify", "require"),
        ("ssl=true", "require"),
        ("ssl=1", "require"),
        ("ssl=false", "disable"),
        ("sslaccept=strict", "verify-full"),
    ],
)
def test_what_other_clients_call_sslmode_is_read_as_that_and_said(option, sslmode):
    url = f"postgresql://u@h/d?{option}"
    assert connects_to(url)["sslmode"] == sslmode
    assert remark(url) == f"{option} is read as sslmode={sslmode}"


def test_a_url_that_is_read_as_it_stands_needs_no_remark():
    assert remark("postgresql://u:what?supa=x@h/d?sslmode=prefer&options=reference%3Dabc") is None


def test_prismas_schema_is_where_tables_are_looked_for():
    assert connects_to("postgresql://u@h/d?schema=pub")["options"] == "-c search_path=pub"
    both = connects_to("postgresql://u@h/d?options=reference%3Dabc&schema=pub")["options"]
    assert both == "reference=abc -c search_path=pub"


@pytest.mark.parametrize(
    ("url", "named", "where"),
    [
        ("postgresql://u@h1:1,h2/d", [("h1", 1), ("h2", None)], "h1:1,h2/d"),
        ("postgresql://u@h/d?host=a:1&host=b:2", [("a", 1), ("b", 2)], "a:1,b:2/d"),
        ("postgresql://u@h/d?host=a,b&port=1,2", [("a", 1), ("b", 2)], "a:1,b:2/d"),
        ("postgresql://u@h:5/d?host=/run/postgresql", [("/run/postgresql", None)], "/run/postgresql/d"),
        ("postgresql://u@%2Ftmp/d", [("/tmp", None)], "/tmp/d"),
        ("postgresql://u@[::1]:5/d", [("::1", 5)], "[::1]:5/d"),
        ("postgresql:///d", [("", None)], "local socket/d"),
        ("postgresql://u@h/d?hostaddr=10.0.0.7", [("h", None)], "10.0.0.7/d"),
        ("postgresql://u@h", [("h", None)], "h/u"),
        ("postgresql://h/d?user=u&password=secret&dbname=e", [("h", None)], "h/e"),
    ],
)
def test_hosts_are_those_a_connection_reaches(url, named, where):
    parsed = parse_url(url)
    assert hosts(parsed) == named
    assert address(parsed) == where
    assert keywords(parse_url(plain(parsed))) == keywords(parsed)


def test_an_address_among_the_options_wins_over_a_local_name():
    [host] = reached(parse_url("postgresql://u@localhost/d?hostaddr=10.0.0.7"))
    assert not host.is_local


def test_a_password_among_the_options_is_one_too():
    url = parse_url("postgresql://h/d?user=u&password=hush-hush")
    assert url.password == "hush-hush" and "password" not in url.query


ESCAPES = {
    "as it is": str,
    "in a URL": lambda text: quote(text, safe=""),
    "in a URL, small": lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text, safe="")),
    "in a form": quote_plus,
    "in a URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "by libpq": lambda text: text.replace("\\", "\\\\").replace("'", "\\'"),
    "in SQL": lambda text: text.replace("'", "''"),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "by Python": lambda text: repr(text)[1:-1],
    "as bytes": lambda text: repr(text.encode())[2:-1],
    "in ASCII": lambda text: ascii(text)[1:-1],
    "in HTML": html.escape,
}


@pytest.mark.parametrize("password", [*ODD, "plain-Vk7"])
@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_password_is_masked_however_it_is_escaped(password, escape):
    url = URL.create("postgresql", password=password)
    assert without_password(f"before <{escape(password)}> after", url) == "before <***> after"


def test_masking_leaves_the_rest():
    url = URL.create("postgresql", password="abc", query={"sslpassword": "xyz"})
    assert without_password("a b c, ab%63, xyz, ab", url) == "a b c, ***, ***, ab"


def test_of_the_shells_variables_only_those_about_signing_in_are_left(monkeypatch):
    for name in ("PGHOSTADDR", "PGSERVICE", "PGOPTIONS", "PGSSLMODE", "PGPASSFILE", "PGDATESTYLE"):
        monkeypatch.setenv(name, "planted")
    keywords(parse_url("postgresql://h/d"))
    assert environment.heeded() == ["PGPASSFILE", "PGSSLMODE"]
    left = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    assert left == {"PGPASSFILE": "planted", "PGSSLMODE": "planted", "PGDATESTYLE": "ISO, MDY", "PGTZ": "UTC"}
    environment.forget()
    assert not [name for name in os.environ if name.startswith("PG")]
