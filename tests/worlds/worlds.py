"""Simulated worlds with a known truth, as frames that the analysis takes.

``make_world(seed, kind)`` draws one. Its truth comes from taking one resource away at a time, at the highest level:
a queue gets as many servers as it likes, a cost becomes zero, and what an attempt then takes less is what that
resource is worth. A cost is worth no more than its own time: what it makes others wait is the queue's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from simulation import UNLIMITED, Booking, Grid, Planted, Run, simulate

from slotfill import attempt
from slotfill.analyse.study import SAMPLE_COLUMNS, Study, of_reading
from slotfill.database import samples as sampling
from slotfill.read import Reading
from slotfill.read.kept import read_kept_calls, read_kept_spans
from slotfill.read.server_log import ErrorLine, server_frame

Kind = Literal["mixture", "misleading"]
SATURATION, CONSTANT = "saturation", "constant_cost"
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
SAMPLE_MS, PROCESS_MS = 100.0, 500.0
FEWEST_SAMPLES = 20
CLOSE = 0.85
"""Resources worth this share of the most valuable one are as good an answer."""
RATHER_EQUAL = 0.7
SMALL = 0.1
"""A cost of this share of an attempt is not worth a simulation to see what it is worth."""
ANY = "*"


@dataclass(frozen=True)
class Answer:
    """A verdict that is right: hop, mechanisms and kinds it may name (``*``: any), and what taking it away saves."""

    hop: str
    mechanisms: tuple[str, ...]
    kinds: tuple[str, ...]
    saves_ms: float

    def holds(self, hop: str, mechanism: str, kind: str) -> bool:
        return (
            self.hop in (hop, ANY)
            and ANY in (*self.mechanisms, ANY if mechanism in self.mechanisms else "")
            and (kind in self.kinds)
        )


@dataclass(frozen=True)
class Truth:
    """What is right to say of a world. ``answers`` are sorted by what they save; the first is the truth itself."""

    answers: tuple[Answer, ...]
    total_ms: Mapping[int, float]
    """The mean of a confirmed attempt, by level."""

    @property
    def hop(self) -> str:
        return self.answers[0].hop

    @property
    def mechanism(self) -> str:
        return self.answers[0].mechanisms[0]

    @property
    def kind(self) -> str:
        return self.answers[0].kinds[0]

    def is_met_by(self, hop: str, mechanism: str, kind: str) -> bool:
        return any(answer.holds(hop, mechanism, kind) for answer in self.answers)


@dataclass(frozen=True)
class World:
    """One simulated run as the reader and the sampler hand it over, with what is right to say of it.

    ``samples`` has one frame a label. ``name`` says which sort of world it is.
    """

    name: str
    planted: Planted
    grid: Grid
    attempts: pd.DataFrame
    server: pd.DataFrame
    samples: dict[str, pd.DataFrame]
    truth: Truth
    error_lines: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ErrorLine._fields))


def make_world(seed: int, kind: Kind, rounds: int | None = None, truth: bool = True) -> World:
    """The world of a seed: a random ``mixture`` of costs and queues, or one chosen to be ``misleading``.

    ``rounds`` is 3 where attempts tell their round, else 1; finding the ``truth`` takes most of the time.
    """
    rng = np.random.default_rng([seed, kind == "misleading"])
    rounds = rounds or (3 if "round_number" in attempt.COLUMNS else 1)
    if kind == "mixture":
        name, planted, grid = "mixture", _mixture(rng), Grid(rounds=rounds)
    else:
        name = sorted(MISLEADING)[seed % len(MISLEADING)]
        planted, levels = MISLEADING[name](rng)
        grid = Grid(rounds=rounds, levels=levels)
    profile, sampled = (bool(rng.random() < share) for share in ((0.85, 0.85) if kind == "mixture" else (1.0, 1.0)))
    return build(name, planted, grid, seed, profile, sampled, truth)


def build(
    name: str, planted: Planted, grid: Grid, seed: int, profile: bool = True, sampled: bool = True, truth: bool = True
) -> World:
    """A world of what is planted; ``profile`` and ``sampled`` say what of it the server and the sampler tell."""
    run = simulate(planted, grid, seed)
    return World(
        name,
        planted,
        grid,
        attempts=_attempts(run),
        server=_server(run, profile),
        samples=_samples(run, planted) if sampled else {},
        truth=Truth(find_truth(planted, grid, seed) if truth else (), _totals(run)),
        error_lines=_error_lines(run),
    )


def study_of(world: World) -> Study:
    """What the analysis makes of a world, as of a run whose logs are gone."""
    nowhere = pd.DataFrame(columns=["file", "line", "slot", "booking_date", "party_size", "reason"])
    gaps = pd.DataFrame(columns=["file", "lines", "first_line", "what"])
    reading = Reading(world.attempts, world.server, nowhere, world.error_lines, gaps, files=())
    samples = [rows.assign(label=name) for name, rows in world.samples.items()]
    return of_reading(
        f"world {world.name}",
        reading,
        pd.concat(samples, ignore_index=True) if samples else pd.DataFrame(columns=SAMPLE_COLUMNS),
        record={"host": {"cpus": world.planted.cores}},
        integrity={},
        proof={},
        spans=read_kept_spans([]),
        taps=read_kept_calls([]),
    )


# --- what is planted -------------------------------------------------------------------------------------------------


def _mixture(rng: np.random.Generator) -> Planted:
    """Some base costs, and one to three things on top, each of a random size."""
    base = Planted(
        client_ms=float(rng.uniform(0.5, 3)),
        network_ms=float(rng.uniform(0.4, 6)),
        api_delay_ms=float(rng.uniform(1, 8)),
        calls=int(rng.integers(10, 30)),
        distance_ms=float(rng.uniform(0.05, 0.6)),
        slots_that_exhaust=float(rng.choice([0.0, 0.0, 0.4])),
    )
    extras = list(PLANTABLE)
    for number in rng.choice(len(extras), size=int(rng.integers(1, 4)), replace=False):
        base = replace(base, **extras[int(number)](rng))
    # A pool that is smaller than the server's limit never meets it.
    return replace(base, connection_limit=100) if base.pool <= base.connection_limit else base


def _ms(rng: np.random.Generator, low: float, high: float) -> float:
    """A size between two, small ones as likely as large ones."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


