"""What became of the bookings decides before any time does, and is counted by booking."""

from pathlib import Path

import pytest

from slotfill.analyse.outcomes import error_bookings, failures
from slotfill.analyse.study import Study, of_run
from slotfill.report import verification


@pytest.mark.parametrize(
    ("run", "mechanism", "words"),
    [
        ("csrf", "http_403_csrf_mismatch", "Invalid or missing CSRF token"),
        ("lookup-failed", "http_500_restaurant_lookup_failed", "Unable to resolve restaurant"),
    ],
)
def test_a_run_that_confirmed_nothing_has_no_slowest_hop(corpus: Path, run: str, mechanism: str, words: str) -> None:
    found = of_run(corpus / "genuine" / run)
    document = found.document
    assert (document.verdict, document.mechanism, document.kind) == ("none", mechanism, "unknown")
    assert document.confidence == "low" and not document.prediction and not document.growth
    assert sum(failure.attempts for failure in document.failures) == len(found.attempts)
    assert all(words in str(item.excerpt) for item in document.evidence)
    assert "Bottleneck named, with log excerpts and timing proof" in _unmet(found)


def test_a_failed_booking_has_the_reason_that_the_server_logged(corpus: Path) -> None:
    near = of_run(corpus / "genuine" / "near")
    reasons = {(failure.told_by, failure.reason): failure.attempts for failure in near.document.failures}
    failed = near.attempts[near.attempts["outcome"].str.startswith("failed")]
    assert sum(reasons.values()) == len(failed)
    for failure in failures(near.attempts, near.reading.server):
        for source in failure.sources:
            lines = Path(source.file).read_text().splitlines()
            assert lines[source.line - 1].strip()


def test_deadlocks_are_counted_by_booking_as_the_database_counted_them(corpus: Path) -> None:
    folder = corpus / "genuine" / "near"
    truth = (folder / "postgres-deadlocks.txt").read_text().count("ERROR:  deadlock detected")
    near = of_run(folder)
    assert error_bookings(near.reading.server)["deadlock"] == truth == 6
    deadlock = near.document.finding("deadlock")
    assert deadlock is not None and deadlock.figures["deadlocks"] == truth


def _unmet(study: Study) -> list[str]:
    return [criterion.title for criterion in verification.criteria(study) if not criterion.met]
