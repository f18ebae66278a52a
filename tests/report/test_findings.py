"""Every finding that holds is told; an open one comes with steps that can be done and were not."""

from dataclasses import replace

import pandas as pd
import pytest

from slotfill.analyse.document import Bottleneck, Finding, Limit
from slotfill.analyse.next_steps import AvailableData, available_data, with_next_steps
from slotfill.report import findings

NOTHING = AvailableData(samples=False, sampled=False, profiled=False, levels=False)


def told_of(*found: Finding) -> str:
    return findings.held(Bottleneck("api", "cpu", "unknown", findings=found))


def test_every_finding_that_holds_is_told_and_none_that_does_not():
    told = told_of(
        Finding("few_samples", "true", "too few attempts", needs="at least 100 attempts"),
        Finding("cold_start", "false", "compiling took 0 ms"),
        Finding("pool_wait", "unknown", "nobody knows"),
    )
    assert "**few samples**: too few attempts. To do better: at least 100 attempts." in told
    assert "not found: cold start." in told and "compiling" not in told
    assert "pool wait" not in told


def test_what_a_platform_wrote_is_no_markup():
    assert r"**deadlock**: error \<script\> \*bold\*." in told_of(Finding("deadlock", "true", "error <script> *bold*"))


@pytest.mark.parametrize("verdict", ["true", "false"])
def test_the_noise_band_is_told_whether_or_not_it_holds(verdict):
    band = {"difference_ms": 12.0, "low_ms": 3.0, "high_ms": 20.0}
    told = told_of(Finding("noise", verdict, "two halves", {"concurrency-4": band}))
    assert "concurrency-4 12 ms (3.0 to 20 ms)" in told
    assert ("is noise" in told) == (verdict == "true")


def unknown(name, have):
    open_question = Finding(name, "unknown", "what it says", needs="sample the processes where they run")
    limits = (Limit("Another."), Limit("what it says", name, open_question.needs))
    found = with_next_steps(Bottleneck("api", "cpu", "unknown", findings=(open_question,), limits=limits), have)
    assert not found.limits[0].needs and found.limits[1].needs == found.findings[0].needs
    return found.findings[0].needs


def test_sampling_is_not_advised_where_it_was_done():
    assert "sample_interval_ms` above 0" in unknown("cpu", NOTHING)
    sampled = AvailableData(samples=True, sampled=False, profiled=True, levels=True)
    assert "longer" in unknown("cpu", sampled)
    assert "above 0" not in unknown("cpu", sampled)


def test_profiling_is_advised_only_where_the_platform_prints_a_profile():
    blind = unknown("api_workers", NOTHING)
    assert "DEBUG_CAPACITY_PROFILING" not in blind and "otlp_listen" in blind


def test_profiling_is_not_advised_where_it_was_on():
    both = unknown("api_workers", replace(NOTHING, can_profile=True))
    assert "DEBUG_CAPACITY_PROFILING" in both and "concurrency: [1, 4, 8]" in both
    profiled = unknown("api_workers", AvailableData(samples=False, sampled=False, profiled=True, levels=False))
    assert "DEBUG_CAPACITY_PROFILING" not in profiled and "concurrency: [1, 4, 8]" in profiled


def test_a_level_too_short_to_be_sampled_is_seen_as_such(attempts):
    first = attempts["started_at"].min()

    def samples(count):
        at = [first + pd.Timedelta(seconds=number / 4) for number in range(count)]
        columns = dict.fromkeys(["application_name", "state", "wait_event_type", "blocked_by", "query", "pid"])
        rows = pd.DataFrame({"at": at, "kind": "server", "metric": "connections", "value": 1.0, **columns})
        return dict.fromkeys(("concurrency-1", "concurrency-4"), rows)

    document = Bottleneck("api", "cpu", "unknown")
    assert available_data(attempts, samples(8), document, can_profile=False).sampled
    few = available_data(attempts, samples(3), document, can_profile=False)
    assert few.samples and not few.sampled
    assert not available_data(attempts, {}, document, can_profile=False).samples
