"""Two worlds to drive: a platform in the test's own hand, in virtual time, and the real embedded one."""

import asyncio
import heapq
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from slotfill import events
from slotfill.database import connect
from slotfill.database.guard import Target
from slotfill.database.reset import reset
from slotfill.database.seed import seed_intelligent
from slotfill.drive.client import Client
from slotfill.drive.driver import run_level
from slotfill.drive.jobs import Jobs
from slotfill.drive.state import BookingState, JobState, ReadFailed
from slotfill.drive.target import LAYOUT, Platform, open_platform
from slotfill.drive.watch import LevelContext, Order
from slotfill.events import Event
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


def booking_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


class VirtualClock:
    """Time that jumps to the next sleeper as soon as nobody has anything left to do."""

    def __init__(self) -> None:
        self._ms = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def ms(self) -> float:
        return self._ms

    def at(self, ms: float) -> datetime:
        return EPOCH + timedelta(milliseconds=ms)

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
            await asyncio.sleep(0)
            while asyncio.get_running_loop()._ready:  # others have something left to do
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
        booking = BookingState(
            id=booking_id(len(self.booked) + 1), status=self.status, reference="WH1", assignments=tables
        )
        self.booked.setdefault(key, (self.clock.ms(), booking))
        booking = self.booked[key][1]
        return httpx.Response(201, json={"booking": {"id": booking.id, "status": booking.status}, "duplicate": False})

    def client(self) -> Client:
        return Client(httpx.MockTransport(self.handle))

    async def read(self, booking_id: str) -> BookingState | None:
        await self._look()
        return next((self._now(*entry) for entry in self.booked.values() if entry[1].id == booking_id), None)

    async def read_many(self, booking_ids: Sequence[str]) -> dict[str, BookingState]:
        await self._look()
        return {
            booking.id: self._now(made, booking) for made, booking in self.booked.values() if booking.id in booking_ids
        }

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
def make_level(platform: FakePlatform, clock: VirtualClock) -> Callable[[Settings], LevelContext]:
    def make(settings: Settings) -> LevelContext:
        concurrency = settings.concurrency[0]
        jobs = Jobs("http://platform", platform)
        level = LevelContext(
            f"concurrency-{concurrency}", concurrency, 1, settings, "http://platform", platform, jobs, clock
        )
        level.found.set()
        return level

    return make


@pytest.fixture
def make_plan() -> Callable[[Settings], Plan]:
    return lambda settings: plan(settings, settings.concurrency[0])


@pytest.fixture
def first_order(
    make_settings: Callable[..., Settings],
    make_level: Callable[[Settings], LevelContext],
    make_plan: Callable[[Settings], Plan],
) -> Callable[..., tuple[LevelContext, Order]]:
    """A level with some settings, and the first attempt of its plan."""

    def make(**given: Any) -> tuple[LevelContext, Order]:
        settings = make_settings(**given)
        slot = make_plan(settings).slots[0]
        return make_level(settings), Order(slot, slot.attempts[0], worker=1)

    return make


SMALL = {
    "start": "16:00",
    "end": "17:15",
    "stress_max": 3,
    "concurrency": [4],
    "seed": 11,
    # Parties of which the venue seats far more than 18 at once, whatever the day: no slot runs out of tables.
    "min_party_size": 3,
    "max_party_size": 4,
}
SMALL_BUT_SLOW = {**SMALL, "faults": {"api_delay_ms": 120}, "submit_timeout_ms": 5_000, "timeout_ms": 15_000}
"""Each booking takes long enough to be stopped in the middle, and no crash is waited out for long."""

# Runs a level as the command line does, in a process that can be interrupted or killed; says when it progresses.
PARENT = """
import json, sys
from pathlib import Path
from slotfill import params
from slotfill.drive.driver import run_level
from slotfill.drive.target import open_platform
from slotfill.errors import SlotfillError
from slotfill.plan import plan
settings = params.validate(json.loads(sys.argv[1]), "test")
try:
    with open_platform(settings, Path(sys.argv[2])) as platform:
        run_level(plan(settings, 4), settings, platform, Path(sys.argv[3]), lambda line: print(line, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
except SlotfillError as error:
    sys.exit(error.exit_code)
"""


