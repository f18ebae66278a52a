"""One line of the doctor's examination."""

from collections.abc import Iterator
from dataclasses import dataclass

from slotfill.errors import SlotfillError

OK, WARN, FAIL = "ok", "warn", "FAIL"
MOST_SKEW_MS = 2_000
"""How far another machine's clock may be from ours."""


@dataclass(frozen=True)
class CheckResult:
    """One line of the examination; ``exit_code`` other than 0 where it hinders a run."""

    subject: str
    status: str
    text: str
    exit_code: int = 0


Sights = Iterator[CheckResult]


def failure(subject: str, error: SlotfillError) -> CheckResult:
    return CheckResult(subject, FAIL, str(error), error.exit_code)
