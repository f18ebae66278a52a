"""What taps of the parameters will find at their borders: the server behind each, and whether it encrypts."""

import socket
import struct
from urllib.parse import urlsplit

from slotfill.address import Address, address_text, parse_listen, parse_upstream
from slotfill.call import WEB
from slotfill.check_result import OK, WARN, CheckResult, Sights, failure
from slotfill.collect.listeners import require_listenable
from slotfill.collect.postgres_wire import SSL_REQUEST
from slotfill.drive.target import Platform
from slotfill.errors import BadInput
from slotfill.network_errors import describe_error
from slotfill.params import Settings

TIMEOUT_S = 10
_ASKS = struct.pack(">II", 8, SSL_REQUEST)
"""What a client of Postgres asks before anything else where it would encrypt; the answer is S or N."""


def tap_sights(platform: Platform, settings: Settings) -> Sights:
    """One line a tap that has an upstream of its own, or is in front of the platform."""
    try:
        require_listenable(settings)
    except BadInput as error:
        yield failure("taps", error)
        return
    for name, tap in settings.taps.items():
        if tap.upstream is not None:
            told = name == WEB  # by us, who know its port
            yield _behind(f"tap {name}", *parse_upstream(tap.upstream), None if told else parse_listen(tap.listen))
        elif name == WEB and urlsplit(platform.base_url).scheme == "https":
            text = f"cannot read {platform.base_url}; name the platform's own http address as taps.web.upstream"
            yield CheckResult(f"tap {name}", WARN, text)


def _behind(subject: str, protocol: str, upstream: Address, listen: Address | None) -> CheckResult:
    """``listen``: where the platform has to be sent to, if it has."""
    place = f"{protocol} at {address_text(upstream)}"
    try:
        encrypts = _encrypts(protocol, upstream)
    except OSError as error:
        return CheckResult(subject, WARN, f"{place} {describe_error(error)}")
    told = [place]
    if listen is not None:
        told.append(f"a run listens at {address_text(listen)}; send the platform there")
    if listen is not None and not listen[1]:
        told[-1] = f"set taps.{subject.removeprefix('tap ')}.listen to a port that the platform can be sent to"
    if encrypts:
        told.append("with sslmode=disable: this server encrypts unless it is told not to, and that cannot be read")
    return CheckResult(subject, WARN if encrypts or (listen and not listen[1]) else OK, "; ".join(told))


def _encrypts(protocol: str, upstream: Address) -> bool:
    """Whether a Postgres encrypts for a client that asks. Raises OSError where nothing answers."""
    with socket.create_connection(upstream, TIMEOUT_S) as connection:
        if protocol != "postgresql":
            return False
        connection.sendall(_ASKS)
        return connection.recv(1) == b"S"
