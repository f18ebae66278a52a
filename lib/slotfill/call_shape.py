"""The shape of a call: what may be kept of a URL or a span's name, which name guests and their data."""

import hashlib
import re
import secrets
from itertools import takewhile
from urllib.parse import urlsplit

from slotfill.statement_shape import LONGEST_STATEMENT, SQL_WORDS, statement_without_values, table_of

REST = "/rest/v1/"
"""Where Supabase has PostgREST, whose resources are tables and ``rpc/<function>``."""
_WORD = re.compile(
    r"""(?xa) [A-Za-z_][A-Za-z_.\-]{0,62} | [A-Za-z_][\w.\-]{0,30}
    | \([\w.\-]{1,60}\) | \[[\w.\-]{1,60}\] | \{\w{1,30}\}"""
)
_NAME = re.compile(r"(?a)[A-Za-z_]\w{0,62}")
"""What PostgREST has behind ``/rest/v1/``: a table, or behind ``rpc/`` a function."""
_FILTER_NAME = re.compile(r"(?a)[A-Za-z_][\w.\[\]$-]{0,62}")
_PROPER_NAME = re.compile(r"[A-Za-z]+(?:[-_.][A-Z][a-z]+)+")
_LONG_NUMBER = re.compile(r"\d{3}")
_HUMP = re.compile(r"[a-z][A-Z]")
_LONGEST_WITH_DIGIT = 12
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "HTTP", "fetch"))
_SINGLE_NAME = re.compile(r"(?a)[A-Za-z_][\w.:$-]{0,80}|\{\w{1,30}\}")
_STATEMENT_NAME = re.compile(r"(?a)[\w.-]{1,30}:([A-Z]{2,20})")
_TABLE_NAME = re.compile(r"(?a)[A-Za-z_][\w.$]{0,100}")

_KEY = secrets.token_bytes(16)


def without_values(url: str) -> str:
    """``scheme://host/path?name=``: no login, no fragment, no value of a filter, no identifier in the path."""
    try:
        parts = urlsplit(url)
        host = (parts.scheme and parts.hostname) or ""
        host = f"[{host}]" if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "{unreadable}"
    start = f"{parts.scheme}://{host}{port}" if host else ""
    path = parts.path if host else re.sub("^//+", "/", parts.path)  # two would begin a host
    names = _filter_names(parts.query)
    return f"{start}{path_without_values(path)}{'?' if names else ''}{names}"[:LONGEST_STATEMENT]


def path_without_values(path: str) -> str:
    """The path with every part that is not plainly a word as ``{id}``; nothing behind ``?``."""
    parts = path.partition("?")[0].partition("#")[0].split("/")[:20]
    return "/".join(
        part if not part or _is_word(part) or (_is_rest(parts[:place]) and _NAME.fullmatch(part)) else "{id}"
        for place, part in enumerate(parts)
    )


def name_without_values(name: str, of_next: bool = False) -> str:
    """A span's name, as far as it is one of the known shapes; ``{name}`` for words that may be anything.

    The shapes are one word, ``METHOD /path``, ``fetch METHOD url`` and a statement, of which the first word and the
    table stay. Next.js' own names (``of_next``) are fixed words and paths.
    """
    words = re.split(r"[?#]", name[:LONGEST_STATEMENT], maxsplit=1)[0].split()
    if not words:
        return ""
    if of_next:
        told = (_place(word) if "/" in word else word if _is_word(word) else "{name}" for word in words)
        return " ".join(filter(None, told))
    asked = list(takewhile(_METHODS.__contains__, words))
    if asked:
        place = words[len(asked)] if len(words) > len(asked) else ""
        return " ".join((*asked, _place(place) if "/" in place or place[:1] == "{" else "")).rstrip()
    if words[0] in SQL_WORDS:
        is_short = len(words) == 2 and _TABLE_NAME.fullmatch(words[1])
        table = words[1] if is_short else table_of(statement_without_values(name, None))
        return f"{words[0]} {table}" if table else words[0]
    if len(words) == 1:
        return _place(words[0]) if "/" in words[0] else _single(words[0])
    statement = _STATEMENT_NAME.fullmatch(words[0])
    return words[0] if statement and statement[1] in SQL_WORDS else "{name}"


def fingerprint(*asked: str | bytes) -> str:
    """Equal for equal questions while this process lives, and of no use afterwards."""
    digest = hashlib.blake2b(key=_KEY, digest_size=8)
    for part in asked:
        raw = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def target_of(path: str) -> str:
    """The table or ``rpc/<function>`` of a Supabase REST path; another path as it is."""
    return path.partition(REST)[2].strip("/") or path or "/"


def _is_word(part: str) -> bool:
    has_digit = any(map(str.isdigit, part))
    return (
        _WORD.fullmatch(part) is not None
        and not _is_code(part)
        and not _PROPER_NAME.fullmatch(part)
        and not (has_digit and len(part) > _LONGEST_WITH_DIGIT and part[0].isalpha())
    )


def _is_code(part: str) -> bool:
    """Whether it looks drawn by lot: a long number, digits among capitals, or a change of case every few letters."""
    has_digit = any(map(str.isdigit, part))
    return (
        _LONG_NUMBER.search(part) is not None
        or (has_digit and part != part.lower() and part[0] not in "([{")
        or (len(part) > 7 and 4 * len(_HUMP.findall(part)) > len(part))
    )


def _is_rest(before: list[str]) -> bool:
    return before[-2:] == ["rest", "v1"] or before[-3:] == ["rest", "v1", "rpc"]


def _place(text: str) -> str:
    return without_values(text) if "://" in text else path_without_values(text)


def _single(word: str) -> str:
    return word if _SINGLE_NAME.fullmatch(word) and not _is_code(word) else "{name}"


def _filter_names(query: str) -> str:
    names = (pair.partition("=") for pair in query.split("&")[:50] if pair)
    return "&".join(f"{name}=" if equals and _is_filter(name) else "{value}" for name, equals, _ in names)


def _is_filter(name: str) -> bool:
    return _FILTER_NAME.fullmatch(name) is not None and not _is_code(name)
