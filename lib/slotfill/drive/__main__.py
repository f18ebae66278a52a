"""The driver process: ``python -m slotfill.drive FOLDER``, started by ``level.run_level`` and nobody else.

It runs apart from the notebook so that no other event loop is in the measurement. The plan and the
settings come from the folder, the two URLs (which can hold secrets) from the environment. On standard
output it prints one JSON line per finished attempt, and one at the end where it was stopped. It stops when
its standard input ends, so that it cannot outlive the process that started it; a line there is a reason to brake.
"""

import asyncio
import fcntl
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from slotfill import events, params
from slotfill.drive.calibration import Calibration, KeptCalibration, calibrate
from slotfill.drive.client import Client, open_transport
from slotfill.drive.clock import SystemClock
from slotfill.drive.fill import Fill
from slotfill.drive.jobs import Jobs
from slotfill.drive.journal import Journal
from slotfill.drive.session import Session
from slotfill.drive.sql import SqlBookings, open_bookings
from slotfill.drive.timed_loop import TimedSelector, run
from slotfill.drive.watch import LevelContext
from slotfill.errors import SlotfillError, Unreachable
from slotfill.files import read_json, write_json
from slotfill.network_errors import describe_error
from slotfill.params import Settings
from slotfill.plan import Plan, parse

BASE_URL, DATABASE_URL, LEASE = "SLOTFILL_BASE_URL", "SLOTFILL_DATABASE_URL", "SLOTFILL_LEASE"
HEADERS = "SLOTFILL_HEADERS"
OUTCOMES_EVERY_S = 0.05


def main() -> int:
    """The exit code: 0 done, 3 braked, 130 interrupted, else that of the error."""
    selector = TimedSelector()
    try:
        with _lease(os.environ.get(LEASE)):
            return run(selector, _drive(Path(sys.argv[1]), selector))
    except SlotfillError as error:
        _print({"error": str(error)})
        return error.exit_code


@contextmanager
def _lease(path: str | None) -> Iterator[None]:
    """Keep the embedded platform running until we have drained, even if the process that started us is killed."""
    if path is None:
        yield
        return
    with Path(path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


async def _drive(folder: Path, selector: TimedSelector) -> int:
    plan = parse(read_json(folder / "plan.json"))
    drive = read_json(folder / "drive.json")
    settings = params.validate(drive["settings"], str(folder / "drive.json"))
    base_url, clock = os.environ[BASE_URL].rstrip("/"), SystemClock()
    trust_env = not drive["embedded"]
    context = httpx.create_ssl_context(trust_env=trust_env)  # once: it takes longer to make than a booking

    def open_client() -> Client:
        session = Session(json.loads(os.environ.get(HEADERS, "{}")), settings.csrf)
        return Client(open_transport(base_url, context, trust_env, clock, selector.arrived_ms), session)

    async with open_bookings(os.environ[DATABASE_URL], plan.effective_concurrency) as bookings:
        level = await _level(plan, settings, bookings, base_url, clock, open_client)
        if drive["embedded"]:
            level.found.set()  # we have started both
        calibration = await _calibration(folder, plan, level, open_client)
        fill = Fill(
            plan,
            level,
            Journal(folder, clock),
            open_client=lambda: _warmed(open_client(), settings, base_url),
            report=_print,
            run_id=drive["run_id"],
            platform_started_at=events.parse_instant(drive["platform_started_at"]),
        )
        await _listen(fill)
        gc.collect()
        gc.freeze()  # what start-up left behind is not scanned again in the middle of a measurement
        await fill.run()
        _print.flush()
    if (delivered := fill.delivered) is not None:
        warning = calibration.warning(delivered.per_s) if calibration else None
        _print({"inFlight": asdict(delivered), "text": "; ".join(filter(None, (delivered.text(), warning)))})
    if fill.stopped is None:
        return 0
    _print({"stopped": fill.stopped.reason})
    return fill.stopped.exit_code


async def _calibration(
    folder: Path, plan: Plan, level: LevelContext, open_client: Callable[[], Client]
) -> Calibration | None:
    """What measuring itself costs: once a level and not once a round, in ``calibration.json`` of the level's folder."""
    if not any(not Journal(folder, level.clock).past(slot).done for slot in plan.slots):
        return None
    file = (folder.parent if folder.name.startswith("round-") else folder) / "calibration.json"
    if file.exists():
        return Calibration(**read_json(file, KeptCalibration))
    calibration = await calibrate(plan, level, open_client)
    if calibration is not None:
        write_json(file, asdict(calibration))
        _print({"calibration": asdict(calibration), "text": calibration.text()})
    return calibration


async def _level(
    plan: Plan,
    settings: Settings,
    bookings: SqlBookings,
    base_url: str,
    clock: SystemClock,
    open_client: Callable[[], Client],
) -> LevelContext:
    """What the attempts share, found out before the measurement. Raises Unreachable."""
    jobs = Jobs(base_url, bookings)
    async with open_client() as client:
        try:
            await client.open_session(base_url, settings.submit_timeout_ms)
            await jobs.detect(client, settings.submit_timeout_ms)
        except httpx.ConnectError as error:
            raise Unreachable(f"{base_url} {describe_error(error)}") from None
    return LevelContext(
        label=plan.label,
        concurrency=plan.concurrency,
        round_number=plan.round_number,
        settings=settings,
        base_url=base_url,
        bookings=bookings,
        jobs=jobs,
        clock=clock,
        clock_offset_ms=await bookings.clock_offset_ms(clock),
    )


async def _warmed(client: Client, settings: Settings, base_url: str) -> Client:
    """The client with its connection open and the platform's routes compiled, by requests that book nothing."""
    try:
        await client.open_session(base_url, settings.submit_timeout_ms)
        for request in range(settings.warmup_requests):
            if request % 2:
                await client.get(f"{base_url}/api/bookings/{uuid4()}", settings.submit_timeout_ms)
            else:
                await client.post(f"{base_url}/api/bookings", b"{}", settings.submit_timeout_ms)
    except (TimeoutError, httpx.TransportError):
        pass  # the first measured request will say so
    except BaseException:
        await client.aclose()
        raise
    return client


async def _listen(fill: Fill) -> None:
    """Heed signals, and the process at the other end of standard input."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fill.stopping.interrupt)
    await loop.connect_read_pipe(lambda: ControlChannel(fill), sys.stdin)


class ControlChannel(asyncio.Protocol):
    """Standard input: a line is a reason to brake, the end means that nobody waits for us any more."""

    def __init__(self, fill: Fill) -> None:
        self._fill, self._received = fill, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\n" in self._received:
            self._fill.stopping.ask(self._received.decode(errors="replace").splitlines()[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self._fill.stopping.ask("the process that started the load is gone")


class Told:
    """Standard output: a JSON object a line. Outcomes are for a person to see, and go out no oftener than one can."""

    def __init__(self) -> None:
        self._lines = bytearray()
        self._due: asyncio.TimerHandle | None = None

    def __call__(self, line: dict[str, Any]) -> None:
        self._lines += msgspec.json.encode(line) + b"\n"
        if "outcome" not in line:
            self.flush()
        elif self._due is None:
            self.flush()
            self._due = asyncio.get_running_loop().call_later(OUTCOMES_EVERY_S, self._flush_again)

    def _flush_again(self) -> None:
        self._due = None
        self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, bytearray()
        # Where nobody reads any more, standard input has ended too and stops the fill.
        with suppress(BrokenPipeError):
            while lines:
                del lines[: os.write(sys.stdout.fileno(), lines)]


_print = Told()


if __name__ == "__main__":
    sys.exit(main())
