"""The verdict is the planted truth, and says no more than the data carry."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slotfill.analyse.bottleneck import Observed, bottleneck
from slotfill.analyse.hops import HOPS
from slotfill.read import read_logs

IDLE = {"web": 0.05, "postgres": 0.05, "driver": 0.02}
PUBLISHED = ["slot-fill-concurrency1.log", "slot-fill-concurrency4.log", "slot-fill-concurrency8.log"]

REFUSALS = pd.DataFrame(
    [
        {
            "file": "server.log",
            "line": 7,
            "kind": "too_many_clients",
            "text": "sorry, too many clients already",
            "times": 9,
        }
    ]
)


def judge(world: Any, cpus: int = 2) -> dict[str, Any]:
    found = bottleneck(world.attempts, world.server, world.error_lines, Observed(world.samples, cpus))
    return found.as_json()


def named(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["verdict"], found["mechanism"], found["kind"]


PLANTED: list[tuple[tuple[str, str, str], dict[str, Any]]] = [
    (("database", "round_trips", "constant_cost"), {"costs": {"database": 200}}),
    (
        ("database", "slow_query", "constant_cost"),
        {"costs": {"database": 200}, "sessions": {"running": 4}, "age_ms": 150.0},
    ),
    (("database", "pool_wait", "saturation"), {"costs": {"database": 40}, "queue_at": "database", "pool_share": 0.8}),
    (("database", "lock_wait", "saturation"), {"costs": {"database": 40}, "queue_at": "database", "lock_share": 0.8}),
    (("database", "lock_wait", "constant_cost"), {"costs": {"database": 200}, "lock_share": 0.9}),
    (("api", "api_delay", "constant_cost"), {"costs": {"api": 200}}),
    (("api", "api_workers", "saturation"), {"costs": {"api": 40}, "queue_at": "api"}),
    (("allocator", "serialised_allocator", "saturation"), {"costs": {"allocator": 40}, "queue_at": "allocator"}),
    (
        ("allocator", "cpu", "saturation"),
        {"costs": {"allocator": 40}, "queue_at": "allocator", "cores": {"web": 0.98, "postgres": 0.1, "driver": 0.05}},
    ),
    (
        ("api", "cpu", "saturation"),
        {"costs": {"api": 40}, "queue_at": "api", "cores": {"web": 0.98, "postgres": 0.1, "driver": 0.05}},
    ),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("truth", "planted"), PLANTED, ids=[" ".join(truth) for truth, _ in PLANTED])
def test_what_was_planted_is_named(
    simulate: Callable[..., Any], truth: tuple[str, str, str], planted: dict[str, Any], seed: int
) -> None:
    world = simulate(seed=seed, **{"sessions": {"running": 0.2}, "cores": IDLE} | planted)
    assert named(judge(world)) == truth


def test_a_short_level_does_not_hide_the_slow_statement_that_longer_ones_show(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, sessions={"running": 0.9}, cores=IDLE, age_ms=150.0)
    top = world.samples["concurrency-8"]
    # Of the few samples of a second, most fell between two statements.
    missed = (top["kind"] == "activity") & (top["at"].rank(method="dense") % 3 != 0)
    world.samples["concurrency-8"] = top[~missed.to_numpy()]
    for level in (1, 4):
        busy = simulate({"database": 200}, levels=(level,), sessions={"running": level * 0.9}, cores=IDLE, age_ms=150.0)
        world.samples[f"concurrency-{level}"] = busy.samples[f"concurrency-{level}"]
    assert named(judge(world)) == ("database", "slow_query", "constant_cost")


@pytest.mark.parametrize("seed", range(5))
def test_a_full_machine_is_not_called_a_saturated_platform(simulate: Callable[..., Any], seed: int) -> None:
    # Every part grows a little because all of them, and the load generator, share two busy cores.
    cores = {"web": 0.8, "postgres": 0.7, "driver": 0.45}
    found = judge(simulate({"database": 10}, queue_at="database", seed=seed, sessions={"running": 1.5}, cores=cores))
    assert found["kind"] != "saturation"
    assert any("another machine" in limit["text"] for limit in found["limits"])


def test_a_lock_that_only_samples_see_is_not_taken_for_statements(simulate: Callable[..., Any]) -> None:
    # Somebody else's lock: the platform's profile holds its own locks only, and its statement is what takes long.
    planted = {"costs": {"database": 80}, "levels": (1,)}
    assert named(judge(simulate(**planted, sessions={"running": 0.7})))[1] == "round_trips"
    assert named(judge(simulate(**planted, sessions={"running": 0.1, "lock": 0.6})))[:2] == ("database", "lock_wait")


def test_what_all_hops_grow_by_alike_is_no_saturation_where_nobody_sampled_the_machine(
    simulate: Callable[..., Any],
) -> None:
    fast, slow = simulate({}, levels=(1,)), simulate({"api": 20, "allocator": 20, "database": 40}, levels=(8,))
    world = replace(
        fast,
        attempts=pd.concat([fast.attempts, slow.attempts], ignore_index=True),
        server=pd.concat([fast.server, slow.server], ignore_index=True),
    )
    assert judge(world)["kind"] == "unknown"


@pytest.mark.parametrize("seed", range(5))
def test_without_profile_and_samples_growth_alone_is_saturation(simulate: Callable[..., Any], seed: int) -> None:
    found = judge(simulate({"allocator": 60}, queue_at="allocator", profile=False, seed=seed))
    assert (found["verdict"], found["kind"]) == ("allocator", "saturation")
    assert found["confidence"] != "high"


def test_growth_without_a_wait_to_name_is_never_said_with_confidence(simulate: Callable[..., Any]) -> None:
    planted = {"costs": {"database": 40}, "queue_at": "database", "sessions": {"running": 0.2}, "cores": IDLE}
    found = judge(simulate(**planted))
    assert found["confidence"] == "low" and "grows_unexplained" in [doubt["name"] for doubt in found["doubts"]]
    named_wait = judge(simulate(**planted, lock_share=0.8))
    assert (named_wait["kind"], named_wait["confidence"]) == ("saturation", "high")


def test_a_busy_process_of_a_small_hop_is_not_the_bottleneck(simulate: Callable[..., Any]) -> None:
    cores = {"web": 0.98, "postgres": 0.1, "driver": 0.05}
    world = simulate(
        {"api": -9, "database": 80}, queue_at="database", lock_share=0.8, sessions={"running": 1.0}, cores=cores
    )
    assert named(judge(world)) == ("database", "lock_wait", "saturation")


def test_few_attempts_in_few_slots_are_never_said_with_high_confidence(simulate: Callable[..., Any]) -> None:
    large = judge(simulate({"api": 200}))
    small = judge(simulate({"api": 200}, slots=3, per_slot=4))
    assert named(large) == named(small) == ("api", "api_delay", "constant_cost")
    assert (large["confidence"], large["doubts"]) == ("high", [])
    assert small["confidence"] == "medium"
    (doubt,) = small["doubts"]
    assert "too few attempts or slots" in doubt["text"] and "concurrency-8" in doubt["text"]


def test_growth_without_a_queue_on_a_machine_that_nobody_looked_at_shows_no_kind(simulate: Callable[..., Any]) -> None:
    found = judge(simulate({"database": 30}, queue_at="database"))
    assert (found["verdict"], found["mechanism"], found["kind"]) == ("database", "round_trips", "unknown")
    assert {"not_sampled", "machine_grows"} <= {doubt["name"] for doubt in found["doubts"]}
    seen = judge(simulate({"database": 30}, queue_at="database", sessions={"running": 1.0}, cores={"web": 0.1}))
    assert seen["kind"] == "saturation"


def test_a_busy_neighbour_is_named_as_the_cause(simulate: Callable[..., Any]) -> None:
    cores = {"web": 0.15, "postgres": 0.2, "driver": 0.1, "host": 1.99}
    found = judge(simulate({"database": 10}, levels=(1,), sessions={"running": 1.0}, cores=cores))
    assert found["mechanism"] == "cpu"
    assert any("nothing to do with the run" in limit["text"] for limit in found["limits"])
    assert "others_computed" in [doubt["name"] for doubt in found["doubts"]]
    quiet = judge(simulate({"database": 10}, levels=(1,), sessions={"running": 1.0}, cores={**cores, "host": 0.5}))
    assert quiet["mechanism"] == "round_trips"


@pytest.mark.parametrize(
    ("waits_ms", "finished", "mechanism"),
    [
        (lambda n: 2000.0 + n % 7, True, "queue_delay"),
        (lambda n: 40.0 * (n % 100), True, "starved_queue"),
        (lambda n: 2000.0 + n % 7, False, "starved_queue"),
    ],
    ids=["all jobs equally late", "jobs in line", "no job ever finished"],
)
def test_a_late_job_is_told_from_one_in_line(
    simulate: Callable[..., Any], waits_ms: Callable[[int], float], finished: bool, mechanism: str
) -> None:
    world = simulate(levels=(4,))
    attempts, server = world.attempts.copy(), world.server.copy()
    waits = pd.Series([waits_ms(n) for n in range(len(attempts))])
    done = attempts["started_at"] + pd.to_timedelta(attempts["submit_ms"].astype(float) + waits, unit="ms")
    attempts["total_ms"], attempts["inline_ms"] = attempts["total_ms"] + waits, waits
    attempts["ended_at"] += pd.to_timedelta(waits, unit="ms")
    attempts["outcome"] = "confirmed_inline_poll" if finished else "failed_background_timeout"
    attempts["initial_status"] = "pending"
    if finished:
        attempts["confirmed_at"], server["job_finished_at"] = done, done
        server["job_allocator_ms"], server["job_result"] = 5.0, "succeeded"
    found = bottleneck(attempts, server, world.error_lines).as_json()
    assert (found["verdict"], found["mechanism"]) == ("queue", mechanism)


@pytest.mark.parametrize("step_ms", [40, 0], ids=["scattered", "a little longer each time"])
def test_a_poll_lag_as_long_as_the_delay_it_follows_from_is_no_tie(simulate: Callable[..., Any], step_ms: int) -> None:
    world = simulate(levels=(4,))
    attempts, server = world.attempts.copy(), world.server.copy()
    # Confirmed half a second after the answer, and seen half a second later on average.
    lags = pd.Series([505.0 - 5.125 * step_ms + step_ms * (number % 11) for number in range(len(attempts))])
    attempts["confirmed_at"] = server["job_finished_at"] = attempts["ended_at"] + pd.Timedelta(milliseconds=500)
    attempts["total_ms"] += 500 + lags
    attempts["inline_ms"] = 500 + lags
    attempts["ended_at"] += pd.to_timedelta(500 + lags, unit="ms")
    attempts["outcome"], attempts["initial_status"] = "confirmed_inline_poll", "pending"
    server["job_allocator_ms"], server["job_result"] = 0.1, "succeeded"
    found = bottleneck(attempts, server, world.error_lines).as_json()
    assert (found["verdict"], found["mechanism"]) == ("queue", "queue_delay")


def test_waiting_that_follows_from_deadlocks_is_the_databases(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 40}, queue_at="database", lock_share=0.9)
    queued = world.attempts["label"] == "concurrency-8"
    attempts = world.attempts.copy()
    attempts.loc[queued, ["total_ms", "inline_ms"]] = [3000.0, 2500.0]
    attempts.loc[queued, ["outcome", "initial_status"]] = ["confirmed_inline_poll", "pending"]
    lines = [
        {"file": "server.log", "line": n, "kind": "deadlock", "text": "deadlock detected", "times": 1}
        for n in range(90)
    ]
    found = bottleneck(attempts, world.server, pd.DataFrame(lines)).as_json()
    assert named(found) == ("database", "deadlock", "saturation")


def test_a_hops_cost_is_proved_by_the_servers_own_figures(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, levels=(4,))
    world.server["file"] = "server.log"
    world.server["profile_line"] = [10 * number + 1 for number in range(len(world.server))]
    slowest = world.server.loc[world.server["profile_database_ms"].idxmax()]
    proof = next(item for item in judge(world)["evidence"] if item["claim"].startswith("database at"))
    assert proof["source"] == f"server.log:{slowest['profile_line']}"
    # Of one that the server does not tell of, the client's summary is the place.
    world.server.loc[slowest.name, "profile_line"] = None
    attempt = world.attempts.loc[world.attempts["booking_id"] == slowest["booking_id"]].iloc[0]
    proof = next(item for item in judge(world)["evidence"] if item["claim"].startswith("database at"))
    assert proof["source"] == f"{attempt['file']}:{attempt['last_line']}"


def test_hops_that_cannot_be_told_apart_are_a_tie(simulate: Callable[..., Any]) -> None:
    found = judge(simulate({"database": 80, "allocator": 90}))
    assert (found["verdict"], found["confidence"]) == ("tie", "low")
    assert sorted(found["mechanism"].split(" and ")) == ["allocator", "database"]


def test_one_level_says_what_would_tell(simulate: Callable[..., Any]) -> None:
    found = judge(simulate({"database": 200}, levels=(4,)))
    assert (found["verdict"], found["kind"], found["growth"]) == ("database", "unknown", {})
    assert "only one level was measured" in [doubt["text"] for doubt in found["doubts"]]
    assert any("Only one level" in limit["text"] for limit in found["limits"])


def test_the_document_has_its_fixed_form(simulate: Callable[..., Any]) -> None:
    found = json.loads(json.dumps(judge(simulate({"database": 200})), allow_nan=False))
    fixed = {"verdict", "mechanism", "kind", "confidence", "shares", "growth", "evidence", "evidence_tiers"}
    assert fixed <= found.keys()
    assert set(found["shares"]["concurrency-8"]) == set(HOPS)
    assert set(found["shares"]["concurrency-8"]["api"]) == {"mean_ms", "share", "ci95"}
    assert set(found["growth"]["api"]) == {"per_doubling_ms", "ci95"}
    assert all({"claim", "value", "source", "excerpt"} <= set(item) for item in found["evidence"])


def test_turned_away_bookings_decide_before_time_does(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, levels=(4,))
    limited = world.attempts.copy()
    limited.loc[limited.index % 3 == 0, "outcome"] = "rate_limited"
    assert named(bottleneck(limited, world.server, world.error_lines).as_json())[:2] == ("api", "rate_limit")
    full = world.attempts.copy()
    full.loc[full.index % 3 != 0, "outcome"] = "exhausted"
    assert named(bottleneck(full, world.server, world.error_lines).as_json())[:2] == ("venue", "exhaustion")


def test_one_refusal_in_rounds_that_lie_apart_is_no_rate_limit(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, levels=(4,))
    second = world.attempts["slot"] >= "18:00"
    apart = world.attempts.assign(round_number=second.map({True: 2, False: 1}).astype("Int64"))
    for name in ("started_at", "submitted_at", "ended_at"):
        apart[name] += second.map({True: pd.Timedelta(hours=1), False: pd.Timedelta(0)})
    last = apart.loc[(~second).to_numpy(), "ended_at"].idxmax()
    apart.loc[last, "outcome"] = "rate_limited"  # its worker begins the second round an hour later
    assert bottleneck(apart, world.server, world.error_lines).verdict == "database"


def test_workers_that_stand_still_as_they_were_told_to_show_a_rate_limit(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, levels=(4,))
    first = world.attempts["started_at"].min()
    paced = world.attempts.copy()
    # Every second of the run one refusal, and then a minute in which nobody asks.
    waits = pd.to_timedelta((paced["started_at"] - first).dt.total_seconds() // 1 * 60, unit="s")
    for name in ("started_at", "submitted_at", "ended_at"):
        paced[name] += waits
    before_a_wait = waits.diff(-1).dt.total_seconds() < 0
    paced.loc[before_a_wait.to_numpy(), "outcome"] = "rate_limited"
    assert named(bottleneck(paced, world.server, world.error_lines).as_json())[:2] == ("api", "rate_limit")


@pytest.mark.parametrize(("allocator_times", "kind"), [(3.0, "unknown"), (4.0, "saturation")])
def test_growth_hardly_beyond_that_of_its_fellows_is_no_queue_on_a_machine_nobody_sampled(
    simulate: Callable[..., Any], allocator_times: float, kind: str
) -> None:
    alone, beside = {"api": 2.0, "allocator": 3.0, "database": 3.0}, {"api": 3.0, "database": 4.5}
    crowded = {**beside, "allocator": 3.0 * allocator_times}
    usual = {"api": 10.0, "allocator": 10.0, "database": 20.0}
    worlds = [
        simulate({hop: ms - usual[hop] for hop, ms in costs.items()}, levels=(workers,), seed=workers)
        for workers, costs in ((1, alone), (8, crowded))
    ]
    attempts, server = (
        pd.concat([getattr(world, name) for world in worlds]).reset_index(drop=True) for name in ("attempts", "server")
    )
    found = bottleneck(attempts, server, worlds[0].error_lines)
    assert (found.verdict, found.mechanism, found.kind) == ("allocator", "serialised_allocator", kind)


def test_connections_that_were_refused_are_saturation_at_one_level_too(simulate: Callable[..., Any]) -> None:
    world = simulate({"database": 200}, levels=(8,), pool_share=0.8)
    assert named(bottleneck(world.attempts, world.server, REFUSALS).as_json()) == (
        "database", "connection_limit", "saturation"
    )  # fmt: skip
    waited = bottleneck(world.attempts, world.server, world.error_lines)
    assert (waited.mechanism, waited.kind) == ("pool_wait", "unknown")


def test_refused_connections_are_the_database_however_fast_the_rest_was(simulate: Callable[..., Any]) -> None:
    world = simulate({"api": 200}, levels=(8,))
    refused = world.attempts.copy()
    refused.loc[refused.index % 4 == 0, "outcome"] = "api_error"
    found = bottleneck(refused, world.server, REFUSALS).as_json()
    assert named(found) == ("database", "connection_limit", "saturation")
    assert any(item["source"] == "server.log:7" for item in found["evidence"])


def test_no_attempt_at_all_is_no_verdict(simulate: Callable[..., Any]) -> None:
    world = simulate(levels=(1,))
    nothing = type(world)(world.attempts.head(0), world.server.head(0), {}, world.error_lines)
    assert judge(nothing)["verdict"] == "unknown"


# The platform's recorded runs, whose truth is known ------------------------------------------------


def recorded(corpus: Path, names: list[str], servers: list[str]) -> dict[str, Any]:
    reading = read_logs([corpus / name for name in names], [corpus / name for name in servers])
    return bottleneck(reading.attempts, reading.server, reading.error_lines).as_json()


def test_the_published_runs_are_a_constant_cost(corpus: Path) -> None:
    found = recorded(corpus, PUBLISHED, [])
    assert (found["verdict"], found["kind"]) == ("allocator", "constant_cost")
    assert all("client log" in tier for tier in found["evidence_tiers"])


def test_the_server_log_splits_the_published_request(corpus: Path) -> None:
    found = recorded(corpus, ["slot-fill-concurrency1-postfix.log"], ["next-dev-server-concurrency1-postfix.log"])
    assert (found["verdict"], found["kind"]) == ("allocator", "unknown")
    cost = found["shares"]["concurrency-1"]
    # Contract: quote 5,783 + confirm 5,868 of a submit of 19,782 ms; the rest of the handler 8,130.
    assert cost["allocator"]["mean_ms"] == pytest.approx(5783 + 5868, abs=2)
    assert cost["api"]["mean_ms"] == pytest.approx(8130, abs=2)
    assert any("waiting for the database" in limit["text"] for limit in found["limits"])
    proof = next(item for item in found["evidence"] if item["claim"].startswith("allocator at"))
    assert proof["source"].startswith("slot-fill-concurrency1-postfix.log:")


def test_a_near_database_saturates_with_deadlocks_as_evidence(corpus: Path) -> None:
    folder = corpus / "local" / "near"
    reading = read_logs([folder])
    found = bottleneck(reading.attempts, reading.server, reading.error_lines).as_json()
    assert (found["kind"], found["mechanism"]) == ("saturation", "deadlock")
    assert any("deadlock detected" in str(item["excerpt"]) for item in found["evidence"])


def test_a_far_database_is_a_constant_cost(corpus: Path) -> None:
    reading = read_logs([corpus / "local" / "far"])
    found = bottleneck(reading.attempts, reading.server, reading.error_lines).as_json()
    assert (found["verdict"], found["kind"]) == ("allocator", "constant_cost")
