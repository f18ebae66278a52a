"""A booking platform as a discrete-event simulation: queues, costs and accidents that are known because they are set.

It shares no code with the analysis it tests. A closed loop of workers takes the slots of a plan in turn and books
in each until it is full. A booking passes client, network, api (worker threads, processor, delay), allocator
(processor, perhaps a single permit) and database (pool, statements, distance, a row lock); or it is left to the
queue and polled for. Whatever computes shares the cores of one machine. All times are milliseconds.
"""

import heapq
from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

UNLIMITED = 10_000
Steps = Generator[simpy.Event, Any, Any]

SESSIONS = (
    ("book", 0.25, False),
    ("quote", 0.2, False),
    ("hold", 0.15, True),
    ("confirm", 0.25, True),
    ("end", 0.15, False),
)
"""The conversations with the database in a booking: name, share of its calls, and whether in a transaction."""
BATCHES = 2
"""Calls of a conversation are simulated in so many batches: what they cost is the same, and events are few."""


@dataclass(frozen=True)
class Planted:
    """What a world is made of. Servers of ``UNLIMITED`` are as good as none that limit."""

    client_ms: float = 1.0
    network_ms: float = 1.0
    api_workers: int = UNLIMITED
    api_cpu_ms: float = 0.6
    api_delay_ms: float = 2.0
    allocator_cpu_ms: float = 0.8
    allocator_permits: int = UNLIMITED
    inline: bool = True
    queue_workers: int = 4
    queue_delay_ms: float = 0.0
    poll_ms: float = 150.0
    pool: int = 10
    connection_limit: int = 100
    calls: int = 14
    distance_ms: float = 0.3
    statement_ms: float = 0.06
    slow_query_ms: float = 0.0
    lock_held_ms: float = 0.0
    lock_shared: bool = False
    """The row lock excludes nobody: what it costs is what holding it costs."""
    cores: int = 2
    hogs: Mapping[int, int] = field(default_factory=dict)
    """Processes of others that compute all the time, by level."""
    stall_ms: float = 0.0
    """Once in each cell (one level of one round) ``stall_at`` stands still for so long."""
    stall_at: str = "lock"
    stall_levels: tuple[int, ...] = ()
    """Where it happens; empty: at all of them."""
    outlier_share: float = 0.0
    outlier_ms: float = 0.0
    outlier_at: str = "database"
    cold_start_ms: float = 0.0
    """On top of the handler of a run's first request; fades by a factor e every ``cold_start_fades`` requests."""
    cold_start_fades: float = 4.0
    cold_start_each_cell: bool = False
    polls_instantly: bool = False
    slots_that_exhaust: float = 0.0
    exhausted_wait_ms: float = 1500.0


