"""What a mechanism means and what helps against it: the one table behind every recommendation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slotfill.analyse.document import NONE, Bottleneck
from slotfill.report import calls, labels

FAR_MS = 5.0
"""Time of a call outside the database's own work from which on its way there and back is worth shortening."""


@dataclass(frozen=True)
class Advice:
    """``meaning`` finishes the sentence "…: <meaning>."; each of ``steps`` is something to do, best first."""

    meaning: str
    steps: tuple[str, ...]


DATABASE_CPU = "database_cpu"
"""A database that computes is helped by other statements, not by more processes."""

ADVICE: dict[str, Advice] = {
    "round_trips": Advice(
        "one request makes many database calls one after another, and waits for each before it sends the next",
        (
            "Do the allocation in one database call (a function or a single statement), or fetch tables, adjacencies, "
            "holds and assignments together at the start of the request.",
            "Start independent reads together instead of awaiting each in turn.",
        ),
    ),
    "sequential_work": Advice(
        "the request does its steps one after another, and their sum is what the guest waits for",
        (
            "Count the database calls of one request and the time of each (spans, a tap, or "
            "`pg_stat_statements` differences over a run): this tells round trips from computing.",
            "Answer the request once the booking is stored and let the job allocate, so that the guest does not wait "
            "for quote and confirm.",
            "Merge quote, hold and confirm into one database call.",
        ),
    ),
    "pool_wait": Advice(
        "requests queue for a connection of the application's own pool",
        (
            "Raise the pool's size, up to what the database's connection limit leaves (at most 80 % of it).",
            "Hold a connection for a shorter time: no network call or computing between checkout and return.",
        ),
    ),
    "connection_limit": Advice(
        "the database refuses or delays new connections because its limit is reached",
        (
            "Put a transaction pooler in front, or lower the pool size of each process so that their sum stays below "
            "the limit.",
            "Close idle connections; look for leaks (a development server's hot reload is a known one).",
        ),
    ),
    "lock_wait": Advice(
        "transactions wait for each other's row locks",
        (
            "Lock the tables being assigned, not the venue's row: `FOR NO KEY UPDATE`, or an exclusion constraint and "
            "a retry instead of a lock.",
            "Take the lock as late as possible and commit at once after it.",
        ),
    ),
    "deadlock": Advice(
        "transactions wait for locks that the other holds, until the database kills one of them",
        (
            "Take locks in one order everywhere, the strongest first: a share lock that is later raised to an "
            "exclusive one deadlocks as soon as two do it.",
            "Replace the lock on the venue's row by a constraint on table and time, and retry the loser at once.",
        ),
    ),
    "slow_query": Advice(
        "single statements take long to run",
        (
            "Run `EXPLAIN (ANALYZE, BUFFERS)` on the slowest statement and give it the index it lacks.",
            "Read only the day's rows: allocation needs no history.",
        ),
    ),
    "cpu": Advice(
        "a process is busy computing, and requests wait for its turn",
        (
            "Add processes up to the number of cores, or move the computing off the request's thread.",
            "Profile the busy process and make its hottest function cheaper.",
        ),
    ),
    DATABASE_CPU: Advice(
        "the database computes, and little of an attempt is anything else",
        (
            "Have each booking run fewer and cheaper statements: look first at those that run most often and at their "
            "plans (`pg_stat_statements`, `EXPLAIN (ANALYZE, BUFFERS)`).",
            "Read what does not change between bookings (settings, tables, adjacencies) once and keep it.",
        ),
    ),
    "host_cpu": Advice(
        "the cores of the machine that runs both load and platform are all busy",
        (
            "Measure with the load generator on another machine, or with more cores: beyond this point the machine is "
            "measured and not the platform.",
        ),
    ),
    "api_delay": Advice(
        "the handler spends its time outside the allocator and the database",
        (
            "Trace the handler: look for calls to other services (mail, webhooks, rate limiter) and move them after "
            "the response.",
        ),
    ),
    "api_workers": Advice(
        "requests wait until one of the few web processes is free",
        ("Run more web processes, or let each serve more requests at once.",),
    ),
    "enumeration": Advice(
        "the allocator tries so many combinations of tables that the search itself takes the time",
        (
            "Lower `FEATURE_SELECTOR_ENUMERATION_TIMEOUT_MS` and take the best found so far.",
            "Prune: skip combinations that cannot beat the least seat waste already found.",
        ),
    ),
    "serialised_allocator": Advice(
        "only one request at a time can allocate",
        (
            "Narrow what is serialised: per venue and time window instead of one lock for all.",
            "Prepare the quote outside the serialised part and re-check inside it.",
        ),
    ),
    "starved_queue": Advice(
        "jobs wait in the queue before a worker takes them",
        (
            "Add worker processes or raise each one's concurrency.",
            "Give auto-assign jobs a queue of their own, ahead of slower work.",
        ),
    ),
    "queue_delay": Advice(
        "jobs are scheduled for later, or noticed late",
        ("Run the first job attempt at once, and wake workers by LISTEN/NOTIFY instead of polling.",),
    ),
    "poll_interval": Advice(
        "the booking is confirmed already, but the client only looks every so often",
        (
            "Poll more often at first (say every 500 ms), or push the confirmation.",
            "This is the measuring client's time too: do not count it against the platform.",
        ),
    ),
    "inline_timeout": Advice(
        "the inline allocator runs out of its budget and leaves the booking to the job",
        (
            "Make the allocator faster before raising `FEATURE_INLINE_AUTO_ASSIGN_TIMEOUT_MS`: a longer budget only "
            "moves the wait into the request.",
        ),
    ),
    "rate_limit": Advice(
        "the platform's rate limiter turns bookings away",
        (
            "Lift the limit for the test client, or slow the load below it: these runs measured the limiter, not the "
            "booking flow.",
        ),
    ),
    "cold_start": Advice(
        "the first requests pay for compiling and connecting",
        ("Warm every route up before measuring, and measure a production build rather than a development server.",),
    ),
    "warm_up": Advice(
        "the first bookings of a level are slow, and without them another hop is the slowest",
        (
            "Warm the platform up before measuring (several bookings, not one), or make the levels longer, so that "
            "what is measured is the platform as it runs.",
        ),
    ),
    "exhaustion": Advice(
        "the slots ran out of tables, which is what filling them until tables run out is for",
        (
            "Nothing to speed up here. To seat more, look at seats wasted per booking and at which table sizes run "
            "out first.",
        ),
    ),
    "network": Advice(
        "connecting, sending and receiving take the time, not the platform",
        ("Keep connections alive, and drive the load from a machine close to the platform.",),
    ),
    "client": Advice(
        "the measuring client itself takes the time",
        ("Use a less busy machine for the load, or fewer workers: these runs do not measure the platform.",),
    ),
}


