"""The tables beside the charts: numbers from metrics.json and bottleneck.json as texts in frames."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.analyse.document import Bottleneck
from slotfill.analyse.level_order import level_order
from slotfill.attempt import is_confirmed
from slotfill.report import labels, markup, points


def levels(metrics: points.Metrics) -> pd.DataFrame:
    """The metrics table, one row a figure, one column a level."""
    table = pd.DataFrame([_level(level) for level in metrics["levels"]]).set_index("level").astype(str).T
    return table.rename_axis(index=None, columns=None).reset_index(names="")


def hops(document: Bottleneck) -> pd.DataFrame:
    """Mean time per hop, its share, and below them the 95 % interval: one row a hop, one column a level."""
    rows = points.hop_rows(document)
    if rows.empty:
        return rows
    levels = level_order(rows["label"].unique())
    costs = {(row["hop"], row["label"]): row for row in rows.to_dict("records")}
    table = []
    for hop in [name for name in labels.HOPS if name in set(rows["hop"])]:
        table.append({"hop": labels.hop(hop)} | {level: _cost(costs.get((hop, level))) for level in levels})
    return pd.DataFrame(table)


def growth(document: Bottleneck) -> pd.DataFrame:
    """How much each hop's mean grows when the workers double, with its interval."""
    rows = [
        {
            "hop": labels.hop(hop),
            "growth per doubling": labels.duration(growth.per_doubling_ms),
            "95 % interval": labels.interval(growth.ci95),
        }
        for hop, growth in document.growth.items()
    ]
    return pd.DataFrame(rows, columns=["hop", "growth per doubling", "95 % interval"])


def throughput(rows: pd.DataFrame, load: str) -> pd.DataFrame:
    """``points.throughput_points`` as texts."""
    return pd.DataFrame(
        {
            "level": rows["label"],
            load: rows["load"].map(labels.number),
            "confirmed bookings a minute": rows["per_min"].map(labels.number),
        }
    )


def stages(metrics: points.Metrics) -> pd.DataFrame:
    """Mean and interval of each stage, one row a level."""
    rows = []
    for level in metrics["levels"]:
        row = {"level": level["label"]}
        for key, name in points.STAGES.items():
            if key in level and not labels.is_missing(level[key]["mean"]):
                row[name] = f"{labels.duration(level[key]['mean'])} [{labels.interval(level[key].get('ci95'))}]"
        rows.append(row)
    return pd.DataFrame(rows).fillna(labels.UNKNOWN)


def percentiles(metrics: points.Metrics, key: str = "submit_ms") -> pd.DataFrame:
    """Percentiles of one stage; one that the sample is too small for is left open."""
    rows = [
        {"level": level["label"], "confirmed": level["confirmed"]}
        | {name: labels.duration(level[key].get(name)) for name in ("mean", "p50", "p95", "p99", "max")}
        for level in metrics["levels"]
    ]
    return pd.DataFrame(rows)


def witnesses(attempts: pd.DataFrame) -> pd.DataFrame:
    """The timing proof: the median and the slowest confirmed attempt of each level, with where their log says so."""
    rows = [{"level": attempt["label"], "attempt": which, **_witness(attempt)} for which, attempt in typical(attempts)]
    return pd.DataFrame(rows)


