"""A run that stops by itself: each brake at an impossibly low limit, and what is on disk afterwards.

The platform is a real one; in front of it stands a gate in the test's own hand that can turn bookings away.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import waiting

from slotfill import run
from slotfill.analyse import study
from slotfill.database import connect, guard
from slotfill.drive import integrity_monitor
from slotfill.drive.driver import Progress
from slotfill.drive.target import BASE_URL, DATABASE_URL, Platform, open_platform
from slotfill.errors import Braked
from slotfill.files import read_json
from slotfill.levels import fill_all
from slotfill.outcomes import CONFIRMED_OUTCOMES, OUTCOMES
from slotfill.params import ROOT, Settings
from slotfill.plan import Plan
from slotfill.report import narrative

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SLOTFILL = Path(sys.executable).with_name("slotfill")
SMALL: dict[str, Any] = {
    "target": "staging",
    "start": "17:00",
    "end": "18:15",
    "concurrency": [2],
    "stress_max": 3,
    "rounds": 1,
    # A size with tables enough, so that nothing but the gate turns a booking away.
    "min_party_size": 4,
    "max_party_size": 4,
}


@dataclass
class Refusal:
    """An answer in the place of a booking."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


NO_CLIENTS = Refusal(500, {"error": "sorry, too many clients already"})
BROKEN = Refusal(500, {"error": "boom"})
LIMITED = Refusal(429, {"error": "Too many requests", "code": "RATE_LIMITED"}, {"Retry-After": "1"})


class Gate(ThreadingHTTPServer):
    """Hands requests on to the platform, and answers bookings itself as long as it has refusals to give."""

    daemon_threads = True

    def __init__(self, platform_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Gatekeeper)
        self.platform = httpx.Client(base_url=platform_url, trust_env=False, timeout=waiting.PATIENCE_S)
        self.refusals: Iterator[Refusal] = iter(())
        self.lock = threading.Lock()

    def refusal(self) -> Refusal | None:
        with self.lock:
            return next(self.refusals, None)


