"""Why the database's part takes the time it takes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from slotfill.analyse.constants import MANY_ROUND_TRIPS, SLOW_MS, SLOW_SHARE
from slotfill.analyse.document import Finding, Source
from slotfill.analyse.findings.measurements import INSIDE, Measurements, places, truth
from slotfill.analyse.locks import MOST_SHOWN, LockWait, sentence
from slotfill.analyse.outcomes import error_counts
from slotfill.analyse.utilisation import Utilisation
from slotfill.read.postgres_log import LockEvent, summary

_PROFILE_OR_SAMPLES = f"{INSIDE}, or samples of the database during the run"
LIMIT = "too_many_clients"


def pool_wait(case: Measurements) -> Finding:
    """Requests queue for a connection of the application's own pool."""
    cost = case.mean("pool_wait_ms")
    if cost is None:
        return Finding(
            "pool_wait", "unknown", "waiting for a pooled connection was not measured", needs=_PROFILE_OR_SAMPLES
        )
    claim, figures = (
        f"an attempt waits {cost:.0f} ms for a connection of the application's pool",
        {"pool_wait_ms": cost},
    )
    verdict, where = truth(case.is_material(cost)), case.slowest("pool_wait_ms")
    return Finding("pool_wait", verdict, claim, figures, where, hop="database", cost_ms=cost)


def connection_limit(case: Measurements) -> Finding:
    """The server, or the pooler in front of it, has no connection left."""
    refused = case.error_lines_of(LIMIT)
    utilisation = case.utilisation
    full = bool(
        utilisation
        and utilisation.connections_limit
        and utilisation.connections_most is not None
        and utilisation.connections_most >= 0.95 * utilisation.connections_limit
    )
    refusals = int(refused["times"].sum())
    figures: dict[str, float | None] = {"refusals": refusals}
    if utilisation and utilisation.connections_limit:
        figures |= {
            "connections_most": utilisation.connections_most,
            "connections_limit": utilisation.connections_limit,
        }
    if not full and refused.empty:
        known = utilisation is not None and utilisation.connections_limit is not None
        claim = "no connection was refused" + ("" if known else " as far as the server log tells")
        return Finding("connection_limit", "false" if known else "unknown", claim, figures, needs=_PROFILE_OR_SAMPLES)
    cost = case.mean("pool_wait_ms") or 0.0
    claim = f"connections were refused {refusals} times" if refusals else "the connections reached their limit"
    return Finding("connection_limit", "true", claim, figures, places(refused, "line"), hop="database", cost_ms=cost)


def lock_wait(case: Measurements) -> Finding:
    """Transactions wait for locks that others hold."""
    cost, utilisation = _lock_ms(case), case.utilisation
    if cost is None:
        return Finding("lock_wait", "unknown", "waiting for locks was not measured", needs=_PROFILE_OR_SAMPLES)
    figures: dict[str, Any] = {"lock_wait_ms": cost}
    events = [event for event in case.lock_events if event.kind == "lock wait"]
    claim = f"an attempt waits {cost:.0f} ms for locks"
    waits = _lock_waits(case)
    if waits:
        figures["waits"] = [asdict(wait) for wait in waits[:MOST_SHOWN]]
        claim += f": {sentence(waits)}"
    if events:
        claim += f"; Postgres' own log has {', '.join(summary(events)[:MOST_SHOWN])}"
    if utilisation is not None and utilisation.foreign_blockers:
        figures["samples_blocked_by_others"] = utilisation.foreign_blockers
        claim += "; some of them were held by sessions that are not the platform's"
    verdict = truth(case.is_material(cost))
    where = (*_lines(events), *case.slowest("database_ms"))
    return Finding("lock_wait", verdict, claim, figures, where, hop="database", cost_ms=cost)


def deadlock(case: Measurements) -> Finding:
    """Transactions hold what the other needs, until the server kills one."""
    logged = case.error_lines_of("deadlock")
    events = [event for event in case.lock_events if event.kind == "deadlock"]
    counted = sum(int(p.deadlocks or 0) for p in case.utilisations.values())
    found = max(error_counts(case.server, logged).get("deadlock", 0), counted, len(events))
    if not found:
        known = bool(case.utilisations) or len(case.server) > 0
        return Finding(
            "deadlock", "false" if known else "unknown", "no deadlock was seen", needs="a server log or samples"
        )
    figures: dict[str, Any] = {"deadlocks": found, "attempts": len(case.attempts)}
    claim, waits = f"{found} deadlocks", _lock_waits(case)
    if events:
        figures["places"] = [
            {"relation": relation, "functions": list(functions), "deadlocks": count}
            for (relation, functions), count in Counter((each.relation, each.functions) for each in events).items()
        ]
        claim += f"; Postgres' own log has {', '.join(summary(events)[:MOST_SHOWN])}"
    if waits:
        figures["waits"] = [asdict(wait) for wait in waits[:MOST_SHOWN]]
        claim += f"; found waiting: {sentence(waits)}"
    where, cost = (*_lines(events), *places(logged, "line")), _lock_ms(case) or 0.0
    return Finding("deadlock", "true", claim, figures, where, hop="database", cost_ms=cost)


