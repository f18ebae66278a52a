"""The grade stands with what keeps it from being higher, and with what the accounting rests on."""

import pytest

from slotfill.report.sureness import seen, sureness

TIERS = [f"concurrency-{n}: server profile (60 attempts)" for n in (1, 4, 8)]


@pytest.fixture
def sure(bottleneck):
    return bottleneck | {"confidence": "high", "doubts": [], "evidence_tiers": TIERS}


def test_every_doubt_is_told_beside_the_grade(sure):
    doubtful = sure | {"confidence": "low", "doubts": ["only one level was measured", "nothing was seen"]}
    assert "Confidence: **low**, because only one level was measured and nothing was seen." in sureness(doubtful)


def test_levels_that_rest_on_the_same_are_not_listed_one_by_one(sure):
    assert sureness(sure) == "Confidence: **high**. The time accounting rests on: server profile."


def test_levels_that_rest_on_different_evidence_are_named(sure):
    mixed = [TIERS[0], "concurrency-4: client log (60 attempts)"]
    assert sureness(sure | {"evidence_tiers": mixed}).endswith(
        "rests on: server profile at concurrency-1; client log at concurrency-4."
    )


@pytest.mark.parametrize(("verdict", "expected"), [("true", True), ("false", False), ("unknown", False)])
def test_a_mechanism_is_seen_where_its_finding_holds(sure, verdict, expected):
    found = {"name": sure["mechanism"], "verdict": verdict, "claim": "", "needs": "", "figures": {}}
    assert seen(sure | {"findings": [found]}) is expected
