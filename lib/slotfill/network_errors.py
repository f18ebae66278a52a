"""Why something on the network does not answer, or cannot even be asked, in words that a person can act on."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from slotfill.errors import BadInput

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# Of what the libraries below httpx and psycopg say, whichever of them says it. First match wins.
_CAUSES = (
    (r"certificate (has |is )?expired", "presents an expired certificate"),
    (
        r"self.signed certificate|unable to get (local )?issuer|unable to verify the first certificate",
        "presents a certificate that no trusted authority signed",
    ),
    (
        r"server certificate for .* does not match|certificate is not valid for",
        "presents a certificate for another host",
    ),
    (
        r"certificate verify failed|SSL error: .*certificate",
        "presents a certificate that is expired or that no trusted authority signed",
    ),
    (
        r"could not translate host name|failed to resolve host|Name or service not known|nodename nor servname|"
        r"Temporary failure in name resolution|No address associated with hostname|getaddrinfo",
        "has a host name that does not resolve; check its URL and the network",
    ),
    (
        r"Connection refused|Errno (111|61|10061)\] Connect call failed|No such file or directory",
        "refuses connections; is the server running there?",
    ),
    (r"time(d )?out|no answer within", "did not answer in time"),
)


def require_usable_environment() -> None:
    """Raise BadInput where no client can be made of the environment's proxies and certificates; it names the variable.

    What the variable holds is not repeated: a proxy's login may be in it.
    """
    for names, usable, what in (
        (_PROXIES, _is_proxy, "Slotfill goes through http:// and https:// proxies only"),
        (_NO_PROXY, _is_host_list, "an entry is no host; IPv6 addresses stand there without brackets and masks"),
        (_TRUST, os.path.exists, "no such file or folder of certificates"),
    ):
        for name in names:
            value = os.environ.get(name, "")
            if value and not usable(value):
                raise BadInput(f"the environment's {name} cannot be used: {what}; unset or correct it")
    try:
        httpx.Client().close()
    except Exception:  # whatever the libraries below it say to a value that they did not expect
        given = [name for name in (*_PROXIES, *_NO_PROXY, *_TRUST) if os.environ.get(name)]
        raise BadInput(f"the environment's {' or '.join(given)} cannot be used; unset or correct it") from None


def _is_proxy(value: str) -> bool:
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        _ = url.port  # read, because only that finds a port that is no number
        httpx.Client(proxy=url.geturl(), trust_env=False).close()
    except Exception:
        return False
    return bool(url.hostname)


def _is_host_list(value: str) -> bool:
    # Each is a pattern of a mount in httpx, where one that it cannot read takes the whole client away.
    hosts = [host.strip() for host in value.split(",") if "://" not in host]
    try:
        for host in hosts:
            address = host.partition("/")[0]
            _ = ip_address(address) if ":" in address and "/" not in host else httpx.URL(f"all://{host}")
    except (ValueError, httpx.InvalidURL):
        return False
    return True


def network_cause(text: str) -> str | None:
    """What a library's message means, as the end of a sentence about the server; ``None`` where it is another cause."""
    return next((meaning for pattern, meaning in _CAUSES if re.search(pattern, text, re.IGNORECASE)), None)


def describe_error(error: Exception) -> str:
    """Why a server did not answer, as the end of a sentence about it, with the words of the error at the bottom."""
    texts = list(_texts(error))
    return f"{network_cause(' '.join(texts)) or 'does not answer'} ({texts[-1]})"


def _texts(error: BaseException) -> Iterator[str]:
    """What an error and those that caused it say; httpx and anyio tell the cause only by these."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        yield os.strerror(error.errno)  # asyncio's own words for it are the same whatever the number
    else:
        yield " ".join(str(error).split()) or type(error).__name__
    behind = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__ or error.__context__]
    for each in behind:
        if each is not None:
            yield from _texts(each)
