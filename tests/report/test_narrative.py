import pytest

from slotfill.report import findings, narrative
from slotfill.report.advice import ADVICE


def test_constant_cost_is_said_not_to_come_from_concurrency(metrics, bottleneck):
    text = narrative.headline(metrics, bottleneck)
    assert "The slowest hop is the allocator: 600 ms of an attempt (60 %)" in text
    assert "concurrency is not the cause" in text
    assert "saturates" not in text


def test_growth_of_a_constant_cost_is_not_denied_and_is_laid_to_the_machine_only_where_that_was_seen(
    metrics, bottleneck
):
    bottleneck["growth"]["allocator"] = {"per_doubling_ms": 17.0, "ci95": [13.0, 20.0]}
    text = narrative.headline(metrics, bottleneck)
    assert "constant cost" in text
    assert "17 ms (95 % interval 13 to 20 ms)" in text
    assert "as much at" not in text
    assert "not settled" in text
    bottleneck["findings"] = [
        {"name": "host_cpu", "verdict": "true", "claim": "all cores were busy", "needs": ""},
        {"name": "round_trips", "verdict": "true", "claim": "60 calls", "needs": ""},
    ]
    assert "the machine's" in narrative.headline(metrics, bottleneck)


def test_a_mechanism_that_was_not_seen_is_called_a_supposition(metrics, bottleneck):
    bottleneck["findings"] = [
        {"name": "round_trips", "verdict": "unknown", "claim": "not counted", "needs": "profiling", "figures": {}},
        {"name": "lock_wait", "verdict": "unknown", "claim": "locks were not sampled", "needs": "profiling"},
    ]
    assert "supposition" in narrative.headline(metrics, bottleneck)
    assert "Measure first" in narrative.recommendations(bottleneck)
    assert findings.limits(bottleneck) == "- Not settled: round trips and lock wait. To settle: profiling."


def test_saturation_names_the_growth_with_its_interval(metrics, bottleneck):
    bottleneck |= {
        "verdict": "database",
        "mechanism": "lock_wait",
        "kind": "saturation",
        "shares": {"concurrency-8": {"database": {"mean_ms": 1200.0, "share": 0.8, "ci95": [1000, 1400]}}},
        "growth": {"database": {"per_doubling_ms": 390.0, "ci95": [300.0, 480.0]}},
    }
    text = narrative.headline(metrics, bottleneck)
    assert "saturates" in text
    assert "390 ms (95 % interval 300 to 480 ms)" in text
    assert "not the cause" not in text


def test_a_tie_is_called_a_tie_and_names_both(metrics, bottleneck):
    bottleneck |= {"verdict": "tie", "mechanism": "api and database"}
    text = narrative.tell(metrics, bottleneck)
    assert "as slow as each other: api and database" in text


def test_an_unknown_verdict_claims_no_hop(metrics):
    text = narrative.tell(metrics, {"verdict": "unknown", "kind": None})
    assert "No hop can be named" in text
    assert "Whether it grows with concurrency is not known" in text


def test_exhaustion_is_no_fault_of_the_platform(metrics, bottleneck):
    bottleneck |= {"verdict": "venue", "mechanism": "exhaustion"}
    assert "runs out of tables" in narrative.headline(metrics, bottleneck)


def test_one_level_does_not_pretend_to_have_seen_growth(metrics, bottleneck):
    metrics["levels"] = metrics["levels"][:1]
    assert "one level alone shows no growth" in narrative.headline(metrics, bottleneck)


def test_evidence_comes_with_its_place_and_its_lines(bottleneck):
    text = narrative.proof(bottleneck)
    assert "`server.log:17`" in text
    assert "    durationMs: 290" in text


def test_timing_adds_up_to_the_attempt(bottleneck):
    assert "1.00 s an attempt = allocator 600 ms (60 %) + API handler 300 ms (30 %)" in narrative.timing(bottleneck)


def test_guests_are_masked_in_excerpts(bottleneck):
    bottleneck["evidence"][0]["excerpt"] = "email: 'jane.doe@example.com', phone: '+447700900123'"
    text = narrative.proof(bottleneck)
    assert "jane.doe" not in text
    assert "7700900" not in text


@pytest.mark.parametrize("mechanism", ADVICE)
def test_every_mechanism_gets_its_own_recommendation(bottleneck, mechanism):
    bottleneck["mechanism"] = mechanism
    assert ADVICE[mechanism].steps[0] in narrative.recommendations(bottleneck)


def test_closed_loop_and_idle_workers_are_said(metrics):
    metrics["levels"][2]["effective_concurrency"] = 5
    text = narrative.method(metrics)
    assert "closed loop" in text
    assert "concurrency-8 had only 5 busy workers" in text


def test_logs_without_a_recorded_level_are_no_rung_of_the_ladder(metrics, bottleneck):
    metrics["levels"].append({**metrics["levels"][0], "label": "loose", "concurrency": None})
    text = narrative.headline(metrics, bottleneck)
    assert "From concurrency-1 to concurrency-8" in text


@pytest.mark.parametrize(
    ("calls", "running_ms", "moving_helps"),
    [
        (60, 30.0, True),  # 200 ms a call, half a millisecond of it work
        (60, 12_000.0, False),  # 200 ms a call, all of it work
    ],
)
def test_moving_nearer_to_the_database_is_advised_only_where_the_way_was_measured_to_be_long(
    bottleneck, calls, running_ms, moving_helps
):
    figures = {"database_calls": calls, "ms_per_call": 200.0, "running_in_server_ms": running_ms}
    bottleneck["findings"] = [
        {"name": "round_trips", "verdict": "true", "claim": "", "needs": "", "figures": figures},
    ]
    text = narrative.recommendations(bottleneck)
    assert "60 calls of 200 ms" in text
    assert ("Shorten the way" in text) == moving_helps
    assert ("Do not expect much" in text) == (not moving_helps)


def test_samples_over_other_attempts_than_the_cost_say_so(bottleneck):
    bottleneck["evidence"][0]["value"] = {"cost_ms": 41.0, "running_in_server_ms": 65.0}
    assert "confirmed or not) 65 ms" in narrative.proof(bottleneck)


def test_the_answer_comes_before_its_proof(metrics, bottleneck):
    text = narrative.tell(metrics, bottleneck)
    parts = ["The slowest hop", "Confidence:", "### What to do", "### Proof", "### How it was measured"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


@pytest.mark.parametrize(("verdict", "told"), [("true", True), ("false", False)])
def test_a_prediction_that_changes_nothing_says_so_and_why(bottleneck, verdict, told):
    then = {"now_total_ms": 42.0, "total_ms": 42.0, "total_ci95": [42.0, 42.0]}
    rates = {"now_throughput_per_min": 800.0, "throughput_per_min": 800.0, "throughput_ci95": [800.0, 800.0]}
    full = {"name": "host_cpu", "verdict": verdict, "claim": "", "needs": "", "figures": {}}
    text = narrative.prediction(bottleneck | {"prediction": {"concurrency-8": then | rates}, "findings": [full]})
    assert "as long as now (42 ms)" in text and "instead of" not in text
    assert ("no processor time left" in text) is told


def test_caveats_stand_before_the_verdict(metrics, bottleneck):
    text = narrative.headline(metrics, bottleneck | {"caveats": ["The run stopped."]})
    assert text.startswith("> **Mind:** The run stopped.")
    assert text.index("The run stopped.") < text.index("The slowest hop")