class _Gatekeeper(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gate

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refusal = self.server.refusal() if "Idempotency-Key" in self.headers else None
        if refusal is not None:
            self._answer(refusal.status, json.dumps(refusal.body).encode(), refusal.headers)
        else:
            self._hand_on("POST", body)

    def do_GET(self) -> None:
        self._hand_on("GET", b"")

    def _hand_on(self, method: str, body: bytes) -> None:
        sent = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        answer = self.server.platform.request(method, self.path, content=body, headers=sent)
        self._answer(answer.status_code, answer.content, {})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with TemporaryDirectory(prefix="slotfill-test-") as home, open_platform(Settings(), Path(home)) as running:
        url = sa.make_url(running.database_url).set(username="postgres")
        administrator = connect.engine(url.render_as_string(hide_password=False))
        guard.mark(administrator, "staging", "a tester")
        administrator.dispose()
        yield running


@pytest.fixture
def gate(platform: Platform) -> Iterator[Gate]:
    gate = Gate(platform.base_url)
    thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield gate
    gate.shutdown()
    thread.join()
    gate.server_close()
    gate.platform.close()


@pytest.fixture
def make(gate: Gate, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of the target behind the gate."""
    for name in (BASE_URL, DATABASE_URL):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "env"
    file.write_text(
        f"{BASE_URL}=http://127.0.0.1:{gate.server_port}\n{DATABASE_URL}={platform.database_url}\n", encoding="utf-8"
    )

    def make(**changes: Any) -> Settings:
        return Settings.model_validate({**SMALL, "env_file": str(file), **changes})

    return make


@contextmanager
def quietly(plan: Plan) -> Iterator[Progress]:
    yield lambda line: None


def braked(settings: Settings, folder: Path, following: Any = quietly) -> tuple[study.Study, str]:
    """What a run that must brake has left behind, and the reason it gave."""
    driven = run.create(settings, folder)
    with pytest.raises(Braked) as stop:
        fill_all(driven, following)
    assert driven.record["state"] == "stopped"
    assert [each["reason"] for each in driven.record["stops"]] == [str(stop.value)]
    left = study.of_run(folder)
    assert set(left.attempts["outcome"]) <= set(OUTCOMES)
    assert set(left.integrity["after"]) == {"concurrency-2"}, "checked after the brake too"
    assert str(stop.value) in narrative.verdict(left)
    return left, str(stop.value)


def test_a_braked_run_ends_with_exit_code_3_and_everything_on_disk(
    make: Callable[..., Settings], tmp_path: Path
) -> None:
    out, settings = tmp_path / "run", make()
    words = [f"{name}={value}" for name, value in {**SMALL, "env_file": settings.env_file}.items()]
    words += ["brakes.p95_ms=0.001", "brakes.error_window=2"]
    answer = subprocess.run(
        [SLOTFILL, "run", "--out", out, *(word for pair in words for word in ("--set", pair))],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert answer.returncode == 3, answer.stderr
    assert "above brakes.p95_ms 0.001" in answer.stderr.splitlines()[-1]
    assert answer.stdout.splitlines()[-1] == str(out)
    left = {str(file.relative_to(out)) for file in out.rglob("*")}
    documents = {"metrics.json", "bottleneck.json", "report.html", "verification.md", "integrity-after.json"}
    assert left >= documents | {"concurrency-2/attempts.parquet", "concurrency-2/samples.parquet"}
    told = study.of_run(out).attempts
    assert 2 <= len(told) < 18
    assert set(told["outcome"]) <= set(CONFIRMED_OUTCOMES), "what was in flight was drained, not cut"
    for document in ("verification.md", "report.html"):
        assert "stopped before its end" in (out / document).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("brakes", "refusals", "outcome", "reason"),
    [
        ({"database_errors": 1}, [NO_CLIENTS], "api_error", "too many clients already"),
        ({"error_rate": 0.01}, [BROKEN], "api_error", "brakes.error_rate 0.01"),
        ({"rate_limited": 1}, [LIMITED], "rate_limited", "429"),
    ],
    ids=["database_errors", "error_rate", "rate_limited"],
)
def test_a_brake_trips_at_the_first_sign_where_its_limit_is_impossibly_low(
    make: Callable[..., Settings],
    gate: Gate,
    tmp_path: Path,
    brakes: dict[str, float],
    refusals: list[Refusal],
    outcome: str,
    reason: str,
) -> None:
    gate.refusals = iter(refusals)
    left, told = braked(make(brakes=brakes), tmp_path / "run")
    assert reason in told
    assert (left.attempts["outcome"] == outcome).sum() == 1
    assert len(left.attempts) < 18


def test_a_violation_of_integrity_stops_the_run_and_is_in_the_check_after_it(
    make: Callable[..., Settings], platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So short a load would be over before the next check that costs it no more than a hundredth.
    monkeypatch.setattr(integrity_monitor, "SHARE", 1.0)
    plant = "DELETE FROM booking_table_assignments a USING bookings b WHERE b.id = a.booking_id AND b.source = 'api'"

    @contextmanager
    def planting(plan: Plan) -> Iterator[Progress]:
        engine = connect.engine(platform.database_url)

        def untable(line: dict[str, Any]) -> None:
            with engine.begin() as connection:
                connection.execute(sa.text(plant))

        try:
            yield untable
        finally:
            engine.dispose()

    settings = make(brakes={"integrity_every_s": 0.2}, max_rate_per_min=120, drain_ms=500)
    left, told = braked(settings, tmp_path / "run", planting)
    assert "integrity violation: confirmed_without_table" in told
    after = {check["name"]: check for check in left.integrity["after"]["concurrency-2"]["checks"]}
    assert after["confirmed_without_table"]["status"] == "violated"


def test_a_healthy_run_trips_no_brake_however_low_the_limits(make: Callable[..., Settings], tmp_path: Path) -> None:
    sharp = {"database_errors": 1, "error_rate": 0.01, "rate_limited": 1, "integrity_every_s": 0.2, "p95_ms": 30_000}
    driven = run.create(make(brakes=sharp), tmp_path / "run")
    fill_all(driven, quietly)
    assert driven.record["state"] == "done" and driven.record["stops"] == []
    assert study.of_run(driven.folder).metrics["levels"][0]["confirmed"] == 18


def test_a_rate_limited_run_waits_as_told_and_is_labelled(
    make: Callable[..., Settings], gate: Gate, tmp_path: Path
) -> None:
    gate.refusals = iter([LIMITED, LIMITED])
    driven = run.create(make(), tmp_path / "run")
    fill_all(driven, quietly)
    left = study.of_run(driven.folder)
    limited = left.attempts["outcome"] == "rate_limited"
    assert limited.sum() == 2 and (~limited).sum() == 16
    refused_at = left.attempts.loc[limited, "ended_at"].min()
    before_it = left.attempts["submitted_at"] <= refused_at
    waited_s = (left.attempts.loc[~before_it, "submitted_at"].min() - refused_at).total_seconds()
    a_lines_precision_s = 0.05
    assert waited_s >= int(LIMITED.headers["Retry-After"]) - a_lines_precision_s
    assert "**rate limited**: 2 of 18 attempts" in narrative.verdict(left)
    assert read_json(driven.folder / "run.json")["state"] == "done"