_OF_THE_PLATFORM = "Look at the platform's own log of that time (`slotfill report RUN --server-log FILE` joins it)."
FAILURES: tuple[tuple[str, Advice], ...] = (
    (
        r"csrf|xsrf",
        Advice(
            "the platform takes no booking without its CSRF token",
            (
                "Say in the parameters where the token is found, `csrf: {page: /, cookie: NAME, header: NAME}`, or "
                "switch the check off on the test platform; `slotfill doctor` shows what a POST is answered.",
            ),
        ),
    ),
    (
        r"http_(401|403|407)",
        Advice(
            "the platform wants a login or a token with each booking",
            ("Give what it asks for as `headers:` in the parameters, secrets as `${NAME}` from the environment.",),
        ),
    ),
    (
        r"http_404",
        Advice(
            "the address that was asked is not there",
            ("Look whether `base_url` is the booking platform's and `restaurant_slug` the venue's.",),
        ),
    ),
    (
        r"http_4",
        Advice(
            "the platform refuses the bookings that are asked for",
            (
                "Read the answer's words in the proof: a party, a date or a time that the venue does not take is "
                "changed in the parameters.",
            ),
        ),
    ),
    (
        r"http_5",
        Advice(
            "the platform fails at each booking",
            (
                _OF_THE_PLATFORM,
                "Look at the database's connections and its log: where a platform finds no connection, this is what a "
                "client hears of it.",
            ),
        ),
    ),
    (
        r"connection_refused|unreachable",
        Advice(
            "the platform does not answer at all",
            ("Start it, or look at `base_url`; `slotfill doctor` says how far it gets.",),
        ),
    ),
    (
        r"timeout",
        Advice(
            "no booking is decided in the time it is given",
            (_OF_THE_PLATFORM, "Drive one booking alone with a longer `submit_timeout_ms`, and see how long it takes."),
        ),
    ),
)
"""What to do where nothing was confirmed, by the failure's name."""


def advice(document: Bottleneck) -> Advice | None:
    """The advice on a document's mechanism; ``None`` for one that is not known, such as a tie."""
    mechanism = str(document.mechanism)
    if document.verdict == NONE and mechanism not in ADVICE:
        return next((told for sign, told in FAILURES if re.search(sign, mechanism)), None)
    return ADVICE.get(DATABASE_CPU if (document.verdict, mechanism) == ("database", "cpu") else mechanism)


def steps(document: Bottleneck) -> tuple[str, ...]:
    """What to do about a document's mechanism, tied to what was measured of it; none for one that is not known."""
    found = advice(document)
    if found is None:
        return ()
    if document.doubted("machine_grows"):
        return (ADVICE["host_cpu"].steps[0], *found.steps)
    if document.mechanism not in ("round_trips", "sequential_work"):
        return found.steps
    repeated = tuple(filter(None, [calls.step(document.calls)]))
    if document.mechanism == "sequential_work":
        return (*repeated, *found.steps)
    round_trips = document.finding("round_trips")
    distance = _distance(round_trips.figures if round_trips else {})
    return (*repeated, found.steps[0], distance, *found.steps[1:])


def _distance(figures: Mapping[str, Any]) -> str:
    """Whether bringing platform and database together helps, by the calls of a booking and the time of one."""
    calls, per_call = figures.get("database_calls"), figures.get("ms_per_call")
    if not calls or per_call is None:
        return (
            "Count the calls of one request and time one of them (spans or a tap): only where the way there and back "
            "is most of a call does it help to bring platform and database together."
        )
    running = figures.get("running_in_server_ms")
    way_ms = per_call if running is None else max(0.0, per_call - running / calls)
    most = "up to " if running is None else ""
    measured = f"a booking makes {calls:.0f} calls of {labels.duration(per_call)}"
    if way_ms >= FAR_MS:
        return (
            f"Shorten the way between platform and database: {measured}, and {most}{labels.duration(way_ms)} of each "
            "is the way there and back, not the database's work."
        )
    return (
        f"Do not expect much of moving the platform nearer to the database: {measured}, and little of it is distance."
    )