def slow_query(case: Measurements) -> Finding:
    """Statements take long inside the server."""
    utilisation = case.utilisation
    if utilisation is None:
        return Finding(
            "slow_query", "unknown", "statements were not sampled", needs="sample the database during the run"
        )
    cost, seen = _slow_ms(case), _longest_seen(case) or utilisation
    figures = {
        "cost_ms": cost,
        "statement": seen.busiest_statement,
        "statement_ms": seen.busiest_ms,
        "statement_share": seen.busiest_share,
    }
    claim = "no long statement was found running again and again"
    if cost:
        claim = (
            f"one statement of about {seen.busiest_ms:.0f} ms, {seen.busiest_share:.0%} of all that was found running, "
            f"takes {cost:.0f} ms of an attempt inside the server"
        )
    verdict, where = truth(case.is_material(cost)), case.slowest("database_ms")
    return Finding("slow_query", verdict, claim, figures, where, hop="database", cost_ms=cost)


def round_trips(case: Measurements) -> Finding:
    """Many calls one after another, each waiting for the way there and back."""
    calls, remote, utilisation = case.mean("database_calls"), _remote_ms(case), case.utilisation
    if remote is None or (calls is None and utilisation is None):
        return Finding("round_trips", "unknown", "database calls were not counted", needs=INSIDE)
    # Many short statements are round trips as well; a long one is the slow query's.
    cost = remote - _slow_ms(case)
    figures: dict[str, float] = {"cost_ms": cost}
    if utilisation is not None:
        figures |= {"running_in_server_ms": utilisation.running_ms, "open_between_statements_ms": utilisation.open_ms}
    many = True
    claim = f"database calls one after another cost {cost:.0f} ms of an attempt"
    if calls is not None:
        figures |= {"database_calls": calls, "ms_per_call": cost / calls if calls else 0.0}
        claim = f"{calls:.0f} database calls one after another cost {cost:.0f} ms of an attempt"
        many = calls >= MANY_ROUND_TRIPS
    verdict = truth(many and case.is_material(cost))
    return Finding("round_trips", verdict, claim, figures, case.slowest("database_ms"), hop="database", cost_ms=cost)


def slow_share(case: Measurements, statements_ms: float) -> float:
    """The part of the statements' time at the highest level that one long statement takes.

    None of it where that statement is longer than what statements usually take together: then few attempts ran it.
    """
    remote, seen = _remote_ms(case), _longest_seen(case)
    if not remote or seen is None or seen.busiest_ms > 2 * statements_ms:
        return 0.0
    return min(1.0, _slow_ms(case) / remote)


def _one_statement_dominates(utilisation: Utilisation) -> bool:
    """What runs in the server is one long statement rather than many short ones."""
    return utilisation.busiest_ms >= SLOW_MS and utilisation.busiest_share >= SLOW_SHARE


def _longest_seen(case: Measurements) -> Utilisation | None:
    """The samples of the longest level in which one statement dominates."""
    dominated = [each for each in case.utilisations.values() if _one_statement_dominates(each)]
    return max(dominated, key=lambda each: each.seconds, default=None)


def _slow_ms(case: Measurements) -> float:
    """What one long statement takes of an attempt at the highest level; 0 where there is none.

    A level may last for a few samples only, so the statement's share of the database's time is that of all levels.
    """
    spent = running = 0.0
    for label, utilisation in case.utilisations.items():
        remote = _remote_ms(case, label)
        if remote is not None:
            slow = utilisation.running_ms * utilisation.busiest_share if _one_statement_dominates(utilisation) else 0.0
            spent, running = spent + remote * utilisation.attempts, running + slow * utilisation.attempts
    return min(1.0, running / spent) * (_remote_ms(case) or 0.0) if spent else 0.0


def _lines(events: Sequence[LockEvent]) -> tuple[Source, ...]:
    """Where Postgres' own log tells the first of them."""
    return tuple(Source(str(event.file), event.line) for event in events[:2])


def _lock_waits(case: Measurements) -> Sequence[LockWait]:
    """Who was found waiting for whom at the highest sampled level that has such waits."""
    seen = (
        case.utilisations[label].lock_waits for label in reversed(case.accounts.labels) if label in case.utilisations
    )
    return next(filter(None, seen), ())


def _lock_ms(case: Measurements, label: str | None = None) -> float | None:
    """Waiting for locks, per attempt: what the server measured, or what the samples saw if that is more."""
    utilisation = case.utilisations.get(label) if label else case.utilisation
    seen = [case.mean("lock_wait_ms", label), utilisation.lock_ms if utilisation else None]
    return max((value for value in seen if value is not None), default=None)


def _remote_ms(case: Measurements, label: str | None = None) -> float | None:
    """The database's time without waiting for the pool or for locks; of a level, by default the highest."""
    database = case.mean("database_ms", label)
    if database is None:
        return None
    return max(0.0, database - (case.mean("pool_wait_ms", label) or 0.0) - (_lock_ms(case, label) or 0.0))
