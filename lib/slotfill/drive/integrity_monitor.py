"""The periodic integrity check beside a load: it runs on this side, so that it costs the driver nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Engine

from slotfill.database import connect
from slotfill.database.integrity import IntegrityReport, Scope, check
from slotfill.errors import SlotfillError


@contextmanager
def monitor_integrity(database_url: str, every_s: float, on_violation: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, check every ``every_s`` seconds (0: never); call back at the first new violation."""
    if not every_s:
        yield
        return
    engine, over = connect.engine(database_url), threading.Event()
    scope = Scope(since=datetime.now(UTC))
    walk = threading.Thread(
        target=_walk, args=(engine, scope, _check(engine, scope), every_s, over, on_violation), daemon=True
    )
    walk.start()
    try:
        yield
    finally:
        over.set()
        walk.join()
        engine.dispose()


def _walk(
    engine: Engine,
    scope: Scope,
    before: IntegrityReport | None,
    every_s: float,
    over: threading.Event,
    on_violation: Callable[[str], None],
) -> None:
    while not over.wait(every_s):
        report = _check(engine, scope)
        violations = report.new_violations(before) if report else []
        if violations:
            worst = violations[0]
            on_violation(f"integrity violation: {worst.name} ({worst.violations}): {', '.join(worst.examples)}")
            return


def _check(engine: Engine, scope: Scope) -> IntegrityReport | None:
    """A check that cannot run is no violation: what hinders it trips the load's own brakes."""
    try:
        return check(engine, scope)
    except SlotfillError:
        return None
