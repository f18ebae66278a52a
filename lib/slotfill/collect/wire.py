"""What a tap notes of a call, and what both wires that it reads have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

MOST_PENDING = 1_000
"""Calls on one connection that are not answered yet; beyond, it is no conversation that anybody meant."""


UNREAD = "unread"
"""In a status' place: of a connection that goes unread from here on, which is no call."""
UNREADABLE, TLS = "UNREADABLE", "TLS"
"""In its method's place: why."""

TLS_BEGINS = b"\x16"
"""The type of a handshake's record, which is no letter of any protocol that is read here."""


class Unreadable(ValueError):
    """Bytes that are not what the wire's protocol has; they are still passed on."""


class Encrypted(Unreadable):
    """From here on both sides encrypt what they say: nothing is wrong with it, and nothing of it can be read."""


@dataclass(slots=True)
class Exchange:
    """One call under way. Instants are Unix nanoseconds; no value that it carried is kept."""

    started_ns: int
    method: str = ""
    target: str = ""
    path: str | None = None
    to_database: bool = False
    trace_id: str | None = None
    fingerprint: str | None = None
    first_byte_ns: int | None = None
    status: str | None = None
    failed: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    added_ns: int = 0
    """How long the tap had its bytes before they went on: question and answer, without a delay that was planted."""

    def line(self, ended_ns: int) -> dict[str, Any]:
        """As a tap's file has it: the duration as whoever asked met it, and how much of that the tap added."""
        return {
            "started_at": datetime.fromtimestamp(self.started_ns / 1e9, UTC).isoformat(timespec="microseconds"),
            "duration_ms": _ms(ended_ns - self.started_ns + self.added_ns),
            "added_ms": _ms(self.added_ns),
            "first_byte_ms": None if self.first_byte_ns is None else _ms(self.first_byte_ns - self.started_ns),
            "method": self.method,
            "path": self.path,
            "target": self.target,
            "to_database": self.to_database,
            "status": self.status,
            "failed": self.failed,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "trace_id": self.trace_id,
            "fingerprint": self.fingerprint,
        }


Record = Callable[[Exchange, int], None]
"""Called with a call and the nanosecond at which it ended."""


class Conversation(Protocol):
    """A reader of the copy of both directions of one connection."""

    opaque: bool
    """Whether the rest is passed through unread: TLS, an upgrade, or no protocol that we know."""

    def sent(self, data: bytes, at_ns: int, late_ns: int = 0) -> int:
        """Read what the client sent, and the tap sent on at ``at_ns``, ``late_ns`` after it had arrived.

        Says how many calls began in it. Raises Unreadable.
        """

    def received(self, data: bytes, at_ns: int, late_ns: int = 0) -> None:
        """Read what arrived from the server at ``at_ns``, and went on ``late_ns`` later. Raises Unreadable."""

    def closed(self, at_ns: int, broken: bool = False) -> None:
        """The connection has ended, ``broken`` by a reset; what was under way was cut."""


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)
