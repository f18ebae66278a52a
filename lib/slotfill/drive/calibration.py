"""What the driver itself adds to a measurement, and how much load it could make: measured before every level.

The level's own code drives a server that does nothing (``noop``), with as many workers: first one that takes a known
time, whose own figure is taken off what we measure; then one that answers at once.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from pydantic import ConfigDict, Field

from slotfill.drive.booking import BookingAttempt
from slotfill.drive.client import Client
from slotfill.drive.jobs import Jobs
from slotfill.drive.noop import SERVER_MS
from slotfill.drive.state import BookingState, JobState
from slotfill.drive.summary import Result
from slotfill.drive.watch import LevelContext, Order
from slotfill.events import encode_event
from slotfill.files import Shape
from slotfill.plan import Plan

ANSWER_MS = 20
"""What a request of the first part takes, so that workers are seldom in each other's way."""
PART_MS = 350.0
STARTUP_S = 60
MOST_USED = 0.5
"""Of what the driver could do; a level that needs more measures the driver too."""
_TABLE = {"id": None, "tableId": None, "tableNumber": "X", "zoneId": None, "capacity": 4}


class KeptCalibration(Shape):
    """``calibration.json``: a ``Calibration`` and nothing else."""

    model_config = ConfigDict(extra="forbid")

    workers: int
    requests: int
    added_p50_ms: float
    added_p99_ms: float
    attempts_per_s: float = Field(gt=0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the driver adds to the time of a request (ms, percentiles) and the whole attempts a second it could make."""

    workers: int
    requests: int
    added_p50_ms: float
    added_p99_ms: float
    attempts_per_s: float

    def text(self) -> str:
        added = f"{self.added_p50_ms:.2f} ms to a request (p99 {self.added_p99_ms:.2f} ms)"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"measuring adds {added}; {workers} could make {self.attempts_per_s:.0f} attempts a second"

    def warning(self, attempts_per_s: float) -> str | None:
        """What to say of a level that made so many attempts a second."""
        used = attempts_per_s / self.attempts_per_s
        if used <= MOST_USED:
            return None
        return f"the level needed {used:.0%} of what this driver can do: its times hold the driver's own"


async def calibrate(plan: Plan, level: LevelContext, open_client: Callable[[], Client]) -> Calibration | None:
    """Drive the server that does nothing as the level will be driven; ``None`` where it cannot be started."""
    workers = plan.effective_concurrency
    async with _noop() as port, AsyncExitStack() as clients:
        if port is None:
            return None
        crew = [await clients.enter_async_context(open_client()) for _ in range(workers)]
        slow = await _drive(plan, _pretended(level, f"http://127.0.0.1:{port}/{ANSWER_MS}"), crew)
        began_ms = level.clock.ms()
        fast = await _drive(plan, _pretended(level, f"http://127.0.0.1:{port}/0"), crew)
        took_ms = level.clock.ms() - began_ms
    added = sorted(slow)
    if not added or not fast:
        return None
    p50, p99 = (added[min(len(added) - 1, int(share * len(added)))] for share in (0.5, 0.99))
    return Calibration(workers, len(added), round(p50, 4), round(p99, 4), round(len(fast) / took_ms * 1e3, 1))


async def _drive(plan: Plan, level: LevelContext, crew: Sequence[Client]) -> list[float]:
    """What each request took beyond the server's own figure, in ms."""
    until_ms, added, completing = level.clock.ms() + PART_MS, list[float](), list[asyncio.Task[Result]]()

    async def work(number: int, client: Client) -> None:
        slot = plan.slots[number % len(plan.slots)]
        order = Order(slot, slot.attempts[0], number)
        await level.clock.sleep(number * ANSWER_MS / len(crew))
        while True:
            attempt = BookingAttempt(order, level, client, encode_event)
            if await attempt.decide() is not None:
                return  # it is no answer of that server's
            completing.append(asyncio.create_task(attempt.complete()))
            answer = attempt.record.answer
            if answer is not None:
                added.append(answer.duration_ms - answer.booking[SERVER_MS])
            if level.clock.ms() >= until_ms:
                return

    await asyncio.gather(*(work(number, client) for number, client in enumerate(crew)))
    await asyncio.gather(*completing)
    return added


def _pretended(level: LevelContext, base_url: str) -> LevelContext:
    bookings = _Confirmed()
    # What is found there says nothing of the level's own database.
    return replace(level, base_url=base_url, bookings=bookings, jobs=Jobs(base_url, bookings), found=asyncio.Event())


class _Confirmed:
    """A database that has every booking, at no cost."""

    async def read(self, booking_id: str) -> BookingState | None:
        return BookingState(booking_id, "confirmed", assignments=(_TABLE,))

    async def read_many(self, booking_ids: Sequence[str]) -> dict[str, BookingState]:
        return {each: BookingState(each, "confirmed", assignments=(_TABLE,)) for each in booking_ids}

    async def find(self, idempotency_key: str) -> BookingState | None:
        return None

    async def job(self, booking_id: str) -> JobState | None:
        return None


@asynccontextmanager
async def _noop() -> AsyncIterator[int | None]:
    """The port of a server that does nothing, running for as long as the block; ``None`` where it does not start."""
    command = [sys.executable, "-P", "-m", "slotfill.drive.noop"]
    server = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        async with asyncio.timeout(STARTUP_S):
            line = await server.stdout.readline()
        yield int(line) if line else None
    except TimeoutError:
        yield None
    finally:
        server.stdin.close()
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()
