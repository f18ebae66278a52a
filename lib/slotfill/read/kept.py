"""What a run heard and kept beside its logs: spans and calls, a file of each a level or a round of it."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from slotfill import call
from slotfill.call import Call
from slotfill.errors import BadInput
from slotfill.files import read_parquet
from slotfill.read import spans
from slotfill.read.spans import SpanRow

SPANS, CALLS = "spans.parquet", "calls.parquet"
POSTGRES_LOG = "postgres.messages"
"""Postgres' own log of a round, or of a run; its name is not that of a booking log."""


def read_kept_spans(folders: Sequence[Path]) -> pd.DataFrame:
    """The spans that were kept in these folders, each once: one row a ``SpanRow``."""
    found = _kept(folders, SPANS, spans.frame([]), SpanRow)
    return found.drop_duplicates(["trace_id", "span_id"], ignore_index=True)


def read_kept_calls(folders: Sequence[Path]) -> pd.DataFrame:
    """The calls that taps saw in these folders: one row a ``Call``."""
    return _kept(folders, CALLS, call.frame([]), Call)


def _kept(folders: Sequence[Path], name: str, nothing: pd.DataFrame, row: type[Call | SpanRow]) -> pd.DataFrame:
    """Raises BadInput for a file that lacks what every ``row`` has."""
    types = {str(column): str(kind) for column, kind in nothing.dtypes.items()}
    known = [field.name for field in fields(row) if "None" not in str(field.type)]
    tables = []
    for file in (folder / name for folder in folders):
        if file.exists() and len(table := read_parquet(file, types=types)):
            if table[known].isna().any(axis=None):
                raise BadInput(f"{file}: has rows without {', '.join(known)}; no run writes those")
            tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else nothing