PLANTABLE: tuple[Callable[[np.random.Generator], dict[str, Any]], ...] = (
    lambda rng: {"client_ms": _ms(rng, 10, 120)},
    lambda rng: {"network_ms": _ms(rng, 10, 150)},
    lambda rng: {"api_delay_ms": _ms(rng, 10, 200)},
    lambda rng: {"api_cpu_ms": _ms(rng, 5, 80)},
    lambda rng: {"api_workers": int(rng.integers(1, 5)), "api_delay_ms": _ms(rng, 10, 80)},
    lambda rng: {"allocator_cpu_ms": _ms(rng, 5, 80)},
    lambda rng: {"allocator_permits": 1, "distance_ms": _ms(rng, 0.5, 5)},
    lambda rng: {"calls": int(rng.integers(20, 70)), "distance_ms": _ms(rng, 0.5, 12)},
    lambda rng: {"slow_query_ms": _ms(rng, 10, 200)},
    lambda rng: {"lock_held_ms": _ms(rng, 5, 80)},
    lambda rng: {"pool": int(rng.integers(1, 4)), "distance_ms": _ms(rng, 0.5, 6)},
    lambda rng: {"connection_limit": int(rng.integers(2, 5)), "distance_ms": _ms(rng, 1, 6)},
    lambda rng: {"inline": False, "queue_delay_ms": _ms(rng, 100, 1000)},
    lambda rng: {"inline": False, "queue_workers": int(rng.integers(1, 3)), "slow_query_ms": _ms(rng, 40, 300)},
)

