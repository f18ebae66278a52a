"""How right the figures are, on the embedded platform with a known cost planted.

    python tests/accuracy.py sensitivity   # +20, 50, 200 ms in one hop: does that hop grow by as much, and no other?
    python tests/accuracy.py prediction    # halve the planted cost: is the throughput what the unhalved run predicted?
    python tests/accuracy.py sampling      # the same run with sampling off and on: what does sampling cost?

Prints its figures; exits 1 below the bars (10 % of what was planted, 15 % of the throughput, 2 % of the time).
Time is measured, so nothing else may run on the machine meanwhile.
"""

import sys
from collections.abc import Mapping
from math import nan
from pathlib import Path

import click
import pandas as pd
from planting import Faults, case_of, folder_for, play

from slotfill.analyse.hops import HOPS
from slotfill.analyse.stats import difference_ci
from slotfill.analyse.study import Study

PLANTED_MS = (20, 50, 200)
SENSITIVITY_BAR, PREDICTION_BAR, SAMPLING_BAR = 0.10, 0.15, 0.02
TO_THE_JOB: Faults = {"inline_timeout_ms": 0}
# fault, its hop, what is planted with and without it
KNOBS: tuple[tuple[str, str, Faults], ...] = (
    ("api_delay_ms", "api", {}),
    ("api_cpu_ms", "api", {}),
    ("allocator_cpu_ms", "allocator", {}),
    ("db_slow_query_ms", "database", {}),
    ("queue_delay_ms", "queue", TO_THE_JOB),
)
PAIRS: Mapping[str, tuple[Faults, Faults]] = {
    "api_delay": ({"api_delay_ms": 200}, {"api_delay_ms": 100}),
    "db_rtt": ({"db_rtt_ms": 20}, {"db_rtt_ms": 10}),
    "db_slow_query": ({"db_slow_query_ms": 200}, {"db_slow_query_ms": 100}),
    "db_lock": ({"db_lock_ms": 120}, {"db_lock_ms": 60}),
    "pool": ({"db_pool_size": 1, "db_slow_query_ms": 200}, {"db_pool_size": 1, "db_slow_query_ms": 100}),
    "allocator_serial": (
        {"allocator_serial": True, "db_slow_query_ms": 200},
        {"allocator_serial": True, "db_slow_query_ms": 100},
    ),
    "api_workers": ({"api_workers": 1, "api_delay_ms": 200}, {"api_workers": 1, "api_delay_ms": 100}),
    "allocator_cpu": ({"allocator_cpu_ms": 120}, {"allocator_cpu_ms": 60}),
    "api_cpu": ({"api_cpu_ms": 120}, {"api_cpu_ms": 60}),
    "queue_delay": ({**TO_THE_JOB, "queue_delay_ms": 2400}, {**TO_THE_JOB, "queue_delay_ms": 1200}),
}


@click.group()
def main() -> None:
    """See the top of this file."""


@main.command()
@click.option("--seeds", default=2, show_default=True)
@click.option("--concurrency", default=1, show_default=True)
@click.option("--only", help="One fault by name.")
def sensitivity(seeds: int, concurrency: int, only: str | None) -> None:
    """Planted against measured milliseconds, and what moved in the other hops."""
    rows = []
    for seed in range(1, seeds + 1):
        bases: dict[bool, pd.DataFrame] = {}
        for fault, hop, also in KNOBS:
            if only not in (None, fault):
                continue
            base = bases.setdefault(bool(also), pd.DataFrame())
            if base.empty:
                base = bases[bool(also)] = _hop_table(also, seed, concurrency)
            for planted in PLANTED_MS:
                after = _hop_table({**also, fault: planted}, seed, concurrency)
                row = {"fault": fault, "planted_ms": planted, "seed": seed, **_moved(base, after, hop, planted)}
                rows.append(row)
                print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{table.to_string(index=False)}")
    print(f"\nbeyond the bar of {SENSITIVITY_BAR:.0%}: {(table['off'].abs() > SENSITIVITY_BAR).sum()} of {len(table)}")
    sys.exit(bool((table["off"].abs() > SENSITIVITY_BAR).any()))


def _hop_table(faults: Faults, seed: int, concurrency: int) -> pd.DataFrame:
    with folder_for("", None) as folder:
        study, _ = play(folder, faults, seed, [concurrency])
        return case_of(study).accounts.measured