class World:
    """A running platform, a level's folder, and what both say."""

    def __init__(self, platform: Platform, settings: Settings, home: Path, folder: Path) -> None:
        self.platform, self.settings, self.home, self.folder = platform, settings, home, folder
        folder.mkdir(parents=True)
        self.plan: Plan = plan(settings, 4)
        self.reports: list[dict[str, Any]] = []

    def put_venue(self) -> None:
        """The baseline venue with its guests and history, and no booking of a load."""
        engine, target = connect.engine(self.platform.database_url), Target("embedded", LAYOUT)
        reset(engine, self.settings.restaurant_slug, target=target)
        seed_intelligent(engine, self.settings.seed, self.settings.restaurant_slug, target=target)
        engine.dispose()

    def drive(self, on_progress: Callable[[dict[str, Any]], None] | None = None, **changes: Any) -> None:
        settings = Settings.model_validate({**self.settings.model_dump(), **changes})
        run_level(self.plan, settings, self.platform, self.folder, on_progress or self.note)

    def note(self, line: dict[str, Any]) -> None:
        if "outcome" in line:
            self.reports.append(line)

    def lines(self) -> list[Event]:
        texts = [text for file in sorted(self.folder.glob("*.log")) for text in file.read_text().splitlines()]
        parsed = [events.parse_event(text) for text in texts]
        return [line for line in parsed if line]

    def summaries(self) -> list[dict[str, Any]]:
        """The last summary of each attempt: what was settled later replaces what was aborted."""
        last = {line.fields["correlationId"]: line.fields for line in self.lines() if line.phase == "final_summary"}
        return list(last.values())

    def ends(self) -> Counter[str]:
        ends = {line.fields["slot"]: line.fields["state"] for line in self.lines() if line.message == "Slot finished"}
        return Counter(ends.values())

    def sql(self, query: str) -> list[Any]:
        engine = connect.engine(self.platform.database_url)
        try:
            with connect.reading(engine) as connection:
                return list(connection.execute(sa.text(query)).all())
        finally:
            engine.dispose()

    def booked(self) -> dict[str, tuple[str, int]]:
        """The bookings of this load by idempotency key: status, and how many there are of the key."""
        keys = {attempt.idempotency_key for slot in self.plan.slots for attempt in slot.attempts}
        rows = self.sql(
            "SELECT idempotency_key, max(status::text), count(*) FROM bookings WHERE source = 'api' GROUP BY 1"
        )
        return {key: (status, count) for key, status, count in rows if key in keys}

    def check_books(self) -> None:
        """Every planned attempt ended once, and log and database agree on each."""
        summaries, booked = self.summaries(), self.booked()
        assert self.ends() == {"filled": len(self.plan.slots)}
        planned = {attempt.idempotency_key for slot in self.plan.slots for attempt in slot.attempts}
        assert {summary["idempotencyKey"] for summary in summaries} == planned == booked.keys()
        assert len(summaries) == len(planned)
        assert all(status == "confirmed" and count == 1 for status, count in booked.values())
        assert self.overlaps() == []

    def overlaps(self) -> list[Any]:
        """Tables given to two bookings at the same time."""
        return self.sql(
            "SELECT 1 FROM booking_table_assignments a JOIN booking_table_assignments b ON a.table_id = b.table_id"
            " AND a.id < b.id AND tstzrange(a.start_at, a.end_at) && tstzrange(b.start_at, b.end_at)"
        )

    def start_parent(self, progress: int = 3, **changes: Any) -> "subprocess.Popen[str]":
        """The level in a process of its own; it has said as many lines, or ended before."""
        settings = self.settings.model_copy(update=changes)
        command = [sys.executable, "-c", PARENT, settings.model_dump_json(), str(self.home), str(self.folder)]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        for _ in range(progress):
            parent.stdout.readline()
        return parent

    def drivers(self, process: psutil.Process | None = None) -> list[psutil.Process]:
        """The driver processes that a process (this one) started, and that run."""
        found = []
        for child in (process or psutil.Process()).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "slotfill.drive" in child.cmdline():
                    found.append(child)
        return found


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def shared(homes: Path) -> Iterator[Platform]:
    """One platform for the whole module; each test finds its venue as new."""
    with open_platform(Settings.model_validate(SMALL_BUT_SLOW), homes / "shared") as platform:
        yield platform


@pytest.fixture
def level(shared: Platform, homes: Path, tmp_path: Path) -> World:
    """A level to drive on the shared platform."""
    world = World(shared, Settings.model_validate(SMALL_BUT_SLOW), homes / "shared", tmp_path / "run" / "concurrency-4")
    world.put_venue()
    return world


@pytest.fixture
def own_level(homes: Path, tmp_path: Path) -> World:
    """A level on a platform of its own, which has ended again and keeps its venue."""
    settings = Settings.model_validate(SMALL_BUT_SLOW)
    with open_platform(settings, homes / "own") as platform:
        world = World(platform, settings, homes / "own", tmp_path / "run" / "concurrency-4")
        world.put_venue()
    return world
