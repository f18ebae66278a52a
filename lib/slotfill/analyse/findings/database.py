"""Why the database's part takes the time it takes."""

from slotfill.analyse.findings.finding import Case, Finding, places, truth

_PROFILE_OR_SAMPLES = "switch DEBUG_CAPACITY_PROFILING on, or sample the database during the run"
LIMIT_SIGNS = ("too_many_clients", "remaining_slots", "role_connections", "database_connections", "emaxconn")
_ROUND_TRIPS_AT_LEAST = 10


def pool_wait(case: Case) -> Finding:
    """Requests queue for a connection of the application's own pool."""
    cost = case.mean("pool_wait_ms")
    figures: dict[str, float] = {}
    pressure = case.pressure
    if cost is None and pressure is not None:
        cost = _unseen_ms(case)
        figures = {"sessions_busy_at_once": pressure.busy_most, "estimated": True}
        if pressure.busy_most >= case.workers:
            cost = 0.0
    if cost is None:
        return Finding(
            "pool_wait", "unknown", "waiting for a pooled connection was not measured", needs=_PROFILE_OR_SAMPLES
        )
    verdict = truth(case.is_material(cost))
    claim = f"an attempt waits {cost:.0f} ms for a connection of the application's pool"
    return Finding(
        "pool_wait",
        verdict,
        claim,
        {"pool_wait_ms": cost, **figures},
        case.slowest("pool_wait_ms"),
        "",
        "database",
        cost,
    )


def connection_limit(case: Case) -> Finding:
    """The server, or the pooler in front of it, has no connection left."""
    refused = case.signs_of(*LIMIT_SIGNS)
    pressure = case.pressure
    full = bool(
        pressure
        and pressure.connections_limit
        and pressure.connections_most is not None
        and pressure.connections_most >= 0.95 * pressure.connections_limit
    )
    refusals = int(refused["times"].sum())
    figures: dict[str, float | None] = {"refusals": refusals}
    if pressure and pressure.connections_limit:
        figures |= {"connections_most": pressure.connections_most, "connections_limit": pressure.connections_limit}
    if not full and refused.empty:
        known = pressure is not None and pressure.connections_limit is not None
        claim = "no connection was refused" + ("" if known else " as far as the server log tells")
        return Finding("connection_limit", "false" if known else "unknown", claim, figures, needs=_PROFILE_OR_SAMPLES)
    cost = case.mean("pool_wait_ms") or 0.0
    claim = f"connections were refused {refusals} times" if refusals else "the connections reached their limit"
    return Finding("connection_limit", "true", claim, figures, places(refused, "line"), "", "database", cost)


def lock_wait(case: Case) -> Finding:
    """Transactions wait for locks that others hold."""
    cost, pressure = _lock_ms(case), case.pressure
    if cost is None:
        return Finding("lock_wait", "unknown", "waiting for locks was not measured", needs=_PROFILE_OR_SAMPLES)
    figures: dict[str, float] = {"lock_wait_ms": cost}
    claim = f"an attempt waits {cost:.0f} ms for locks"
    if pressure is not None and pressure.foreign_blockers:
        figures["samples_blocked_by_others"] = pressure.foreign_blockers
        claim += ", some of them held by sessions that are not the platform's"
    verdict = truth(case.is_material(cost))
    return Finding("lock_wait", verdict, claim, figures, case.slowest("database_ms"), "", "database", cost)


def deadlock(case: Case) -> Finding:
    """Transactions hold what the other needs, until the server kills one."""
    logged = case.signs_of("deadlock")
    counted = sum(int(p.deadlocks or 0) for p in case.pressures.values())
    found = max(int(logged["times"].sum()), counted)
    if not found:
        known = bool(case.pressures) or len(case.server) > 0
        return Finding(
            "deadlock", "false" if known else "unknown", "no deadlock was seen", needs="a server log or samples"
        )
    figures = {"deadlocks": found, "attempts": len(case.attempts)}
    cost = _lock_ms(case) or 0.0
    return Finding("deadlock", "true", f"{found} deadlocks", figures, places(logged, "line"), "", "database", cost)


def slow_query(case: Case) -> Finding:
    """Statements take long inside the server."""
    pressure = case.pressure
    if pressure is None:
        return Finding(
            "slow_query", "unknown", "statements were not sampled", needs="sample the database during the run"
        )
    cost = pressure.running_ms
    figures = {"running_ms": cost, "longest_ms": pressure.longest_statement_ms, "statement": pressure.busiest_statement}
    remote = _remote_ms(case)
    verdict = truth(case.is_material(cost) and (remote is None or cost >= remote / 2))
    claim = f"statements run {cost:.0f} ms of an attempt inside the server"
    return Finding("slow_query", verdict, claim, figures, case.slowest("database_ms"), "", "database", cost)


def round_trips(case: Case) -> Finding:
    """Many calls one after another, each waiting for the way there and back."""
    calls, remote = case.mean("database_calls"), _remote_ms(case)
    if calls is None or remote is None:
        return Finding(
            "round_trips", "unknown", "database calls were not counted", needs="switch DEBUG_CAPACITY_PROFILING on"
        )
    running = min(case.pressure.running_ms, remote) if case.pressure else 0.0
    cost = remote - running
    figures: dict[str, float] = {
        "database_calls": calls,
        "ms_per_call": remote / calls if calls else 0.0,
        "outside_server_ms": cost,
    }
    if case.pressure is not None:
        figures["running_ms"] = running
    claim = f"{calls:.0f} database calls one after another cost {cost:.0f} ms outside the statements themselves"
    many = calls >= _ROUND_TRIPS_AT_LEAST and case.is_material(cost) and cost > running
    return Finding("round_trips", truth(many), claim, figures, case.slowest("database_ms"), "", "database", cost)


def _lock_ms(case: Case) -> float | None:
    """Waiting for locks, per attempt: what the server measured, or what the samples saw if that is more."""
    seen = [case.mean("lock_wait_ms"), case.pressure.lock_ms if case.pressure else None]
    return max((value for value in seen if value is not None), default=None)


def _remote_ms(case: Case) -> float | None:
    """The database's time without waiting for the pool or for locks."""
    database = case.mean("database_ms")
    if database is None:
        return None
    return max(0.0, database - (case.mean("pool_wait_ms") or 0.0) - (_lock_ms(case) or 0.0))


def _unseen_ms(case: Case) -> float:
    """Time inside the handler in which neither the database nor a processor worked for the attempt."""
    pressure = case.pressure
    if pressure is None:
        return 0.0
    handler = case.hop_ms("api") + case.hop_ms("allocator") + case.hop_ms("database")
    web_ms = pressure.cores.get("web", 0.0) * pressure.seconds * 1000 / max(pressure.attempts, 1)
    return max(0.0, handler - pressure.running_ms - pressure.lock_ms - pressure.open_ms - web_ms)
