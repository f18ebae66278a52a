"""The measured request: one POST, made ready before the clock starts and timed where its bytes leave and arrive."""

from typing import Any

import httpx
import msgspec

from slotfill import events
from slotfill.drive.answer import Answer, read_answer
from slotfill.drive.client import HEADERS, Client, traceparent
from slotfill.drive.clock import Clock
from slotfill.drive.connection import OversizedAnswer
from slotfill.drive.wire import Wire
from slotfill.params import Settings
from slotfill.plan import PlannedAttempt, SlotPlan

_HEADERS = [(name.encode(), value.encode()) for name, value in (HEADERS | {"Content-Type": "application/json"}).items()]


def prepare(
    slot: SlotPlan, attempt: PlannedAttempt, settings: Settings, url: httpx.URL, trace_id: str
) -> httpx.Request:
    """The booking request of a planned attempt."""
    body = msgspec.json.encode(_body(slot, attempt, settings))
    # As httpx would have made it of a dict and the content, in a seventh of the time.
    headers = [
        (b"Host", url.netloc),
        *_HEADERS,
        (b"Idempotency-Key", attempt.idempotency_key.encode()),
        (b"X-Booking-Flow-Correlation", attempt.correlation_id.encode()),
        (b"traceparent", traceparent(trace_id).encode()),
        (b"Content-Length", b"%d" % len(body)),
    ]
    return httpx.Request("POST", url, headers=headers, stream=httpx.ByteStream(body))


async def submit(request: httpx.Request, timeout_ms: float, client: Client, wire: Wire, clock: Clock) -> Answer:
    """Send a booking request, once, and say what came of it; ``timeout_ms`` bounds the whole of it.

    The duration is that between the bytes where the transport tells, else that of the call.
    """
    started = clock.ms()
    try:
        received = await client.send(request, timeout_ms, wire)
    except (TimeoutError, httpx.TimeoutException) as error:
        text, sent = events.REQUEST_TIMED_OUT, _sent(wire, not isinstance(error, httpx.ConnectTimeout))
        return Answer("api_timeout", clock.ms() - started, message=text, reason=text, sent=sent)
    except OversizedAnswer as error:
        return Answer("api_error", clock.ms() - started, message=f"{events.FETCH_FAILED}: {error}", reason=str(error))
    except httpx.TransportError as error:
        text, sent = events.FETCH_FAILED, _sent(wire, not isinstance(error, httpx.ConnectError))
        reason = f"{text} ({type(error).__name__})"
        return Answer("api_unreachable", clock.ms() - started, message=text, reason=reason, sent=sent)
    duration_ms = wire.duration_ms
    return read_answer(received, clock.ms() - started if duration_ms is None else duration_ms, clock.now())


def mask_email(email: str) -> str:
    """As the platform masks it: ``bo***f@example.com``."""
    local, at, domain = email.partition("@")
    return f"{local[:2]}***{local[-1:]}{at}{domain}"


def mask_phone(phone: str) -> str:
    """As the platform masks it: ``********4415``."""
    return f"********{phone[-4:]}"


def _sent(wire: Wire, otherwise: bool) -> bool:
    """Whether the request can have reached the platform: by its stamps, where the transport sets them."""
    return wire.sending_ms is not None or (wire.connecting_ms is None and otherwise)


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
