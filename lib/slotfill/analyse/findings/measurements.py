"""What findings are made on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from slotfill.analyse.constants import MATERIAL_COST
from slotfill.analyse.document import Answer, Source
from slotfill.analyse.growth import Accounts
from slotfill.analyse.utilisation import Utilisation
from slotfill.read.postgres_log import LockEvent

INSIDE = "the platform's own times (spans, a tap, or its profile where it prints one)"
"""What shows the inside of a request."""


_REQUEST, _JOB = ("profile_line",), ("job_line",)
_TOLD_IN = {
    **dict.fromkeys(("api_ms", "allocator_ms", "database_ms", "pool_wait_ms", "lock_wait_ms"), _REQUEST),
    "cold_start_ms": ("profile_line", "first_line"),
    "queue_ms": _JOB,
}
"""Which lines of the server log tell a column of the hop table."""


@dataclass(frozen=True)
class Measurements:
    """Everything a finding may look at; ``table`` is the hop table of all attempts, see ``hops``.

    ``error_lines`` are the texts of database pressure in the server logs (file, line, kind, text), ``utilisations``
    what the samples say of each level that has them, ``cpus`` the cores of the machine they were taken on.
    """

    attempts: pd.DataFrame
    server: pd.DataFrame
    error_lines: pd.DataFrame
    table: pd.DataFrame
    accounts: Accounts
    utilisations: Mapping[str, Utilisation]
    cpus: int | None
    lock_events: Sequence[LockEvent] = ()
    """Deadlocks and lock waits that Postgres' own log tells."""

    @property
    def total_ms(self) -> float:
        """The mean attempt at the highest level."""
        return self.accounts.total_ms(self.accounts.top)

    @property
    def utilisation(self) -> Utilisation | None:
        """The samples of the highest level, or of the next one below that lasted long enough to be sampled."""
        sampled = [label for label in self.accounts.labels if label in self.utilisations]
        return self.utilisations[sampled[-1]] if sampled else None

    @property
    def workers(self) -> int:
        """The effective concurrency of the highest level."""
        return self.accounts.effective[self.accounts.top]

    def hop_ms(self, hop: str) -> float:
        """What a hop costs a mean attempt at the highest level."""
        return self.accounts.mean_ms(hop, self.accounts.top)

    def mean(self, column: str, label: str | None = None) -> float | None:
        """The mean of a column of the measured attempts of a level, by default the highest."""
        rows = self.accounts.measured
        values = rows.loc[(rows["label"] == (label or self.accounts.top)).to_numpy(), column].dropna()
        return float(values.mean()) if len(values) else None

    def is_material(self, cost_ms: float) -> bool:
        return cost_ms >= MATERIAL_COST * self.total_ms

    def error_lines_of(self, *kinds: str) -> pd.DataFrame:
        return self.error_lines[self.error_lines["kind"].isin(kinds)]

    def slowest(self, column: str, count: int = 2, label: str | None = None) -> tuple[Source, ...]:
        """Where the figures of the attempts with the most of a column are told; of one level, or of all.

        In the server log where the server told them, else in the client's summary of the attempt.
        """
        rows = self.accounts.measured
        rows = rows if label is None else rows[(rows["label"] == label).to_numpy()]
        rows = rows.nlargest(count, column)
        told = self._told_by_server(_TOLD_IN.get(column, ()), rows["booking_id"])
        summaries = places(rows, "last_line", count)
        return tuple(told.get(str(booking), at) for booking, at in zip(rows["booking_id"], summaries, strict=True))

    def _told_by_server(self, columns: Sequence[str], bookings: pd.Series) -> Mapping[str, Source]:
        """By booking, the first place in the server log that one of the columns of line numbers knows."""
        asked = self.server[self.server["booking_id"].isin(bookings.dropna()).to_numpy(dtype=bool)]
        lines = asked.reindex(columns=["booking_id", "file", *columns]).astype({"file": object})
        line = pd.Series(pd.NA, index=lines.index, dtype="Int64")
        for name in columns:
            line = line.fillna(lines[name].astype("Int64"))
        lines = lines.assign(line=line)
        known = lines.dropna(subset=["booking_id", "file", "line"])
        return {
            str(booking): Source(str(file), int(line))
            for booking, file, line in zip(known["booking_id"], known["file"], known["line"], strict=True)
        }

    def place(self, source: Source) -> Source:
        """A source with its path as short as still tells the run's files apart."""
        return Source(os.path.relpath(source.file, self.root), source.line)

    @cached_property
    def root(self) -> str:
        """The folder that all files of the run lie under."""
        files = {
            *self.attempts["file"].dropna().unique(),
            *self.error_lines.get("file", []),
            *self.server.get("file", []),
        }
        files |= {str(event.file) for event in self.lock_events}
        return str(os.path.commonpath([Path(file).absolute().parent for file in files]))


def truth(holds: object) -> Answer:
    return "true" if holds else "false"


def places(rows: pd.DataFrame, line: str, count: int = 3) -> tuple[Source, ...]:
    """The first places of a table with ``file`` and a column of line numbers."""
    first = rows.reindex(columns=["file", line]).dropna().head(count)
    return tuple(
        Source(str(file), int(number)) for file, number in zip(first["file"], first[line].tolist(), strict=True)
    )
