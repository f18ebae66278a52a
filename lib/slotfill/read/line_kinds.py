"""The kinds of lines that a regular attempt has, and the columns that their fields are decoded into."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from slotfill import events
from slotfill.read.rules import ALLOCATOR, Rule, integer, number, rules_of, tables_of, truth

STARTED, SUBMITTED, CREATED, POLLED, CONFIRMED = RANKS = range(5)
"""In the order in which an attempt has them; but for polls, each once."""
INSTANTS = {STARTED: "started_at", SUBMITTED: "submitted_at", CREATED: "created_at", CONFIRMED: "ended_at"}

_TYPES: dict[Callable[[Any], Any], pa.DataType] = {
    number: pa.float64(),
    integer: pa.int64(),
    truth: pa.bool_(),
    tables_of: pa.list_(pa.string()),
}
"""What a field has to be for a rule's reader to need no second look; texts where nothing else is said."""


class Kind(NamedTuple):
    """How a line of a kind begins behind its instant, and what it says of the attempt's outcome."""

    rank: int
    begin: bytes
    outcome: str | None


def _kind(rank: int, phase: str, message: str) -> Kind:
    return Kind(rank, f"] [INFO] [{phase}] {message} ".encode(), events.CONFIRMED_MESSAGES.get(message))


KINDS = (
    _kind(STARTED, events.BOOTSTRAP, events.STARTING),
    _kind(SUBMITTED, events.SUBMIT, events.SUBMITTING),
    _kind(CREATED, events.SUBMIT, events.CREATED),
    *(
        _kind(POLLED, phase, message)
        for phase in (events.INLINE_POLL, events.POST_JOB_POLL)
        for message in (events.STATUS_UPDATE, events.NOT_FOUND_YET)
    ),
    *(_kind(CONFIRMED, events.FINAL_SUMMARY, message) for message in events.CONFIRMED_MESSAGES),
)
_PHASES = {
    STARTED: events.BOOTSTRAP,
    SUBMITTED: events.SUBMIT,
    CREATED: events.SUBMIT,
    POLLED: events.INLINE_POLL,
    CONFIRMED: events.FINAL_SUMMARY,
}
_RESULT = "autoAssignLastResult"
RULES: dict[int, tuple[Rule, ...]] = {
    rank: (*rules_of(phase), *((f"{_RESULT}.{source}", fact, read) for source, fact, read in ALLOCATOR))
    for rank, phase in _PHASES.items()
}
"""How the fields of a line are read, by its rank; those of a result by its name and theirs."""


def _types(rules: Sequence[Rule]) -> dict[str, pa.DataType]:
    return {source: _TYPES.get(read, pa.string()) for source, _, read in rules}


_RESULT_TYPE = pa.struct(_types(ALLOCATOR))
UNUSUAL = {"lastAutoAssignResult": _RESULT_TYPE, "state": pa.string(), "settled": pa.bool_()}
"""Fields that say more than a column holds: with one of them a line is not a regular one."""
FIELDS = {
    rank: pa.schema({**_types(rules_of(phase)), _RESULT: _RESULT_TYPE, **UNUSUAL}) for rank, phase in _PHASES.items()
}
"""What is decoded of a line, by its rank."""
