"""The second record: one call that a platform made while it served a request, as a span or a tap saw it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

import pandas as pd

from slotfill.attempt import column_type

Protocol = Literal["http", "postgres", "other"]
WEB, DATABASE = "web", "database"
"""Names of taps: in front of the platform, where the request itself passes, and between it and its database."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call across a border, without any value that it carried. ``None`` means that the source does not say."""

    source: Literal["span", "tap"]
    protocol: Protocol
    started_at: datetime
    duration_ms: float
    target: str
    """The table, ``rpc/<function>``, or where it is neither the path or the word of the statement."""
    method: str
    """The HTTP method, or the statement's first word."""
    to_database: bool
    """Whether it asks the database (Postgres itself, or Supabase REST in front of it)."""
    failed: bool
    trace_id: str | None = None
    request_id: str | None = None
    """The span id of the request that made it."""
    after_answer: bool = False
    """Whether it began after the request had been answered."""
    status: str | None = None
    """The HTTP status, or SQLSTATE of an error."""
    fingerprint: str | None = None
    """Equal for two calls of one run that asked the very same; only where asking changes nothing."""
    border: str | None = None
    """The name of the tap."""
    connection: int | None = None
    added_ms: float | None = None
    """How much of ``duration_ms``, which is as whoever asked met it, the tap itself added."""
    first_byte_ms: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None


COLUMNS = tuple(field.name for field in fields(Call))


def frame(calls: Iterable[Call]) -> pd.DataFrame:
    """One row a call, one column a field of ``Call``; the columns are there even with no rows."""
    table = pd.DataFrame(map(attrgetter(*COLUMNS), calls), columns=list(COLUMNS))
    for field in fields(Call):
        kind: Any = column_type(str(field.type))  # the stubs know dtypes by literal only
        table[field.name] = table[field.name].astype(kind)
    return table
