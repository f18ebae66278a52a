"""Two runs side by side: what changed, with an interval that holds what differs from run to run.

What two runs of an unchanged platform differ by is not in the spread of their slots: the machine drifts, caches warm,
others work. Rounds show it. So the observation is the round: the difference of a figure between the same round of
both runs, which asked for the same parties in the same slots. Three rounds say little of their own spread, so the
relative spread of a figure is pooled over the levels, and is never taken for less than what the slots differ by; the
larger of the two counts, with its own degrees of freedom. How often that is right is measured by ``tests/aa.py``.

Many figures are looked at, and of many one is always large by chance. Which of them changed is decided for all of
them together (S. Holm, Scandinavian Journal of Statistics 6, 1979): in 19 of 20 comparisons of unchanged runs, none.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from scipy import special

from slotfill.analyse.comparable import require_same_plan
from slotfill.analyse.constants import CONFIDENCE, FEW_SLOTS, FEWEST_ROUNDS
from slotfill.analyse.hops import HOPS, hops
from slotfill.analyse.level_order import level_order
from slotfill.analyse.stats import Floats, clusters, standard_error, t_quantile
from slotfill.attempt import is_confirmed

_HOPS = {f"{hop}_hop_ms": hop for hop in HOPS if hop != "unexplained"}
FIGURES = {
    **{column: f"{hop}, ms" for column, hop in _HOPS.items()},
    "submit_ms": "submit, ms",
    "inline_ms": "inline poll, ms",
    "post_job_ms": "after the job, ms",
    "total_ms": "total, ms",
    "seat_waste": "seats wasted a booking",
    "tables_assigned": "tables a booking",
    "per_worker_minute": "bookings/min a worker",
}
"""Each figure with its name and unit."""


class Measured(Protocol):
    """A run as it was read: its attempts and what the server's log says of their bookings."""

    @property
    def attempts(self) -> pd.DataFrame: ...

    @property
    def server(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Change:
    """A figure of a level, before and after; ``low`` and ``high`` are the 95 % interval of the difference.

    ``verdict`` is ``changed``, ``unchanged``, ``unsure`` (beyond its own interval, but not beyond what one of so many
    differences shows by chance), or ``follows``: see ``_consequences``.
    """

    label: str
    figure: str
    before: float
    after: float
    low: float
    high: float
    verdict: Literal["changed", "follows", "unsure", "unchanged"] = "unchanged"

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def hop(self) -> str | None:
        """The hop whose time the figure is, if it is one's."""
        return _HOPS.get(self.figure)


@dataclass(frozen=True)
class Comparison:
    """All differences of two runs. ``rounds`` is 1 where the intervals do not hold what differs from run to run."""

    changes: tuple[Change, ...]
    rounds: int
    remark: str = ""
    """What a reader has to know before the differences."""

    @property
    def note(self) -> str:
        """The remark, what the intervals hold, and for how many differences the word ``changed`` stands."""
        looks = f"Of {len(self.changes)} differences, in 19 of 20 comparisons of unchanged runs none is called changed."
        if any(change.verdict == "follows" for change in self.changes):
            looks += (
                " A hop that follows changed as well, but only where workers meet: the time that they spend elsewhere "
                "decides how much they crowd each other here."
            )
        held = f"Intervals hold what differs between the {self.rounds} rounds of a run."
        if self.rounds < FEWEST_ROUNDS:
            held = (
                "Intervals hold what differs from slot to slot, not from run to run: an unchanged platform can look "
                "changed. `rounds: 3` would tell."
            )
        return f"{self.remark} {held} {looks}".strip()


def compare(before: Measured, after: Measured, seeded: bool = True) -> Comparison:
    """Every figure of each level that both runs have, over confirmed attempts, with its difference.

    A hop is there where the logs of both runs tell its time. Raises BadInput where the plans differ; logs that were
    not ``seeded`` drew their parties anew, so theirs do.
    """
    if seeded:
        require_same_plan(before.attempts, after.attempts)
    old, new = (_table(each) for each in (before, after))
    labels = [str(label) for label in old["label"].drop_duplicates() if (new["label"] == label).any()]
    rounds = min(int(each["round"].nunique()) for each in (old, new)) if labels else 0
    found: list[tuple[Change, float, float]] = []
    for figure in FIGURES:
        pairs = [_Pair(label, figure, *(_values(each, label, figure) for each in (old, new))) for label in labels]
        found += _differences_of([pair for pair in pairs if pair.tells], rounds)
    return Comparison(tuple(_decided(found)), rounds)


def render(comparison: Comparison) -> str:
    """The output of ``slotfill compare``: 80 columns, a block a level, a line a figure with its unit."""
    if not comparison.changes:
        return "nothing to compare: no level has enough confirmed bookings in both runs"
    lines = []
    for label in dict.fromkeys(change.label for change in comparison.changes):
        here = [change for change in comparison.changes if change.label == label]
        lines += [f"{label:22s}{'before':>9s}{'after':>9s}{'change':>9s}   95 % interval", *map(_line, here), ""]
    return "\n".join([*lines, *textwrap.wrap(comparison.note, 80)])


@dataclass(frozen=True)
class _Pair:
    """One figure at one level in both runs: a row a booking with ``top`` and ``bottom`` (1 for a mean)."""

    label: str
    figure: str
    old: pd.DataFrame
    new: pd.DataFrame

    @property
    def tells(self) -> bool:
        """Both sides have it, and it is not nothing on both."""
        sides = (self.old, self.new)
        enough = all(each["cluster"].nunique() >= FEW_SLOTS for each in sides)
        return enough and any((each["top"] != 0).any() for each in sides)

    @property
    def means(self) -> tuple[float, float]:
        return _ratio(self.old), _ratio(self.new)

    @property
    def scale(self) -> float:
        return max(abs(mean) for mean in self.means)

    def by_round(self) -> Floats:
        """After minus before, of each round."""
        old, new = (each.groupby("round")[["top", "bottom"]].sum() for each in (self.old, self.new))
        gap = (new["top"] / new["bottom"] - old["top"] / old["bottom"]).dropna()
        return np.asarray(gap, dtype=np.float64)

    def by_slot_error(self) -> float:
        """The standard error as the slots show it, which both runs have."""
        influence = np.concatenate([-_influence(self.old), _influence(self.new)])
        return standard_error(influence, pd.concat([self.old["cluster"], self.new["cluster"]]))


def _differences_of(pairs: Sequence[_Pair], rounds: int) -> Iterator[tuple[Change, float, float]]:
    """Each level's difference of one figure, with how unlikely it is by chance, and its degrees of freedom."""
    spread, freedom = _pooled([pair for pair in pairs if pair.scale]) if rounds >= FEWEST_ROUNDS else (0.0, 0)
    for pair in pairs:
        slots = min(pair.old["cluster"].nunique(), pair.new["cluster"].nunique())
        by_round, by_slot = spread * pair.scale / sqrt(rounds or 1), pair.by_slot_error()
        error, within = (by_round, freedom) if by_round > by_slot else (by_slot, slots - 1)
        before, after = pair.means
        reach = t_quantile(within, CONFIDENCE) * error
        gap = after - before
        chance = 2 * float(special.stdtr(within, -abs(gap) / error if error else (-inf if gap else 0.0)))
        yield Change(pair.label, pair.figure, before, after, gap - reach, gap + reach), chance, within


def _pooled(pairs: Sequence[_Pair]) -> tuple[float, int]:
    """The standard deviation of a figure's differences between rounds, as a share of the figure, over all levels."""
    gaps = [pair.by_round() / pair.scale for pair in pairs]
    freedom = sum(len(each) - 1 for each in gaps)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in gaps)
    return (sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def _decided(found: Sequence[tuple[Change, float, float]]) -> list[Change]:
    """The changes with their verdicts, decided for all of them together."""
    order = sorted(range(len(found)), key=lambda each: found[each][1])
    refused = next(
        (rank for rank, each in enumerate(order) if found[each][1] * (len(order) - rank) > 1 - CONFIDENCE), len(order)
    )
    changed = set(order[:refused])
    decided = []
    for number, (change, _, _) in enumerate(found):
        beyond = change.low > 0 or change.high < 0
        decided.append(replace(change, verdict="changed" if number in changed else "unsure" if beyond else "unchanged"))
    labels = list(dict.fromkeys(change.label for change, _, _ in found))
    return sorted(_consequences(decided), key=lambda change: labels.index(change.label))


def _consequences(decided: Sequence[Change]) -> Iterator[Change]:
    """The changes, with those told apart that follow from another hop's.

    The load is a closed loop: workers that spend longer in one hop crowd the others less, and these get faster without
    having changed. Such a hop is unchanged at the lowest level, where fewest meet; above, it changes the other way than
    a hop that changed there and differs here as well, if only beyond its own interval, and by less.
    """
    changed = [change for change in decided if change.verdict == "changed" and change.hop]
    differing = [change for change in decided if change.verdict != "unchanged" and change.hop]
    lowest = level_order([change.label for change in decided])[:1]
    by_itself = {change.figure for change in changed if [change.label] == lowest}
    for change in decided:
        causes = [
            other
            for other in differing
            if other.label == change.label
            and other.figure in by_itself
            and other.difference * change.difference < 0
            and abs(other.difference) > abs(change.difference)
        ]
        follows = change in changed and change.figure not in by_itself and causes
        yield replace(change, verdict="follows") if follows else change


def _table(run: Measured) -> pd.DataFrame:
    """The attempts with the time of each hop, the round, and the cluster they belong to."""
    attempts = run.attempts
    spent = hops(attempts, run.server).rename(columns={f"{hop}_ms": column for column, hop in _HOPS.items()})
    spent = spent[["correlation_id", *_HOPS]].dropna(subset="correlation_id")
    table = attempts.merge(spent.drop_duplicates("correlation_id"), on="correlation_id", how="left")
    rounds = table["round_number"].fillna(1) if "round_number" in table else 1
    return table.assign(cluster=clusters(table).to_numpy(), round=rounds, confirmed=is_confirmed(table).to_numpy())


def _values(table: pd.DataFrame, label: str, figure: str) -> pd.DataFrame:
    """``top`` and ``bottom`` of one figure, a row an attempt that has it."""
    rows = table[(table["label"] == label).to_numpy()]
    if figure == "per_worker_minute":
        rows = rows[rows["total_ms"].notna().to_numpy()]
        top, bottom = rows["confirmed"], rows["total_ms"] / 60_000
    else:
        rows = rows[(rows["confirmed"] & rows[figure].notna()).to_numpy()]
        top, bottom = rows[figure], pd.Series(1.0, rows.index)
    parts = {"top": top.astype(float), "bottom": bottom.astype(float), "round": rows["round"].astype(int)}
    return pd.DataFrame({**parts, "cluster": rows["cluster"]}).reset_index(drop=True)


def _ratio(rows: pd.DataFrame) -> float:
    return float(rows["top"].sum() / rows["bottom"].sum())


def _influence(rows: pd.DataFrame) -> Floats:
    top, bottom = (rows[name].to_numpy(dtype=float) for name in ("top", "bottom"))
    deviation: Floats = (top - _ratio(rows) * bottom) / bottom.sum()
    return deviation


def _line(change: Change) -> str:
    digits = 1 if change.figure.endswith("_ms") else 2
    numbers = [_text(value, digits) for value in (change.before, change.after)]
    signed = [_text(value, digits, "+") for value in (change.difference, change.low, change.high)]
    cells = [*numbers, signed[0]]
    said = "" if change.verdict == "unchanged" else change.verdict
    within = f"{signed[1]} to {signed[2]}"
    return f"{FIGURES[change.figure]:22s}{''.join(f'{each:>9s}' for each in cells)}   {within:20s} {said}".rstrip()


def _text(value: float, digits: int, sign: str = "") -> str:
    """Rounded; what rounds to nothing has no sign."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:{sign if rounded else ''}.{digits}f}"
