"""What a finding is, and the case it is made on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from slotfill.analyse.growth import Accounts
from slotfill.analyse.pressure import Pressure

Verdict = Literal["true", "false", "unknown"]
Source = tuple[str, int]
"""A file and a line of it, counted from 1."""

MATERIAL = 0.1
"""A mechanism is worth naming when it explains this share of an attempt's time."""


@dataclass(frozen=True)
class Finding:
    """One question answered from the data.

    ``claim`` is the answer as a sentence; ``figures`` its numbers; ``sources`` the places (file, line) that
    show it; ``needs`` says, where the verdict is unknown, which data would tell. A finding that names a
    mechanism has the ``hop`` it costs time in, and ``cost_ms``: how much of a mean attempt it explains at
    the highest level.
    """

    name: str
    verdict: Verdict
    claim: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    needs: str = ""
    hop: str | None = None
    cost_ms: float = 0.0

    @property
    def holds(self) -> bool:
        return self.verdict == "true"


@dataclass(frozen=True)
class Case:
    """Everything a finding may look at; ``table`` is the hop table of all attempts, see ``hops``.

    ``signs`` are the texts of database pressure in the server logs (file, line, kind, text), ``pressures``
    what the samples say of each level that has them, ``cpus`` the cores of the machine they were taken on.
    """

    attempts: pd.DataFrame
    server: pd.DataFrame
    signs: pd.DataFrame
    table: pd.DataFrame
    accounts: Accounts
    pressures: Mapping[str, Pressure]
    cpus: int | None

    @property
    def total_ms(self) -> float:
        """The mean attempt at the highest level."""
        return self.accounts.total_ms(self.accounts.top)

    @property
    def pressure(self) -> Pressure | None:
        """The samples of the highest level, or of the next one below that lasted long enough to be sampled."""
        sampled = [label for label in self.accounts.labels if label in self.pressures]
        return self.pressures[sampled[-1]] if sampled else None

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
        return cost_ms >= MATERIAL * self.total_ms

    def signs_of(self, *kinds: str) -> pd.DataFrame:
        return self.signs[self.signs["kind"].isin(kinds)]

    def slowest(self, column: str, count: int = 2, label: str | None = None) -> tuple[Source, ...]:
        """Where the attempts with the most of a column stand in their logs; of one level, or of all."""
        rows = self.accounts.measured
        rows = rows if label is None else rows[(rows["label"] == label).to_numpy()]
        return places(rows.nlargest(count, column), "first_line", count)

    def place(self, source: Source) -> str:
        """A source as ``file:line``, its path as short as still tells the run's files apart."""
        file, line = source
        return f"{os.path.relpath(file, self.root)}:{line}"

    @cached_property
    def root(self) -> str:
        """The folder that all files of the run lie under."""
        files = {*self.attempts["file"].dropna(), *self.signs.get("file", []), *self.server.get("file", [])}
        return str(os.path.commonpath([Path(file).absolute().parent for file in files]))


def truth(holds: object) -> Verdict:
    return "true" if holds else "false"


def places(rows: pd.DataFrame, line: str, count: int = 3) -> tuple[Source, ...]:
    """The first places of a table with ``file`` and a column of line numbers."""
    first = rows.head(count)
    return tuple((str(file), int(number)) for file, number in zip(first["file"], first[line].tolist(), strict=True))