ALL = (1, 4, 8)
MISLEADING: dict[str, Callable[[np.random.Generator], tuple[Planted, tuple[int, ...]]]] = {
    "cpu in the smaller hop": lambda rng: (
        Planted(api_delay_ms=_ms(rng, 60, 160), allocator_cpu_ms=_ms(rng, 40, 80)), ALL),
    "workers around a lock": lambda rng: (
        Planted(api_workers=int(rng.integers(2, 5)), lock_held_ms=_ms(rng, 30, 60)), ALL),
    "pool around a lock": lambda rng: (
        Planted(pool=int(rng.integers(2, 5)), lock_held_ms=_ms(rng, 30, 60)), ALL),
    "pool beside a busy processor": lambda rng: (
        Planted(pool=3, allocator_cpu_ms=_ms(rng, 8, 30), distance_ms=_ms(rng, 0.3, 1)), ALL),
    "permit around a pool": lambda rng: (
        Planted(allocator_permits=1, pool=1, distance_ms=_ms(rng, 0.5, 3)), ALL),
    "permit around computing": lambda rng: (
        Planted(allocator_permits=1, allocator_cpu_ms=_ms(rng, 20, 60)), ALL),
    "one worker that computes": lambda rng: (
        Planted(api_workers=1, api_cpu_ms=_ms(rng, 50, 120)), ALL),
    "one stall a level": lambda rng: (
        Planted(stall_ms=_ms(rng, 500, 4000), stall_at=str(rng.choice(["lock", "api", "database"])), **_plain(rng)), ALL),
    "a stall at the highest level": lambda rng: (
        Planted(stall_ms=_ms(rng, 500, 4000), stall_at=str(rng.choice(["lock", "api"])), stall_levels=(8,), **_plain(rng)), ALL),
    "outliers": lambda rng: (
        Planted(outlier_share=0.025, outlier_ms=2000, outlier_at=str(rng.choice(["api", "database"])), **_plain(rng)), ALL),
    "network outliers": lambda rng: (
        Planted(outlier_share=0.05, outlier_ms=2000, outlier_at="network", **_plain(rng)), ALL),
    "hogs at one level": lambda rng: (
        Planted(hogs={int(rng.choice([1, 4, 8])): 4}, api_cpu_ms=_ms(rng, 4, 12), allocator_cpu_ms=_ms(rng, 4, 12), **_plain(rng)), ALL),
    "a cold start that fades": lambda rng: (
        Planted(cold_start_ms=_ms(rng, 500, 4000), cold_start_each_cell=bool(rng.random() < 0.5), **_plain(rng)), ALL),
    "one level only": lambda rng: (replace(_mixture(rng), slots_that_exhaust=0.0), (int(rng.choice([1, 4, 8])),)),
    "slots that run out": lambda rng: (replace(_mixture(rng), slots_that_exhaust=0.8), ALL),
}  # fmt: skip
"""Each breaks a rule of thumb: the larger hop, the outer queue, the mean, the lowest level, the level's number."""


def _plain(rng: np.random.Generator) -> dict[str, Any]:
    """One cost that is the same at every load."""
    return [
        {"calls": 40, "distance_ms": _ms(rng, 0.5, 4)},
        {"slow_query_ms": _ms(rng, 20, 120)},
        {"api_delay_ms": _ms(rng, 20, 120)},
    ][int(rng.integers(3))]


# --- the truth -------------------------------------------------------------------------------------------------------


def find_truth(planted: Planted, grid: Grid, seed: int) -> tuple[Answer, ...]:
    """What taking one resource away at a time, at the highest level, says: the most valuable, and those close to it."""
    steady = replace(planted, stall_ms=0.0, cold_start_ms=0.0)
    top = replace(grid, levels=(grid.levels[-1],), rounds=1, drift=0.0)
    run = simulate(steady, top, seed)
    now = _mean(run)
    answers = sorted(_worth(steady, top, seed, run, now), key=lambda each: -each.saves_ms)
    right = tuple(each for each in answers if each.saves_ms >= CLOSE * answers[0].saves_ms)
    if any("poll_interval" in each.mechanisms for each in right):
        # The client polls because the booking is late: what makes it late is as good an answer.
        right += tuple(each for each in answers if each.hop == "queue" and each not in right)[:1]
    if planted.cold_start_ms:
        right += (Answer("api", ("cold_start", "warm_up"), (CONSTANT,), 0.0),)
    if len(grid.levels) == 1:
        right = tuple(replace(each, kinds=("unknown",)) for each in right)
    return right


