"""Who waits for whom: the statements on both sides of a lock, and the table it is on."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

MOST_SHOWN = 3
_NAME = r'((?:"?\w+"?\.)?"?\w+"?)(?![\w".])'
_CALL = re.compile(rf"(?:\b(?:select|from|call)|,)\s+(?:lateral\s+)?{_NAME}\s*\(", re.IGNORECASE)
_TABLE = re.compile(
    rf"\b(?:(insert\s+into)\s+{_NAME}|(update|delete\s+from|lock\s+table|lock|from|join)\s+(?:only\s+)?{_NAME}(?!\s*\())",
    re.IGNORECASE,
)
_LOCKING = re.compile(r"\bfor\s+(?:no\s+key\s+update|update|key\s+share|share)\b", re.IGNORECASE)
_ARGUMENT = re.compile(r'"(p_\w+)"')
_WRAPPERS = re.compile(r"pgrst_|_postgrest|src$|_$|f$", re.IGNORECASE)
_BUILT_IN = re.compile(
    r"(array_agg|coalesce|count|current_setting|exists|in|jsonb?_\w+|lateral|max|min|now|nullif|pg_(?!advisory)\w+"
    r"|row_to_json|set_config|sum|to_jsonb?|unnest|values)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LockWait:
    """Sessions that were found waiting: what they ran, what held them up, and the table of the lock."""

    blocked: str
    blocking: str | None
    relation: str | None
    samples: int

    def __str__(self) -> str:
        table = f' for "{self.relation}"' if self.relation else ""
        return f"{self.blocked} waits{table}" + (f", held by {self.blocking}" if self.blocking else "")


def lock_waits(waiting: pd.DataFrame) -> tuple[LockWait, ...]:
    """The waits of sampled sessions (``query``, ``blocking_query``, ``relation``), the most frequent first."""
    columns = waiting.reindex(columns=["query", "blocking_query", "relation"]).astype(object)
    counts = Counter(
        (statement_name(query), None if pd.isna(blocking) else statement_name(blocking), _text(relation))
        for query, blocking, relation in columns.itertuples(index=False)
        if not pd.isna(query)
    )
    return tuple(LockWait(*who, count) for who, count in counts.most_common())


def sentence(waits: Sequence[LockWait]) -> str:
    """The most frequent waits as a clause; empty where there are none."""
    told = [f"{wait} ({wait.samples} samples)" for wait in waits[:MOST_SHOWN]]
    return "; ".join(told)


def statement_name(statement: str) -> str:
    """What a statement is known by: the function it calls, else what it does to which table.

    Of a PostgREST call that was cut before its function, the function's parameters are all there is.
    """
    function = next((name for name in map(_plain, _CALL.findall(statement)) if _is_own(name)), None)
    if function:
        return f"{function}()"
    for found in _TABLE.finditer(statement):
        verb, table = filter(None, found.groups())
        if _is_own(_plain(table)):
            reads = verb.lower() in ("from", "join")
            lock = _LOCKING.search(statement) if reads else None
            done = " ".join(lock[0].upper().split()) if lock else ""
            return f"SELECT {_plain(table)}{f' {done}' if done else ''}" if reads else _done(verb, _plain(table))
    if arguments := _ARGUMENT.findall(statement):
        return f"a function of {', '.join(dict.fromkeys(arguments))}"
    return " ".join(statement.split())[:60]


def _done(verb: str, table: str) -> str:
    return f"{verb.split()[0].upper()} {table}"


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _plain(name: str) -> str:
    return name.replace('"', "").removeprefix("public.")


def _is_own(name: str) -> bool:
    """Whether a name is the application's, and not PostgREST's wrapping or Postgres' own."""
    return not (_BUILT_IN.match(name) or _WRAPPERS.match(name))
