"""Two runs side by side: what changed, with an interval on each difference."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from slotfill.analyse import stats
from slotfill.analyse.noise import halves
from slotfill.analyse.stats import Estimate, Resampling
from slotfill.attempt import is_confirmed
from slotfill.errors import BadInput

WHAT_MAY_CHANGE = ("faults", "flags", "date", "thresholds", "env_file", "server_log")
"""Parameters that change the platform or nothing; every other one changes the load or the measuring."""

_NAMES = {
    "submit_ms": ("submit", "ms"),
    "inline_ms": ("inline", "ms"),
    "post_job_ms": ("post job", "ms"),
    "total_ms": ("total", "ms"),
    "seat_waste": ("seat waste", "seats"),
    "tables_assigned": ("tables", "/booking"),
    "confirmed_per_worker_minute": ("confirmed", "/worker min"),
}
_NUMBERS = ("before", "after", "difference", "low", "high", "noise")
_FIGURES = ("submit_ms", "inline_ms", "post_job_ms", "total_ms", "seat_waste", "tables_assigned")
_MUST_MATCH = ("parameters", "versions", "host")


def require_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs between two ``run.json`` and may, as ``{name: [before, after]}``.

    Raises BadInput naming everything that makes the two runs incomparable.
    """
    differing = {
        f"{part}.{name}": [old, new]
        for part in _MUST_MATCH
        for name, old, new in _differences(before.get(part, {}), after.get(part, {}))
    }
    allowed = {f"parameters.{name}" for name in WHAT_MAY_CHANGE}
    unlike = [f"{name} ({old} → {new})" for name, (old, new) in differing.items() if name not in allowed]
    if unlike:
        raise BadInput(f"these runs cannot be compared: {'; '.join(unlike)}; repeat one with what the other had")
    return {name.partition(".")[2]: pair for name, pair in differing.items()}


def compare(before: pd.DataFrame, after: pd.DataFrame, resamples: int = stats.RESAMPLES) -> pd.DataFrame:
    """Before and after for each level that both runs have, over confirmed attempts.

    Columns: ``label, figure, before, after, difference, low, high, noise, changed``. ``low`` and ``high`` are
    the 95 % interval of the difference, paired by slot; ``noise`` is how far two halves of the same run
    differ; ``changed`` is true where the interval excludes 0 and the difference is beyond the noise.
    """
    labels = [label for label in before["label"].drop_duplicates() if (after["label"] == label).any()]
    rows = []
    for label in labels:
        old, new = (each[(each["label"] == label).to_numpy()] for each in (before, after))
        rows += [_row(label, figure, old, new, resamples) for figure in _FIGURES]
        rows.append(_throughput(label, old, new, resamples))
    kept = [row for row in rows if row is not None]
    columns = ["label", "figure", "before", "after", "difference", "low", "high", "noise", "changed"]
    return pd.DataFrame(kept, columns=columns)


def render(table: pd.DataFrame) -> str:
    """The output of ``slotfill compare``, a line a figure with its unit; times to 0.1 ms, all else to 0.01."""
    if table.empty:
        return "nothing to compare: no level has enough confirmed bookings in both runs"
    blocks = []
    for label, rows in table.groupby("label", sort=False):
        cells = [("figure", "unit", "before", "after", "change", "95 % interval", "noise", "real?")]
        for row in rows.itertuples():
            name, unit = _NAMES[str(row.figure)]
            digits = 1 if unit == "ms" else 2
            before, after, change, low, high, noise = (_text(getattr(row, each), digits) for each in _NUMBERS)
            cells.append((name, unit, before, after, change, f"{low} to {high}", noise, "yes" if row.changed else "no"))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                f"{cell:{'<' if place < 2 else '>'}{width}}"
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        blocks.append("\n".join([str(label), *lines]))
    return "\n\n".join(blocks)


def _text(value: float, digits: int) -> str:
    """Rounded; what rounds to nothing has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _row(label: str, figure: str, old: pd.DataFrame, new: pd.DataFrame, resamples: int) -> dict[str, Any] | None:
    """One figure at one level; ``None`` where a run does not have it."""
    old, new = old[is_confirmed(old).to_numpy()], new[is_confirmed(new).to_numpy()]
    gap = stats.difference_ci(old[figure], _slots(old), new[figure], _slots(new))
    if gap is None:
        return None
    bands = [halves(each[figure], _slots(each)) for each in (old, new)]
    noise = max((abs(band.value) for band in bands if band is not None), default=0.0)
    return _entry(label, figure, float(old[figure].mean()), float(new[figure].mean()), gap, noise)


def _throughput(label: str, old: pd.DataFrame, new: pd.DataFrame, resamples: int) -> dict[str, Any] | None:
    """Confirmed bookings per minute and worker: one over the workers' time per confirmed booking."""
    both = pd.concat([old, new], ignore_index=True)
    after = pd.Series([0.0] * len(old) + [1.0] * len(new))
    ended = both["total_ms"].notna().to_numpy()
    both, after = both[ended].reset_index(drop=True), after[ended].reset_index(drop=True)
    paired = set(_slots(old)) == set(_slots(new))
    draw = Resampling.of(_slots(both), None if paired else after, resamples)
    if draw is None:
        return None
    confirmed = is_confirmed(both).to_numpy(dtype=float)
    minutes = both["total_ms"].to_numpy(dtype=float) / 60_000
    rates, draws = [], []
    for side in (1 - after.to_numpy(), after.to_numpy()):
        if not (minutes * side).sum():
            return None
        rates.append(float((confirmed * side).sum() / (minutes * side).sum()))
        draws.append(stats.ratio(draw.sums(confirmed * side), draw.sums(minutes * side)))
    gap = Estimate(rates[1] - rates[0], *draw.interval(draws[1] - draws[0]))
    return _entry(label, "confirmed_per_worker_minute", rates[0], rates[1], gap, 0.0)


def _entry(label: str, figure: str, old: float, new: float, gap: Estimate, noise: float) -> dict[str, Any]:
    return {
        "label": label,
        "figure": figure,
        "before": old,
        "after": new,
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
        "noise": noise,
        "changed": (gap.low > 0 or gap.high < 0) and abs(gap.value) > noise,
    }


def _slots(attempts: pd.DataFrame) -> pd.Series:
    return attempts["slot"].fillna(attempts["file"]).astype("string")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = sorted({*before, *after})
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
