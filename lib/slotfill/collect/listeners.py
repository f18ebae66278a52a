"""All that listens while a run lasts, opened once for the run and told whose level (and round) it is."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.collect.collector import Collector
from slotfill.collect.receiver import FOLDER
from slotfill.errors import Braked, SlotfillError
from slotfill.files import write_parquet
from slotfill.params import Settings
from slotfill.read import otlp, spans
from slotfill.read.spans import SpanRow

SPANS = "spans.parquet"
MOST_WAIT_S = 8.0
"""For batches still to come after a level: exporters send every 5 s by default."""
LOOK_EVERY_S = 0.25


@dataclass
class Listeners:
    """What listens for a run; nothing, where its settings ask for nothing."""

    otlp: Collector | None = None
    _heard: bool | None = None
    """Whether a level ended with spans; not known before one has ended."""

    def begin(self, folder: Path) -> None:
        """From now on all that is heard belongs to this folder. Raises Braked where something does not listen."""
        if reason := self.problem():
            raise Braked(reason)
        if self.otlp is not None:
            self.otlp.ask(folder=str(folder))

    def end(self, folder: Path, trace_ids: Collection[str]) -> dict[str, Any]:
        """Wait for what is still to come of these traces, write the folder's frames; the counts of heard and lost."""
        if self.otlp is None:
            return {}
        most_s = 0 if self._heard is False or self.otlp.problem() else MOST_WAIT_S
        found = _wait(folder / FOLDER, set(trace_ids), most_s)
        self._heard = bool(found)
        write_parquet(folder / SPANS, spans.frame(found))
        missing = len(set(trace_ids) - _answered(found))
        return {"otlp": {**self._counts(self.otlp), "attempts_without_server_span": missing}}

    def problem(self) -> str | None:
        """Why something does not listen any more; ``None`` while all do."""
        return self.otlp.problem() if self.otlp is not None else None

    @staticmethod
    def _counts(collector: Collector) -> dict[str, Any]:
        try:
            return collector.ask(folder=None)
        except SlotfillError as error:
            return {"problem": str(error)}


@contextmanager
def listening(settings: Settings) -> Iterator[Listeners]:
    """What the settings ask for, listening for as long as the block. Raises BadInput where a port is taken."""
    with ExitStack() as stack:
        receiver = None
        if settings.otlp_listen:
            receiver = stack.enter_context(
                Collector("otlp", f"otlp_listen {settings.otlp_listen}", listen=settings.otlp_listen)
            )
        yield Listeners(receiver)


def read_kept_spans(folders: Sequence[Path]) -> pd.DataFrame:
    """The spans that were kept in these folders, each once: one row a ``SpanRow``."""
    files = [file for folder in folders if (file := folder / SPANS).is_file()]
    frames = [pd.read_parquet(file) for file in files]
    empty = spans.frame([])
    if not frames:
        return empty
    return pd.concat([empty, *frames], ignore_index=True).drop_duplicates(["trace_id", "span_id"], ignore_index=True)


def _wait(folder: Path, trace_ids: set[str], most_s: float) -> list[SpanRow]:
    """The spans in the folder, once every trace has its server span; it ends last and so is sent last."""
    rows: list[SpanRow] = []
    seen: set[Path] = set()
    until = time.monotonic() + most_s
    while True:
        for file in sorted(set(folder.glob("*.pb.gz")) - seen):
            rows += spans.span_rows(otlp.decode(file.read_bytes()))
            seen.add(file)
        if trace_ids <= _answered(rows) or time.monotonic() > until:
            return rows
        time.sleep(LOOK_EVERY_S)


def _answered(rows: Collection[SpanRow]) -> set[str]:
    return {row.trace_id for row in rows if row.kind == "server"}
