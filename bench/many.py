"""Logs of many attempts, as a long run leaves them: three levels, a file a slot, some attempts failed or exhausted.

    .venv/bin/python bench/many.py FOLDER [ATTEMPTS]

Then ``slotfill report FOLDER``, say; ``bench`` times that.
"""

import random
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slotfill.events import Event, format_event

LEVELS = (1, 4, 8)
SLOTS = 17
START = datetime(2026, 3, 3, 17, tzinfo=UTC)


def attempt_lines(rng: random.Random, begun: datetime, iteration: int, worker: int, level: int) -> Iterator[str]:
    """The lines of one attempt, longer at a higher level; one in fifty fails, and one in fifty finds no table."""
    names = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3)]
    known = {"correlationId": names[0], "bookingId": names[1]}
    where = {"iteration": iteration, "worker": worker, "level": f"concurrency-{level}", "partySize": 4}
    took_ms = round(rng.lognormvariate(7, 0.3) * (1 + level / 8), 3)
    result = {"source": "inline", "success": True, "durationMs": round(took_ms / 2), "attemptId": names[2]}
    fate = rng.random()
    events = [
        (0, "INFO", "bootstrap", "Starting booking flow", {**known, **where}),
        (0, "INFO", "submit", "Submitting booking request", {**known, "slot": "18:00", "party": 4}),
    ]
    if fate < 0.02:
        events.append((took_ms, "ERROR", "submit", "Booking request failed (500): deadlock detected", known))
    elif fate < 0.04:
        pending = {"initialStatus": "pending", "durationMs": took_ms}
        ended = {
            "state": "timeout",
            "durationMs": took_ms + 30_000,
            "reason": "No tables available for requested window",
        }
        events.append((took_ms, "INFO", "submit", "Booking created", {**known, **pending}))
        events.append((took_ms + 30_000, "ERROR", "final_summary", "Booking failed to confirm", {**known, **ended}))
    else:
        summary = {"submitDurationMs": took_ms, "inlineDurationMs": 0, "seatWaste": rng.choice((0, 0, 1, 2))}
        summary |= {"totalDurationMs": took_ms + 4, "status": "confirmed_inline_api", "tablesAssigned": 1}
        summary |= {"totalCapacity": 4, "tableNumbers": ["MD-03"], "autoAssignLastResult": result}
        events.append((took_ms, "INFO", "submit", "Booking created", {**known, "durationMs": took_ms}))
        events.append(
            (took_ms + 4, "INFO", "final_summary", "Booking confirmed inline (API response)", {**known, **summary})
        )
    for after_ms, severity, phase, message, fields in events:
        yield format_event(Event(begun + timedelta(milliseconds=after_ms), severity, phase, message, fields))


def write(folder: Path, attempts: int, seed: int = 1) -> Path:
    """About so many attempts, in ``concurrency-N/slot-fill-….log``."""
    rng = random.Random(seed)
    each = max(1, attempts // (len(LEVELS) * SLOTS))
    for day, level in enumerate(LEVELS):
        place = folder / f"concurrency-{level}"
        place.mkdir(parents=True, exist_ok=True)
        for slot in range(SLOTS):
            worker = slot % level
            begun = START + timedelta(days=30 * day, seconds=60 * slot)
            name = f"slot-fill-2026-03-10-{16 + slot // 4}-{slot % 4 * 15:02d}-p4-20260303T170000Z-a{slot:05d}.log"
            with (place / name).open("w", encoding="utf-8") as file:
                for number in range(each):
                    begun += timedelta(seconds=2)
                    file.writelines(f"{line}\n" for line in attempt_lines(rng, begun, number + 1, worker, level))
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30_000)
