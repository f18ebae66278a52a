"""How far the data carry: noise, warm-up, sample sizes, database texts, seats."""

from typing import Any

import numpy as np

from slotfill.analyse import stats
from slotfill.analyse.constants import FEW_SLOTS, FEWEST_VALUES
from slotfill.analyse.document import Finding
from slotfill.analyse.findings.measurements import Measurements, places, truth
from slotfill.analyse.noise import halves
from slotfill.analyse.outcomes import error_counts
from slotfill.attempt import is_confirmed
from slotfill.outcomes import EXHAUSTED


def database_errors(case: Measurements) -> Finding:
    """Texts of database pressure in the server logs, of every kind there is."""
    if case.error_lines.empty:
        known = truth(False) if len(case.server) else "unknown"
        return Finding(
            "database_errors", known, "no error text of an overloaded database was found", needs="a server log"
        )
    counts = error_counts(case.server, case.error_lines)
    firsts = case.error_lines.drop_duplicates("kind")
    listed = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return Finding(
        "database_errors", "true", f"error texts of the database: {listed}", counts, places(firsts, "line", 8)
    )


def exhaustion(case: Measurements) -> Finding:
    """Slots ran out of tables: expected where they are filled to the brim."""
    ran_out = case.attempts[(case.attempts["outcome"] == EXHAUSTED).to_numpy()]
    confirmed = int(is_confirmed(case.attempts).sum())
    claim = f"{len(ran_out)} attempts found no table, {confirmed} were confirmed"
    where = places(ran_out, "last_line")
    figures = {"exhausted": len(ran_out), "confirmed": confirmed}
    return Finding("exhaustion", truth(len(ran_out)), claim, figures, where, hop="venue")


def seat_waste(case: Measurements) -> Finding:
    """Seats wasted per booking change with concurrency."""
    told = ["label", "seat_waste", "booking_date", "round_number", "slot", "file"]
    rows = case.attempts.loc[(is_confirmed(case.attempts) & case.attempts["seat_waste"].notna()).to_numpy(), told]
    levels = rows["label"].map(case.accounts.effective).astype(float)
    slope = stats.growth_per_doubling(rows["seat_waste"], levels, stats.clusters(rows))
    if slope is None:
        return Finding("seat_waste", "unknown", "one level shows no change of seat waste", needs="a second level")
    moves = slope.low > 0 or slope.high < 0
    claim = f"seat waste changes by {slope.value:+.2f} seats per booking with each doubling of concurrency"
    figures = {"per_doubling_seats": slope.value, "ci95": [slope.low, slope.high]}
    return Finding("seat_waste", truth(moves), claim, figures)


def noise(case: Measurements) -> Finding:
    """How far two halves of the same level differ, where nothing was changed (A/A)."""
    rows, bands = case.accounts.measured, {}
    for label in case.accounts.labels:
        here = rows[(rows["label"] == label).to_numpy()]
        gap = halves(here["total_ms"], here["cluster"])
        if gap is not None:
            bands[label] = {"difference_ms": gap.value, "low_ms": gap.low, "high_ms": gap.high}
    if not bands:
        return Finding("noise", "unknown", "too few attempts to compare two halves", needs="more attempts per slot")
    wide = [label for label, band in bands.items() if band["low_ms"] > 0 or band["high_ms"] < 0]
    claim = f"two halves of one level differ at {', '.join(wide)}" if wide else "two halves of one level do not differ"
    return Finding("noise", truth(wide), claim, bands)


def warm_up(case: Measurements) -> Finding:
    """The first attempt of each worker, in each round of a level, is slower than the rest."""
    told = ["label", "round_number", "worker", "file", "last_line", "started_at", "submit_ms"]
    rows = case.attempts.loc[is_confirmed(case.attempts).to_numpy(), told].sort_values("started_at")
    who = "worker" if rows["worker"].notna().any() else "file"
    first = ~rows.duplicated(["label", "round_number", who])
    # Within its level: a first request of level 8 is not slow for being slower than those of level 1.
    usual = rows["submit_ms"].where(~first).groupby(rows["label"]).transform("median")
    rows = rows.assign(over_ms=(rows["submit_ms"] - usual).astype("float64"))
    rows, first = rows[usual.notna().to_numpy()], first[usual.notna()]
    early, later = rows[first.to_numpy()], rows[~first.to_numpy()]
    if len(early) < 2 or len(later) < 2:
        return Finding("warm_up", "unknown", "too few attempts to tell first ones apart", needs="more attempts")
    middle = float(later["submit_ms"].median())
    # Robust against skew: the median first attempt against the spread of the later ones.
    spread = float(np.median(np.abs(later["over_ms"]))) * 1.4826
    extra = float(early["over_ms"].median())
    slow = extra > 3 * max(spread, 1.0) and extra > 0.5 * middle
    claim = f"the median first request takes {extra:+.0f} ms against the later ones"
    figures = {"extra_ms": extra, "later_median_ms": middle, "spread_ms": spread}
    where = places(early, "last_line", 2)
    return Finding("warm_up", truth(slow), claim, figures, where)


def few_samples(case: Measurements) -> Finding:
    """The sample is too small for some of what one would like to say."""
    rows = case.accounts.measured
    thin: dict[str, dict[str, Any]] = {}
    for label in case.accounts.labels:
        here = rows[(rows["label"] == label).to_numpy()]
        missing = [f"p{q}" for q in (95, 99) if len(here) < stats.sample_floor(q)]
        if here["cluster"].nunique() < FEW_SLOTS:
            missing.append("narrow intervals")
        if missing:
            thin[label] = {"attempts": len(here), "slots": int(here["cluster"].nunique()), "not_carried": missing}
    carried = [f"no {' and no '.join(each['not_carried'])} at {label}" for label, each in thin.items()]
    claim = f"the sample carries {'; '.join(carried)}" if thin else "every level carries its figures"
    needs = f"at least {FEWEST_VALUES} confirmed bookings over {FEW_SLOTS} slots a level" if thin else ""
    return Finding("few_samples", truth(thin), claim, thin, needs=needs)
