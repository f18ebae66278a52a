"""The third record: one observation of the database or of a local process, while a level was driven."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.errors import BadInput
from slotfill.files import read_parquet

COLUMNS = {
    "at": "datetime64[us, UTC]", "kind": "string", "pid": "Int64", "application_name": "string", "state": "string",
    "wait_event_type": "string", "wait_event": "string", "blocked_by": "string", "query": "string",
    "blocking_query": "string", "relation": "string",
    "query_age_ms": "Float64", "xact_age_ms": "Float64", "metric": "string", "value": "Float64", "sample_ms": "Float64",
}  # fmt: skip


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row an observation, with the columns and types of ``COLUMNS``."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def read(file: Path) -> pd.DataFrame:
    """The observations that a level kept. Raises BadInput where they are not as a run writes them."""
    table = read_parquet(file, types=COLUMNS)
    named = table["metric"].notna() | (table["kind"] == "activity")
    if not (table["at"].notna() & table["kind"].notna() & named).all():
        raise BadInput(f"{file}: holds observations without an instant, a kind or a name; no run writes those")
    return table
