"""The figures of each level, and the platform's own table of them.

The load is a closed loop: a worker sends its next booking when the last one is done. So these are
service times at a fixed concurrency, with the throughput beside them; they say nothing about what
users would feel under arrivals that do not wait.
"""

import csv
import io
import json
import os.path
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from slotfill.analyse.attempts_json import attempts_json
from slotfill.analyse.in_flight import in_flight, most_at_once
from slotfill.analyse.level_order import level_order
from slotfill.analyse.stats import clusters, mean_ci, percentile
from slotfill.attempt import is_confirmed
from slotfill.escape import for_cell, for_json
from slotfill.outcomes import EXHAUSTED

Format = Literal["json", "csv"]

_SEAM = pd.Timedelta(seconds=1)
"""By how much more than its own time an attempt must have been open to have been interrupted."""
_IDLE = pd.Timedelta(minutes=2)
"""No pause of a closed loop is so long: a worker that is told to wait by a 429 waits for a minute at most."""
_CLOCK = ["file", "first_line", "last_line", "worker", "outcome", "submitted_at", "started_at", "ended_at", "total_ms"]
"""The columns that say when a log was running; of a million attempts the others would take long to sort."""
_BLOCK = 5000  # attempts that are printed at once
_MEASURES = ("submit_ms", "inline_ms", "post_job_ms", "total_ms")
_IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def metrics(attempts: pd.DataFrame) -> dict[str, Any]:
    """``metrics.json``: ``{"closed_loop": true, "levels": […]}``, in the order of the levels.

    Durations are in ms. Means, percentiles and ``ci95`` (by slot and round) are over confirmed
    attempts; a percentile, interval or mean that the sample does not carry is ``None``. ``outcomes`` and
    ``failure_reasons`` count all attempts. ``throughput_per_min`` is confirmed bookings a minute of the
    time in which at least one of the level's logs was running. ``started_at`` and ``ended_at`` span all its rounds.
    """
    files = _files(attempts)
    return {"closed_loop": True, "levels": [_level(level, files) for level in _levels(attempts)]}


def throughput_per_min(attempts: pd.DataFrame) -> dict[str, float]:
    """Confirmed bookings a minute of each level, by its label; 0 where no log says when it was running."""
    return {_label(level): _throughput(level) or 0.0 for level in _levels(attempts)}


def platform_table(attempts: pd.DataFrame) -> list[dict[str, Any]]:
    """The table the platform publishes of a run, under its own names: one row a level.

    Over confirmed attempts; averages in ms rounded half up to 0.1, rates and tables as they are.
    """
    return [_platform_row(level) for level in _levels(attempts)]


