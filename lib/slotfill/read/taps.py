"""Calls as a tap wrote them: one JSON object a line."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill import call
from slotfill.call import Call, Protocol


def read_taps(files: Iterable[Path]) -> pd.DataFrame:
    """One row a ``Call``, in the order of their starts. A torn last line, after a kill, is left out."""
    calls = [one for file in files for line in file.read_bytes().splitlines() if (one := _call(line)) is not None]
    return call.frame(sorted(calls, key=lambda one: one.started_at))


def _call(line: bytes) -> Call | None:
    try:
        said: dict[str, Any] = json.loads(line)
        if said["status"] == "unread":
            return None
        protocol: Protocol = "http" if said["protocol"] == "http" else "postgres"
        return Call(
            source="tap",
            protocol=protocol,
            started_at=datetime.fromisoformat(said["started_at"]),
            duration_ms=float(said["duration_ms"]),
            target=str(said["target"]),
            method=str(said["method"]),
            to_database=bool(said["to_database"]),
            failed=bool(said["failed"]),
            trace_id=said["trace_id"],
            status=said["status"],
            fingerprint=said["fingerprint"],
            border=said["border"],
            connection=said["connection"],
            added_ms=said.get("added_ms"),
            first_byte_ms=said["first_byte_ms"],
            bytes_sent=said["bytes_sent"],
            bytes_received=said["bytes_received"],
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