def _worth(planted: Planted, grid: Grid, seed: int, run: Run, now: float) -> Iterator[Answer]:
    """What each resource is worth, in ms of a mean confirmed attempt."""

    def without(**change: Any) -> float:
        return now - _mean(simulate(replace(planted, **change), grid, seed))

    def own(cost: str) -> float:
        return float(np.mean([booking.own[cost] for booking in run.bookings if not booking.exhausted]))

    def of_cost(hop: str, mechanism: str | tuple[str, ...], cost: str, **zero: Any) -> Answer:
        named = (mechanism,) if isinstance(mechanism, str) else mechanism
        saves = min(without(**zero), own(cost)) if own(cost) >= SMALL * now else own(cost)
        return Answer(hop, named, (CONSTANT,), saves)

    def of_queue(hop: str, mechanism: str, **unlimited: Any) -> Answer:
        return Answer(hop, (mechanism,), (SATURATION,), without(**unlimited))

    yield of_cost("client", ("client", "unknown"), "client", client_ms=0.0)
    yield of_cost("network", "network", "network", network_ms=0.0)
    yield of_cost("api", "api_delay", "api_delay", api_delay_ms=0.0)
    # A slow statement and a lock that is held for long are both told by the statement that is found running.
    yield of_cost("database", "slow_query", "slow_query", slow_query_ms=0.0)
    yield of_cost("database", "round_trips", "distance", distance_ms=0.0)
    if planted.api_workers < UNLIMITED:
        yield of_queue("api", "api_workers", api_workers=UNLIMITED)
    if planted.allocator_permits < UNLIMITED:
        yield of_queue("allocator", "serialised_allocator", allocator_permits=UNLIMITED)
    limited = "pool_wait" if planted.pool <= planted.connection_limit else "connection_limit"
    if min(planted.pool, planted.connection_limit) < grid.levels[-1]:
        yield of_queue("database", limited, pool=UNLIMITED, connection_limit=UNLIMITED)
    if planted.lock_held_ms:
        yield _waiting_and_own("database", ("lock_wait",), without(lock_shared=True), own("lock_held"))
    if not planted.inline:
        yield of_cost("queue", "queue_delay", "queue_delay", queue_delay_ms=0.0)
        yield of_queue("queue", "starved_queue", queue_workers=UNLIMITED)
        yield Answer("client", ("poll_interval",), (CONSTANT,), without(polls_instantly=True))
    if planted.outlier_ms:
        yield Answer(planted.outlier_at, (ANY,), (CONSTANT,), own("outlier"))
    hogs = planted.hogs.get(grid.levels[-1], 0)
    if hogs:
        yield Answer(ANY, ("cpu", "cpu_hog", "host_cpu"), (CONSTANT, SATURATION), without(hogs={}))
    yield from _computing(own, without(cores=UNLIMITED, hogs={}) if not hogs else 0.0)


def _computing(own: Callable[[str], float], shared_ms: float) -> Iterator[Answer]:
    """Processor time, by the hop that computes: its own, and for those that compute most the waiting for a core."""
    hops = {"api": own("api_cpu"), "allocator": own("allocator_cpu"), "database": own("statement_cpu")}
    most = max(hops.values())
    for hop, ms in hops.items():
        waits = shared_ms if ms >= RATHER_EQUAL * most else 0.0
        names = ("cpu", "round_trips") if hop == "database" and waits < ms else ("cpu",)
        yield _waiting_and_own(hop, names, waits, ms)


def _waiting_and_own(hop: str, mechanisms: tuple[str, ...], waits_ms: float, own_ms: float) -> Answer:
    """A cost with its own queue: saturation where at least half of it is waiting; near a half, either."""
    together = max(waits_ms, 0.0) + own_ms
    share = max(waits_ms, 0.0) / together if together else 0.0
    kinds = (SATURATION, CONSTANT) if share >= 0.5 else (CONSTANT, SATURATION)
    return Answer(hop, mechanisms, kinds if 0.4 <= share <= 0.6 else kinds[:1], together)


def _mean(run: Run) -> float:
    return float(np.mean([booking.total_ms for booking in run.bookings if not booking.exhausted]))


def _totals(run: Run) -> dict[int, float]:
    done = pd.DataFrame([(each.level, each.total_ms) for each in run.bookings if not each.exhausted])
    return {int(level): float(mean) for level, mean in done.groupby(0)[1].mean().items()}


