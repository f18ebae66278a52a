"""Client logs of the bookings whose spans others recorded: the recordings have a table of them only."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slotfill.events import Event, format_event


def client_log(bookings: Path, log: Path) -> None:
    """What this runner would have logged of the recorded bookings."""
    lines = []
    for booking in map(json.loads, bookings.read_text().splitlines()):
        sent = datetime.fromtimestamp(booking["start"], UTC)
        answered = sent + timedelta(milliseconds=booking["duration_ms"])
        ids = {"correlationId": booking["correlation_id"], "bookingId": booking["booking_id"]}
        asked = {"time": booking["slot"], "date": booking["date"], "traceId": booking["traceparent"].split("-")[1]}
        times = {"sentAt": sent.isoformat(), "answeredAt": answered.isoformat(), "durationMs": booking["duration_ms"]}
        total = {"totalDurationMs": booking["duration_ms"], "submitDurationMs": booking["duration_ms"]}
        lines += [
            Event(sent, "INFO", "submit", "Submitting booking request", ids | asked),
            Event(answered, "INFO", "submit", "Booking created", ids | times | {"initialStatus": "confirmed"}),
            Event(
                answered,
                "INFO",
                "final_summary",
                "Booking confirmed inline (API response)",
                ids | total | {"status": "confirmed_inline_api", "startTime": booking["slot"]},
            ),
        ]
    log.write_text("".join(f"{format_event(line)}\n" for line in lines))