def typical(attempts: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """("median" or "slowest", attempt) by total time, for each level that has a confirmed attempt."""
    known = is_confirmed(attempts) & attempts["total_ms"].notna()
    confirmed = attempts.loc[known, ["label", "total_ms"]].sort_values("total_ms")
    for label in level_order(confirmed["label"].unique()):
        ranked = confirmed.index[confirmed["label"] == label]
        yield "median", attempts.loc[ranked[(len(ranked) - 1) // 2]]
        yield "slowest", attempts.loc[ranked[-1]]


def seat_waste(means: pd.DataFrame) -> pd.DataFrame:
    """``points.seat_waste_rows`` as texts, one row a slot, one column a level."""
    texts = means.map(lambda mean: labels.UNKNOWN if labels.is_missing(mean) else f"{mean:.2f}").T
    return texts.rename_axis(index="slot", columns=None).reset_index()


def outcomes(attempts: pd.DataFrame) -> pd.DataFrame:
    """Attempts by outcome, one row a level."""
    counts = attempts.groupby(["label", "outcome"]).size().unstack(fill_value=0)
    ordered = counts.reindex(level_order(counts.index.tolist()))
    return ordered.rename_axis(index="level", columns=None).reset_index()


def reasons(metrics: points.Metrics) -> pd.DataFrame:
    """Why attempts were not confirmed, in the platform's words, with counts."""
    rows = [
        {"level": level["label"], "reason": reason, "attempts": amount}
        for level in metrics["levels"]
        for reason, amount in level.get("failure_reasons", {}).items()
    ]
    return pd.DataFrame(rows, columns=["level", "reason", "attempts"])


def sessions(document: Bottleneck) -> pd.DataFrame:
    """The most sessions of the database in each state at once, one row a level."""
    rows = [
        {
            "level": level.label,
            **{f"{state}, at most": labels.number(most) for state, most in level.most.items()},
            "samples": level.samples,
        }
        for level in document.sessions
    ]
    return pd.DataFrame(rows)


def workers(attempts: pd.DataFrame) -> pd.DataFrame:
    """How busy each worker was: attempts, and the time from the start of its first to the end of its last, in each
    round."""
    told = ["label", "round_number", "worker", "outcome", "started_at", "ended_at"]
    timed = attempts[told].dropna(subset=["started_at", "ended_at"])
    if timed.empty:
        return pd.DataFrame()
    lanes = timed.assign(worker=timed["worker"].astype("string").fillna(labels.UNKNOWN))
    rounds = lanes.groupby(["label", "worker", lanes["round_number"].fillna(0)]).agg(
        attempts=("outcome", "size"), first=("started_at", "min"), last=("ended_at", "max")
    )
    rounds["busy"] = rounds["last"] - rounds["first"]
    table = rounds.groupby(["label", "worker"])[["attempts", "busy"]].sum().reset_index()
    spans = table["busy"].dt.total_seconds() * 1000
    return pd.DataFrame(
        {
            "level": table["label"],
            "worker": table["worker"],
            "attempts": table["attempts"],
            "busy for": spans.map(labels.duration),
        }
    )


def counts(before: Mapping[str, int], after: Mapping[str, int]) -> pd.DataFrame:
    """Rows of each database table before and after something was done."""
    rows = [{"table": name, "rows before": before.get(name, 0), "rows after": after[name]} for name in after]
    return pd.DataFrame(rows)


def integrity(reports: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Violations before → after every level, one row a check; ``reports``: {"before": {label: report}, "after": …}."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for when, by_label in reports.items():
        for label, report in by_label.items():
            for check in report["checks"]:
                text = "could not look" if check["status"] == "unknown" else str(check["violations"])
                found.setdefault(check["name"], {}).setdefault(label, {})[when] = text
    rows = [
        {"violations": name.replace("_", " ")} | {label: _before_after(told) for label, told in by_label.items()}
        for name, by_label in found.items()
    ]
    return pd.DataFrame(rows).fillna(labels.UNKNOWN) if rows else pd.DataFrame()


def stamp(record: Mapping[str, Any]) -> pd.DataFrame:
    """What decides whether this run can be compared with another, from run.json."""
    if not record:
        return pd.DataFrame(columns=["what", "value"])
    git, host = record.get("git", {}), record.get("host", {})
    parameters = record.get("parameters", {})
    versions = record.get("versions", {})
    rows = {
        "started": record.get("created_at"),
        "target": record.get("target", {}).get("name", parameters.get("target")),
        "seed": record.get("seed"),
        "commit": f"{git.get('commit', labels.UNKNOWN)}{' with changes' if git.get('dirty') else ''}",
        "host": " ".join(filter(None, [host.get("system"), host.get("machine"), f"{host['cpus']} CPUs"]))
        if host.get("cpus")
        else labels.UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "planted faults": ", ".join(f"{name} = {value}" for name, value in parameters.get("faults", {}).items())
        or "none",
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"])


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; an empty one is an empty text."""
    if table.empty:
        return ""
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    texts = [[markup.escape(cell) for cell in row] for row in cells]
    rows = [texts[0], ["---"] * table.shape[1], *texts[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _witness(attempt: pd.Series) -> dict[str, str]:
    return {
        "in the log": f"{Path(attempt['file']).name}:{attempt['first_line']}–{attempt['last_line']}",
        "slot": labels.UNKNOWN if labels.is_missing(attempt["slot"]) else str(attempt["slot"]),
        "began (UTC)": _clock(attempt["started_at"]),
        "submit": labels.duration(attempt["submit_ms"]),
        "inline poll": labels.duration(attempt["inline_ms"]),
        "total": labels.duration(attempt["total_ms"]),
    }


def _clock(instant: Any) -> str:
    return labels.UNKNOWN if labels.is_missing(instant) else f"{instant:%H:%M:%S.%f}"[:-3]


def _level(level: Mapping[str, Any]) -> dict[str, Any]:
    waste = level["seat_waste"]
    return {
        "level": level["label"],
        "concurrency": _concurrency(level),
        "attempts": level["attempts"],
        "confirmed": level["confirmed"],
        "mean submit": labels.duration(level["submit_ms"]["mean"]),
        "p95 submit": labels.duration(level["submit_ms"]["p95"]),
        "mean total": labels.duration(level["total_ms"]["mean"]),
        "max total": labels.duration(level["total_ms"]["max"]),
        "inline polls": labels.share(level.get("inline_poll_rate")),
        "background": labels.share(level.get("background_rate")),
        "confirmed per min": labels.number(level.get("throughput_per_min")),
        "seats wasted per booking": _hundredths(waste["mean"]),
        "tables per booking": _hundredths(level.get("tables_per_booking")),
    }


def _concurrency(level: Mapping[str, Any]) -> str:
    """As asked for, and as it came about where there were fewer slots than workers."""
    asked, effective = level.get("concurrency"), level.get("effective_concurrency")
    if asked is None:
        return "not recorded"
    return str(asked) if effective in (None, asked) else f"{asked} ({effective} effective)"


def _hundredths(value: float | None) -> str:
    return labels.UNKNOWN if labels.is_missing(value) else f"{value:.2f}"


def _before_after(told: Mapping[str, str]) -> str:
    return f"{told.get('before', labels.UNKNOWN)} → {told.get('after', labels.UNKNOWN)}"


def _cost(cost: Mapping[Any, Any] | None) -> str:
    if cost is None:
        return labels.UNKNOWN
    mean, bounds = labels.duration(cost["mean_ms"]), labels.interval((cost["low_ms"], cost["high_ms"]))
    figures = f"{mean}, {labels.share(cost['share'])}"
    return figures if bounds == labels.UNKNOWN else f"{figures}\n{bounds}"
