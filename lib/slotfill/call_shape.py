"""The shape of a call: what may be kept of a URL or a statement, which name guests and their data."""

import hashlib
import re
import secrets
from itertools import pairwise
from urllib.parse import urlsplit

REST = "/rest/v1/"
"""Where Supabase has PostgREST, whose resources are tables and ``rpc/<function>``."""
_LITERALS = re.compile(
    r"""(?xs) --[^\n]* | /\*.*?(?:\*/|\Z)          # comments
    | [eEnNbBxX]?'(?:[^'\\]|''|\\.)*(?:'|\Z)        # 'text', also where it is cut short
    | \$([A-Za-z_]*)\$.*?(?:\$\1\$|\Z)              # $tag$text$tag$
    | (?<![\w$."])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?\b"""
)
_WORD = re.compile(
    r"[A-Za-z_][A-Za-z_.\-]{0,62}|[A-Za-z_][\w.\-]{0,30}|\([\w.\-]{1,60}\)|\[[\w.\-]{1,60}\]|\{\w{1,30}\}"
)
_NAME = re.compile(r"[A-Za-z_]\w{0,62}")
"""What PostgREST has behind ``/rest/v1/``: a table, or behind ``rpc/`` a function."""
_LONG_NUMBER = re.compile(r"\d{3}")
_FILTER_NAME = re.compile(r"[A-Za-z_][\w.\[\]$-]{0,62}")
_KEY = secrets.token_bytes(16)

LONGEST_STATEMENT = 2_000


def without_values(url: str) -> str:
    """``scheme://host/path?name=``: no login, no fragment, no value of a filter, no identifier in the path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "{unreadable}"
    start = f"{parts.scheme}://{host}{port}" if host else ""
    names = _filter_names(parts.query)
    return f"{start}{path_without_values(parts.path)}{'?' if names else ''}{names}"[:LONGEST_STATEMENT]


def path_without_values(path: str) -> str:
    """The path with every part that is not plainly a word as ``{id}``; nothing behind ``?``."""
    parts = path.partition("?")[0].partition("#")[0].split("/")[:20]
    before = ["", *parts]
    return "/".join(
        part if not part or _is_word(part) or (last in ("v1", "rpc") and _NAME.fullmatch(part)) else "{id}"
        for last, part in zip(before, parts, strict=False)
    )


def statement_without_values(statement: str) -> str:
    """SQL on one line, with ``?`` for every literal and without its comments."""
    return " ".join(_LITERALS.sub(_literal, statement[: 4 * LONGEST_STATEMENT]).split())[:LONGEST_STATEMENT]


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


def table_of(statement: str | None) -> str | None:
    """The first table that a statement without values names."""
    words = (statement or "").replace("(", " ( ").replace('"', "").split()
    for word, follower in pairwise(words):
        if word.upper() in ("FROM", "INTO", "UPDATE", "JOIN", "TABLE") and follower[:1].isalpha():
            return follower.rstrip(",;)").rpartition(".")[2].lower()
    return None


def _is_word(part: str) -> bool:
    return _WORD.fullmatch(part) is not None and _LONG_NUMBER.search(part) is None


def _filter_names(query: str) -> str:
    names = (pair.partition("=") for pair in query.split("&")[:50] if pair)
    return "&".join(f"{name}=" if equals and _FILTER_NAME.fullmatch(name) else "{value}" for name, equals, _ in names)


def _literal(match: re.Match[str]) -> str:
    return " " if match.group().startswith(("--", "/*")) else "?"
