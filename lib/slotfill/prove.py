"""Proving a run's verdict by an experiment: drive again with and without a known delay at a border of the platform.

The cells lie under ``RUN/prove/plain`` and ``RUN/prove/delayed`` and take nothing from the run's own measurements.
"""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.analyse.document import SATURATION
from slotfill.analyse.hops import HOPS
from slotfill.analyse.judgement import calls_in_a_row, judge, part_of
from slotfill.analyse.kept import KeptBottleneck
from slotfill.analyse.proof import Proof
from slotfill.analyse.tapped_parts import measured_parts, way_ms
from slotfill.call import DATABASE, WEB
from slotfill.cell import Cell, fill
from slotfill.collect.listeners import Listeners, listening
from slotfill.collect.unread import unread
from slotfill.database.alone import alone
from slotfill.drive.target import Platform, discard_home, open_platform
from slotfill.errors import BadInput, Refused
from slotfill.files import read_json, write_json
from slotfill.homes import PROVING, discard_useless
from slotfill.levels import Following, database_identity
from slotfill.params import Settings, TapSettings, next_quiet_day, today
from slotfill.read import read_logs
from slotfill.read.kept import read_kept_calls
from slotfill.run import Run

PLAIN, DELAYED = "plain", "delayed"
ROUNDS = 3
FEWEST_SLOTS = 8
"""They carry an interval and take seconds."""
MOST_STRESS = 4
SHARE_ADDED = 0.3
"""Of an attempt's time that the delay is to add: more than rounds differ by, and still the same platform."""
LEAST_DELAY_MS, MOST_DELAY_MS = 0.5, 2_000.0


def prove(run: Run, following: Following) -> Proof:
    """Test the verdict of a run that has been analysed; writes ``proof.json`` and the verdict's new status.

    Raises BadInput where there is no verdict yet, and whatever driving raises.
    """
    file = run.folder / "bottleneck.json"
    if not file.exists():
        raise BadInput(f"{run.folder}: has no bottleneck.json yet; first: slotfill report {run.folder}")
    bottleneck = read_json(file, KeptBottleneck)
    if run.record.get("state") != "done":
        raise BadInput(f"{run.folder}: is not done, and an experiment resets the database; first: slotfill resume")
    found = _experiment(run, bottleneck, following)
    write_json(run.folder / "proof.json", found.as_json())
    write_json(file, {**bottleneck, "status": found.status, "experiment": found.reason})
    return found


def _experiment(run: Run, bottleneck: Mapping[str, Any], following: Following) -> Proof:
    hop, mechanism = str(bottleneck["verdict"]), str(bottleneck["mechanism"])
    if (reason := _unprovable(run.settings, hop, mechanism)) is not None:
        return Proof("asserted", reason, hop, mechanism)
    settings = _settings(run.settings, bottleneck)
    border = WEB if hop in ("client", "network") else DATABASE
    folder, lowest = run.folder / "prove", settings.concurrency[0]
    with _opened(run, settings) as (platform, listeners):
        _require_same(run, platform)
        shutil.rmtree(folder, ignore_errors=True)
        (run.folder / "proof.json").unlink(missing_ok=True)
        standing_ms, delay_ms = settings.taps[border].delay_ms, 0.0
        for round_number in range(1, ROUNDS + 1):
            # The plain arm comes first once, for what a call costs is not known before; then they take turns.
            for arm in (PLAIN, DELAYED) if round_number % 2 else (DELAYED, PLAIN):
                listeners.taps[border].ask(delay_ms=standing_ms + (delay_ms if arm == DELAYED else 0.0))
                for level in settings.concurrency:
                    place = folder / arm / f"concurrency-{level}" / f"round-{round_number}"
                    cell = Cell(place, settings.only(level), round_number)
                    with following(cell.plan) as on_progress:
                        fill(cell, platform, on_progress, listeners)
                if not delay_ms:
                    first = _measured(folder, PLAIN)
                    calls = _calls(first, lowest, border)
                    if not calls:
                        return Proof("asserted", _unseen(folder / PLAIN, border), hop, mechanism, border=border)
                    delay_ms = _delay_ms(first, calls)
    dose_ms = _held_ms(folder / DELAYED, border) - _held_ms(folder / PLAIN, border)
    if dose_ms <= 0:
        return Proof("asserted", f"the tap {border} held no call back", hop, mechanism, border=border)
    arms = [_measured(folder, arm, dose_ms if arm == DELAYED and border == WEB else 0.0) for arm in (PLAIN, DELAYED)]
    way = way_ms(read_kept_calls(_cells(folder / PLAIN, lowest))) if border == DATABASE else None
    return judge(bottleneck, arms[0], arms[1], border, dose_ms, way)


def _require_same(run: Run, platform: Platform) -> None:
    """Raise Refused for another database than the run's, where that is one that stays."""
    began_with = run.record.get("target", {}).get("database")
    if not platform.embedded and began_with and database_identity(platform) != began_with:
        raise Refused(f"{run.folder}: the run was made with the database {began_with}, and this is another one")


