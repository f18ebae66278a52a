"""Does the driver deliver the concurrency it is told? A stub that confirms, a real Postgres that holds its bookings.

    python bench/in_flight.py [CASE…]

Prints, for each case (0 to 3; all), the requests in flight that the stub counted. It answers after
20 ms; the database is near, or behind a proxy that holds every packet up for half of the round trip each way.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from slotfill.drive.driver import run_level
from slotfill.drive.target import Platform, open_platform
from slotfill.params import Settings
from slotfill.plan import plan

STUB = Path(__file__).with_name("stub.py")
SCHEMA = """
DROP SCHEMA IF EXISTS bench CASCADE; CREATE SCHEMA bench; SET search_path = bench;
CREATE TABLE bookings (id uuid PRIMARY KEY, status text, reference text, booking_date date, start_time time,
    end_time time, auto_assign_last_result jsonb, updated_at timestamptz, created_at timestamptz, idempotency_key text);
CREATE TABLE table_inventory (id int PRIMARY KEY, table_number text, zone_id int, capacity int);
CREATE TABLE booking_table_assignments (id int, booking_id uuid, table_id int, start_at timestamptz,
    end_at timestamptz);
INSERT INTO table_inventory VALUES (1, 'MD-01', 1, 4);
INSERT INTO bookings SELECT lpad(to_hex(n), 32, '0')::uuid, 'confirmed', 'WH' || n, current_date, '17:00', '19:00',
    '{"source": "inline", "success": true}', now(), now(), NULL FROM generate_series(1, 40000) n;
INSERT INTO booking_table_assignments SELECT n, lpad(to_hex(n), 32, '0')::uuid, 1, now(), now()
    FROM generate_series(1, 40000) n;
CREATE INDEX ON booking_table_assignments (booking_id); ANALYZE;
"""


@dataclass(frozen=True)
class Case:
    workers: int
    database_ms: float
    attempts: int
    """Of each worker."""


CASES = (Case(64, 0, 200), Case(8, 0, 200), Case(8, 330, 200), Case(8, 600, 200))


def main(cases: tuple[Case, ...]) -> None:
    with tempfile.TemporaryDirectory() as home, open_platform(Settings(), Path(home) / "platform") as platform:
        prepare(platform.database_url)
        for number, case in enumerate(cases):
            told = drive(case, platform.database_url, Path(home) / f"case-{number}" / "concurrency")
            share = told["mean"] / case.workers
            print(
                f"{case.workers:3d} workers, database {case.database_ms:3.0f} ms away: {told['mean']:5.2f} in flight on"
                f" average ({share:.0%}), {told['max']} at most, {told['per_s']:.0f} attempts a second; {told['said']}",
                flush=True,
            )


def prepare(database_url: str) -> None:
    with psycopg.connect(database_url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
        connection.execute(SCHEMA)


def drive(case: Case, database_url: str, folder: Path) -> dict[str, Any]:
    """One level: what the stub counted, and what the driver said."""
    settings = Settings.model_validate({
        "target": "stub", "prepare": False, "concurrency": case.workers, "rounds": 1, "stress_max": case.attempts,
        "start": "12:00", "end": f"{12 + (case.workers - 1) // 60:02d}:{(case.workers - 1) % 60:02d}",
        "interval_minutes": 1, "max_attempts": 100_000, "max_party_size": 4, "brakes": {"integrity_every_s": 0},
    })  # fmt: skip
    folder.mkdir(parents=True)
    said: list[str] = []
    separator = "&" if "?" in database_url else "?"
    with stub() as (url, counted), distance(database_url, case.database_ms) as far:
        platform = Platform("stub", url, f"{far}{separator}options=-csearch_path%3Dbench")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_level(
            plan(settings, case.workers), settings, platform, folder, lambda line: said.append(line.get("text", ""))
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        said.append(f"{cpu_s / (case.workers * case.attempts) * 1e3:.2f} ms of processor an attempt, start-up included")
        cpu_ms = cpu_s / (case.workers * case.attempts) * 1e3
        return counted() | {"cpu_ms": cpu_ms, "said": "; ".join(filter(None, said))}


@contextmanager
def stub() -> Iterator[tuple[str, Any]]:
    process = subprocess.Popen([sys.executable, STUB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    port = process.stdout.readline().strip()

    def counted() -> dict[str, Any]:
        process.stdin.close()
        return json.loads(process.stdout.readline())

    try:
        yield f"http://127.0.0.1:{port}", counted
    finally:
        process.kill()
        process.wait()


@contextmanager
def distance(database_url: str, round_trip_ms: float) -> Iterator[str]:
    """The database's URL through a proxy that delays every packet."""
    if not round_trip_ms:
        yield database_url
        return
    from sqlalchemy import make_url

    url = make_url(database_url)
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), [0]

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            loop.call_later(round_trip_ms / 2e3, writer.write, data)
        loop.call_later(round_trip_ms / 2e3, writer.close)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip_ms / 1e3)  # the handshake
        try:
            far_reader, far_writer = await asyncio.open_connection(url.host, url.port)
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        except OSError:
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        port[0] = server.sockets[0].getsockname()[1]
        ready.set()

    threading.Thread(target=lambda: (loop.run_until_complete(serve()), loop.run_forever()), daemon=True).start()
    ready.wait()
    yield url.set(host="127.0.0.1", port=port[0]).render_as_string(hide_password=False)
    loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main(tuple(CASES[int(each)] for each in sys.argv[1:]) or CASES)
