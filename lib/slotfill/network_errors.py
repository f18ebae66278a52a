"""Why something on the network does not answer, in words that a person can act on."""

import os
import re
import socket
import ssl
from collections.abc import Iterator

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
    (r"Connection refused|No such file or directory", "refuses connections; is the server running there?"),
    (r"time(d )?out|no answer within", "did not answer in time"),
)


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
