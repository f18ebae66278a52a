"""The measured request: one POST, timed where the bytes leave and arrive, and what came of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from slotfill import events
from slotfill.drive.clock import Clock
from slotfill.masking import mask
from slotfill.params import Settings
from slotfill.plan import PlannedAttempt, SlotPlan

USER_AGENT = "slotfill-booking-flow"
DEFAULT_RETRY_AFTER_MS = 1_000.0
LONGEST_REASON = 300


@dataclass
class Wire:
    """When the request's bytes moved, as the transport tells it (httpx's ``trace`` extension).

    All ``None`` where the transport does not tell, as in a mock. A connection that was already open
    took 0 ms to connect.
    """

    clock: Clock
    _at: dict[str, float] = field(default_factory=dict)

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        self._at[event.partition(".")[2]] = self.clock.ms()

    @property
    def connect_ms(self) -> float | None:
        secured = self._between("connect_tcp.started", "start_tls.complete")
        opened = self._between("connect_tcp.started", "connect_tcp.complete")
        reused = 0.0 if "send_request_headers.started" in self._at else None
        return next((ms for ms in (secured, opened, reused) if ms is not None), None)

    @property
    def send_ms(self) -> float | None:
        return self._between("send_request_headers.started", "send_request_body.complete")

    @property
    def wait_ms(self) -> float | None:
        return self._between("send_request_body.complete", "receive_response_headers.complete")

    @property
    def receive_ms(self) -> float | None:
        return self._between("receive_response_headers.complete", "receive_response_body.complete")

    def fields(self) -> dict[str, float | None]:
        """As the log has them."""
        split = {"connectMs": self.connect_ms, "sendMs": self.send_ms, "waitMs": self.wait_ms}
        return {name: rounded(ms) for name, ms in {**split, "receiveMs": self.receive_ms}.items()}

    def _between(self, first: str, last: str) -> float | None:
        start, end = self._at.get(first), self._at.get(last)
        return None if start is None or end is None else end - start


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the request. ``outcome`` is ``None`` where the platform made (or had) a booking."""

    outcome: str | None
    duration_ms: float
    message: str = ""
    """The platform's own text for the failure."""
    http_status: int | None = None
    reason: str | None = None
    booking: dict[str, Any] = field(default_factory=dict)
    duplicate: bool = False
    retry_after_ms: float | None = None
    sent: bool = True
    """False where no connection was made, so that nothing can have been booked."""

    @property
    def lost(self) -> bool:
        """Whether there may be a booking all the same, of which the answer did not tell."""
        return self.sent and self.outcome in ("api_timeout", "api_unreachable", "api_error")

    @property
    def server_may_go_on(self) -> bool:
        """Whether the request can still be running; 502 to 504 are the words of a gateway in front of the server."""
        return self.http_status is None or self.http_status in (502, 503, 504)


async def submit(
    slot: SlotPlan, attempt: PlannedAttempt, settings: Settings, url: str, client: httpx.AsyncClient, wire: Wire
) -> Answer:
    """Send one booking request, once. ``settings.submit_timeout_ms`` bounds the whole of it."""
    clock = wire.clock
    started = clock.ms()
    try:
        async with asyncio.timeout(settings.submit_timeout_ms / 1e3):
            response = await client.post(
                url,
                json=_body(slot, attempt, settings),
                headers={
                    "Idempotency-Key": attempt.idempotency_key,
                    "X-Booking-Flow-Correlation": attempt.correlation_id,
                    "User-Agent": USER_AGENT,
                },
                extensions={"trace": wire},
            )
    except (TimeoutError, httpx.TimeoutException) as error:
        text, sent = events.REQUEST_TIMED_OUT, not isinstance(error, httpx.ConnectTimeout)
        return Answer("api_timeout", clock.ms() - started, message=text, reason=text, sent=sent)
    except httpx.TransportError as error:
        text, sent = events.FETCH_FAILED, not isinstance(error, httpx.ConnectError)
        reason = f"{text} ({type(error).__name__})"
        return Answer("api_unreachable", clock.ms() - started, message=text, reason=reason, sent=sent)
    return _answer(response, clock.ms() - started)


def rounded(ms: float | None) -> float | None:
    """Microseconds are the finest a log line carries."""
    return None if ms is None else round(ms, 3)


def mask_email(email: str) -> str:
    """As the platform masks it: ``bo***f@example.com``."""
    local, at, domain = email.partition("@")
    return f"{local[:2]}***{local[-1:]}{at}{domain}"


def mask_phone(phone: str) -> str:
    """As the platform masks it: ``********4415``."""
    return f"********{phone[-4:]}"


def _body(slot: SlotPlan, attempt: PlannedAttempt, settings: Settings) -> dict[str, Any]:
    return {
        "restaurantSlug": settings.restaurant_slug,
        "date": slot.date,
        "time": slot.time,
        "party": slot.party_size,
        "bookingType": slot.booking_type,
        "seating": settings.seating,
        "notes": None,
        "name": attempt.name,
        "email": attempt.email,
        "phone": attempt.phone,
        "marketingOptIn": False,
    }


def _answer(response: httpx.Response, duration_ms: float) -> Answer:
    status, content = response.status_code, _content(response)
    booking = content.get("booking")
    if status in (200, 201) and isinstance(booking, dict) and booking.get("id"):
        duplicate = bool(content.get("duplicate"))
        return Answer(None, duration_ms, http_status=status, booking=booking, duplicate=duplicate)
    reason = _reason(response, content)
    outcome = {429: "rate_limited"}.get(status) or ("api_rejected" if 400 <= status < 500 else "api_error")
    return Answer(
        outcome,
        duration_ms,
        message=events.request_failed(status, reason),
        http_status=status,
        reason=reason,
        retry_after_ms=_retry_after_ms(response, content) if status == 429 else None,
    )


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _reason(response: httpx.Response, content: dict[str, Any]) -> str:
    """The platform's error and code. Never the details, and the error masked: both can repeat what the guest typed."""
    if "error" not in content:
        return f"an answer that is no booking ({response.headers.get('content-type', 'no content type')})"
    code = content.get("code")
    return mask(f"{content['error']}{f' [{code}]' if code else ''}")[:LONGEST_REASON]


def _retry_after_ms(response: httpx.Response, content: dict[str, Any]) -> float:
    for seconds in (response.headers.get("Retry-After"), content.get("retryAfter")):
        try:
            return float(seconds) * 1e3  # type: ignore[arg-type]  # None is caught like any other nonsense
        except (TypeError, ValueError):
            continue
    return DEFAULT_RETRY_AFTER_MS