@dataclass
class Booking:
    """What one attempt went through."""

    level: int
    round: int
    worker: int
    slot: int
    iteration: int
    party: int
    started: float
    ended: float = 0.0
    answered: float = 0.0
    received: float = 0.0
    responded: float = 0.0
    confirmed: float | None = None
    exhausted: bool = False
    enqueued: float | None = None
    job_started: float | None = None
    job_finished: float | None = None
    polls: int = 0
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Measured wall time by what the server's stopwatch charges it to: api, allocator, database, pool, lock, job_…"""
    own: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What each cost took by itself, without any wait."""
    steps: dict[str, float] = field(default_factory=dict)
    calls: int = 0

    @property
    def total_ms(self) -> float:
        return self.ended - self.started


class Cores:
    """Cores shared fairly by all that compute, hogs among them; one computation uses one core at most.

    Egalitarian processor sharing in virtual time: a computation ends when the virtual clock, which runs at the
    common rate, has gone on by its work.
    """

    def __init__(self, env: simpy.Environment, count: int) -> None:
        self._env, self._count, self.hogs = env, count, 0
        self._virtual, self._since = 0.0, 0.0
        self._running: list[tuple[float, int, simpy.Event]] = []
        self._number = self._version = 0
        self.used: list[tuple[float, str, float]] = []
        """When a computation ended, whose it was, and how long it computed."""
        self.busy: list[tuple[float, float]] = [(0.0, 0.0)]
        """Core milliseconds used by all until an instant."""

    def set_hogs(self, hogs: int) -> None:
        self._advance()
        self.hogs = hogs
        self._wake_next()

    def compute(self, ms: float, process: str) -> Steps:
        if ms <= 0:
            return
        self._advance()
        self._number += 1
        done = self._env.event()
        heapq.heappush(self._running, (self._virtual + ms, self._number, done))
        self._wake_next()
        yield done
        self.used.append((self._env.now, process, ms))

    def _rate(self) -> float:
        wanting = len(self._running) + self.hogs
        return min(1.0, self._count / wanting) if wanting else 1.0

    def _advance(self) -> None:
        elapsed = self._env.now - self._since
        if elapsed > 0:
            used = min(self._count, len(self._running) + self.hogs)
            self.busy.append((self._env.now, self.busy[-1][1] + elapsed * used))
            self._virtual += elapsed * self._rate()
            self._since = self._env.now

    def _wake_next(self) -> None:
        self._version += 1
        if self._running:
            left = max(0.0, self._running[0][0] - self._virtual) / self._rate()
            wake = self._env.timeout(left, self._version)
            wake.callbacks.append(self._wake)

    def _wake(self, event: simpy.Event) -> None:
        if event.value != self._version:
            return
        self._advance()
        # What rounding leaves of the first one's work is done as well.
        until = max(self._virtual, self._running[0][0])
        while self._running and self._running[0][0] <= until + 1e-9:
            heapq.heappop(self._running)[2].succeed()
        self._wake_next()


@dataclass
class Session:
    """A conversation with the database, for the sampler: from when to when in which state."""

    start: float
    end: float
    application: str
    state: str
    wait: str | None
    query: str


class Platform:
    """The machine and what runs on it, for all cells of a run."""

    def __init__(self, env: simpy.Environment, planted: Planted, seed: int) -> None:
        self.env, self.planted, self.seed = env, planted, seed
        self.cores = Cores(env, planted.cores)
        self.handlers = simpy.Resource(env, planted.api_workers)
        self.permit = simpy.Resource(env, planted.allocator_permits)
        connections = min(planted.pool, planted.connection_limit)
        self.pools = {name: simpy.Resource(env, connections) for name in ("web", "worker")}
        self.row = simpy.Resource(env, UNLIMITED if planted.lock_shared else 1)
        self.jobs = simpy.Resource(env, planted.queue_workers)
        self.sessions: list[Session] = []
        self.depth: list[tuple[float, int]] = [(0.0, 0)]
        self.refusals = 0
        self.requests = self.requests_of_cell = 0
        self.stalled_until = -1.0
        self._stall_at = 0

    def begin_cell(self, level: int, attempts: int) -> None:
        self.cores.set_hogs(self.planted.hogs.get(level, 0))
        self.requests_of_cell = 0
        here = not self.planted.stall_levels or level in self.planted.stall_levels
        self._stall_at = attempts // 2 if self.planted.stall_ms and here else 0

    def book(self, booking: Booking, drawn: "Draws") -> Steps:
        """One attempt of a worker, from its first byte sent to the outcome."""
        env, planted = self.env, self.planted
        self.requests += 1
        self.requests_of_cell += 1
        if self.requests_of_cell == self._stall_at:
            self.stalled_until = env.now + planted.stall_ms
        way = planted.network_ms * drawn.next()
        booking.own["network"] = way
        hit = drawn.outlier if planted.outlier_ms else ""
        if hit == "network":
            booking.own["outlier"] = planted.outlier_ms
        yield env.timeout(way / 2 + (planted.outlier_ms if hit == "network" else 0.0))
        booking.received = env.now
        job = yield from self._handle(booking, drawn)
        booking.responded = env.now
        yield env.timeout(way / 2)
        booking.answered = env.now
        if booking.exhausted:
            yield env.timeout(planted.exhausted_wait_ms * drawn.next())
        elif job is not None:
            yield from self._poll(booking, job)
        after = planted.client_ms * drawn.next()
        booking.own["client"] = after
        yield env.timeout(after)
        booking.ended = env.now

    def _handle(self, booking: Booking, drawn: "Draws") -> Generator[simpy.Event, Any, simpy.Event | None]:
        """The request inside the server; the job it leaves the booking to, if it does."""
        env, planted, job = self.env, self.planted, None
        with self.handlers.request() as turn:
            yield turn
            yield from self._stall("api")
            yield from self._compute("api_cpu", planted.api_cpu_ms * drawn.next(), "web", booking)
            counted = self.requests_of_cell if planted.cold_start_each_cell else self.requests
            cold = planted.cold_start_ms * float(np.exp(-(counted - 1) / planted.cold_start_fades))
            delay = planted.api_delay_ms * drawn.next()
            booking.own["api_delay"], booking.own["cold_start"] = delay, cold
            yield env.timeout(delay + cold + self._outlier("api", booking, drawn))
            at = env.now
            booking.spent["api"] += at - booking.received
            yield from self._converse("book", booking, drawn)
            if planted.inline or booking.exhausted:
                yield from self._allocate(booking, drawn, "web")
                booking.confirmed = None if booking.exhausted else env.now
            else:
                booking.enqueued = env.now
                job = env.process(self._job(booking, drawn))
            yield from self._converse("end", booking, drawn)
        return job

    def _allocate(self, booking: Booking, drawn: "Draws", process: str) -> Steps:
        env, planted, prefix = self.env, self.planted, "job_" if process == "worker" else ""
        began = env.now
        with self.permit.request() as turn:
            yield turn
            yield from self._stall("allocator")
            booking.spent[f"{prefix}allocator"] += env.now - began
            quoting = env.now
            yield from self._converse("quote", booking, drawn, process, slow=planted.slow_query_ms * drawn.next())
            since = env.now
            yield from self._compute("allocator_cpu", planted.allocator_cpu_ms * drawn.next(), process, booking)
            booking.spent[f"{prefix}allocator"] += env.now - since
            if not booking.exhausted:
                yield from self._converse("hold", booking, drawn, process)
            booking.steps["quote"], confirming = env.now - quoting, env.now
            if not booking.exhausted:
                yield from self._converse("confirm", booking, drawn, process, locks=planted.lock_held_ms > 0)
                booking.steps["confirm"] = env.now - confirming

    def _converse(
        self, name: str, booking: Booking, drawn: "Draws", process: str = "web", slow: float = 0.0, locks: bool = False
    ) -> Steps:
        """A conversation on one connection; in a transaction its session stands open while the caller is far away."""
        env, planted, prefix = self.env, self.planted, "job_" if process == "worker" else ""
        (_, share, transaction), began = next(each for each in SESSIONS if each[0] == name), env.now
        if planted.pool > planted.connection_limit and self.pools[process].count >= planted.connection_limit:
            self.refusals += 1
        with self.pools[process].request() as connection:
            yield connection
            booking.spent[f"{prefix}pool"] += env.now - began
            calls = max(1, round(planted.calls * share))
            booking.calls += calls
            for batch in range(BATCHES):
                far = planted.distance_ms * calls / BATCHES * drawn.next()
                if far:
                    booking.own["distance"] += far
                    yield from self._seen(process, "idle in transaction" if transaction else "idle", far, "select")
                if batch == 0 and name == "confirm":
                    if locks:
                        yield from self._lock(booking, drawn, process, prefix)
                    yield from self._stall("lock", process, booking, prefix)
                if batch == 0:
                    yield from self._stall("database", process)
                    extra = slow + (self._outlier("database", booking, drawn) if name == "quote" else 0.0)
                    if extra:
                        booking.own["slow_query"] += slow
                        yield from self._seen(process, "active", extra, "with slow as (select pg_sleep", "Timeout")
                if batch == BATCHES - 1 and locks:
                    held = planted.lock_held_ms * drawn.next()
                    booking.own["lock_held"] += held
                    yield from self._seen(process, "active", held, "select pg_sleep", "Timeout")
                work, since = planted.statement_ms * calls / BATCHES * drawn.next(), env.now
                yield from self._compute("statement_cpu", work, "postgres", booking)
                self.sessions.append(Session(since, env.now, process, "active", None, "select"))
            if locks:
                self.row.release(booking.steps.pop("lock"))  # type: ignore[arg-type]
        booking.spent[f"{prefix}database"] += env.now - began

    def _lock(self, booking: Booking, drawn: "Draws", process: str, prefix: str) -> Steps:
        wanted, since = self.row.request(), self.env.now
        yield wanted
        self._waited(process, since, booking, prefix)
        booking.steps["lock"] = wanted  # type: ignore[assignment]

    def _waited(self, process: str, since: float, booking: Booking, prefix: str) -> None:
        booking.spent[f"{prefix}lock"] += self.env.now - since
        if self.env.now > since:
            self.sessions.append(Session(since, self.env.now, process, "active", "Lock", "select id from restaurants"))

    def _job(self, booking: Booking, drawn: "Draws") -> Steps:
        env, planted = self.env, self.planted
        self.depth.append((env.now, self.depth[-1][1] + 1))
        late = planted.queue_delay_ms * drawn.next()
        booking.own["queue_delay"] = late
        yield env.timeout(late)
        with self.jobs.request() as turn:
            yield turn
            booking.job_started = env.now
            self.depth.append((env.now, self.depth[-1][1] - 1))
            yield from self._allocate(booking, drawn, "worker")
            booking.job_finished = booking.confirmed = env.now

    def _poll(self, booking: Booking, confirmed: simpy.Event) -> Steps:
        if self.planted.polls_instantly:
            yield confirmed
        while not self.planted.polls_instantly and (booking.confirmed is None or booking.polls == 0):
            yield self.env.timeout(self.planted.poll_ms)
            booking.polls += 1

    def _compute(self, cost: str, ms: float, process: str, booking: Booking) -> Steps:
        booking.own[cost] += ms
        yield from self.cores.compute(ms, process)

    def _seen(self, process: str, state: str, ms: float, query: str, wait: str | None = None) -> Steps:
        since = self.env.now
        yield self.env.timeout(ms)
        if state != "idle":  # the sampler leaves idle sessions out
            self.sessions.append(Session(since, self.env.now, process, state, wait, query))

    def _outlier(self, where: str, booking: Booking, drawn: "Draws") -> float:
        if drawn.outlier != where or not self.planted.outlier_ms:
            return 0.0
        booking.own["outlier"] += self.planted.outlier_ms
        return self.planted.outlier_ms

    def _stall(self, where: str, process: str = "web", booking: Booking | None = None, prefix: str = "") -> Steps:
        since = self.env.now
        if where == self.planted.stall_at and since < self.stalled_until:
            yield self.env.timeout(self.stalled_until - since)
            if where == "lock" and booking is not None:
                self._waited(process, since, booking, prefix)
            elif where == "database":
                self.sessions.append(Session(since, self.env.now, process, "active", "IO", "select"))


class Draws:
    """How much longer or shorter than its mean each step of one attempt takes.

    The same attempt draws the same in every world of a seed, so that worlds differ by what is planted only.
    """

    def __init__(self, seed: int, planted: Planted, round: int, slot: int, iteration: int, effect: float) -> None:
        rng = np.random.default_rng([seed, round, slot, iteration])
        self._steps = iter((effect * rng.lognormal(-0.03, 0.25, 40)).tolist())
        self.outlier = planted.outlier_at if rng.random() < planted.outlier_share else ""

    def next(self) -> float:
        return float(next(self._steps))


@dataclass(frozen=True)
class Grid:
    """The plan: how many slots and bookings a slot, at which levels, in how many rounds."""

    levels: tuple[int, ...] = (1, 4, 8)
    rounds: int = 1
    slots: int = 12
    per_slot: int = 7
    slot_effect: float = 0.06
    """By how much slots differ (standard deviation of the logarithm)."""
    drift: float = 0.02
    """By how much rounds differ."""
    plan_seed: int | None = None
    """Of the parties and of what slots differ by; runs of one plan are another draw of all else."""


@dataclass
class Run:
    """What a simulated run left: bookings, sessions and processor time, with the time of each cell."""

    bookings: list[Booking]
    cells: list[tuple[int, int, float, float]]
    """Level, round, begin and end."""
    platform: Platform


def simulate(planted: Planted, grid: Grid, seed: int) -> Run:
    """Drive every level in every round, in an order that differs from round to round."""
    env = simpy.Environment()
    platform = Platform(env, planted, seed)
    run = Run([], [], platform)
    env.process(_drive(env, platform, planted, grid, seed, run))
    env.run()
    return run


def _drive(env: simpy.Environment, platform: Platform, planted: Planted, grid: Grid, seed: int, run: Run) -> Steps:
    for round in range(1, grid.rounds + 1):
        rng = np.random.default_rng([seed if grid.plan_seed is None else grid.plan_seed, 7, round])
        drift = np.random.default_rng([seed, 8, round]).lognormal(0, grid.drift)
        effects = drift * rng.lognormal(0, grid.slot_effect, grid.slots)
        parties = rng.integers(1, 13, grid.slots)
        full = rng.random(grid.slots) < planted.slots_that_exhaust
        turn = (round - 1) % len(grid.levels)
        for level in (*grid.levels[turn:], *grid.levels[:turn]):
            begin = env.now
            platform.begin_cell(level, grid.slots * grid.per_slot)
            waiting = list(range(grid.slots))
            workers = [
                env.process(
                    _worker(
                        env, platform, planted, grid, seed, round, level, number, waiting, effects, parties, full, run
                    )
                )
                for number in range(min(level, grid.slots))
            ]
            yield env.all_of(workers)
            run.cells.append((level, round, begin, env.now))
            yield env.timeout(500.0)


def _worker(
    env: simpy.Environment, platform: Platform, planted: Planted, grid: Grid, seed: int, round: int, level: int,
    number: int, waiting: list[int], effects: Any, parties: Any, full: Any, run: Run,
) -> Steps:  # fmt: skip
    yield env.timeout(3.0 * number)
    while waiting:
        slot = waiting.pop(0)
        bookings = grid.per_slot - 2 if full[slot] else grid.per_slot
        for iteration in range(1, bookings + 1 + bool(full[slot])):
            booking = Booking(level, round, number, slot, iteration, int(parties[slot]), env.now)
            booking.exhausted = iteration > bookings
            run.bookings.append(booking)
            yield from platform.book(booking, Draws(seed, planted, round, slot, iteration, float(effects[slot])))
