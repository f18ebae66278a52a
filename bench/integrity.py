"""How the integrity check grows with the number of assignments, on each form that the schema has.

    .venv/bin/python bench/integrity.py

Prints the milliseconds of the whole check and of ``overlapping_assignments`` alone, on the embedded platform's Postgres,
for 1,000 to 200,000 assignments; and what the check beside a load costs, which is its time within the time it rests.
"""  # noqa: E501

import sys  # noqa: I001
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from slotfill.database import connect
from slotfill.database.integrity import _run, check, Scope
from slotfill.database.rules import RULES
from slotfill.database.schema import discover
from slotfill.drive.integrity_monitor import SHARE
from slotfill.drive.target import open_platform
from slotfill.params import Settings

SIZES = (1_000, 20_000, 200_000)
LIMIT_MS, EVERY_S = 2_000, 30

# 40 tables, each with one booking after another, two hours apart. The index that forbids overlaps would only slow the
# filling down: the check does not use it.
ROWS = """
ALTER TABLE booking_table_assignments DROP CONSTRAINT booking_table_assignments_no_double_booking;
DROP TRIGGER audit_bookings ON bookings;
INSERT INTO restaurants (slug, name) VALUES ('bench', 'Bench');
INSERT INTO zones (restaurant_id, name) SELECT id, 'Hall' FROM restaurants;
INSERT INTO table_inventory (restaurant_id, table_number, capacity, zone_id)
    SELECT restaurant_id, n::text, 8, id FROM zones, generate_series(1, 40) n;
INSERT INTO customers (restaurant_id, full_name, email, phone)
    SELECT id, 'Guest', 'g@seed.example', '+44770090' FROM restaurants;
INSERT INTO bookings (restaurant_id, customer_id, booking_date, start_time, end_time, start_at, end_at, party_size,
        booking_type, reference, customer_name, customer_email, customer_phone, status, source, idempotency_key)
    SELECT c.restaurant_id, c.id, '2026-01-01', '12:00', '13:30', at, at + interval '90 min', 2, 'lunch', n::text,
        'Guest', 'g@seed.example', '+44770090', 'confirmed', 'api', n::text
    FROM customers c, generate_series(1, {n}) n, LATERAL (SELECT timestamptz '2026-01-01' + n / 40 * interval '2 h') t(at);
INSERT INTO booking_table_assignments (booking_id, table_id, start_at, end_at, assignment_window)
    SELECT b.id, t.id, b.start_at, b.end_at, tstzrange(b.start_at, b.end_at)
    FROM bookings b JOIN table_inventory t ON t.table_number::int = b.reference::int % 40 + 1;
"""  # noqa: E501
FORMS = {
    "as the embedded platform's": "",
    "without ranges": "ALTER TABLE booking_table_assignments DROP COLUMN assignment_window;",
    "ranges that differ": """UPDATE booking_table_assignments
        SET assignment_window = tstzrange(start_at, end_at + interval '5 min');""",
    "partitioned": """CREATE TABLE parted (LIKE booking_table_assignments) PARTITION BY HASH (id);
        CREATE TABLE p0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE p1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO parted SELECT * FROM booking_table_assignments; DROP TABLE booking_table_assignments;
        ALTER TABLE parted RENAME TO booking_table_assignments;""",
    "every one overlapping": """UPDATE booking_table_assignments
        SET end_at = end_at + interval '1 h', assignment_window = tstzrange(start_at, end_at + interval '1 h');""",
}


def main() -> int:
    slowest_ms = 0.0
    with TemporaryDirectory() as home, open_platform(Settings(), Path(home)) as platform:
        administrator = sa.make_url(platform.database_url).set(username="postgres", database="postgres")
        for form, change in FORMS.items():
            print(f"\n{form}\n{'assignments':>12} {'whole check':>14} {'overlaps':>12}")
            for size in SIZES:
                with database(administrator, ROWS.format(n=size) + change) as engine:
                    whole_ms, overlaps_ms = timed(engine)
                slowest_ms = max(slowest_ms, overlaps_ms)
                print(f"{size:>12,} {whole_ms:>11,.0f} ms {overlaps_ms:>9,.0f} ms", flush=True)
    print(
        f"\nBeside a load a check of 200,000 rests {100 / (SHARE * 100):,.0f} times as long as it took: {SHARE:.0%} at most"  # noqa: E501
    )
    print(f"slowest look for overlaps: {slowest_ms:,.0f} ms, limit {LIMIT_MS:,} ms")
    return 0 if slowest_ms <= LIMIT_MS else 1


@contextmanager
def database(administrator: sa.URL, statements: str) -> Iterator[Engine]:
    """A database of its own for one measurement; statistics are as fresh as autovacuum would keep them."""
    server = connect.engine(administrator.render_as_string(hide_password=False))
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CREATE DATABASE bench"))
        engine = connect.engine(administrator.set(database="bench").render_as_string(hide_password=False))
        try:
            with engine.begin() as setup:
                _execute(setup, files("whitehorse").joinpath("schema.sql").read_text() + statements)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as setup:
                setup.execute(sa.text("ANALYZE"))
            yield engine
        finally:
            engine.dispose()
            connection.execute(sa.text("DROP DATABASE bench WITH (FORCE)"))
    server.dispose()


def timed(engine: Engine) -> tuple[float, float]:
    """Milliseconds of the whole check, and of the one for overlapping assignments."""
    with connect.reading(engine) as connection:
        schema = discover(connection)
    started = time.perf_counter()
    check(engine, schema=schema)
    whole = time.perf_counter()
    [rule] = [rule for rule in RULES if rule.name == "overlapping_assignments"]
    found = _run(engine, schema, Scope(), rule)
    assert found.status in ("passed", "violated"), found.detail
    return (whole - started) * 1e3, (time.perf_counter() - whole) * 1e3


def _execute(connection: Connection, statements: str) -> None:
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.execute(statements.encode(), prepare=False)


if __name__ == "__main__":
    sys.exit(main())
