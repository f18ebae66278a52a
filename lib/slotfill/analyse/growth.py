"""What the hops cost at each level, and what grows with concurrency."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from slotfill.analyse import stats
from slotfill.analyse.document import Cost
from slotfill.analyse.hops import HOPS
from slotfill.analyse.in_flight import most_at_once
from slotfill.analyse.stats import Estimate, clusters
from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED


@dataclass(frozen=True)
class Accounts:
    """The time accounting of a run: who was measured, what each hop cost, what grew.

    ``measured`` is the hop table of the attempts the verdict rests on, with their ``effective``
    concurrency; ``labels`` goes from the lowest concurrency to the highest.
    """

    measured: pd.DataFrame
    labels: tuple[str, ...]
    effective: dict[str, int]
    shares: dict[str, dict[str, Cost]]
    growth: dict[str, Estimate | None]

    def without(self, labels: Collection[str]) -> "Accounts":
        """The same without some levels, for what others did at them."""
        if not labels:
            return self
        left = tuple(label for label in self.labels if label not in labels)
        return replace(self, measured=self.measured[~self.measured["label"].isin(list(labels))], labels=left)

    def later(self) -> "Accounts":
        """The same without the first half of each level's attempts in each of its rounds."""
        cells = self.measured.groupby(["label", self.measured["round_number"].fillna(0)])["label"]
        return replace(self, measured=self.measured[(cells.cumcount() >= cells.transform("size") // 2).to_numpy()])

    @property
    def top(self) -> str:
        """The level with the highest concurrency."""
        return self.labels[-1]

    def mean_ms(self, hop: str, label: str) -> float:
        """A hop's mean at a level, 0 where it is unknown."""
        return self.shares[label][hop].mean_ms or 0.0

    def total_ms(self, label: str) -> float:
        """The mean total at a level."""
        rows = self.measured[self.measured["label"] == label]
        return float(rows["total_ms"].mean())

    def grown_ms(self, hop: str) -> float:
        """How much more a hop costs at the highest level than at the lowest."""
        return self.mean_ms(hop, self.top) - self.mean_ms(hop, self.labels[0])


def effective_concurrency(attempts: pd.DataFrame) -> dict[str, int]:
    """For each label, how many workers had work: never more than there are slots.

    Where the level is not recorded it is the largest number of attempts that were open at once.
    """
    found = {}
    told = attempts[["label", "concurrency", "slot", "file", "started_at", "ended_at"]]
    for label, rows in told.groupby("label", sort=False):
        recorded = rows["concurrency"].max()
        slots = rows["slot"].fillna(rows["file"]).nunique()
        found[str(label)] = min(int(recorded), slots) if pd.notna(recorded) else max(1, most_at_once(rows))
    return found


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """The attempts a verdict on time rests on: the confirmed ones.

    Where more attempts failed than were confirmed the time of the failed says what is wrong, so they
    count as well. An exhausted slot is neither: its tables ran out. Hops of different evidence do not
    mix: of each level the attempts of its best tier that covers half of them are kept.
    """
    confirmed = is_confirmed(table)
    failed = ~confirmed & (table["outcome"] != EXHAUSTED)
    rows = table[confirmed | failed] if failed.sum() > confirmed.sum() else table[confirmed]
    kept = rows.groupby("label")["tier"].transform(_level_tier)
    return rows[rows["tier"] == kept]


def accounts(attempts: pd.DataFrame, table: pd.DataFrame) -> Accounts:
    """Fold the hop table of a run (see ``hops``) into costs per level and growth over levels.

    Raises ValueError where no attempt can be measured.
    """
    effective = effective_concurrency(attempts)
    rows = measured(table)
    if rows.empty:
        raise ValueError("no attempt ended, so there is no time to account for")
    rows = rows.assign(effective=rows["label"].map(effective).astype(int), cluster=clusters(rows))
    order = rows.drop_duplicates("label").sort_values("effective", kind="stable")["label"]
    labels = tuple(str(label) for label in order)
    shares = {label: _costs(rows[(rows["label"] == label).to_numpy()]) for label in labels}
    one_tier = rows["tier"].nunique() == 1
    growth = {
        hop: stats.growth_per_doubling(rows[f"{hop}_ms"], rows["effective"], rows["cluster"])
        for hop in (*HOPS, "total")
        if hop == "total" or (one_tier and rows[f"{hop}_ms"].notna().all())
    }
    return Accounts(rows, labels, effective, shares, growth)


def _costs(rows: pd.DataFrame) -> dict[str, Cost]:
    """Every hop of one level."""
    total = float(rows["total_ms"].mean())
    costs = {}
    for hop in HOPS:
        values = rows[f"{hop}_ms"]
        if values.isna().any():
            costs[hop] = Cost(None, None, None)
            continue
        mean = float(values.mean())
        interval = stats.mean_ci(values, rows["cluster"])
        costs[hop] = Cost(mean, mean / total if total else None, interval)
    return costs


def _level_tier(tiers: pd.Series) -> int:
    """The best tier that at least half of a level's attempts have."""
    covered = [tier for tier in sorted(tiers.unique()) if (tiers <= tier).mean() >= 0.5]
    return int(covered[0])
