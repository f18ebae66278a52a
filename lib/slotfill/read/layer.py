"""What may lie around a platform's text, and how such a text is known."""

import re
from collections.abc import Iterable
from typing import Protocol

ANCHOR = re.compile(
    r"""\[\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)\]\ \[[A-Z]{3,8}\]\ \[[a-z_]{4,20}\]\   # a client's event
    |\{\\*"timestamp\\*":\ ?\\*"[^"\n]{10,40}",\ ?\\*"level\\*":\ ?\\*"\w+\\*",\ ?\\*"phase\\*":   # the same in JSON
    |\[(?:bookings\]\[|auto-assign\]\[|capacity\.[a-z]{2,20}\]\ |stress\]\ (?:Summary|Failure\ details)\ \{)""",
    re.VERBOSE,
)
"""A few texts of the booking platform that cannot be mistaken, and that begin a line when they are printed."""
LEAST_SHARE = 0.2  # of the lines with an anchor; a wrapper is on all of them


class Layer(Protocol):
    """One thing around the text, taken off."""

    def describe(self) -> str:
        """What it is, for people."""

    def take(self, text: str) -> Iterable[tuple[str, str]]:
        """The texts in a line, each with its source; none where the line is the wrapper's alone."""
