"""A platform in the test's own hand: virtual time, a scripted far side of the wire, and its bookings."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from slotfill.drive.jobs import Jobs
from slotfill.drive.state import BookingState, JobState, ReadFailed
from slotfill.drive.watch import Level
from slotfill.params import Settings
from slotfill.plan import Plan, plan

EPOCH = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TABLE = {
    "id": "a1",
    "tableId": "t1",
    "tableNumber": "MD-09",
    "zoneId": "z1",
    "capacity": 8,
    "startAt": None,
    "endAt": None,
}


class VirtualClock:
    """Time that jumps to the next sleeper as soon as nobody has anything left to do."""

    def __init__(self) -> None:
        self._ms = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def ms(self) -> float:
        return self._ms

    def now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._ms)

    async def sleep(self, ms: float) -> None:
        if ms <= 0:
            await asyncio.sleep(0)
            return
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._ms + ms, next(self._order), awake))
        await awake

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.create_task(work)
        while not task.done():
            for _ in range(40):
                await asyncio.sleep(0)
            if self._sleepers and not task.done():
                at, _, awake = heapq.heappop(self._sleepers)
                if not awake.done():
                    self._ms = max(self._ms, at)
                    awake.set_result(None)
            elif not task.done():
                await asyncio.sleep(0.001)
        return task.result()


Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


@dataclass
class FakePlatform:
    """Answers every booking request after ``answer_ms`` with ``status``; later states come from ``script``.

    ``script``: what the booking becomes, as (ms after the request, changes); ``jobs`` likewise for the job.
    """

    clock: VirtualClock
    answer_ms: float = 30.0
    read_ms: float = 2.0
    status: str = "confirmed"
    script: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    jobs: list[tuple[float, JobState]] = field(default_factory=list)
    handler: Handler | None = None
    readable: bool = True
    posts: list[httpx.Request] = field(default_factory=list)
    booked: dict[str, tuple[float, BookingState]] = field(default_factory=dict)
    """By idempotency key: when, and as what."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.posts.append(request)
        if self.handler is not None:
            return await self.handler(request)
        return await self.accept(request)

    async def accept(self, request: httpx.Request) -> httpx.Response:
        """Make the booking."""
        key = request.headers["Idempotency-Key"]
        await self.clock.sleep(self.answer_ms)
        tables = (TABLE,) if self.status == "confirmed" else ()
        booking = BookingState(id=f"b{len(self.booked) + 1}", status=self.status, reference="WH1", assignments=tables)
        self.booked.setdefault(key, (self.clock.ms(), booking))
        booking = self.booked[key][1]
        return httpx.Response(201, json={"booking": {"id": booking.id, "status": booking.status}, "duplicate": False})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.handle))

    async def read(self, booking_id: str) -> BookingState | None:
        await self._look()
        return next((self._now(*entry) for entry in self.booked.values() if entry[1].id == booking_id), None)

    async def find(self, idempotency_key: str) -> BookingState | None:
        await self._look()
        entry = self.booked.get(idempotency_key)
        return self._now(*entry) if entry else None

    async def job(self, booking_id: str) -> JobState | None:
        await self._look()
        made = next(at for at, booking in self.booked.values() if booking.id == booking_id)
        past = [state for after, state in self.jobs if made + after <= self.clock.ms()]
        return past[-1] if past else None

    async def _look(self) -> None:
        await self.clock.sleep(self.read_ms)
        if not self.readable:
            raise ReadFailed("sorry, too many clients already")

    def _now(self, made: float, booking: BookingState) -> BookingState:
        for after, changes in self.script:
            if made + after <= self.clock.ms():
                booking = replace(booking, **changes)
        return booking


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def platform(clock: VirtualClock) -> FakePlatform:
    return FakePlatform(clock)


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    def make(**changes: Any) -> Settings:
        small = {"start": "17:00", "end": "17:00", "stress_max": 3, "concurrency": 1, "seed": 7}
        return Settings.model_validate({**small, **changes})

    return make


@pytest.fixture
def make_level(platform: FakePlatform, clock: VirtualClock) -> Callable[[Settings], Level]:
    def make(settings: Settings) -> Level:
        concurrency = settings.concurrency[0]
        jobs = Jobs("http://platform", platform)
        return Level(f"concurrency-{concurrency}", concurrency, settings, "http://platform", platform, jobs, clock)

    return make


@pytest.fixture
def make_plan() -> Callable[[Settings], Plan]:
    return lambda settings: plan(settings, settings.concurrency[0])
