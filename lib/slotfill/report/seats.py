"""What concurrency costs in seats, and what the attempts that found no table cost in workers' time."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from slotfill.analyse.document import Bottleneck
from slotfill.report import labels

Record = Mapping[str, Any]

_WORDS = {
    "guests_seated": ("guests seated", 0),
    "waste_mean": ("seats wasted per booking", 2),
    "parties_turned_away": ("parties turned away", 0),
}
_TOLD_FROM = 0.05
"""Share of the workers' time from which on it changes what the throughput says."""


def table(document: Bottleneck) -> pd.DataFrame:
    """Bookings, guests, waste and parties turned away, one row a level; empty where the logs name no tables."""
    known = any(record["waste_mean"] is not None for record in document.seats)
    return pd.DataFrame([_row(record) for record in document.seats]) if known else pd.DataFrame()


def seats(document: Bottleneck) -> str:
    """Whether seats and parties turned away change with concurrency."""
    records = document.seats
    if all(record["waste_mean"] is None for record in records):
        return "The logs do not name tables, so seat waste is not known."
    parts = []
    if any(record["parties_turned_away"] for record in records):
        parts.append(
            "A slot ends with the first party that finds no table, so it turns away one at most; "
            "who would have come after that one was not asked for."
        )
    changed = [record for record in records if record["changes"]]
    if changed:
        parts.append(f"Against {records[0]['label']}, slot by slot (95 % intervals):")
        parts.append("\n".join(f"- **{record['label']}**: {_told(record['changes'])}" for record in changed))
        parts.append(_conclusion(changed, records[0]["label"]))
    return "\n\n".join(parts)


def worker_time(metrics: Record, document: Bottleneck) -> str:
    """How much of the workers' time went into attempts without a table, and what that does to throughput."""
    told = [r for r in document.seats if r["exhausted_share"] is not None and r["exhausted_share"] >= _TOLD_FROM]
    if not told:
        return ""
    per_min = {level["label"]: level["throughput_per_min"] for level in metrics["levels"]}
    shares = [f"{labels.share(record['exhausted_share'])} at {record['label']}" for record in told]
    rates = [
        f"{labels.number(record['seated_per_min'], 0)} instead of {labels.number(per_min[record['label']], 0)} "
        f"at {record['label']}"
        for record in told
        if record["seated_per_min"] is not None
    ]
    without = f" Without it, it would be about {labels.listing(rates)}." if rates else ""
    return (
        f"**Workers' time spent finding no table: {labels.listing(shares)}.** The last attempt of a full slot ends "
        "only when the job has used up its retries. The throughput (confirmed bookings a minute) counts that time: it "
        f"says how fast slots are filled until tables run out, not how fast the platform can book.{without}"
    )


def _row(record: Record) -> dict[str, str]:
    mean, bounds = record["waste_mean"], record["waste_ci95"]
    within = f" ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else ""
    turned_away = record["parties_turned_away"]
    guests = f" ({labels.count(record['guests_turned_away'], 'guest')})" if turned_away else ""
    return {
        "level": record["label"],
        "bookings confirmed": str(record["bookings"]),
        "guests seated": str(record["guests_seated"]),
        "seats wasted per booking (95 % interval)": labels.UNKNOWN if mean is None else f"{mean:.2f}{within}",
        "parties turned away": f"{turned_away}{guests}",
        **_best(record),
    }


def _best(record: Record) -> dict[str, str]:
    """Beside what a perfect seating reaches, where that was asked for."""
    if "least_waste" not in record:
        return {}
    return {
        "seats wasted": f"{record['waste_total']} (least possible: {_bounded(record, 'least_waste', 'or down to')})",
        "most guests that the same requests allow": _bounded(record, "most_guests", "or up to"),
    }


def _bounded(record: Record, figure: str, towards: str) -> str:
    value, gap = record[figure], record[f"{figure}_gap"]
    if value is None:
        return "not found in time"
    best = value - gap if figure == "least_waste" else value + gap
    return f"{value}" if not gap else f"{value}, not proven, {towards} {best}"


def _told(changes: Record) -> str:
    return "; ".join(
        f"{words} {_signed(changes[name]['value'], digits)} "
        f"({' to '.join(_signed(bound, digits) for bound in changes[name]['ci95'])})"
        for name, (words, digits) in _WORDS.items()
        if name in changes
    )


def _conclusion(changed: Sequence[Record], first: str) -> str:
    beyond = [
        f"{_WORDS[name][0]} at {record['label']}"
        for record in changed
        for name, change in record["changes"].items()
        if change["ci95"][0] > 0 or change["ci95"][1] < 0
    ]
    if beyond:
        return f"Beyond its interval: {labels.listing(beyond)}. All else does not differ from {first} beyond chance."
    return f"Nothing here differs from {first} beyond its interval: these data show no cost of concurrency in seats."


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
