"""What every test may ask for."""

import json
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair.
settings.register_profile("slotfill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slotfill")

# Started in the background, a shell has SIGINT ignored, and every process a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the platform's recorded logs; they are not part of the project."""
    if not CORPUS.is_dir():
        pytest.skip(f"the recorded logs are not beside this checkout ({CORPUS.parent.name}/{CORPUS.name})")
    return CORPUS


def _line(second: float, phase: str, message: str, **fields: object) -> str:
    stamp = f"2026-12-08T16:00:{second:06.3f}Z"
    return f"[{stamp}] [INFO] [{phase}] {message} {json.dumps(fields, separators=(',', ':'))}\n"


def _attempt(number: int, level: int) -> str:
    """One confirmed attempt as the platform's own script logs it: two seconds, one seat wasted."""
    who = {"correlationId": f"00000000-0000-4000-8000-{level:06d}{number:06d}", "iteration": number}
    booking = f"10000000-0000-4000-8000-{level:06d}{number:06d}"
    start = number * 3
    summary = {
        "submitDurationMs": 1900,
        "inlineDurationMs": 0,
        "postJobDurationMs": 0,
        "backgroundInvoked": False,
        "totalDurationMs": 2000,
        "tablesAssigned": 1,
        "totalCapacity": 4,
        "seatWaste": 1,
        "partySize": 3,
        "status": "confirmed_inline_api",
        "startTime": "16:00",
        "bookingDate": "2026-12-08",
    }
    lines = [
        _line(start, "bootstrap", "Starting booking flow", **who),
        _line(start, "submit", "Submitting booking request", email="gu***t@example.com", **who),
        _line(start + 1.9, "submit", "Booking created", bookingId=booking, status="confirmed", durationMs=1900, **who),
        _line(
            start + 2, "final_summary", "Booking confirmed inline (API response)", bookingId=booking, **summary, **who
        ),
    ]
    return "".join(lines)


@pytest.fixture(scope="session")
def recorded_levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of logs as the platform's own script writes them: two levels of three attempts each."""
    folder = tmp_path_factory.mktemp("logs")
    for level in (1, 4):
        text = "".join(_attempt(number, level) for number in (1, 2, 3))
        (folder / f"slot-fill-concurrency{level}.log").write_text(text, encoding="utf-8")
    return folder
