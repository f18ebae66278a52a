"""The order of levels wherever they are listed, and the number in a level's label."""

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\d{1,9}")
"""A label can be anything: digits that are none to Python (²), or more than it turns into a number."""


def level_order(labels: Iterable[str]) -> list[str]:
    """Distinct labels with the numbers in them in counting order, so that concurrency-10 follows concurrency-8.

    Those without a number, of logs that name no level, come last.
    """
    return sorted(dict.fromkeys(labels), key=_by_number)


def level_number(label: str) -> int | None:
    """The workers that a level's label names: 4 of ``concurrency-4``."""
    digits = label.rpartition("-")[2]
    return int(digits) if _NUMBER.fullmatch(digits) else None


def _by_number(label: str) -> tuple[bool, list[tuple[int, int | str]]]:
    parts: list[tuple[int, int | str]] = []
    for part in label.replace("-", " ").replace("_", " ").split():
        parts.append((0, int(part)) if _NUMBER.fullmatch(part) else (1, part))
    return not any(kind == 0 for kind, _ in parts), parts