# --- the frames ------------------------------------------------------------------------------------------------------


def _at(ms: float) -> datetime:
    return START + timedelta(milliseconds=ms)


def label(level: int) -> str:
    return f"concurrency-{level}"


def _key(booking: Booking) -> str:
    return f"{booking.level}-{booking.round}-{booking.slot}-{booking.iteration}"


def _attempts(run: Run) -> pd.DataFrame:
    rows = [_attempt(number, booking) for number, booking in enumerate(run.bookings)]
    return attempt.frame(rows)


def _attempt(number: int, booking: Booking) -> attempt.Attempt:
    submit, network = booking.answered - booking.started, booking.own["network"]
    polled = booking.enqueued is not None and not booking.exhausted
    outcome = "exhausted" if booking.exhausted else "confirmed_inline_poll" if polled else "confirmed_inline_api"
    rounded = {"round_number": booking.round} if "round_number" in attempt.COLUMNS else {}
    return attempt.Attempt(
        label=label(booking.level),
        concurrency=booking.level,
        correlation_id=_key(booking),
        booking_id=_key(booking),
        outcome=outcome,
        file=f"{label(booking.level)}/round-{booking.round}/slot-fill-{booking.slot}.log",
        first_line=number * 4 + 1,
        last_line=number * 4 + 4,
        slot=f"{16 + booking.slot // 4:02d}:{booking.slot % 4 * 15:02d}",
        booking_date="2026-12-15",
        iteration=booking.iteration,
        party_size=booking.party,
        worker=booking.worker,
        started_at=_at(booking.started),
        submitted_at=_at(booking.started),
        ended_at=_at(booking.ended),
        confirmed_at=None if booking.exhausted else _at(booking.confirmed or booking.answered),
        submit_ms=submit,
        connect_ms=0.0,
        send_ms=network / 4,
        wait_ms=submit - network / 2,
        receive_ms=network / 4,
        inline_polls=booking.polls,
        inline_ms=booking.ended - booking.answered if polled or booking.exhausted else 0.0,
        total_ms=booking.total_ms,
        tables_assigned=None if booking.exhausted else 1,
        total_capacity=None if booking.exhausted else booking.party + booking.party % 2,
        seat_waste=None if booking.exhausted else booking.party % 2,
        background_invoked=False,
        initial_status="pending" if polled or booking.exhausted else "confirmed",
        reason="No tables available for requested window" if booking.exhausted else None,
        **rounded,
    )


def _server(run: Run, profile: bool) -> pd.DataFrame:
    """What ``read.server_log`` makes of the server's log, with or without the profile of its own times."""
    empty = server_frame([])
    rows = [_server_row(number, booking, profile) for number, booking in enumerate(run.bookings)]
    return pd.DataFrame(rows).reindex(columns=list(empty.columns)).astype(empty.dtypes.to_dict())


def _server_row(number: int, booking: Booking, profile: bool) -> dict[str, Any]:
    spent, handler = booking.spent, booking.responded - booking.received
    row: dict[str, Any] = {
        "booking_id": _key(booking),
        "file": f"{label(booking.level)}/round-{booking.round}/server.log",
        "first_line": number * 9 + 1,
        "handler_ms": handler,
    }
    inline = booking.enqueued is None
    if inline:
        row |= {"quote_ms": booking.steps.get("quote"), "confirm_ms": booking.steps.get("confirm")}
    if booking.job_finished is not None:
        row |= {"job_attempts": 1, "job_result": "succeeded"}
    if not profile:
        return row
    row |= {
        "profile_handler_ms": handler,
        "profile_api_ms": spent["api"],
        "profile_allocator_ms": spent["allocator"],
        "profile_database_ms": spent["database"],
        "profile_pool_wait_ms": spent["pool"],
        "profile_lock_wait_ms": spent["lock"],
        "profile_database_calls": booking.calls,
        "profile_received_at": _at(booking.received),
        "profile_responded_at": _at(booking.responded),
        "profile_inline_continues": False,
        "profile_line": number * 9 + 5,
    }
    if booking.job_finished is not None:
        row |= {
            "job_enqueued_at": _at(booking.enqueued or 0.0),
            "job_started_at": _at(booking.job_started or 0.0),
            "job_finished_at": _at(booking.job_finished),
            "job_allocator_ms": spent["job_allocator"],
            "job_database_ms": spent["job_database"],
            "job_pool_wait_ms": spent["job_pool"],
            "job_database_calls": 0,
            "job_line": number * 9 + 7,
        }
    return row


