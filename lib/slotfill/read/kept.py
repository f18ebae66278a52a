"""What a run heard and kept beside its logs: spans and calls, a file of each a level or a round of it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from slotfill import call
from slotfill.files import read_parquet
from slotfill.read import spans

SPANS, CALLS = "spans.parquet", "calls.parquet"
POSTGRES_LOG = "postgres.messages"
"""Postgres' own log of a round, or of a run; its name is not that of a booking log."""


def read_kept_spans(folders: Sequence[Path]) -> pd.DataFrame:
    """The spans that were kept in these folders, each once: one row a ``SpanRow``."""
    found = _kept(folders, SPANS, spans.frame([]))
    return found.drop_duplicates(["trace_id", "span_id"], ignore_index=True)


def read_kept_calls(folders: Sequence[Path]) -> pd.DataFrame:
    """The calls that taps saw in these folders: one row a ``Call``."""
    return _kept(folders, CALLS, call.frame([]))


def _kept(folders: Sequence[Path], name: str, nothing: pd.DataFrame) -> pd.DataFrame:
    types = {str(column): str(kind) for column, kind in nothing.dtypes.items()}
    tables = [read_parquet(file, types=types) for folder in folders if (file := folder / name).exists()]
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else nothing
