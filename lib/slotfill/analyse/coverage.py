"""How much of the plan was carried out: what each level drove and filled, and what its integrity checks found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED

PLANNED_STRESS_MAX = 10
Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Coverage:
    """What a level drove: its slots, how many of them were filled to the plan's depth or until their tables ran out,
    and the minutes from the first slot to the last."""

    label: str
    concurrency: int | None
    slots: int
    full_slots: int
    span_minutes: int


@dataclass(frozen=True)
class NewViolation:
    """A check that counts more violations after a round of a level (``cell``) than before it."""

    check: str
    cell: str
    before: int
    after: int


@dataclass(frozen=True)
class Integrity:
    """The integrity checks around ``cells`` rounds of levels: what was not checked before and after, what could not
    look (``blind``), and which checks found anything at all (``violated``)."""

    cells: int
    unchecked: tuple[str, ...] = ()
    new: tuple[NewViolation, ...] = ()
    blind: tuple[str, ...] = ()
    violated: tuple[str, ...] = ()


def coverage(attempts: pd.DataFrame) -> tuple[Coverage, ...]:
    """One entry a level, in the order of their names."""
    told = attempts[["label", "concurrency", "slot", "outcome"]]
    return tuple(_coverage(str(label), rows) for label, rows in told.groupby("label"))


def integrity(reports: Mapping[str, Reports], driven: set[str]) -> Integrity | None:
    """The checks of ``reports``, {"before": {cell: report}, "after": …}, of the levels ``driven``; None without any."""
    if not reports:
        return None
    before, after = (reports.get(when, {}) for when in ("before", "after"))
    cells = sorted({*before, *after})
    unchecked = [cell for cell in cells if cell not in before or cell not in after]
    whole = [cell for cell in cells if cell not in unchecked]
    unchecked += sorted(driven - {cell.partition("/")[0] for cell in cells})
    checks = [check for cell in whole for report in (before[cell], after[cell]) for check in report["checks"]]
    return Integrity(
        cells=len(cells),
        unchecked=tuple(unchecked),
        new=tuple(found for cell in whole for found in _new(cell, before[cell], after[cell])),
        blind=tuple(sorted({check["name"] for check in checks if check["status"] == "unknown"})),
        violated=tuple(sorted({check["name"] for check in checks if check["violations"]})),
    )


def _new(cell: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[NewViolation]:
    """Checks that count more violations after the cell than before it."""
    earlier = {check["name"]: check["violations"] for check in before["checks"]}
    return [
        NewViolation(check["name"], cell, earlier.get(check["name"], 0), check["violations"])
        for check in after["checks"]
        if check["violations"] > earlier.get(check["name"], 0)
    ]


def _coverage(label: str, attempts: pd.DataFrame) -> Coverage:
    slots = attempts.assign(booked=is_confirmed(attempts), out=attempts["outcome"] == EXHAUSTED).groupby("slot")
    full = (slots["booked"].sum() >= PLANNED_STRESS_MAX) | slots["out"].any()
    known = attempts["concurrency"].dropna()
    concurrency = int(known.iloc[0]) if len(known) else None
    return Coverage(label, concurrency, len(full), int(full.sum()), _span_minutes(attempts["slot"]))


def _span_minutes(slots: pd.Series) -> int:
    """From the first start time to the last."""
    clocks = (each.split(":") for each in slots.dropna().unique())
    times = [int(hours) * 60 + int(minutes) for hours, minutes in clocks]
    return max(times) - min(times) if times else 0
