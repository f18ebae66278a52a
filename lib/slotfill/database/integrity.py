"""The integrity check: nothing a booking platform must never do has happened. Read-only, one SQL a check."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill.database.connect import reading
from slotfill.database.rules import RULES, Rule
from slotfill.database.schema import CONTRACT, Schema, discover
from slotfill.errors import SlotfillError

PASSED, VIOLATED, UNKNOWN = "passed", "violated", "unknown"
STATEMENT_TIMEOUT_MS = 30_000
_COUNTED = """
WITH violation(text) AS ({sql})
SELECT (SELECT count(*) FROM violation), ARRAY(SELECT text FROM violation ORDER BY 1 LIMIT 5)"""


@dataclass(frozen=True)
class Scope:
    """Which bookings are the run's: those the API made, at or after ``since``, or those named."""

    since: datetime | None = None
    booking_ids: Sequence[str] | None = None


@dataclass(frozen=True)
class Check:
    """One check's result; ``unknown`` where it could not look, with the reason in ``detail``."""

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
        """No check is violated, and at least one could look."""
        statuses = {check.status for check in self.checks}
        return VIOLATED not in statuses and PASSED in statuses

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
        return "\n".join([*lines, "", "integrity: passed" if self.passed else "integrity: NOT passed"])


def report_from_dict(content: Mapping[str, Any]) -> IntegrityReport:
    """The report that ``as_dict`` wrote."""
    return IntegrityReport([Check(**check) for check in content["checks"]], content["counts"])


def check(database: Engine, scope: Scope = Scope()) -> IntegrityReport:
    """Run every check, each in a read-only transaction of its own, so that it works under load.

    Raises Unreachable or BadInput where the database cannot be read at all.
    """
    with reading(database) as connection:
        schema = discover(connection)
    return IntegrityReport(
        [_run(database, schema, scope, rule) for rule in RULES],
        _counts(database, schema),
    )


def _run(database: Engine, schema: Schema, scope: Scope, rule: Rule) -> Check:
    missing = [gap for table, columns in rule.needs.items() if (gap := schema.missing(table, columns.split()))]
    hidden = [f"{schema.hidden[table]} {table}" for table in rule.needs if table in schema.hidden]
    if missing or hidden:
        reasons = [f"the database has no {gap}" for gap in missing] + hidden
        return Check(rule.name, UNKNOWN, detail="; ".join(reasons))
    query = rule.query(schema)
    try:
        with reading(database) as connection:
            connection.execute(sa.text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
            violations, examples = connection.execute(
                sa.text(_COUNTED.format(sql=query.sql)), _parameters(query.sql, scope)
            ).one()
    except SlotfillError as error:
        return Check(rule.name, UNKNOWN, detail=str(error))
    status = VIOLATED if violations else UNKNOWN if query.blind else PASSED
    return Check(rule.name, status, violations, examples, query.remark)


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
            connection.execute(sa.text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
            return dict(connection.execute(sa.union_all(*parts)).all())
    except SlotfillError:
        return {}