def _unprovable(settings: Settings, hop: str, mechanism: str) -> str | None:
    """Why no experiment can be made of this verdict on this target."""
    if hop not in HOPS:
        return f"there is no hop to test: the verdict is {hop}"
    if part_of(hop, mechanism) is None:
        return f"no tap sees the hop {hop}"
    if not settings.prepare:
        return (
            "the arms of an experiment begin from the same database, and this target is not prepared (prepare: false)"
        )
    web = settings.taps.get(WEB, TapSettings())
    if (settings.base_url or "").startswith("https:") and web.upstream is None:
        return "the tap in front of the platform cannot read https (taps.web.upstream, the http address behind it)"
    if not settings.embedded and DATABASE not in settings.taps:
        return "no tap at the border between the platform and its database (taps.database, with its upstream)"
    return None


def _settings(settings: Settings, bottleneck: Mapping[str, Any]) -> Settings:
    """The run's own settings on a short grid, with a tap at both borders.

    An attempt alone tells how many calls follow one another. The parts are compared where the verdict was made, at the
    highest level, and saturation shows there; an attempt alone will do where the run has the same hop first.
    """
    same = bottleneck["kind"] != SATURATION and _leads_alone(bottleneck)
    levels = [1] if same else sorted({1, max(settings.concurrency)})
    taps = {**settings.taps, **{name: settings.taps.get(name, TapSettings()) for name in (WEB, DATABASE)}}
    slots = max(FEWEST_SLOTS, *levels)  # workers beyond the number of slots have nothing to do
    gone_by = date.fromisoformat(settings.date) < today()
    changed = {
        "date": next_quiet_day(today()).isoformat() if gone_by else settings.date,
        "concurrency": levels,
        "rounds": ROUNDS,
        "end": min(settings.end, _later(settings.start, (slots - 1) * settings.interval_minutes)),
        "stress_max": min(settings.stress_max, MOST_STRESS),
        "taps": taps,
        "sample_interval_ms": 0,
    }
    return settings.model_copy(update=changed)


def _leads_alone(bottleneck: Mapping[str, Any]) -> bool:
    """Whether the run gives the verdict's hop the most time of an attempt alone, too."""
    claims = bottleneck["shares"].get("concurrency-1", {})
    means = {hop: claim["mean_ms"] or 0.0 for hop, claim in claims.items()}
    return bool(means) and max(means, key=lambda hop: means[hop]) == bottleneck["verdict"]


def _later(clock: str, minutes: int) -> str:
    hours, past = clock.split(":")
    end = min(int(hours) * 60 + int(past) + minutes, 24 * 60 - 1)
    return f"{end // 60:02d}:{end % 60:02d}"


@contextmanager
def _opened(run: Run, settings: Settings) -> Iterator[tuple[Platform, Listeners]]:
    """The platform with its taps, in a home of its own, also beside a copy's experiment, that is gone afterwards."""
    discard_useless()
    home = run.platform_home.with_name(f"{run.platform_home.name}{PROVING}{secrets.token_hex(3)}")
    try:
        with (
            listening(settings) as listeners,
            open_platform(settings, home, listeners.detour) as untapped,
            listeners.in_front_of(untapped, settings) as platform,
            nullcontext() if untapped.embedded else alone(untapped.database_url),
        ):
            yield platform, listeners
    finally:
        discard_home(home)


def _cells(arm: Path, level: int | str = "*") -> list[Path]:
    return sorted(arm.glob(f"concurrency-{level}/round-*"))


def _calls(parts: pd.DataFrame, level: int, border: str) -> float:
    """Calls of an attempt over the border that follow one another; 0 where the tap saw none, or nothing was booked."""
    rows = parts[(parts["label"] == f"concurrency-{level}").to_numpy()]
    if rows.empty:
        return 0.0
    return calls_in_a_row(rows)[0] if border == DATABASE else 1.0


def _unseen(arm: Path, border: str) -> str:
    """Why the tap has no calls of the bookings."""
    if _measured(arm.parent, arm.name).empty:
        return "no booking was confirmed in the experiment"
    told = _told(arm, border)[-1:]
    why = next(filter(None, map(unread, told)), "the platform does not go by its address")
    return f"no call passed the tap {border}: {why}"


def _delay_ms(first: pd.DataFrame, calls: float) -> float:
    mean = float(first.groupby("label")["total_ms"].mean().max())
    return round(min(max(SHARE_ADDED * mean / max(calls, 1.0), LEAST_DELAY_MS), MOST_DELAY_MS), 2)


def _held_ms(arm: Path, border: str) -> float:
    """How long the tap really held a call back, on average: on a busy machine longer than it was told to."""
    taps = _told(arm, border)
    held = sum(tap.get("held", 0) for tap in taps)
    return float(sum(tap.get("held_ms", 0.0) for tap in taps) / held) if held else 0.0


def _told(arm: Path, border: str) -> list[dict[str, Any]]:
    """What the tap counted in each cell."""
    records = [read_json(cell / "level.json") for cell in _cells(arm)]
    return [record.get("heard", {}).get("taps", {}).get(border, {}) for record in records]


def _measured(folder: Path, arm: str, web_delay_ms: float = 0.0) -> pd.DataFrame:
    cells = _cells(folder / arm)
    return measured_parts(read_logs(cells).attempts, read_kept_calls(cells), web_delay_ms)
