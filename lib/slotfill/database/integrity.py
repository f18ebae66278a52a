"""The integrity check: nothing a booking platform must never do has happened. Read-only, one SQL a check.

A check that could not look is ``unknown``, and then nothing is passed. What is wrong for an instant only, while
bookings come in, is a warning: a violation is one that is still there when looked at again.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill.database.connect import reading
from slotfill.database.rules import RULES, Rule
from slotfill.database.schema import CONTRACT, Schema, discover
from slotfill.errors import SlotfillError

PASSED, WARNED, VIOLATED, UNKNOWN = "passed", "warned", "violated", "unknown"
STATEMENT_TIMEOUT_MS = 30_000
HANGS_AFTER_S = 30.0
"""A database that has not answered by then is waited for no longer where a run has to end."""
LOOK_AGAIN_S = 1.0
EXAMPLES, MOST_KEPT = 5, 1000
"""How many violations a report shows, and how many are known again when looked at twice."""
_COUNTED = """
WITH violation(text) AS ({sql})
SELECT (SELECT count(*) FROM violation), ARRAY(SELECT text FROM violation ORDER BY 1 LIMIT {most})"""


@dataclass(frozen=True)
class Scope:
    """Which bookings are the run's: those the API made, at or after ``since``, or those named."""

    since: datetime | None = None
    booking_ids: Sequence[str] | None = None


@dataclass(frozen=True)
class Check:
    """One check's result; ``unknown`` where it could not look, with the reason in ``detail``.

    ``violations`` of a check that only ``warned`` are 0: those that were seen for an instant are its examples.
    """

    name: str
    status: str
    violations: int = 0
    examples: Sequence[str] = ()
    detail: str = ""


@dataclass(frozen=True)
class IntegrityReport:
    """All checks, and how many rows each table of the contract holds."""

    checks: Sequence[Check]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Every check could look, and none is violated."""
        return bool(self.checks) and all(check.status in (PASSED, WARNED) for check in self.checks)

    @property
    def verdict(self) -> str:
        """``passed``, ``NOT passed`` or ``not known``, with the number of checks that make it so."""
        broken, blind = (sum(check.status == status for check in self.checks) for status in (VIOLATED, UNKNOWN))
        unseen = f"{blind} of {len(self.checks)} checks could not look" if blind else ""
        if broken:
            return f"NOT passed ({broken} violated{f', {unseen}' if unseen else ''})"
        return f"not known ({unseen})" if unseen else "passed"

    def new_violations(self, before: "IntegrityReport | None") -> list[Check]:
        """The checks that count more violations than in an earlier report (without one: any at all)."""
        earlier = {check.name: check.violations for check in before.checks} if before else {}
        return [check for check in self.checks if check.violations > earlier.get(check.name, 0)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: ``{passed, checks: [{name, status, violations, examples, detail}], counts: {table: rows}}``."""
        return {
            "passed": self.passed,
            "checks": [{**asdict(check), "examples": list(check.examples)} for check in self.checks],
            "counts": dict(self.counts),
        }

    def as_text(self) -> str:
        """A table for the terminal."""
        lines = [f"{'check':<44} {'status':<9} violations"]
        for check in self.checks:
            lines.append(f"{check.name:<44} {check.status:<9} {check.violations:>10}")
            lines += [f"    {note}" for note in (check.detail, *check.examples) if note]
        lines += ["", *(f"{table:<44} {count:>20} rows" for table, count in self.counts.items())]
        return "\n".join([*lines, "", f"integrity: {self.verdict}"])


def report_from_dict(content: Mapping[str, Any]) -> IntegrityReport:
    """The report that ``as_dict`` wrote."""
    return IntegrityReport([Check(**check) for check in content["checks"]], content["counts"])


def check(database: Engine, scope: Scope = Scope(), schema: Schema | None = None) -> IntegrityReport:
    """Run every check, each in a read-only transaction of its own, so that it works under load.

    ``schema`` spares the look at the catalog where it is known. Raises Unreachable or BadInput where the database
    cannot be read at all.
    """
    with reading(database) as connection:
        schema = schema or discover(connection)
    first = [_run(database, schema, scope, rule) for rule in RULES]
    if any(check.status == VIOLATED for check in first):
        time.sleep(LOOK_AGAIN_S)
    checks = [
        _confirmed(check, _run(database, schema, scope, rule)) if check.status == VIOLATED else check
        for check, rule in zip(first, RULES, strict=True)
    ]
    return IntegrityReport(
        [replace(check, examples=check.examples[:EXAMPLES]) for check in checks], _counts(database, schema)
    )


def check_unless_it_hangs(database: Engine, scope: Scope = Scope()) -> IntegrityReport | None:
    """As ``check``; ``None`` where the database cannot be read, or does not answer at all."""
    found: list[IntegrityReport] = []

    def look() -> None:
        with suppress(SlotfillError):
            found.append(check(database, scope))

    looking = threading.Thread(target=look, name="integrity", daemon=True)
    looking.start()
    looking.join(HANGS_AFTER_S)
    return found[0] if found else None


def _confirmed(first: Check, second: Check) -> Check:
    """What both looks saw; where there are more than are kept, they are not of an instant."""
    if second.status == UNKNOWN or min(first.violations, second.violations) > MOST_KEPT:
        return first if second.status == UNKNOWN else second
    both = [text for text in second.examples if text in set(first.examples)]
    if both:
        return replace(second, violations=len(both), examples=both)
    gone = f"seen for an instant, gone when looked at again {LOOK_AGAIN_S:g} s later"
    return replace(first, status=WARNED, violations=0, detail=gone)


def _run(database: Engine, schema: Schema, scope: Scope, rule: Rule) -> Check:
    missing = [gap for table, columns in rule.needs.items() if (gap := schema.missing(table, columns.split()))]
    hidden = [f"{schema.hidden[table]} {table}" for table in rule.needs if table in schema.hidden]
    if missing or hidden:
        reasons = [f"the database has no {gap}" for gap in missing] + hidden
        return Check(rule.name, UNKNOWN, detail="; ".join(reasons))
    query = rule.query(schema)
    try:
        with reading(database) as connection:
            connection.execute(_limits())
            violations, examples = connection.execute(
                sa.text(_COUNTED.format(sql=query.sql, most=MOST_KEPT)), _parameters(query.sql, scope)
            ).one()
    except SlotfillError as error:
        return Check(rule.name, UNKNOWN, detail=str(error))
    status = VIOLATED if violations else UNKNOWN if query.blind else PASSED
    return Check(rule.name, status, violations, examples, query.remark)


def _limits() -> sa.TextClause:
    """No check holds the platform up for long; it sorts in memory, and is not compiled."""
    settings = {"statement_timeout": STATEMENT_TIMEOUT_MS, "jit": "off", "work_mem": "64MB"}
    return sa.text("SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items()))


def _parameters(sql: str, scope: Scope) -> dict[str, Any]:
    ids = None if scope.booking_ids is None else list(map(str, scope.booking_ids))
    values = {"since": scope.since, "booking_ids": ids}
    return {name: value for name, value in values.items() if f":{name}" in sql}


def _counts(database: Engine, schema: Schema) -> dict[str, int]:
    """Rows of the contract's tables; none where counting takes too long."""
    seen = [schema.tables[name] for name in CONTRACT if name in schema.tables and name not in schema.hidden]
    if not seen:
        return {}
    parts = [sa.select(sa.literal(table.name), sa.func.count()).select_from(table) for table in seen]
    try:
        with reading(database) as connection:
            connection.execute(_limits())
            return dict(connection.execute(sa.union_all(*parts)).all())
    except SlotfillError:
        return {}