def _error_lines(run: Run) -> pd.DataFrame:
    refused = run.platform.refusals
    rows = [("server.log", 1, "too_many_clients", "FATAL: sorry, too many clients already", refused)] if refused else []
    return pd.DataFrame(rows, columns=["file", "line", "kind", "text", "times"])


def _samples(run: Run, planted: Planted) -> dict[str, pd.DataFrame]:
    """One frame a label, its rounds one after another, as ``database.samples`` writes them."""
    rows: dict[str, list[dict[str, Any]]] = {}
    sessions = sorted(run.platform.sessions, key=lambda each: each.start)
    starts = np.array([each.start for each in sessions])
    longest = max((each.end - each.start for each in sessions), default=0.0)
    cpu = _Counters(run)
    for level, _, begin, end in run.cells:
        here = rows.setdefault(label(level), [])
        # The real sampler takes one every 100 ms; so short a cell is looked at more often, or it would not be seen.
        every = min(SAMPLE_MS, (end - begin) / FEWEST_SAMPLES)
        for at in np.arange(begin, end, every).tolist():
            first, last = np.searchsorted(starts, [at - longest, at], side="right")
            seen = [each for each in sessions[first:last] if each.end > at]
            here += [_session_row(at, pid, each) for pid, each in enumerate(seen)]
            here += _server_rows(at, seen, run, planted)
        for at in (*np.arange(begin, end, min(PROCESS_MS, (end - begin) / 4)).tolist(), end):
            here += cpu.rows(at)
    return {name: sampling.frame(each) for name, each in rows.items()}


def _session_row(at: float, pid: int, session: Any) -> dict[str, Any]:
    return {
        "at": _at(at),
        "kind": "activity",
        "pid": 1000 + pid,
        "application_name": f"whitehorse-{session.application}",
        "state": session.state,
        "wait_event_type": session.wait or ("Client" if session.state.startswith("idle") else None),
        "wait_event": "transactionid" if session.wait == "Lock" else None,
        "blocked_by": "1999" if session.wait == "Lock" else None,
        "query": session.query,
        "query_age_ms": at - session.start,
        "sample_ms": 1.0,
    }


def _server_rows(at: float, seen: list[Any], run: Run, planted: Planted) -> list[dict[str, Any]]:
    depth = run.platform.depth
    known = int(np.searchsorted([each[0] for each in depth], at, side="right")) - 1
    open_ = min(planted.connection_limit, 2 + len(seen))
    figures = {
        "connections": open_,
        "max_connections": planted.connection_limit,
        "active": sum(each.state == "active" for each in seen),
        "idle_in_transaction": sum(each.state != "active" for each in seen),
        "waiting_for_lock": sum(each.wait == "Lock" for each in seen),
        "queue_depth": depth[known][1],
        "deadlocks": 0,
    }
    return [
        {"at": _at(at), "kind": "server", "metric": name, "value": float(value), "sample_ms": 1.0}
        for name, value in figures.items()
    ]


class _Counters:
    """Processor time used until an instant, of each process and of the machine."""

    def __init__(self, run: Run) -> None:
        used: dict[str, list[tuple[float, float]]] = {
            name: [(0.0, 0.0)] for name in ("web", "worker", "postgres", "driver")
        }
        for at, process, ms in run.platform.cores.used:
            used[process].append((at, used[process][-1][1] + ms))
        self._used = {name: np.array(each).T for name, each in used.items()}
        self._used["host"] = np.array(run.platform.cores.busy).T

    def rows(self, at: float) -> list[dict[str, Any]]:
        return [
            {
                "at": _at(at),
                "kind": "process",
                "pid": None if name == "host" else number,
                "application_name": name,
                "metric": "cpu_ms",
                "value": float(np.interp(at, *points)),
            }
            for number, (name, points) in enumerate(self._used.items())
        ]
