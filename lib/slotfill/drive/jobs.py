"""Where the background job of a booking stands."""

from uuid import uuid4

import httpx

from slotfill.drive.answer import LONGEST_STATUS, clean, json_object
from slotfill.drive.client import Client
from slotfill.drive.connection import OversizedAnswer
from slotfill.drive.state import Bookings, JobState, ReadFailed

TIMEOUT_MS = 10_000.0
"""Of one question to the endpoint, which has nothing to do but to look something up."""


class Jobs:
    """Asks the platform's job endpoint where there is one, else the database.

    Whether there is one is found out once, by ``detect``.
    """

    def __init__(self, base_url: str, bookings: Bookings) -> None:
        self._base_url = base_url
        self._bookings = bookings
        self.has_endpoint = False

    async def detect(self, client: Client, timeout_ms: float) -> None:
        """Ask for the job of a booking that does not exist: an endpoint says so in JSON, a web server in HTML.

        Raises httpx.ConnectError where the platform is not there; any other failure is that of no endpoint.
        """
        try:
            received = await client.get(self._url(str(uuid4())), timeout_ms)
        except httpx.ConnectError:
            raise
        except (TimeoutError, httpx.TransportError):
            return
        is_json = received.content_type.startswith("application/json")
        self.has_endpoint = received.status == 404 and is_json

    async def read(self, client: Client, booking_id: str) -> JobState | None:
        """The job, or ``None`` where there is none (yet). Raises ReadFailed where nobody answers, or nonsense."""
        if not self.has_endpoint:
            return await self._bookings.job(booking_id)
        try:
            received = await client.get(self._url(booking_id), TIMEOUT_MS)
        except TimeoutError:
            raise ReadFailed(f"job endpoint: no answer within {TIMEOUT_MS / 1e3:g} s") from None
        except OversizedAnswer as error:
            raise ReadFailed(f"job endpoint: {error}") from None
        except httpx.TransportError as error:
            raise ReadFailed(f"job endpoint: {type(error).__name__}") from None
        if received.status == 404:
            return None
        if received.status != 200:
            raise ReadFailed(f"job endpoint: answers {received.status}")
        job = json_object(received.content).get("job")
        if not isinstance(job, dict) or not isinstance(job.get("state"), str):
            raise ReadFailed(f"job endpoint: an answer that is no job ({received.content_type[:LONGEST_STATUS]})")
        reason = job.get("reason")
        return JobState(job["state"][:LONGEST_STATUS], clean(reason) if isinstance(reason, str) else None)

    def _url(self, booking_id: str) -> str:
        return f"{self._base_url}/api/bookings/{booking_id}/job"
