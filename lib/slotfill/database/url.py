"""The URL of a database: read leniently, as Supabase, Prisma and node-postgres write it, and never repeated.

A client gets ``keywords`` and not the URL, so that no library quotes a password in its messages.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from psycopg import pq
from sqlalchemy.engine import URL

from slotfill.database import environment
from slotfill.errors import BadInput

APPLICATION_NAME = "slotfill"
CONNECT_TIMEOUT_S = 10
SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
NAME = "the database URL"

# An @ in the host is no host's: it would be the rest of a password, on its way to a resolver.
_URL = re.compile(
    r"(?s)(?:(?P<user>[^:/?@]*)(?::(?P<password>[^@]*))?@)?(?P<hosts>[^/?@]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>/.*?|[^:\[\]]*))(?::(?P<port>\d{0,5}))?")

# What other clients call libpq's sslmode. node-postgres' no-verify encrypts and asks for no certificate.
_SSL = {
    "sslmode=no-verify": "require",
    "ssl=true": "require",
    "ssl=1": "require",
    "ssl=no-verify": "require",
    "ssl=false": "disable",
    "ssl=0": "disable",
    "sslaccept=strict": "verify-full",
    "sslaccept=accept_invalid_certs": "require",
}
# Options that stand for a part of the URL itself, and those whose value is for us to say.
_PARTS = ("user", "password", "host", "port", "dbname")
_OURS = {
    "client_encoding",
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "service",
    "replication",
}
_KNOWN = {default.keyword.decode() for default in pq.Conninfo.get_defaults()} - _OURS


class Host(NamedTuple):
    """One of the hosts of a URL: a name, an address, or the folder of a Unix socket; ``""`` is libpq's default."""

    name: str
    port: int | None

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: a Unix socket or a loopback address."""
        if not self.name or self.name.startswith("/") or self.name == "localhost":
            return True
        try:
            return ip_address(self.name).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}" if self.port else name


def parse_url(url: str, name: str = NAME) -> URL:
    """The URL with psycopg as its driver, and of its options those that libpq knows.

    Raises BadInput, which begins with ``name`` (the variable that the URL came from) and never repeats any part of
    the URL but its scheme.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        found = re.match(r"[a-zA-Z][a-zA-Z0-9+]{0,30}(?=://)|file(?=:)", url.strip())
        other = f", and not {found[0]}:" if found and found[0].lower() not in SCHEMES else ""
        raise BadInput(f"{name} must look like postgresql://user:password@host:5432/database{other}")
    try:
        return _parse(rest)
    except ValueError:
        raise BadInput(
            f"{name} is malformed: the host must be a host's name, the port a number, and @ : / ? in a password be "
            "%-escaped (an @ is %40)"
        ) from None


def remark(url: str) -> str | None:
    """What was left out of a URL's options or read as something else; None where nothing was."""
    found = _URL.fullmatch(url.strip().partition("://")[2])
    _, ignored, read_as = _options((found and found["query"]) or "")
    left_out = [f"{', '.join(ignored)} left out (meant for another client)"] if ignored else []
    return "; ".join([*left_out, *read_as]) or None


def keywords(url: URL, application_name: str = APPLICATION_NAME) -> dict[str, Any]:
    """What psycopg's ``connect`` takes for a URL, settings of the session included.

    Statements are never prepared on the server, so that the same connection works behind a transaction pooler
    (PgBouncer, Supavisor), where a later statement may run in another server process.
    """
    environment.take_over()
    reached = hosts(url)
    options = {name: value for name, value in url.query.items() if name != "host"}
    return {
        **options,
        "host": ",".join(host.name for host in reached) or None,
        "port": ",".join(str(host.port or "") for host in reached).strip(",") or None,
        "user": url.username,
        "password": url.password,
        "dbname": url.database,
        "client_encoding": "UTF8",
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "prepare_threshold": None,
    }


def plain(url: URL) -> str:
    """The URL as libpq itself reads it, everything in it escaped; a secret, for a child process's environment."""
    login = quote(url.username or "", safe="") + (f":{quote(url.password, safe='')}" if url.password else "")
    reached = [
        host if not host.name.startswith("/") else Host(quote(host.name, safe=""), host.port) for host in hosts(url)
    ]
    options = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in url.query.items() if name != "host")
    at = f"{login}@" if login else ""
    where = f"{','.join(map(str, reached))}/{quote(url.database or '', safe='')}"
    return f"postgresql://{at}{where}{'?' if options else ''}{options}"


def hosts(url: URL) -> list[Host]:
    """The hosts of a URL in the order they are tried."""
    several = url.query.get("host")
    if several is None:
        return [Host(url.host or "", url.port)]
    return [_host(each) for each in ([several] if isinstance(several, str) else several)]


