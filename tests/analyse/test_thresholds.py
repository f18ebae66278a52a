"""Declared limits are kept, broken or unknown, and unknown names are refused."""

from typing import Any

import pytest

from slotfill.analyse.metrics import metrics
from slotfill.analyse.thresholds import NAMES, evaluate, require_known
from slotfill.errors import BadInput


def document(**figures: Any) -> dict[str, Any]:
    return {"levels": [{"label": "concurrency-4", **figures}]}


def test_a_figure_above_its_limit_breaks_it() -> None:
    levels = document(submit_ms={"p95": 2100.0}, inline_poll_rate=0.1)
    checks = evaluate({"submit_ms.p95": 2000, "inline_poll_rate": 0.1}, levels)
    assert [(check.name, check.verdict) for check in checks] == [
        ("submit_ms.p95", "broken"),
        ("inline_poll_rate", "kept"),
    ]


def test_throughput_is_a_least() -> None:
    assert evaluate({"throughput_per_min": 100}, document(throughput_per_min=90.0))[0].verdict == "broken"
    assert evaluate({"throughput_per_min": 100}, document(throughput_per_min=110.0))[0].verdict == "kept"


def test_a_percentile_the_sample_does_not_carry_is_unknown() -> None:
    check = evaluate({"submit_ms.p99": 2000}, document(submit_ms={"p99": None}))[0]
    assert (check.verdict, check.value) == ("unknown", None)


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadInput, match=r"there is no figure submit_p95.*submit_ms\.p95"):
        require_known(["submit_p95"])


def test_every_name_is_in_the_metrics(simulate: Any) -> None:
    world = simulate(levels=(1,))
    checks = evaluate(dict.fromkeys(NAMES, 1.0), metrics(world.attempts))
    assert len(checks) == len(NAMES)
