"""Reading bookings back off the workers' path: many in one question, so that it costs platform and driver little."""

import asyncio

from slotfill.drive.clock import Clock
from slotfill.drive.state import Bookings, BookingState

GATHER_MS = 25.0
"""So long a question waits for others to be asked with it. Nobody's path, so nobody's time."""
MOST_AT_ONCE = 200


class ReadBack:
    """Reads booked attempts' bookings, in batches, one batch at a time."""

    def __init__(self, bookings: Bookings, clock: Clock) -> None:
        self._bookings, self._clock = bookings, clock
        self._wanted: dict[str, asyncio.Future[BookingState | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, booking_id: str) -> BookingState | None:
        """The booking, or ``None`` where the database has none of that id. Raises ReadFailed."""
        if booking_id not in self._wanted:
            self._wanted[booking_id] = asyncio.get_running_loop().create_future()
        answer = self._wanted[booking_id]
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(answer)

    async def _read_all(self) -> None:
        while self._wanted:
            await self._clock.sleep(GATHER_MS)
            ids = list(self._wanted)[:MOST_AT_ONCE]
            batch = {booking_id: self._wanted.pop(booking_id) for booking_id in ids}
            try:
                found = await self._bookings.read_many(ids)
            except Exception as error:  # ReadFailed; whatever else it is, somebody waits for an answer
                for answer in batch.values():
                    answer.set_exception(error)
                    answer.exception()  # seen, even where nobody waits for it any more
            else:
                for booking_id, answer in batch.items():
                    answer.set_result(found.get(booking_id))
                    await asyncio.sleep(0)  # each is completed by itself: an answer of the platform's waits for one
