from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from slotfill.analyse import coverage
from slotfill.attempt import Attempt, frame
from slotfill.report import tables, verification

CHECK = {"name": "overlapping_assignments", "status": "passed", "violations": 0, "detail": ""}
LEVELS = (1, 4, 8)


def attempts_of(slots, confirmed, last="confirmed_inline_api") -> pd.DataFrame:
    """Every level fills every slot with ``confirmed`` bookings, then one attempt that ends as ``last``."""
    return frame(
        Attempt(
            label=f"concurrency-{level}",
            concurrency=level,
            correlation_id=f"{level}-{slot}-{iteration}",
            total_ms=1000.0 + iteration,
            outcome="confirmed_inline_api" if iteration < confirmed else last,
            file="slot.log",
            first_line=1,
            last_line=2,
            slot=slot,
        )
        for level in LEVELS
        for slot in slots
        for iteration in range(confirmed + 1)
    )


FOUR_HOURS = [f"{16 + quarter // 4}:{quarter % 4 * 15:02d}" for quarter in range(17)]


@pytest.fixture
def study(metrics, document):
    reports = {f"concurrency-{level}": {"checks": [dict(CHECK)]} for level in LEVELS}
    return SimpleNamespace(
        source="run test",
        attempts=attempts_of(FOUR_HOURS, confirmed=9),
        metrics=metrics,
        document=document,
        record={},
        integrity={"before": reports, "after": {label: {"checks": [dict(CHECK)]} for label in reports}},
    )


def counted(study):
    """The study with what the analysis counts of it."""
    driven = {f"concurrency-{level}" for level in LEVELS}
    checks = coverage.integrity(study.integrity, driven)
    study.document = replace(study.document, coverage=coverage.coverage(study.attempts), integrity=checks)
    return study


def criteria(study):
    return verification.criteria(counted(study))


def unmet(study):
    return [criterion.title for criterion in criteria(study) if not criterion.met]


def test_the_planned_run_meets_every_criterion(study):
    assert unmet(study) == []


def test_a_new_violation_unticks_the_database_and_is_named(study):
    study.integrity["after"]["concurrency-4"]["checks"][0] |= {"status": "violated", "violations": 2}
    criterion = criteria(study)[0]
    assert criterion.met is False
    assert "overlapping_assignments at concurrency-4 (0 before, 2 after)" in criterion.evidence


def test_a_violation_that_stood_before_is_told_but_does_not_untick(study):
    for when in ("before", "after"):
        study.integrity[when]["concurrency-4"]["checks"][0] |= {"status": "violated", "violations": 2}
    criterion = criteria(study)[0]
    assert criterion.met is True
    assert "violated before as well: overlapping_assignments" in criterion.evidence


def test_a_level_without_check_unticks_the_database(study):
    del study.integrity["after"]["concurrency-8"]
    assert criteria(study)[0].met is False


def test_logs_of_others_leave_integrity_unknown(study):
    study.integrity = {}
    criterion = criteria(study)[0]
    assert criterion.met is None
    assert "- [ ]" in str(criterion)
    assert "Not known" in str(criterion)


def test_a_missing_level_unticks_the_slot_fill(study):
    study.attempts = study.attempts[study.attempts["concurrency"] != 8]
    assert unmet(study) == ["Slot fill at concurrency 1, 4 and 8"]


def test_three_and_three_quarter_hours_are_not_four(study):
    study.attempts = attempts_of(FOUR_HOURS[:-1], confirmed=9)
    assert unmet(study) == ["Four hours of slots at every level"]


@pytest.mark.parametrize(("last", "met"), [("exhausted", True), ("failed_background_timeout", False)])
def test_a_shallow_slot_counts_as_filled_only_where_its_tables_ran_out(study, last, met):
    study.attempts = attempts_of(FOUR_HOURS, confirmed=5, last=last)
    filled = next(c for c in criteria(study) if c.title.startswith("Every slot"))
    assert filled.met is met


def test_a_bottleneck_without_excerpt_is_not_proven(study):
    study.document = replace(study.document, evidence=())
    assert unmet(study) == ["Bottleneck named, with log excerpts and timing proof"]


def test_the_document_lists_logs_and_artifacts_and_tells_the_verdict(study, tmp_path):
    (tmp_path / "concurrency-1").mkdir()
    (tmp_path / "concurrency-1" / "slot-fill.log").write_text("x" * 100)
    text = verification.write(counted(study), tmp_path)
    assert text.startswith("# Verification")
    assert text.count("- [x]") == 7
    assert "`concurrency-1/slot-fill.log` (100 bytes)" in text
    assert "The slowest hop is the allocator" in text
    assert "| concurrency-8 | slowest | slot.log:1–2 |" in text
    assert "| mean submit | 1.00 s | 1.01 s | 1.00 s |" in text


def test_of_very_many_files_the_first_few_are_listed_and_all_are_counted(study, tmp_path):
    (tmp_path / "concurrency-1").mkdir()
    names = [f"slot-fill-{number:04d}.log" for number in range(1234)]
    for name in names[:150]:
        (tmp_path / "concurrency-1" / name).touch()
    study.metrics["levels"][0]["logs"] = names
    text = verification.write(counted(study), tmp_path)
    assert "1,234 files, `slot-fill-0000.log`" in text
    assert "- 145 more files in `concurrency-1`" in text
    assert len(text) < 20_000


def test_integrity_is_told_before_and_after_each_level(study):
    study.integrity["after"]["concurrency-4"]["checks"][0] |= {"status": "violated", "violations": 2}
    study.integrity["before"]["concurrency-8"]["checks"][0] |= {"status": "unknown"}
    assert tables.integrity(study.integrity).to_dict("records") == [
        {
            "violations": "overlapping assignments",
            "concurrency-1": "0 → 0",
            "concurrency-4": "0 → 2",
            "concurrency-8": "could not look → 0",
        }
    ]


def test_what_a_platform_or_a_file_name_says_is_no_markup(study, tmp_path):
    study.source = "logs <b>x</b> [a](http://h).log"
    study.metrics["levels"][0]["logs"] = ["a`b.log"]
    study.document = replace(
        study.document,
        evidence=(replace(study.document.evidence[0], claim="# error *x* | y", excerpt="```\n- [x] **done**"),),
    )
    text = verification.write(counted(study), tmp_path)
    assert r"logs \<b\>x\</b\> \[a\](http://h).log" in text
    assert "`` a`b.log ``" in text
    assert r"**\# error \*x\* \| y.**" in text
    assert "  ````text\n  ```\n  - [x] **done**\n  ````" in text
