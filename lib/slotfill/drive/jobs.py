"""Where the background job of a booking stands."""

from uuid import uuid4

import httpx

from slotfill.drive.state import Bookings, JobState, ReadFailed


class Jobs:
    """Asks the platform's job endpoint where there is one, else the database.

    Whether there is one is found out once, by ``detect``.
    """

    def __init__(self, base_url: str, bookings: Bookings) -> None:
        self._base_url = base_url
        self._bookings = bookings
        self.has_endpoint = False

    async def detect(self, client: httpx.AsyncClient) -> None:
        """Ask for the job of a booking that does not exist: an endpoint says so in JSON, a web server in HTML."""
        response = await client.get(self._url(str(uuid4())))
        json_answer = response.headers.get("content-type", "").startswith("application/json")
        self.has_endpoint = response.status_code == 404 and json_answer

    async def read(self, client: httpx.AsyncClient, booking_id: str) -> JobState | None:
        """The job, or ``None`` where there is none (yet). Raises ReadFailed where nobody answers."""
        if not self.has_endpoint:
            return await self._bookings.job(booking_id)
        try:
            response = await client.get(self._url(booking_id))
            if response.status_code == 404:
                return None
            job = response.raise_for_status().json()["job"]
            return JobState(state=str(job["state"]), reason=job.get("reason"))
        except httpx.HTTPError as error:
            raise ReadFailed(f"job endpoint: {type(error).__name__}") from None

    def _url(self, booking_id: str) -> str:
        return f"{self._base_url}/api/bookings/{booking_id}/job"
