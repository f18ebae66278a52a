import pandas as pd
import pytest

from slotfill.analyse.caveats import caveats


@pytest.fixture
def attempts():
    return pd.DataFrame({"outcome": ["confirmed_inline_api"] * 9 + ["rate_limited"], "seams": [0] * 8 + [1, 0]}).assign(
        label="concurrency-4", concurrency=4
    )


def test_a_run_that_went_through_needs_no_caveat(attempts):
    untroubled = attempts[(attempts["outcome"] != "rate_limited") & (attempts["seams"] == 0)]
    assert caveats({"state": "done", "target": {"note": None}, "stops": []}, untroubled) == ()
    assert caveats({}, untroubled) == ()


def test_the_platform_that_was_not_driven_is_named_first(attempts):
    record = {"state": "done", "target": {"note": "the host nowhere.invalid does not resolve: the embedded one"}}
    first = caveats(record, attempts)[0].text
    assert first.startswith("The host nowhere.invalid does not resolve")
    assert "figures and advice are the embedded platform's" in first


def test_spans_of_none_of_the_attempts_are_a_caveat(attempts):
    assert "of 3 traces, none of them an attempt's" in caveats({}, attempts, foreign_traces=3)[-1].text
    assert all(told.name != "foreign_spans" for told in caveats({}, attempts))


def test_an_instrumented_run_says_so(attempts):
    assert "ran with OpenTelemetry" in caveats({}, attempts, instrumented=True)[-1].text
    assert all(told.name != "instrumented" for told in caveats({}, attempts))


def test_a_rate_limited_run_is_labelled(attempts):
    [limited] = [told.text for told in caveats({}, attempts) if told.name == "rate_limited"]
    assert "1 of 10 attempts" in limited


def test_a_stopped_run_says_why_and_a_resumed_one_marks_the_seam(attempts):
    stops = [{"at": "2026-11-22T12:00:00+00:00", "reason": "Ctrl+C"}]
    stopped = " ".join(told.text for told in caveats({"state": "stopped", "stops": stops}, attempts))
    assert "stopped before its end" in stopped and "Ctrl+C" in stopped
    done = {"state": "done", "stops": stops, "resumed_at": ["2026-11-22T12:05:00+00:00"]}
    resumed = " ".join(told.text for told in caveats(done, attempts))
    assert "went on after a stop 1 time (Ctrl+C)" in resumed
    assert "1 attempt in flight at a stop" in resumed
    assert "stopped before its end" not in resumed
