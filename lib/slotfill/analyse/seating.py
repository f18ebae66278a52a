"""What the allocation costs in seats, for each slot and level."""

from typing import Any

import pandas as pd

from slotfill.analyse import stats
from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED

SLOT_COLUMNS = ["label", "slot", "cluster", "party_size"]
SLOT_COLUMNS += ["bookings", "seats_used", "seats_wasted", "exhausted", "seats_lost"]
_TOLD = ["label", "slot", "booking_date", "round_number", "file", "outcome", "party_size", "seat_waste"]


def slots(attempts: pd.DataFrame) -> pd.DataFrame:
    """One row for each slot of a level and round; ``cluster`` names it, the same at all levels.

    ``seats_wasted`` are seats of assigned tables that nobody of the party sits on. ``seats_lost`` is the
    party that found no table: at least that many guests were sent away, as the slot ended with it.
    """
    known = attempts.loc[attempts["slot"].notna(), _TOLD]
    seated, ran_out = is_confirmed(known), known["outcome"] == EXHAUSTED
    party = known["party_size"].fillna(0)
    rows = pd.DataFrame(
        {
            "label": known["label"],
            "slot": known["slot"],
            "cluster": stats.clusters(known),
            "party_size": known["party_size"],
            "bookings": seated.astype(int),
            "seats_used": party.where(seated, 0),
            "seats_wasted": known["seat_waste"].where(seated).fillna(0),
            "exhausted": ran_out.astype(int),
            "seats_lost": party.where(ran_out, 0),
        }
    )
    sums = {name: (name, "sum") for name in SLOT_COLUMNS[4:]}
    by_slot = rows.groupby(["label", "slot", "cluster"], as_index=False)
    return by_slot.agg(party_size=("party_size", "max"), **sums)[SLOT_COLUMNS]


def levels(attempts: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a level: seats used, wasted and lost, and how the waste per booking differs from the first level.

    ``difference`` has the mean difference per booking and its 95 % interval, paired by slot; ``None`` for
    the first level and where there are too few slots.
    """
    sums = slots(attempts).groupby("label", sort=False).sum(numeric_only=True)
    lowest_first = attempts.drop_duplicates("label").sort_values("concurrency", kind="stable")["label"]
    order = [label for label in lowest_first if label in sums.index]
    known = is_confirmed(attempts) & attempts["seat_waste"].notna() & attempts["slot"].notna()
    seated = attempts.loc[known.to_numpy(), _TOLD]
    found = []
    for label in order:
        here, first = seated[(seated["label"] == label).to_numpy()], seated[(seated["label"] == order[0]).to_numpy()]
        change = None
        if label != order[0]:
            change = stats.difference_ci(
                first["seat_waste"], stats.clusters(first), here["seat_waste"], stats.clusters(here)
            )
        row = sums.loc[label]
        used, wasted = int(row["seats_used"]), int(row["seats_wasted"])
        found.append(
            {
                "label": str(label),
                "bookings": int(row["bookings"]),
                "seats_used": used,
                "seats_wasted": wasted,
                "wasted_share": wasted / (used + wasted) if used + wasted else None,
                "slots_exhausted": int(row["exhausted"]),
                "seats_lost": int(row["seats_lost"]),
                "difference": None
                if change is None
                else {"mean_seats": change.value, "ci95": [change.low, change.high]},
            }
        )
    return found
