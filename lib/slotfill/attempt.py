"""The one record: a booking attempt as one flat row of scalars."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import pandas as pd

from slotfill.outcomes import CONFIRMED_OUTCOMES


@dataclass(frozen=True, slots=True)
class Attempt:
    """One booking attempt, from the first byte sent to the outcome.

    Durations are milliseconds, instants are UTC. ``None`` means the log does not say. The submit
    split (connect, send, wait, receive) is there only where the runner of this project wrote the
    log. ``file`` and the line numbers (1-based) say where the attempt stands in its log.
    """

    label: str
    """The level or group the attempt belongs to, such as ``concurrency-4``."""
    concurrency: int | None
    correlation_id: str | None
    outcome: str
    """One of ``outcomes.OUTCOMES``."""
    file: str
    first_line: int
    last_line: int
    summary_line: int | None = None
    round_number: int | None = None
    """Which round of the level it was made in, from 1; ``None`` in logs that know no rounds."""
    idempotency_key: str | None = None
    booking_id: str | None = None
    reference: str | None = None
    allocator_attempt_id: str | None = None
    trace_id: str | None = None
    """Of the ``traceparent`` its request carried (W3C Trace Context): 32 hexadecimal digits."""
    booking_date: str | None = None
    slot: str | None = None
    """Start time ``HH:MM``."""
    iteration: int | None = None
    party_size: int | None = None
    worker: int | None = None
    started_at: datetime | None = None
    submitted_at: datetime | None = None
    sent_at: datetime | None = None
    """When the first byte of the request was written, to the microsecond and on the driver's monotonic clock."""
    answered_at: datetime | None = None
    """When the answer's last byte had arrived, on the same clock."""
    ended_at: datetime | None = None
    confirmed_at: datetime | None = None
    """When the database says the booking was confirmed; before ``ended_at`` by the poll lag."""
    submit_ms: float | None = None
    connect_ms: float | None = None
    send_ms: float | None = None
    wait_ms: float | None = None
    receive_ms: float | None = None
    lag_ms: float | None = None
    """How late our own event loop took up the answer; no part of ``submit_ms``."""
    inline_polls: int | None = None
    inline_ms: float | None = None
    post_job_polls: int | None = None
    post_job_ms: float | None = None
    background_invoked: bool | None = None
    background_ms: float | None = None
    total_ms: float | None = None
    poll_read_ms: float | None = None
    """Time the client itself spent reading the booking from the database."""
    tables_assigned: int | None = None
    total_capacity: int | None = None
    seat_waste: int | None = None
    table_numbers: str | None = None
    """Comma-separated."""
    duplicate: bool | None = None
    http_status: int | None = None
    initial_status: str | None = None
    reason: str | None = None
    """Why it was not confirmed, in the platform's words; of a confirmed one, how the request failed that booked it."""
    allocator_source: str | None = None
    allocator_success: bool | None = None
    allocator_reason: str | None = None
    """The reason of the last allocator result, such as ``INLINE_TIMEOUT``; a confirmed booking can carry one."""
    allocator_ms: float | None = None
    seams: int = 0
    """How often the attempt was settled, after a stop, a crash or a lost answer, instead of measured in one go."""


COLUMNS = tuple(field.name for field in fields(Attempt))


def column_type(annotation: str) -> str:
    """The nullable pandas dtype of a field, so that a missing figure stays missing and an int stays an int."""
    for word, dtype in (
        ("datetime", "datetime64[us, UTC]"),
        ("bool", "boolean"),
        ("int", "Int64"),
        ("float", "Float64"),
    ):
        if word in annotation:
            return dtype
    return "string"


DTYPES = {field.name: column_type(str(field.type)) for field in fields(Attempt)}
"""The pandas dtype of each column."""


def frame(attempts: Iterable[Attempt]) -> pd.DataFrame:
    """One row an attempt, one column a field of ``Attempt``; the columns are there even with no rows."""
    rows = list(attempts)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Attempt)}
    # By way of objects: pandas would take a list apart to guess at its type.
    types: dict[str, Any] = DTYPES
    return pd.DataFrame({name: pd.Series(values, dtype=object).astype(types[name]) for name, values in columns.items()})


def from_arrow(columns: Mapping[str, Any], types: Mapping[str, str] = DTYPES) -> pd.DataFrame:
    """A frame of Arrow arrays, one a column."""
    return pd.DataFrame({name: _of_arrow(array, types[name]) for name, array in columns.items()})


def _of_arrow(array: Any, dtype: str) -> Any:
    if dtype.startswith("datetime"):
        return array.to_pandas().astype(dtype)
    kind: Any = pd.api.types.pandas_dtype(dtype)
    return kind.__from_arrow__(array)


def is_confirmed(attempts: pd.DataFrame) -> pd.Series:
    """A boolean column: True where the attempt ended with a confirmed booking."""
    return attempts["outcome"].isin(CONFIRMED_OUTCOMES)
