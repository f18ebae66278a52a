"""The attempts of a client log that went as most do, from its lines straight into columns.

An attempt is regular when its lines come in their order (started, submitted, created, polled, confirmed), each once
and each with the fields and types that the platform prints. Such lines are decoded into typed records, and leave
them in columns as soon as the attempt is confirmed, so that a log takes little more memory than its table. Any other
line, and any attempt with such a line, is left to ``ClientLog``, the reader of everything; what both say of an
attempt is the same, and tests hold them against each other.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from slotfill import events
from slotfill.attempt import CONFIRMED_OUTCOMES, DTYPES, OUTCOMES
from slotfill.read.attempt_record import (
    ALLOCATOR,
    LARGEST,
    AttemptRecord,
    Rule,
    integer,
    number,
    rules_of,
    tables_of,
    text,
    truth,
)
from slotfill.read.columns import ARROW_TYPES
from slotfill.read.text import Irregular

_LINE = re.compile(rb'\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\] \[INFO\] \[([^{]*) (?=\{")')

_Text = Annotated[str, msgspec.Meta(min_length=1)] | None
_Number = Annotated[float, msgspec.Meta(gt=-LARGEST, lt=LARGEST)] | None
_Whole = Annotated[int, msgspec.Meta(gt=-LARGEST, lt=LARGEST)] | None
_TYPES: dict[Callable[[Any], Any], Any] = {
    number: _Number,
    integer: _Whole,
    truth: bool | None,
    tables_of: list[str] | None,
}
"""What a field has to be for a rule's reader to need no second look; texts where nothing else is said."""
_AS_IT_IS = (text, number, integer, truth)
_UNUSUAL = ("lastAutoAssignResult", "state", "settled")
"""Fields that say more than a column holds: with one of them a line is not a regular one."""
_PLACE = ("slot", "party_size", "worker")
_RESULT = "autoAssignLastResult"


def _record(name: str, rules: Sequence[Rule], **more: Any) -> type[msgspec.Struct]:
    fields = [(source, _TYPES.get(read, _Text), None) for source, _, read in rules]
    others = [(source, kind, None) for source, kind in more.items()]
    return msgspec.defstruct(name, [*fields, *others], gc=False)


_ALLOCATOR_RECORD = _record("Allocator", ALLOCATOR)
_NO_RESULT = _ALLOCATOR_RECORD()


class _Kind:
    """One kind of line: where it stands in an attempt, and how its fields are read."""

    def __init__(self, rank: int, phase: str, message: str) -> None:
        self.rank, self.name = rank, f"{phase}] {message}".encode()
        self.outcome = events.CONFIRMED_MESSAGES.get(message)
        self.rules = rules_of(phase)
        unusual = dict.fromkeys(_UNUSUAL, None)
        self.decode = msgspec.json.Decoder(
            _record(f"Line{rank}", self.rules, **{_RESULT: _ALLOCATOR_RECORD | None}, **unusual)
        ).decode


_STARTED, _SUBMITTED, _CREATED, _POLLED, _CONFIRMED = range(5)
_KINDS = {
    kind.name: kind
    for kind in (
        _Kind(_STARTED, events.BOOTSTRAP, events.STARTING),
        _Kind(_SUBMITTED, events.SUBMIT, events.SUBMITTING),
        _Kind(_CREATED, events.SUBMIT, events.CREATED),
        *(
            _Kind(_POLLED, phase, message)
            for phase in (events.INLINE_POLL, events.POST_JOB_POLL)
            for message in (events.STATUS_UPDATE, events.NOT_FOUND_YET)
        ),
        *(_Kind(_CONFIRMED, events.FINAL_SUMMARY, message) for message in events.CONFIRMED_MESSAGES),
    )
}
_BY_RANK = {kind.rank: kind for kind in _KINDS.values()}
_INSTANTS = ((_STARTED, "started_at"), (_SUBMITTED, "submitted_at"), (_CREATED, "created_at"), (_CONFIRMED, "ended_at"))


