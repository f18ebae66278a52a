"""When the bytes of one request and its answer moved."""

from typing import Any

from slotfill.drive.clock import Clock
from slotfill.events import format_exact_instant

_OF_HTTPX = {
    "connect_tcp.started": "connecting_ms",
    "connect_tcp.complete": "connected_ms",
    "start_tls.complete": "connected_ms",
    "send_request_headers.started": "sending_ms",
    "send_request_body.complete": "sent_ms",
    "receive_response_headers.complete": "answering_ms",
    "receive_response_body.complete": "answered_ms",
}


class Wire:
    """The stamps of one request, in ms on the level's clock; ``None`` where that did not happen or the transport,
    such as a mock, does not tell.

    Our own transport sets them itself. httpx's, which is used behind a proxy, calls this as its ``trace`` extension.
    """

    __slots__ = (*dict.fromkeys(_OF_HTTPX.values()), "lag_ms", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.connecting_ms: float | None = None
        self.connected_ms: float | None = None
        self.sending_ms: float | None = None
        self.sent_ms: float | None = None
        self.answering_ms: float | None = None
        self.answered_ms: float | None = None
        self.lag_ms: float | None = None
        """How late our own event loop took up the end of the answer."""

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        stamp = _OF_HTTPX.get(event.partition(".")[2])
        if stamp is not None:
            setattr(self, stamp, self._clock.ms())

    @property
    def connect_ms(self) -> float | None:
        """0 over a connection that was open already."""
        if self.connecting_ms is None:
            return None if self.sending_ms is None else 0.0
        return _between(self.connecting_ms, self.connected_ms)

    @property
    def duration_ms(self) -> float | None:
        """From the first move to the last byte of the answer; what our own loop added is not in it."""
        return _between(self.sending_ms if self.connecting_ms is None else self.connecting_ms, self.answered_ms)

    def fields(self) -> dict[str, float | str | None]:
        """As the log has them."""
        return {
            "connectMs": rounded(self.connect_ms),
            # From the connection's end where one was opened, so that the parts add up to the duration.
            "sendMs": rounded(_between(self.connected_ms or self.sending_ms, self.sent_ms)),
            "waitMs": rounded(_between(self.sent_ms, self.answering_ms)),
            "receiveMs": rounded(_between(self.answering_ms, self.answered_ms)),
            "lagMs": rounded(self.lag_ms),
            "sentAt": self._instant(self.sending_ms),
            "answeredAt": self._instant(self.answered_ms),
        }

    def _instant(self, ms: float | None) -> str | None:
        return None if ms is None else format_exact_instant(self._clock.at(ms))


def rounded(ms: float | None) -> float | None:
    """Microseconds are the finest a log line carries."""
    return None if ms is None else round(ms, 3)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
