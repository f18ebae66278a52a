"""The third record: one observation of the database or of a local process, while a level was driven."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

COLUMNS = {
    "at": "datetime64[us, UTC]", "kind": "string", "pid": "Int64", "application_name": "string", "state": "string",
    "wait_event_type": "string", "wait_event": "string", "blocked_by": "string", "query": "string",
    "blocking_query": "string", "relation": "string",
    "query_age_ms": "Float64", "xact_age_ms": "Float64", "metric": "string", "value": "Float64", "sample_ms": "Float64",
}  # fmt: skip


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row an observation, with the columns and types of ``COLUMNS``."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
