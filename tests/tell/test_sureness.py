"""A grade below high says what it lacks, and nothing that it has."""

import pytest

from slotfill.tell.sureness import sureness

REASONS = {
    "unprofiled": "the server's profile of its own times is missing at concurrency-4",
    "unseen": "the mechanism was not seen at work",
    "alone": "only one level was measured",
    "thin": "concurrency-1 had too few attempts or slots",
    "hog": "processes of others used the machine",
    "growing": "the time grows with concurrency",
}


def finding(name, verdict="true", **figures):
    return {"name": name, "verdict": verdict, "claim": name, "needs": "", "figures": figures}


@pytest.fixture
def sure(bottleneck):
    """Nothing is missing."""
    tiers = [f"concurrency-{n}: server profile (60 attempts)" for n in (1, 4, 8)]
    return bottleneck | {"confidence": "medium", "evidence_tiers": tiers, "findings": [finding("round_trips")]}


def lacking(case, sure):
    if case == "unprofiled":
        sure["evidence_tiers"][1] = "concurrency-4: client log (60 attempts)"
    elif case == "unseen":
        sure["findings"][0]["verdict"] = "unknown"
    elif case == "alone":
        sure["shares"] = {"concurrency-1": sure["shares"]["concurrency-1"]}
    elif case == "thin":
        few = {"concurrency-1": {"not_carried": ["p95", "p99"]}, "concurrency-4": {"not_carried": ["p99"]}}
        sure["findings"].append(finding("few_samples", **few))
    elif case == "hog":
        sure["findings"].append(finding("cpu_hog"))
    else:
        sure["growth"]["total"] = {"per_doubling_ms": 300.0, "ci95": [200.0, 400.0]}
        sure["shares"]["concurrency-8"]["allocator"]["mean_ms"] = 2000
    return sure


@pytest.mark.parametrize("case", REASONS)
def test_what_is_missing_is_named_and_only_that(sure, case):
    text = sureness(lacking(case, sure))
    assert "Confidence: **medium**, because" in text
    assert [name for name, reason in REASONS.items() if reason in text] == [case]


def test_growth_that_the_busy_machine_explains_is_no_doubt(sure):
    doubtful = lacking("growing", sure)
    doubtful["findings"].append(finding("host_cpu"))
    assert REASONS["growing"] not in sureness(doubtful)


def test_levels_that_rest_on_the_same_are_not_listed_one_by_one(sure):
    assert sureness(sure | {"confidence": "high"}) == (
        "Confidence: **high**. The time accounting rests on: server profile."
    )
