"""What the database's sessions did while attempts ran, as the samples of the server count them."""

import pandas as pd

from slotfill.analyse.document import Sessions

STATES = {
    "connections": "connected",
    "active": "active",
    "idle_in_transaction": "idle in transaction",
    "waiting_for_lock": "waiting for a lock",
    "queue_depth": "jobs queued",
}
"""What a sample counts, by its metric."""


def by_instant(samples: pd.DataFrame) -> pd.DataFrame:
    """How many sessions were in each of ``STATES`` at a moment: label, at, and a column a state."""
    seen = samples[(samples["kind"] == "server") & samples["metric"].isin(STATES)]
    wide = seen.pivot_table(index=["label", "at"], columns="metric", values="value")
    return wide.rename(columns=STATES).rename_axis(columns=None).astype(float).reset_index()


def busiest(rows: pd.DataFrame) -> tuple[Sessions, ...]:
    """The most sessions in each state at once, one entry a level; ``rows`` as from ``by_instant``."""
    states = [state for state in STATES.values() if state in rows]
    return tuple(
        Sessions(str(label), len(level), {state: float(level[state].max()) for state in states})
        for label, level in rows.groupby("label")
    )
