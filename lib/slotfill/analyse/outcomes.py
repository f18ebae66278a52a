"""What became of the bookings, and why those failed that failed: looked at before any time is.

Failures are counted by booking. A server prints the error of one booking more than once, with its id
and without, so lines of a log count only where no booking is named.
"""

import re
from collections import Counter
from typing import Any, Literal

import pandas as pd

from slotfill.analyse.document import Failure, Source
from slotfill.attempt import is_confirmed
from slotfill.database_errors import error_kind
from slotfill.outcomes import EXHAUSTED

_SERVER_ERRORS = ("confirm_error", "quote_error", "job_error")
"""What the server's log says of a booking that failed, the gravest first."""
_CODE = re.compile(r"'code': '([A-Za-z0-9_]+)'|\[([A-Z][A-Z0-9_]+)\]|\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b")
_REFUSED = re.compile(r"refused|ECONNREFUSED", re.IGNORECASE)
_IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_NAMES = {
    "rate_limited": "rate_limit",
    "api_timeout": "request_timeout",
    "api_unreachable": "unreachable",
    "aborted": "interrupted",
}
_ANSWERED = ("api_rejected", "api_error")
_TURNED_AWAY = (*_ANSWERED, *_NAMES)
_SHOWN = 3
_TOLD_BY: dict[bool, Literal["server log", "answer"]] = {True: "server log", False: "answer"}


def failed(attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts that failed: neither confirmed nor out of tables."""
    return attempts[(~is_confirmed(attempts) & (attempts["outcome"] != EXHAUSTED)).to_numpy(dtype=bool)]


def failures_decide(attempts: pd.DataFrame) -> bool:
    """Nothing was confirmed, because bookings were turned away or lost.

    Tables that ran out are the venue's doing; and a booking that was accepted and waited in vain to be
    confirmed failed by time, which says where it went.
    """
    if bool(is_confirmed(attempts).any()):
        return False
    turned_away = int(failed(attempts)["outcome"].isin(_TURNED_AWAY).sum())
    return turned_away > len(attempts) / 2


def failures(attempts: pd.DataFrame, server: pd.DataFrame) -> tuple[Failure, ...]:
    """Why bookings failed, the most frequent reason first; reasons that differ only in an id are one."""
    rows = failed(attempts).reset_index(drop=True)
    if rows.empty:
        return ()
    errors, bookings = _server_errors(server), rows["booking_id"].astype(object)
    told = pd.DataFrame({name: bookings.map(errors[name].to_dict(), na_action="ignore") for name in errors})
    known = told["text"].notna()
    reasons = told["text"].where(known, rows["reason"].fillna(rows["outcome"]).astype(object)).astype(str)
    rows = rows.assign(
        reason=reasons.str.replace(_IDENTIFIER, "<id>", regex=True),
        known=known,
        where=told["file"].where(known, rows["file"].astype(object)),
        at=told["line"].where(known, rows["last_line"].astype(object)),
    )
    groups = sorted(rows.groupby(["reason", "known"], sort=False), key=lambda group: -len(group[1]))
    return tuple(
        Failure(
            str(reason),
            len(group),
            _TOLD_BY[bool(known)],
            _sources(group.head(_SHOWN)),
        )
        for (reason, known), group in groups
    )


def failure_name(attempts: pd.DataFrame) -> str:
    """The most frequent failure as one name: ``http_403_csrf_mismatch``, ``rate_limit``, ``connection_refused`` …"""
    rows = failed(attempts)[["outcome", "http_status", "reason"]].astype(object)
    rows["reason"] = rows["reason"].fillna("").astype(str).str.replace(_IDENTIFIER, "<id>", regex=True)
    names: Counter[str] = Counter()
    for alike in rows.groupby(list(rows), dropna=False).size().reset_index(name="count").to_dict("records"):
        names[_name(alike["outcome"], alike["http_status"], alike["reason"])] += alike["count"]
    return names.most_common(1)[0][0]


def _name(outcome: str, status: Any, reason: str) -> str:
    if outcome in _ANSWERED and pd.notna(status):
        return f"http_{status}{_code(reason)}"
    if outcome == "api_unreachable" and _REFUSED.search(reason):
        return "connection_refused"
    return _NAMES.get(outcome, outcome)


def error_bookings(server: pd.DataFrame) -> dict[str, int]:
    """How many bookings met each kind of database pressure, by what the server's log says of them."""
    kinds = [server[name].dropna().map(error_kind).dropna() for name in _SERVER_ERRORS if name in server]
    met = pd.concat([kind.rename("kind").reset_index() for kind in kinds]) if kinds else pd.DataFrame({"kind": []})
    return {str(kind): int(count) for kind, count in met.drop_duplicates()["kind"].value_counts().items()}


def error_counts(server: pd.DataFrame, error_lines: pd.DataFrame) -> dict[str, int]:
    """How often each kind of database pressure was met, most frequent first: bookings where named, else log lines."""
    lines = {str(kind): int(times) for kind, times in error_lines.groupby("kind")["times"].sum().items()}
    counts = lines | error_bookings(server)
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def _server_errors(server: pd.DataFrame) -> pd.DataFrame:
    """By booking: the text of its error, and where the server's log speaks of the booking first."""
    known = server.reindex(columns=["booking_id", "file", "first_line", *_SERVER_ERRORS]).dropna(subset=["booking_id"])
    text = known[list(_SERVER_ERRORS)].astype(object).bfill(axis=1).iloc[:, 0]
    told = pd.DataFrame(
        {"text": text, "file": known["file"].astype(object), "line": known["first_line"].astype(object)}
    )
    told.index = pd.Index(known["booking_id"].astype(object))
    return told[~told.index.duplicated()]


def _code(reason: str) -> str:
    found = _CODE.search(reason)
    return f"_{next(filter(None, found.groups())).lower()}" if found else ""


def _sources(rows: pd.DataFrame) -> tuple[Source, ...]:
    return tuple(Source(str(file), int(line)) for file, line in zip(rows["where"], rows["at"].tolist(), strict=True))