@dataclass(slots=True)
class _Told:
    """What was read of one attempt so far."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    rank: int = -1
    fields: dict[int, Any] = field(default_factory=dict)
    at: dict[int, datetime] = field(default_factory=dict)
    outcome: str | None = None


class RegularAttempts:
    """Takes lines in their order; ``table`` has the regular attempts, with ``created_at`` and ``events`` beside.

    Of a ``part`` of a log only those that begin in it are taken.
    """

    def __init__(self, part: bool = False) -> None:
        self._part = part
        self._told: dict[str, _Told] = {}
        self._done: set[str] = set()
        self._left: set[str] = set()
        self._tables: list[pa.Table] = []

    def take(self, line: int, content: bytes) -> bool:
        """Take a line, if it is a regular attempt's."""
        match = _LINE.match(content)
        kind = _KINDS.get(match[2]) if match else None
        if match is None or kind is None:
            return False
        try:
            fields: Any = kind.decode(content[match.end() :])
            at = datetime.fromisoformat(match[1].decode())
        except ValueError:
            return False
        identity = fields.correlationId
        if identity is None or identity in self._left:
            return False
        if kind.outcome and fields.status in OUTCOMES and fields.status not in CONFIRMED_OUTCOMES:
            return False
        told = self._told.get(identity)
        if told is None:
            if identity in self._done:
                raise Irregular
            if self._part and kind.rank != _STARTED:
                return False
            told = self._told[identity] = _Told()
        if kind.rank < told.rank or (kind.rank == told.rank and kind.rank != _POLLED):
            return False
        told.lines.append((line, content))
        told.fields[kind.rank] = _overlaid(told.fields[_POLLED], fields) if kind.rank == told.rank else fields
        told.rank = kind.rank
        told.at[kind.rank] = at
        told.outcome = kind.outcome
        return True

    def leave(self, identity: str, anew: bool) -> list[tuple[int, bytes]]:
        """Give up an attempt; gives back its lines, which all go to another reader.

        Raises Irregular where that is too late: for an attempt that is in the table, or one that is made ``anew``.
        """
        if identity in self._done or (anew and (identity in self._left or identity in self._told)):
            raise Irregular
        self._left.add(identity)
        told = self._told.pop(identity, None)
        return told.lines if told else []

    def adopt(self, table: pa.Table, lines_before: int) -> None:
        """Take the attempts that a part of the log told of. Raises Irregular where one is told of twice."""
        for name in ("first_line", "last_line", "summary_line"):
            moved = pc.add(table[name], lines_before)
            table = table.set_column(table.column_names.index(name), name, moved)
        known = len(self._done)
        self._done.update(table["correlation_id"].to_pylist())
        if len(self._done) != known + len(table):
            raise Irregular
        self._tables.append(table)

    def settle(self) -> None:
        """Move what was confirmed into the table."""
        done = {identity: told for identity, told in self._told.items() if told.outcome}
        if done:
            self._tables.append(_table(list(done.values())))
            self._done.update(done)
            self._told = {identity: told for identity, told in self._told.items() if not told.outcome}

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """The lines of the attempts that were not confirmed, in the order of the log."""
        self.settle()
        yield from sorted(line for told in self._told.values() for line in told.lines)
        self._told.clear()

    @property
    def table(self) -> pa.Table:
        """One row a regular attempt: the columns of ``Attempt`` that a log tells, ``created_at`` and ``events``."""
        return pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()


def _overlaid(known: Any, fields: Any) -> Any:
    for name in known.__struct_fields__:
        if (value := getattr(fields, name)) is not None:
            before = getattr(known, name)
            setattr(known, name, _overlaid(before, value) if name == _RESULT and before else value)
    return known


def records_of(table: pa.Table, file: Path) -> list[AttemptRecord]:
    """The rows of a table as the records that ``ClientLog`` would have made of their lines."""
    names = [name for name in table.column_names if name not in ("first_line", "last_line", "created_at", "events")]
    facts = zip(*(table[name].to_pylist() for name in names), strict=True)
    own = zip(*(table[name].to_pylist() for name in ("first_line", "last_line", "created_at", "events")), strict=True)
    return [
        AttemptRecord(
            file,
            first_line,
            {name: value for name, value in zip(names, row, strict=True) if value is not None},
            count,
            last_line,
            {events.FINAL_SUMMARY},
            created_at,
        )
        for row, (first_line, last_line, created_at, count) in zip(facts, own, strict=True)
    ]


def stand_ins(table: pa.Table, file: Path) -> list[AttemptRecord]:
    """Records with only what tells the place of an attempt: for what has to look at all attempts of a file."""
    places = zip(*(table[name].to_pylist() for name in ("first_line", *_PLACE)), strict=True)
    return [
        AttemptRecord(
            file,
            line,
            {name: value for name, value in zip(_PLACE, place, strict=True) if value is not None},
            steps={events.FINAL_SUMMARY},
        )
        for line, *place in places
    ]


def _table(attempts: Sequence[_Told]) -> pa.Table:
    columns: dict[str, Sequence[Any]] = {
        "first_line": [told.lines[0][0] for told in attempts],
        "last_line": [told.lines[-1][0] for told in attempts],
        "summary_line": [told.lines[-1][0] for told in attempts],
        "events": [len(told.lines) for told in attempts],
        "seams": [0] * len(attempts),
        "outcome": [told.outcome for told in attempts],
        **{name: [told.at.get(rank) for told in attempts] for rank, name in _INSTANTS},
    }
    for rank, kind in _BY_RANK.items():
        records = [told.fields.get(rank) for told in attempts]
        _add(columns, kind.rules, records)
        _add(columns, ALLOCATOR, [record and getattr(record, _RESULT) for record in records])
    return pa.table(
        {
            name: pa.array(columns[name], kind) if name in columns else pa.nulls(len(attempts), kind)
            for name, kind in _T
        },
        SCHEMA,
    )


def _add(columns: dict[str, Sequence[Any]], rules: Sequence[Rule], records: Sequence[Any]) -> None:
    """Add what a kind of line says; a later line of an attempt, and of two rules for one fact the later, counts."""
    nothing = (None,) * len(rules)
    rows = [nothing if record is None else msgspec.structs.astuple(record) for record in records]
    for (_, fact, read), values in zip(rules, zip(*rows, strict=False), strict=False):
        if values.count(None) == len(values):
            continue
        new: Sequence[Any] = values
        if read not in _AS_IT_IS:
            new = [None if value is None else read(value) for value in values]
        known = columns.get(fact)
        if known is not None and None in new:
            new = [before if value is None else value for value, before in zip(new, known, strict=True)]
        columns[fact] = new


_T = [
    *((name, ARROW_TYPES[dtype]) for name, dtype in DTYPES.items() if name != "file"),
    ("created_at", pa.timestamp("us", "UTC")),
    ("events", pa.int64()),
]
SCHEMA = pa.schema(_T)
