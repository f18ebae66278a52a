"""The texts of a database under pressure, from Postgres, its poolers and its clients, by kind.

The one home of these texts: the driver's brakes, the messages about a connection, the reading of logs and the
analysis all look here.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

DEADLOCK = "deadlock detected"
"""Postgres' own words, which its log begins the error with."""
TEXTS: dict[str, tuple[str, ...]] = {
    "deadlock": (DEADLOCK,),
    "statement_timeout": ("statement timeout", "transaction timeout"),
    "lock_timeout": ("lock timeout",),
    "statement_cancelled": ("canceling statement due to",),
    "too_many_clients": (
        *("too many clients", "remaining connection slots", "too many connections for", "max client connections"),
        *("emaxconn", "max clients reached", "maxclientsinsessionmode"),
    ),
    "pool_timeout": (
        *("echeckouttimeout", "unable to check out connection", "timeout exceeded when trying to connect"),
        *("query read timeout", "pgrst003"),
    ),
    "connection_terminated": (
        *("connection terminated", "terminating connection", "server closed the connection unexpectedly"),
        *("edbhandlerexited", "epoolterminating", "ecircuitbreaker"),
    ),
    "database_unreachable": ("pgrst000", "pgrst001", "pgrst002", "the database system is"),
    "lookup_failed": ("restaurant_lookup_failed",),
    "abort_error": ("aborterror",),
    "fetch_failed": ("fetch failed",),
}
"""In lower case, by kind; a line that holds texts of several kinds is of the first."""

SERVER_ONLY = ("abort_error", "fetch_failed")
"""Kinds that in a client's mouth speak of the booking request, not of the database."""
NO_CONNECTION_LEFT = (*TEXTS["too_many_clients"], *TEXTS["pool_timeout"])

_KINDS = {text: kind for kind, texts in TEXTS.items() for text in texts}
_ANY_TEXT = "(?i)" + "|".join(map(re.escape, _KINDS))
# Every text above has one of these in it; looking for few words is what makes reading fast.
_HINTS = (
    *("deadlock", "statement timeout", "transaction timeout", "lock timeout", "read timeout", "ttimeout"),
    *("timeout exceeded", "canceling", "clients", "connection", "database system", "pgrst", "emaxconn"),
    *("edbhandler", "epoolterm", "ecircuit", "lookup_failed", "aborterror", "fetch failed"),
)


def error_kind(line: str) -> str | None:
    """The kind of database pressure a line speaks of."""
    line = line.lower()
    for hint in _HINTS:
        if hint in line:
            return next((kind for text, kind in _KINDS.items() if text in line), None)
    return None


def error_places(lines: "pa.StringArray") -> list[int]:
    """Where among lines, which stand one behind the other in memory, ``error_kind`` may find one, in their order."""
    import numpy as np  # the driver has no use for these
    import pyarrow as pa
    import pyarrow.compute as pc

    _, offsets, text = lines.buffers()
    ends = pa.py_buffer(np.frombuffer(offsets, np.int32)[[0, len(lines)]])
    if not pc.match_substring_regex(pa.Array.from_buffers(pa.string(), 1, [None, ends, text]), _ANY_TEXT)[0].as_py():
        return []
    return list(pc.indices_nonzero(pc.match_substring_regex(lines, _ANY_TEXT)).to_pylist())


def is_database_error(text: str) -> bool:
    """Whether a text that a client got is one a database or its pooler gives under pressure."""
    return error_kind(text) not in (None, *SERVER_ONLY)
