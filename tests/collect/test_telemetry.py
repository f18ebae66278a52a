"""The embedded platform's own OpenTelemetry, heard by a run: every call of a booking, by its trace."""

from pathlib import Path

import pytest
import waiting

from slotfill.analyse.inside import look_inside
from slotfill.cell import Cell, fill
from slotfill.collect.listeners import listening
from slotfill.doctor import _open_telemetry
from slotfill.drive.target import open_platform, require_openable
from slotfill.errors import BadInput
from slotfill.params import Settings, validate
from slotfill.read import read_logs
from slotfill.read.kept import read_kept_calls, read_kept_spans
from slotfill.read.requests import read_requests
from whitehorse import telemetry

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")


SLEWED = 0.98
"""Spans are timed by the wall clock, which is set right while it runs; all else here is not."""


def settings(**more: object) -> Settings:
    # One attempt a slot: how many there are does not hang on when a slot runs out of tables.
    grid = {"start": "17:00", "end": "18:00", "stress_max": 1, "rounds": 1, "max_party_size": 2}
    return validate(
        {**grid, "concurrency": 4, "otlp_listen": f"127.0.0.1:{waiting.free_port()}", "telemetry": True, **more}, "test"
    )


def test_spans_of_the_embedded_platform_join_its_attempts_call_by_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotfill.collect.listeners.MOST_WAIT_S", waiting.PATIENCE_S)
    away_ms = 10
    wanted = settings(faults={"db_rtt_ms": away_ms})
    cell = Cell(tmp_path / "concurrency-4", wanted)
    with (
        listening(wanted) as listeners,
        open_platform(wanted, tmp_path / "home", listeners.detour) as platform,
    ):
        fill(cell, platform, None, listeners)
    assert cell.record["heard"]["otlp"]["attempts_without_server_span"] == 0
    reading = read_logs([cell.folder])
    spans = read_kept_spans([cell.folder])
    inside = look_inside(reading.attempts, spans, read_kept_calls([]))
    assert len(inside.attempts) == len(reading.attempts) == 5
    assert inside.instrumented
    assert set(inside.attempts["joined"]) == {"trace"}
    both = inside.attempts.merge(reading.attempts[["correlation_id", "booking_id", "trace_id"]], on="correlation_id")
    both = both.join(reading.server.set_index("booking_id"), on="booking_id")
    assert list(both["calls"]) == list(both["profile_database_calls"])
    assert {"bookings", "customers", "restaurants"} <= set(inside.targets()["target"])
    requests = read_requests(spans).requests.set_index("trace_id").loc[both["trace_id"]]
    assert set(requests["service"]) == {telemetry.SERVICE}
    # A call that goes far takes long, and is not a gap between calls.
    calls = spans[(spans["kind"] == "client").to_numpy()]
    assert len(calls) >= both["calls"].sum() and (calls["end_ns"] - calls["start_ns"] >= SLEWED * away_ms * 1e6).all()
    # The server span goes around all that the profile times.
    assert (requests["server_ms"].to_numpy() >= SLEWED * both["profile_handler_ms"].to_numpy(dtype=float)).all()


def test_telemetry_without_its_packages_or_a_listener_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="needs otlp_listen"):
        validate({"telemetry": True}, "test")
    monkeypatch.setattr(telemetry, "available", lambda: False)
    with pytest.raises(BadInput, match=r"telemetry: needs OpenTelemetry's Python packages.*\[otel\]"):
        require_openable(settings())


@pytest.mark.parametrize(("target", "node"), [("embedded", False), ("mine", True)])
def test_doctor_tells_what_fits_the_target(target: str, node: bool) -> None:
    lines = [str(check.text) for check in _open_telemetry(settings(target=target, telemetry=target == "embedded"))]
    assert any("NODE_OPTIONS" in line for line in lines) == node
    assert any("the platform sends there" in line for line in lines) != node
