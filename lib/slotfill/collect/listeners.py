"""All that listens while a run lasts, opened once for the run and told whose level (and round) it is."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pandas as pd

from slotfill import address
from slotfill.call import DATABASE, WEB
from slotfill.collect import receiver, tap
from slotfill.collect.collector import Collector
from slotfill.drive.target import Detour, Platform
from slotfill.errors import BadInput, Braked, SlotfillError
from slotfill.files import write_parquet
from slotfill.params import Settings, TapSettings
from slotfill.read import otlp, spans
from slotfill.read.kept import CALLS, SPANS, read_kept_spans
from slotfill.read.otlp import NotOtlp
from slotfill.read.spans import SpanRow
from slotfill.read.taps import read_taps

MOST_WAIT_S = 8.0
"""For batches still to come after a level: exporters send every 5 s by default."""
QUIET_S = 1.0
"""Nothing came for this long, or for as long as the exporter holds a span: then nothing is on its way any more."""
LOOK_EVERY_S = 0.25
Note = Callable[..., None]
"""Told ``heard={…}``, the counts of a folder."""


@dataclass
class Listeners:
    """What listens for a run; nothing, where its settings ask for nothing."""

    otlp: Collector | None = None
    taps: dict[str, Collector] = field(default_factory=dict)
    detour: Mapping[str, str] = field(default_factory=dict)
    """What the embedded platform is told so that its web process finds the database by way of a tap."""
    _heard: bool | None = None
    """Whether a level ended with spans; not known before one has ended."""
    _ended: "_Ended | None" = None
    """The level before, to which spans belong until the next one begins."""

    def begin(self, folder: Path) -> None:
        """From now on all that is heard belongs to this folder. Raises Braked where something does not listen."""
        if reason := self.problem():
            raise Braked(reason)
        if self.otlp is not None:
            self._keep_late(self.otlp.ask(folder=str(folder)))
        for collector in self.taps.values():
            collector.ask(folder=str(folder))

    def end(self, folder: Path, trace_ids: Collection[str], note: Note | None = None) -> dict[str, Any]:
        """Wait for what is still to come of these traces, write the folder's frames; the counts of heard and lost.

        Spans that come later are the folder's too, until the next ``begin`` or ``close``: ``note`` is then told again.
        """
        heard: dict[str, Any] = {}
        if self.otlp is not None:
            most_s = 0 if self._heard is False or self.otlp.problem() else MOST_WAIT_S
            found = _Heard(folder / receiver.FOLDER)
            found.wait(set(trace_ids), most_s)
            counts = _counts(self.otlp, folder)
            found.read()  # bodies that came behind the server spans, and are written by now
            self._heard = bool(found.rows)
            write_parquet(folder / SPANS, spans.frame(found.rows))
            self._ended = _Ended(folder, found, set(trace_ids), heard, note)
            self._ended.count(counts)
        if self.taps:
            heard["taps"] = {name: _counts(collector, None) for name, collector in self.taps.items()}
            write_parquet(folder / CALLS, read_taps(sorted((folder / tap.FOLDER).glob("*.calls"))))
        if heard and note is not None:
            note(heard=heard)
        return heard

    def close(self) -> None:
        """Keep what came behind the last level."""
        if self.otlp is not None and self._ended is not None:
            self._keep_late(_counts(self.otlp, None))

    def _keep_late(self, counts: dict[str, Any]) -> None:
        ended, self._ended = self._ended, None
        if ended is None or not any(counts.values()):
            return
        ended.found.read()
        late = spans.frame(ended.found.rows)
        if len(late):
            self._heard = True
            kept = pd.concat([read_kept_spans([ended.folder]), late], ignore_index=True)
            write_parquet(ended.folder / SPANS, kept.drop_duplicates(["trace_id", "span_id"], ignore_index=True))
        ended.count(counts)
        if ended.note is not None:
            ended.note(heard=ended.heard)

    def problem(self) -> str | None:
        """Why something does not listen any more; ``None`` while all do."""
        return next((reason for collector in self._all() if (reason := collector.problem())), None)

    @contextmanager
    def in_front_of(self, platform: Platform, settings: Settings) -> Iterator[Platform]:
        """The platform as our own client finds it: by way of the tap ``web``, where there is to be one.

        Only the address is the tap's: the path stays, and so does the host that requests name, by which a platform
        chooses its site, its cookies and whom it trusts. Raises BadInput where the tap cannot read what passes.
        """
        wanted = settings.taps.get(WEB)
        if wanted is None:
            yield platform
            return
        own = httpx.URL(platform.base_url)
        if own.scheme == "https" and wanted.upstream is None:
            raise BadInput(
                f"taps.web: the tap in front of the platform, which an experiment needs too, cannot read https "
                f"({platform.base_url}); give it the platform's own address behind that as its upstream "
                "(taps: {web: {upstream: http://127.0.0.1:3000}}), or drive an http base_url"
            )
        with _open_tap(WEB, wanted.upstream or platform.base_url, wanted) as collector:
            self.taps[WEB] = collector
            try:
                yield replace(
                    platform,
                    base_url=f"http://{collector.address}{urlsplit(platform.base_url).path}",
                    headers={**platform.headers, "Host": own.netloc.decode("ascii")},
                )
            finally:
                del self.taps[WEB]

    def _all(self) -> list[Collector]:
        return [*([self.otlp] if self.otlp is not None else []), *self.taps.values()]


@contextmanager
def listening(settings: Settings) -> Iterator[Listeners]:
    """What the settings ask for, listening for as long as the block. Raises BadInput where a port is taken."""
    require_listenable(settings)
    with ExitStack() as stack:
        listeners = Listeners()
        if settings.otlp_listen:
            name = f"otlp_listen {settings.otlp_listen}"
            listeners.otlp = stack.enter_context(Collector("otlp", name, listen=settings.otlp_listen))
        for name, wanted in settings.taps.items():
            if name == WEB:
                continue  # its upstream is not there yet
            detour = Detour.to_database() if wanted.upstream is None else None
            upstream = detour.upstream if detour is not None else str(wanted.upstream)
            # The planted distance of the embedded database lies behind the tap, as it would on a platform of others.
            distance_ms = float(settings.faults.get("db_rtt_ms", 0)) if detour is not None else 0.0
            collector = stack.enter_context(_open_tap(name, upstream, wanted, distance_ms))
            listeners.taps[name] = collector
            if detour is not None:
                listeners.detour = detour.environ(collector.address)
        try:
            yield listeners
        finally:
            listeners.close()


def require_listenable(settings: Settings) -> None:
    """Raise BadInput for a tap that cannot be; nothing is started."""
    for name, wanted in settings.taps.items():
        known = (WEB, DATABASE) if settings.embedded else (WEB,)
        if wanted.upstream is None and name not in known:
            raise BadInput(f"taps.{name}: needs an upstream; without one it can be {' or '.join(known)}")
        if wanted.upstream is not None and settings.embedded:
            raise BadInput(f"taps.{name}: the embedded platform knows its own upstreams, {' and '.join(known)}")
        try:
            address.parse_listen(wanted.listen)
            if wanted.upstream is not None:
                address.parse_upstream(wanted.upstream)
        except ValueError as error:
            raise BadInput(f"taps.{name}: {error}") from None


def _open_tap(name: str, upstream: str, wanted: TapSettings, distance_ms: float = 0) -> Collector:
    try:
        address.parse_upstream(upstream)
    except ValueError as error:
        raise BadInput(f"taps.{name}: {error}") from None
    return Collector(
        "tap",
        f"tap {name}",
        border=name,
        upstream=upstream,
        listen=wanted.listen,
        delay_ms=wanted.delay_ms,
        distance_ms=distance_ms,
    )


def _counts(collector: Collector, folder: Path | None) -> dict[str, Any]:
    """What was counted since the last order; from now on all belongs to this folder."""
    try:
        return collector.ask(folder=None if folder is None else str(folder))
    except SlotfillError as error:
        return {"problem": str(error)}


class _Heard:
    """The spans of the bodies in a folder, and how many bodies cannot be read: a crash of the machine can tear what was
    written shortly before."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[SpanRow] = []
        self.torn = 0
        self._folder = folder
        self._read: set[Path] = set()
        self._latest_at = 0.0
        self._held_s: list[float] = []

    def wait(self, trace_ids: set[str], most_s: float) -> None:
        """Until every trace has its server span and nothing comes any more, as what is done behind an answer does."""
        until = time.monotonic() + most_s
        self.read()
        while not (trace_ids <= _answered(self.rows) and self._quiet) and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
            self.read()

    @property
    def _quiet(self) -> bool:
        return time.time() - self._latest_at >= max(QUIET_S, self._longest_held_s() + 2 * LOOK_EVERY_S)

    def _longest_held_s(self) -> float:
        """How long the exporter lets a span wait, as far as that is known where its clock is another."""
        if not self._held_s:
            return 0.0
        least, most = min(self._held_s), max(self._held_s)
        return most if 0 <= most <= MOST_WAIT_S else most - least

    def read(self) -> None:
        """What has come since."""
        for file in sorted(set(self._folder.glob("*.pb.gz")) - self._read):
            self._read.add(file)
            came_at = file.stat().st_mtime
            try:
                rows = list(spans.span_rows(otlp.decode(file.read_bytes())))
            except NotOtlp:
                self.torn += 1
                continue
            self.rows += rows
            self._latest_at = max(self._latest_at, came_at)
            held = [came_at - row.end_ns / 1e9 for row in rows]
            self._held_s = [bound(held + self._held_s) for bound in (min, max)] if rows else self._held_s


@dataclass
class _Ended:
    """A level that has ended, and what of its attempts' traces had no server span by then."""

    folder: Path
    found: _Heard
    missing: set[str]
    heard: dict[str, Any]
    note: Note | None

    def count(self, counts: dict[str, Any]) -> None:
        """Add counts to ``heard``, for what was found since; its spans are let go of."""
        self.missing -= _answered(self.found.rows)
        told = Counter(self.heard.get("otlp", {}))
        told.update({name: number for name, number in counts.items() if isinstance(number, int)})
        told["unreadable"] += self.found.torn
        problem = {name: text for name, text in counts.items() if isinstance(text, str)}
        self.heard["otlp"] = {**told, **problem, "attempts_without_server_span": len(self.missing)}
        self.found.rows, self.found.torn = [], 0


def _answered(rows: Collection[SpanRow]) -> set[str]:
    return {row.trace_id for row in rows if row.kind == "server"}
