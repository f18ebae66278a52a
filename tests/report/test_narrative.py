from dataclasses import replace
from types import SimpleNamespace

import pytest

from slotfill.analyse.document import Bottleneck, Cost, Doubt, Finding, Growth, Prediction
from slotfill.report import card, excerpts, findings, narrative
from slotfill.report.advice import ADVICE


def written(metrics, document) -> str:
    return narrative.write_up(SimpleNamespace(metrics=metrics, document=document, record={}, source="run test"))


def test_the_card_says_what_how_sure_what_to_do_and_of_what(metrics, document):
    doubted = replace(document, doubts=(Doubt("few", "few slots were filled"),))
    study = SimpleNamespace(metrics=metrics, document=doubted, record={"target": {"name": "mine"}}, source="run test")
    told = card.card(study)
    facts, run = dict(told.facts), dict(told.run)
    assert told.headline == "The slowest hop is the allocator: 600 ms of an attempt (60 %) at concurrency-1."
    assert facts["How sure"].startswith("high (90 %), because few slots were filled. Asserted")
    assert facts["How sure"].endswith("slotfill prove tests it by a planted delay.")
    assert facts["Do first"] == ADVICE["round_trips"].steps[0]
    assert run["Target"] == "mine"
    assert run["When"] == "8 December 2026, 16:00 UTC, for 90.0 s"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": "confirmed", "experiment": "the delay did what was predicted"}, "Confirmed by a planted delay."),
        (
            {"experiment": "no tap sees the hop queue"},
            "slotfill prove was tried and does not settle it: no tap sees the hop queue.",
        ),
        ({"verdict": "venue"}, "Asserted from what was measured."),  # there is no hop that a delay could test
    ],
)
def test_the_card_says_what_became_of_an_experiment(document, changes, told):
    assert card.how_sure(replace(document, **changes)).endswith(told)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("http_403_csrf_mismatch", "csrf:"),
        ("http_403", "headers:"),
        ("http_404_not_found", "base_url"),
        ("http_422", "the answer's words"),
        ("http_500_restaurant_lookup_failed", "--server-log"),
        ("connection_refused", "slotfill doctor"),
        ("unreachable", "slotfill doctor"),
        ("request_timeout", "--server-log"),
        ("rate_limit", "the limiter"),
    ],
)
def test_where_nothing_was_confirmed_the_card_says_what_to_do_and_nothing_of_probability(
    metrics, document, failure, told
):
    none = replace(document, verdict="none", mechanism=failure)
    facts = dict(card.card(SimpleNamespace(metrics=metrics, document=none, record={}, source="run test")).facts)
    assert told in facts["Do first"]
    assert "How sure" not in facts and "Mechanism" not in facts


def test_constant_cost_is_said_not_to_come_from_concurrency(document):
    text = narrative.growth(document)
    assert "concurrency is not the cause" in text and "From concurrency-1 to concurrency-8" in text
    assert "saturates" not in text


def test_growth_of_a_constant_cost_is_laid_to_the_machine_only_where_that_was_seen(document):
    grown = replace(document, growth={"allocator": Growth(17.0, (13.0, 20.0))})
    text = narrative.growth(grown)
    assert "constant cost" in text and "17 ms (95 % interval 13 to 20 ms)" in text
    assert "not settled" in text
    seen = (Finding("host_cpu", "true", "all cores were busy"), Finding("round_trips", "true", "60 calls"))
    assert "the machine's" in narrative.growth(replace(grown, findings=seen))


def test_a_mechanism_that_was_not_seen_is_called_a_supposition(document):
    unseen = replace(
        document,
        findings=(
            Finding("round_trips", "unknown", "not counted", needs="profiling"),
            Finding("lock_wait", "unknown", "locks were not sampled", needs="profiling"),
        ),
    )
    assert "supposition" in card.mechanism(unseen)
    assert "Measure first" in narrative.recommendations(unseen)
    assert findings.limits(unseen) == "- Not settled: round trips and lock wait. To settle: profiling."


def test_saturation_names_the_growth_with_its_interval(document):
    saturated = replace(
        document,
        verdict="database",
        kind="saturation",
        shares={"concurrency-8": {"database": Cost(1200.0, 0.8, (1000, 1400))}},
        growth={"database": Growth(390.0, (300.0, 480.0))},
    )
    text = narrative.growth(saturated)
    assert "saturates" in text and "390 ms (95 % interval 300 to 480 ms)" in text
    assert "not the cause" not in text


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [
        ({"verdict": "tie", "tied": ("api", "database")}, "Two hops are as slow as each other: API and database."),
        ({"verdict": "unknown"}, "No hop can be named the slowest: the data do not split the time."),
        ({"verdict": "venue", "mechanism": "exhaustion"}, "the venue runs out of tables"),
        ({"verdict": "none", "mechanism": "csrf_mismatch"}, "Nothing was confirmed: csrf mismatch."),
    ],
)
def test_verdicts_that_are_no_hop_claim_none(document, verdict, headline):
    assert headline in card.headline(replace(document, **verdict))


