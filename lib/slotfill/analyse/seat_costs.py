"""What concurrency costs in seats, and what the attempts that found no table cost in workers' time."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from slotfill.analyse import seating, stats
from slotfill.analyse.seat_optimum import SeatOptimum
from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED

Record = Mapping[str, Any]

_FIGURES = {"guests_seated": "seats_used", "parties_turned_away": "exhausted"}


def costs(attempts: pd.DataFrame, metrics: Record) -> list[dict[str, Any]]:
    """One record a level, the lowest concurrency first; ``metrics`` as metrics.json has them.

    ``changes`` has what differs from that first level, as {figure: {value, ci95}}, paired by slot: totals for guests
    and parties, a mean for the waste; empty where the levels have other slots. ``exhausted_share`` is the share of
    all attempts' time that the ones without a table took, ``seated_per_min`` the throughput if they took none.
    ``waste_by_slot`` has means. Intervals are 95 %, by slot and round.
    """
    per_min = {level["label"]: level["throughput_per_min"] for level in metrics["levels"]}
    spent = attempts[["label", "outcome", "total_ms"]]
    by_slot = seating.slots(attempts)
    records = seating.levels(attempts)
    return [
        {
            "label": record["label"],
            "bookings": record["bookings"],
            "guests_seated": record["seats_used"],
            "waste_mean": float(waste["seat_waste"].mean()) if len(waste) else None,
            "waste_ci95": stats.mean_ci(waste["seat_waste"], stats.clusters(waste)),
            "parties_turned_away": record["slots_exhausted"],
            "guests_turned_away": record["seats_lost"],
            "waste_by_slot": waste.groupby("slot")["seat_waste"].mean().astype(float).to_dict(),
            "exhausted_share": share,
            "seated_per_min": _seated_per_min(per_min.get(record["label"]), share),
            "changes": _changes(by_slot, records[0]["label"], record),
        }
        for record in records
        for waste in [_seated(attempts, record["label"])]
        for share in [_exhausted_share(spent[(spent["label"] == record["label"]).to_numpy()])]
    ]


def with_optimum(records: Sequence[Record], optima: Sequence[SeatOptimum]) -> list[dict[str, Any]]:
    """The records beside the best that a perfect seating reaches: the least waste of the same bookings, the most guests
    of the same requests. A ``*_gap`` above 0 says how far from the best possible the figure may be."""
    best = {optimum.label: optimum for optimum in optima}
    return [{**record, **_best(best[record["label"]])} if record["label"] in best else {**record} for record in records]


def _best(optimum: SeatOptimum) -> dict[str, int | None]:
    least, most = optimum.least_waste, optimum.most_guests
    return {
        "waste_total": optimum.waste,
        "least_waste": least.value if least else None,
        "least_waste_gap": least.gap if least else None,
        "most_guests": most.value if most else None,
        "most_guests_gap": most.gap if most else None,
    }


def _seated(attempts: pd.DataFrame, label: str) -> pd.DataFrame:
    known = is_confirmed(attempts) & attempts["seat_waste"].notna() & attempts["slot"].notna()
    told = ["slot", "seat_waste", "booking_date", "round_number", "file"]
    return attempts.loc[(known & (attempts["label"] == label)).to_numpy(), told]


def _exhausted_share(level: pd.DataFrame) -> float | None:
    busy = float(level["total_ms"].sum())
    return float(level.loc[(level["outcome"] == EXHAUSTED).to_numpy(), "total_ms"].sum()) / busy if busy else None


def _seated_per_min(per_min: float | None, exhausted_share: float | None) -> float | None:
    if not per_min or exhausted_share is None or exhausted_share >= 1:
        return None
    return per_min / (1 - exhausted_share)


def _changes(by_slot: pd.DataFrame, first: str, record: Record) -> dict[str, Any]:
    before, after = (by_slot[(by_slot["label"] == label).to_numpy()] for label in (first, record["label"]))
    if record["label"] == first or set(before["cluster"]) != set(after["cluster"]):
        return {}
    changes = {}
    for name, column in _FIGURES.items():
        mean = stats.difference_ci(before[column], before["cluster"], after[column], after["cluster"])
        if mean is not None:
            slots = len(after)
            changes[name] = {"value": mean.value * slots, "ci95": [mean.low * slots, mean.high * slots]}
    if record["difference"] is not None:
        changes["waste_mean"] = {
            "value": record["difference"]["mean_seats"],
            "ci95": record["difference"]["ci95"],
        }
    return changes
