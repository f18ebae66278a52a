"""What passed a tap unread, in words, and what to do so that it is read."""

from collections.abc import Mapping
from typing import Any

_WITHOUT_ENCRYPTION = {
    "postgresql": "sslmode=disable in the URL by which the platform reaches the tap",
    "http": "http:// in the URL by which the platform reaches the tap",
}
_PROTOCOL = {"postgresql": "Postgres", "http": "HTTP/1.1"}


def unread(counts: Mapping[str, Any]) -> str:
    """A clause on a tap's connections, by its counts (``heard.taps`` of level.json); empty where it read them all."""
    protocol = str(counts.get("protocol", ""))
    connections, encrypted = int(counts.get("connections", 0)), int(counts.get("encrypted", 0))
    other = int(counts.get("unreadable", 0)) - encrypted
    if "connections" in counts and not connections:
        return "no connection came to it: the platform does not go by its address"
    told = []
    if encrypted:
        seen = f"{encrypted} of {connections} connections are encrypted, and no call on them was seen"
        if not counts.get("calls"):
            seen = "it saw only encrypted connections, and no call on them"
        told.append(f"{seen} ({_WITHOUT_ENCRYPTION.get(protocol, 'no TLS on the way to the tap')} has them read)")
    if other > 0:
        told.append(f"{other} of {connections} connections hold what is no {_PROTOCOL.get(protocol, 'known protocol')}")
    return "; ".join(told)