def attempt_records(attempts: pd.DataFrame) -> list[dict[str, Any]]:
    """One flat record an attempt, of values that JSON has: instants as ISO text, what is missing as ``None``."""
    names = [str(name) for name in attempts.columns]
    columns = [_scalars(attempts[name]) for name in attempts.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def render(figures: dict[str, Any], attempts: pd.DataFrame, form: Format) -> Iterator[str]:
    """For programs, in pieces: ``json`` is ``figures`` with the ``attempts``, ``csv`` these, an attempt a line."""
    if form == "csv":
        yield _csv([dict(zip(attempts.columns, attempts.columns, strict=True))], list(attempts.columns))
        blocks = (attempt_records(attempts[at : at + _BLOCK]) for at in range(0, len(attempts), _BLOCK))
        yield from (_csv(block, list(attempts.columns)) for block in blocks)
        return
    yield for_json(json.dumps(figures, indent=2, ensure_ascii=False)).removesuffix("\n}") + ',\n  "attempts": ['
    yield from attempts_json(attempts, "\n    ")
    yield "\n  ]\n}\n"


def _levels(attempts: pd.DataFrame) -> list[pd.DataFrame]:
    """The attempts of each level, in the order of the levels."""
    levels = {str(label): level for label, level in attempts.groupby("label", sort=False, dropna=False)}
    return [levels[label] for label in level_order(list(levels))]


def _label(level: pd.DataFrame) -> str:
    return str(level["label"].iloc[0])


def _concurrency(level: pd.DataFrame) -> int | None:
    known = level["concurrency"].dropna()
    return int(known.iloc[0]) if len(known) else None


def _level(level: pd.DataFrame, files: Sequence[str]) -> dict[str, Any]:
    confirmed = level[is_confirmed(level)]
    waste, groups = confirmed["seat_waste"], clusters(confirmed)
    return {
        "label": _label(level),
        "concurrency": _concurrency(level),
        "effective_concurrency": _workers(level),
        "in_flight": in_flight(level),
        "rounds": max(1, int(level["round_number"].nunique())),
        "started_at": _scalar(level["started_at"].min()),
        "ended_at": _scalar(level["ended_at"].max()),
        "attempts": len(level),
        "confirmed": len(confirmed),
        "outcomes": _counts(level["outcome"]),
        "slots": _slots(level),
        **{measure: _distribution(confirmed[measure], groups) for measure in _MEASURES},
        "submit_ms_of_all_attempts": _mean(level["submit_ms"]),
        "seat_waste": {"mean": _mean(waste), "total": int(waste.sum()), "max": _scalar(waste.max())},
        "tables_per_booking": _mean(confirmed["tables_assigned"]),
        "inline_poll_rate": _rate(confirmed, "confirmed_inline_poll"),
        "background_rate": _rate(confirmed, "confirmed_background"),
        "throughput_per_min": _throughput(level),
        "failure_reasons": _counts(level.loc[~is_confirmed(level), "reason"].map(_without_ids, na_action="ignore")),
        "logs": _relative(_files(level), files),
    }


def _files(attempts: pd.DataFrame) -> list[str]:
    return sorted(attempts["file"].dropna().unique())


def _throughput(level: pd.DataFrame) -> float | None:
    minutes = _running_minutes(level)
    return int(is_confirmed(level).sum()) / minutes if minutes else None


def _workers(level: pd.DataFrame) -> int | None:
    """How many workers had work at once; None without times. An attempt that is read back stays open beside the next
    one of its worker, so there are never more than the level's number."""
    at_once, asked = most_at_once(level), _concurrency(level)
    return min(at_once, asked or at_once) or None


def _distribution(values: pd.Series, groups: pd.Series) -> dict[str, Any]:
    interval = mean_ci(values, groups)
    return {
        "mean": _mean(values),
        "ci95": list(interval) if interval else None,
        "p50": percentile(values, 50),
        "p95": percentile(values, 95),
        "p99": percentile(values, 99),
        "max": _scalar(values.max()),
    }


def _slots(level: pd.DataFrame) -> dict[str, int]:
    """How the slots ended: by the last attempt of each. ``planned`` counts the slots that were begun."""
    ordered = level[["started_at", "outcome"]].sort_values("started_at", kind="stable")
    last = ordered.groupby(clusters(level), sort=False).tail(1)
    exhausted = int((last["outcome"] == EXHAUSTED).sum())
    filled = int(is_confirmed(last).sum())
    return {
        "planned": len(last),
        "filled": filled,
        "exhausted": exhausted,
        "failed": len(last) - filled - exhausted,
    }


def _rate(confirmed: pd.DataFrame, outcome: str) -> float | None:
    return float((confirmed["outcome"] == outcome).mean()) if len(confirmed) else None


def _counts(values: pd.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first; equal ones by name."""
    counts = values.dropna().value_counts()
    return {str(name): int(n) for name, n in sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))}


def _running_minutes(level: pd.DataFrame) -> float:
    """The union of the times in which each log of the level was running."""
    spans = _stretches(level).dropna().sort_values("start")
    latest = spans["end"].cummax().shift()
    starts = spans["start"].where(latest.isna() | (spans["start"] > latest), latest)
    return float((spans["end"] - starts).dt.total_seconds().clip(lower=0).sum()) / 60


def _stretches(level: pd.DataFrame) -> pd.DataFrame:
    """The start and end of each log, or of its parts where a run was stopped and resumed in it, on a mended clock."""
    rows = level.loc[(level["seams"] == 0).to_numpy(), _CLOCK].sort_values(["file", "first_line"])
    ended = rows["ended_at"].fillna(rows["submitted_at"])
    own = pd.to_timedelta(pd.Series(rows["total_ms"].to_numpy(dtype=float, na_value=np.nan), rows.index), unit="ms")
    # An attempt that a resumed run made again keeps its first start, but only its second time was measured.
    again = rows["worker"].notna() & (ended - rows["started_at"] > own + _SEAM)
    before = rows.groupby("file")[["last_line", "outcome"]].shift()
    # Our own logs have lines between attempts only where a run was resumed, and at a pause after a 429.
    resumed = rows["worker"].notna() & (rows["first_line"] > before["last_line"] + 1)
    seam = again | (resumed & (before["outcome"] != "rate_limited").fillna(False)).fillna(False)
    begun = rows["started_at"].where(~again, ended - own)
    # A clock that steps within an attempt leaves its duration, which is monotonic, as it was.
    stepped = (ended < begun + own - _SEAM) | (ended > begun + own + _IDLE)
    done = ended.where(~stepped.fillna(False), begun + own).fillna(ended)
    timed = rows.assign(begun=begun, ended=done, part=seam.cumsum())
    step = _clock_steps(timed)
    mended = timed.assign(begun=timed["begun"] - step, ended=timed["ended"] - step)
    return mended.groupby(["file", "part"]).agg(start=("begun", "min"), end=("ended", "max"))


def _clock_steps(rows: pd.DataFrame) -> pd.Series:
    """How far the clock of a log had stepped at each of its attempts, which are in the order of its lines.

    A log grows in time, so a start before an earlier one is a step back. So long without any attempt, in a closed
    loop, is a step ahead or a pause, and neither is running time.
    """
    part = [rows["file"], rows["part"]]
    latest = rows["ended"].groupby(part).cummax().groupby(part).shift()
    idle_s = (rows["begun"] - latest).dt.total_seconds()
    since_s = (rows["begun"] - rows["ended"].groupby(part).shift()).dt.total_seconds()
    back = rows["begun"].groupby(part).diff().dt.total_seconds() < -_SEAM.total_seconds()
    step_s = since_s.where(back, idle_s.where(idle_s > _IDLE.total_seconds())).fillna(0.0)
    return pd.to_timedelta(step_s.groupby(part).cumsum(), unit="s")


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if values.notna().any() else None


def _without_ids(reason: str) -> str:
    """Reasons that differ only in an id are one reason."""
    return _IDENTIFIER.sub("<id>", reason)


def _relative(files: Sequence[str], everywhere: Sequence[str]) -> list[str]:
    """Paths from the folder that all files read have in common."""
    common = os.path.commonpath([Path(file).absolute().parent for file in everywhere])
    return [os.path.relpath(file, common) for file in files]


def _platform_row(level: pd.DataFrame) -> dict[str, Any]:
    confirmed = level[is_confirmed(level)]
    return {
        "label": _label(level),
        "concurrency": _concurrency(level),
        "count": len(confirmed),
        **{
            f"avg{name}": _tenth(_mean(confirmed[column]))
            for name, column in (
                ("SubmitMs", "submit_ms"),
                ("InlineMs", "inline_ms"),
                ("TotalMs", "total_ms"),
                ("SeatWaste", "seat_waste"),
            )
        },
        "avgTablesPerBooking": _short(_mean(confirmed["tables_assigned"])),
        "inlinePollRate": _short(_rate(confirmed, "confirmed_inline_poll")),
        "backgroundRate": _short(_rate(confirmed, "confirmed_background")),
        **{
            f"max{name}": _short(_scalar(confirmed[column].max()))
            for name, column in (("SubmitMs", "submit_ms"), ("InlineMs", "inline_ms"), ("TotalMs", "total_ms"))
        },
    }


def _tenth(value: float | None) -> float | int | None:
    """Rounded half up to 0.1 as JavaScript's ``toFixed(1)`` does it: of the exact binary value."""
    if value is None:
        return None
    return _short(float(Decimal(value).quantize(Decimal("0.1"), ROUND_HALF_UP)))


def _short(value: float | None) -> float | int | None:
    """JSON of JavaScript has no ``.0``."""
    return int(value) if value is not None and value == int(value) else value


def _scalar(value: Any) -> Any:
    if value is None or value is pd.NA:
        return None
    if type(value) in (str, int, bool):
        return value
    if value is pd.NaT or value != value:
        return None
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.item() if isinstance(value, np.generic) else value


def _scalars(column: pd.Series) -> list[Any]:
    """``_scalar`` of a column, at once where its type is one of an attempt's."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        utc = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
        texts = np.char.add(np.datetime_as_string(utc, unit="ms"), "Z")
        return list(np.where(np.isnat(utc), np.array(None, dtype=object), texts.astype(object)))
    if str(column.dtype) in ("string", "Int64", "Float64", "boolean"):
        return list(pa.array(column, from_pandas=True).to_pylist())
    return list(map(_scalar, column.astype(object)))


def _csv(rows: Sequence[dict[str, Any]], columns: list[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writerows({name: for_cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()
