"""The periodic integrity check beside a load: it runs on this side, so that it costs the driver nothing.

What it costs the database is bounded: after a check it rests a hundred times as long as that took.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Engine

from slotfill.database import connect
from slotfill.database.integrity import HANGS_AFTER_S, IntegrityReport, Scope, check
from slotfill.database.schema import Schema, discover
from slotfill.errors import SlotfillError

SHARE = 0.01
"""Of the time, at most; of the database's processors it is less by as many as there are."""


@contextmanager
def monitor_integrity(database_url: str, every_s: float, on_violation: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, check every ``every_s`` seconds (0: never); call back at the first new violation."""
    if not every_s:
        yield
        return
    engine, over = connect.engine(database_url), threading.Event()
    watch = _Watch(engine, Scope(since=datetime.now(UTC)), every_s, over, on_violation)
    thread = threading.Thread(target=watch.run, name="integrity-monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(HANGS_AFTER_S)  # a database that hangs must not hang the run


class _Watch:
    """The thread's work: the state before the load, then one check after another until one is violated anew."""

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        every_s: float,
        over: threading.Event,
        on_violation: Callable[[str], None],
    ) -> None:
        self._engine, self._scope, self._every_s = engine, scope, every_s
        self._over, self._on_violation = over, on_violation
        self._schema: Schema | None = None
        self._took_s = 0.0
        self._before = self._check()

    def run(self) -> None:
        try:
            self._look_until_over()
        finally:
            self._engine.dispose()

    def _look_until_over(self) -> None:
        while not self._over.wait(max(self._every_s, self._took_s / SHARE)):
            report = self._check()
            violations = report.new_violations(self._before) if report else []
            if violations:
                worst = violations[0]
                examples = ", ".join(worst.examples)
                self._on_violation(f"integrity violation: {worst.name} ({worst.violations}): {examples}")
                return

    def _check(self) -> IntegrityReport | None:
        """A check that cannot run is no violation: what hinders it trips the load's own brakes."""
        started = time.monotonic()
        try:
            if self._schema is None:
                with connect.reading(self._engine) as connection:
                    self._schema = discover(connection)
            return check(self._engine, self._scope, self._schema)
        except SlotfillError:
            return None
        finally:
            self._took_s = time.monotonic() - started