def test_one_level_does_not_pretend_to_have_seen_growth(document):
    alone = replace(document, shares={"concurrency-1": document.shares["concurrency-1"]})
    assert "one level alone shows no growth" in narrative.growth(alone)


def test_evidence_comes_with_its_place_and_its_lines(metrics, document):
    text = written(metrics, document)
    assert "`server.log:17`" in text
    assert "    durationMs: 290" in text


def test_figures_that_the_claim_has_already_are_not_said_twice(document):
    item = replace(document.evidence[0], claim="error texts of the database: deadlock 9", value={"deadlock": 9})
    assert excerpts.figures(item) == ""
    assert excerpts.figures(replace(item, value={"deadlock": 8})) == "deadlock 8"


def test_timing_adds_up_to_the_attempt(document):
    assert "1.00 s an attempt = allocator 600 ms (60 %) + API 300 ms (30 %)" in narrative.timing(document)


@pytest.mark.parametrize("mechanism", ADVICE)
def test_every_mechanism_gets_its_own_recommendation(document, mechanism):
    assert ADVICE[mechanism].steps[0] in narrative.recommendations(replace(document, mechanism=mechanism))


def test_a_database_that_computes_is_not_helped_by_more_processes(document):
    computing = replace(document, verdict="database", mechanism="cpu")
    assert "fewer and cheaper statements" in narrative.recommendations(computing)
    assert "processes" not in narrative.recommendations(computing)


def test_growth_that_a_shared_machine_explains_as_well_is_told_as_growth(document):
    doubts = (Doubt("machine_grows", "the machine that all share explains that as well"),)
    grown = replace(document, verdict="database", mechanism="cpu", kind="unknown", doubts=doubts)
    assert "grows with concurrency" in narrative.growth(grown)
    study = SimpleNamespace(metrics={"levels": []}, document=grown, record={}, source="run test")
    facts = dict(card.card(study).facts)
    assert facts["Kind"].startswith("it grows with concurrency")
    assert "on another machine" in facts["Do first"]


def test_closed_loop_and_idle_workers_are_said(metrics):
    metrics["levels"][2]["effective_concurrency"] = 5
    text = narrative.method(metrics)
    assert "closed loop" in text
    assert "concurrency-8 had only 5 busy workers" in text


@pytest.mark.parametrize(
    ("calls", "running_ms", "moving_helps"),
    [
        (60, 30.0, True),  # 200 ms a call, half a millisecond of it work
        (60, 12_000.0, False),  # 200 ms a call, all of it work
    ],
)
def test_moving_nearer_to_the_database_is_advised_only_where_the_way_was_measured_to_be_long(
    document, calls, running_ms, moving_helps
):
    figures = {"database_calls": calls, "ms_per_call": 200.0, "running_in_server_ms": running_ms}
    text = narrative.recommendations(replace(document, findings=(Finding("round_trips", "true", "", figures),)))
    assert "60 calls of 200 ms" in text
    assert ("Shorten the way" in text) == moving_helps
    assert ("Do not expect much" in text) == (not moving_helps)


def test_samples_over_other_attempts_than_the_cost_say_so(metrics, document):
    figures = {"cost_ms": 41.0, "running_in_server_ms": 65.0}
    item = replace(document.evidence[0], value=figures)
    assert "confirmed or not) 65 ms" in written(metrics, replace(document, evidence=(item,)))


def test_the_answer_comes_before_its_proof(metrics, document):
    text = written(metrics, document)
    parts = ["The slowest hop", "How sure:", "### What to do", "### Proof", "### How it was measured"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


@pytest.mark.parametrize(("verdict", "told"), [("true", True), ("false", False)])
def test_a_prediction_that_changes_nothing_says_so_and_why(document, verdict, told):
    then = Prediction(42.0, 42.0, (42.0, 42.0), 800.0, 800.0, (800.0, 800.0))
    foreseen = replace(document, prediction={"concurrency-8": then}, findings=(Finding("host_cpu", verdict, ""),))
    text = narrative.prediction(foreseen)
    assert "as long as now (42 ms)" in text and "instead of" not in text
    assert ("no processor time left" in text) is told


def test_an_empty_document_is_written_up(metrics):
    assert "No hop can be named" in written(metrics, Bottleneck("unknown", "unknown", "unknown"))