def _moved(base: pd.DataFrame, after: pd.DataFrame, hop: str, planted: float) -> dict[str, object]:
    """How much the hop's mean moved; of the others those that moved beyond their interval, in ms."""
    moved = {
        each: difference_ci(base[f"{each}_ms"], base["cluster"], after[f"{each}_ms"], after["cluster"]) for each in HOPS
    }
    own = moved.pop(hop)
    assert own is not None
    others = {each: round(by.value, 2) for each, by in moved.items() if by and (by.low > 0 or by.high < 0)}
    return {"moved_ms": round(own.value, 2), "off": round(own.value / planted - 1, 3), "others": others}


@main.command()
@click.option("--seeds", default=1, show_default=True)
@click.option("--only", help="One pair by name.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
def prediction(seeds: int, only: str | None, keep: Path | None) -> None:
    """The throughput after halving the planted cost, against what the run before predicted."""
    rows = []
    for seed in range(1, seeds + 1):
        for name in PAIRS:
            if only in (None, name):
                found = _predicted(name, seed, keep)
                rows += [{"planted": name, "seed": seed, **row} for row in found]
                print(
                    pd.DataFrame(rows[-len(found) :]).to_string(index=False, header=len(rows) == len(found)), flush=True
                )
    table = pd.DataFrame(rows)
    print(f"\n{table.to_string(index=False)}")
    missed = (table["off"].abs() > PREDICTION_BAR) | table["off"].isna()
    print(f"\nbeyond the bar of {PREDICTION_BAR:.0%}: {missed.sum()} of {len(table)}")
    sys.exit(bool(missed.any()))


def _predicted(name: str, seed: int, keep: Path | None) -> list[dict[str, object]]:
    whole, half = PAIRS[name]
    with folder_for(f"{name}-whole-{seed}", keep) as folder:
        before, _ = play(folder, whole, seed)
    with folder_for(f"{name}-half-{seed}", keep) as folder:
        after, _ = play(folder, half, seed)
    verdict = " ".join(before.document.as_json()[key] for key in ("verdict", "mechanism", "kind"))
    now, then = (
        {level["label"]: level["throughput_per_min"] for level in each.metrics["levels"]} for each in (before, after)
    )
    rows: list[dict[str, object]] = []
    for label in now:
        said = before.document.as_json()["prediction"].get(label, {}).get("throughput_per_min", nan)
        rows.append(
            {
                "label": label,
                "verdict": verdict,
                "now": round(now[label], 1),
                "predicted": round(said, 1),
                "measured": round(then[label], 1),
                "off": round(said / then[label] - 1, 3),
            }
        )
    return rows


def _throughput(study: Study) -> dict[str, float]:
    return {level["label"]: level["throughput_per_min"] for level in study.metrics["levels"]}


@main.command()
@click.option("--pairs", default=4, show_default=True)
@click.option("--concurrency", default=4, show_default=True)
def sampling(pairs: int, concurrency: int) -> None:
    """The mean time of an attempt with sampling on over off, in alternating pairs of runs."""
    times: dict[bool, list[pd.DataFrame]] = {False: [], True: []}
    for pair in range(pairs):
        for sampled in (False, True) if pair % 2 else (True, False):
            with folder_for("", None) as folder:
                interval = {} if sampled else {"sample_interval_ms": 0}
                study, _ = play(folder, {}, 1, [concurrency], **interval)
                rows = case_of(study).accounts.measured
            times[sampled].append(rows.assign(cluster=rows["cluster"] + f" pair {pair}"))
            print(
                f"pair {pair + 1}, sampling {'on' if sampled else 'off'}: {rows['total_ms'].mean():.2f} ms", flush=True
            )
    off, on = pd.concat(times[False]), pd.concat(times[True])
    found = difference_ci(off["total_ms"], off["cluster"], on["total_ms"], on["cluster"])
    assert found is not None
    base = off["total_ms"].mean()
    cost, low, high = (each / base for each in found)
    print(f"\nsampling costs {cost:+.1%} [{low:+.1%}, {high:+.1%}] of {base:.1f} ms")
    sys.exit(bool(cost > SAMPLING_BAR))


if __name__ == "__main__":
    main()