def reached(url: URL) -> list[Host]:
    """Where a connection really goes: ``hostaddr``, where it is given, wins over the names."""
    addresses = url.query.get("hostaddr")
    return [Host(address, None) for address in str(addresses).split(",")] if addresses else hosts(url)


def address(url: URL) -> str:
    """``host:port/database``, for people; a Unix socket is named by its folder."""
    where = ",".join(map(str, reached(url)))
    return f"{where or 'local socket'}/{url.database}"


def without_password(text: str, url: URL) -> str:
    """A text with the URL's secrets masked, however they are escaped in it."""
    secrets = [url.password, *(url.query.get(name) for name in ("sslpassword", "oauth_client_secret"))]
    for secret in secrets:
        if secret:
            tokens = re.findall(r"(?s)\\+|.", str(secret))  # backslashes in a row multiply wherever they are quoted
            text = re.sub("".join(map(_spellings, tokens)), "***", text)
    return text


def _spellings(character: str) -> str:
    """A pattern for one character as it is, %-escaped (once or more), or quoted by libpq, SQL, JSON, Python or HTML."""
    if character.startswith("\\"):
        return r"(?:\\|%(?:25){0,4}5(?i:c)){1,16}"
    quoted, json_units = r"\\{1,8}", character.encode("utf-16-be").hex()
    spellings = {
        r"\\{0,8}" + ("'{1,2}" if character == "'" else re.escape(character)),
        "".join(f"%(?:25){{0,4}}(?i:{byte:02x})" for byte in character.encode()),
        "".join(f"{quoted}x{byte:02x}" for byte in character.encode()),
        "".join(f"{quoted}u(?i:{json_units[at : at + 4]})" for at in range(0, len(json_units), 4)),
        f"{quoted}x{ord(character):02x}",
        f"{quoted}U{ord(character):08x}",
        quoted + re.escape(json.dumps(character)[1:-1].lstrip("\\")),
        re.escape(html.escape(character)),
        r"\+" if character == " " else re.escape(character),
    }
    return f"(?:{'|'.join(sorted(spellings, key=len, reverse=True))})"


def _parse(rest: str) -> URL:
    found = _URL.fullmatch(rest)
    if found is None:
        raise ValueError
    options, _, _ = _options(found["query"] or "")
    parts = {name: options.pop(name, None) for name in _PARTS}
    tried = [_host(unquote(host)) for host in _named_hosts(parts, found["hosts"])]
    for host in tried:
        host.name.encode("idna")  # psycopg falls over a name that no resolver takes
    user = parts["user"] or unquote(found["user"] or "") or None
    simple = len(tried) == 1 and not tried[0].name.startswith("/")
    return URL.create(
        "postgresql+psycopg",
        username=user,
        password=parts["password"] or unquote(found["password"] or "") or None,
        host=(tried[0].name or None) if simple else None,
        port=tried[0].port if simple else None,
        database=parts["dbname"] or unquote(found["database"] or "") or user or "postgres",
        query=options if simple else {**options, "host": tuple(map(str, tried))},
    )


def _named_hosts(parts: Mapping[str, str | None], authority: str) -> list[str]:
    """The hosts as ``name:port``: those among the options, where there are any, else those of the URL's beginning."""
    if parts["host"] is None and parts["port"] is None:
        return authority.split(",")
    names = authority.split(",") if parts["host"] is None else parts["host"].split(",")
    ports = (parts["port"] or "").split(",")
    own = [(name, ports[index] if index < len(ports) else ports[-1]) for index, name in enumerate(names)]
    return [f"{name}:{port}" if port else name for name, port in own]


def _host(text: str) -> Host:
    found = _HOST.fullmatch(text)
    if found is None or "@" in text or any(character.isspace() for character in text):
        raise ValueError
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError
    return Host(found["ipv6"] if found["name"] is None else found["name"], port)


def _options(query: str) -> tuple[dict[str, str], list[str], list[str]]:
    """The options for libpq; the names of those left out; and what was read as something else."""
    kept: dict[str, str] = {}
    left_out, read_as = [], []
    for name, value in _pairs(query):
        if mode := _SSL.get(f"{name}={value}"):
            kept["sslmode"] = mode
            read_as.append(f"{name}={value} is read as sslmode={mode}")
        elif name == "schema" and value != "public" and re.fullmatch(r"\w+", value):
            kept["options"] = f"{kept.get('options', '')} -c search_path={value}".strip()
        elif name == "host":
            kept["host"] = f"{kept['host']},{value}" if "host" in kept else value
        elif name in _KNOWN:
            kept[name] = f"{value} {kept[name]}" if name == "options" and name in kept else value
        else:
            left_out.append(name)
    return kept, left_out, read_as


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            yield unquote(name), unquote(value)
