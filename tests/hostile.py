"""Hostile answers: every kind of them to every request of the driver, to the end and with Ctrl+C in the middle, and
to those of doctor.

    python tests/hostile.py [--only KIND]

Prints one line for each that did not end with an outcome in time, and at the end the peak of memory; exits 1 where one
failed, where Ctrl+C took more than 2 s to be heeded, or where the driver needed more than 300 MB.
"""

import asyncio
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import httpx

from slotfill import doctor_web, events
from slotfill.drive import jobs as job_endpoint
from slotfill.drive import lost
from slotfill.drive.__main__ import _level, _warmed
from slotfill.drive.client import Client, open_transport
from slotfill.drive.clock import SystemClock
from slotfill.drive.fill import Fill
from slotfill.drive.journal import Journal
from slotfill.drive.state import BookingState, JobState
from slotfill.drive.target import Platform
from slotfill.errors import SlotfillError
from slotfill.outcomes import OUTCOMES
from slotfill.params import Settings
from slotfill.plan import plan

HEEDED_S, MOST_S, MOST_MB = 2.0, 25.0, 300
HUNG_S = 120.0
AT_ONCE = 5
REQUESTS = ("warm-up POST", "warm-up GET", "job detection", "booking", "job", "probe")
SETTINGS = Settings(start="17:00", end="17:00", concurrency=1, rounds=1, stress_max=1).model_copy(
    update={"submit_timeout_ms": 400, "inline_window_ms": 600, "timeout_ms": 1_200, "poll_interval_ms": 100,
            "drain_ms": 500, "max_duration_s": 15.0}
)  # fmt: skip
# What is to end by itself has time to, however busy the machine.
ANSWERED = SETTINGS.model_copy(update={"inline_window_ms": 60_000, "timeout_ms": 120_000, "max_duration_s": 600.0})
# Nothing but the Ctrl+C ends these.
PATIENT = SETTINGS.model_copy(
    update={"submit_timeout_ms": 600_000, "inline_window_ms": 600_000, "timeout_ms": 600_000, "max_duration_s": 600.0}
)

# --- the answers

Write = Callable[[bytes], Any]
BOOKED = {"booking": {"id": str(uuid4()), "status": "confirmed"}}


def answer(body: bytes | Any, *headers: str, status: str = "201 Created", length: int | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    head = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {size}", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + content


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b" " * 1_000_000) for _ in range(60)]
    return b"".join(parts) + packer.flush()


CHARSETS = ("idna", "hex", "undefined", "nonsense")
DATES = (
    *("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 01 Jan 2026 00:00:00 +99999999999"),
    *(f"Mon, 01 Jan 2026 00:00:{'9' * 60} GMT", "nonsense"),
)
PLACES = ("http://[::1", "http://a..b/", "http://127.0.0.1:99999/", "//", "javascript:x", "/" + "x" * 70_000, "")


def answers() -> dict[str, bytes]:
    """By kind: sent in whole, and the connection closed. Made by the platform alone: the driver is measured."""
    return {
        "closed at once": b"",
        "not HTTP": b"hello, who are you?\r\n\r\n",
        "binary": bytes(range(256)) * 40,
        "HTTP/0.9": b"<html>hello</html>",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "half a status line": b"HTTP/1.",
        "NUL in a header": answer(BOOKED, "x: a\x00b"),
        "a header without a colon": answer(BOOKED, "nonsense"),
        "many headers": answer(BOOKED, *(f"x-{n}: {n}" for n in range(20_000))),
        "100 only": b"HTTP/1.1 100 Continue\r\n\r\n",
        "101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello",
        "103 and then the answer": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + answer(BOOKED),
        "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "301 to itself": answer(b"", "location: /api/bookings", status="301 Moved"),
        "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "status 600": answer(BOOKED, status="600 Odd"),
        "status 999": answer(BOOKED, status="999 Odd"),
        "status 12345": answer(BOOKED, status="12345 Odd"),
        "status -1": answer(BOOKED, status="-1 Odd"),
        "status abc": answer(BOOKED, status="abc Odd"),
        "bad gzip": answer(b"\x1f\x8bnonsense", "content-encoding: gzip"),
        "half a gzip": answer(gzip.compress(json.dumps(BOOKED).encode())[:-12], "content-encoding: gzip"),
        "a gzip bomb": answer(bomb(), "content-encoding: gzip"),
        "two encodings": answer(gzip.compress(gzip.compress(b"{}")), "content-encoding: gzip, gzip"),
        "an encoding nobody asked for": answer(b"\x0b\x02\x80{}\x03", "content-encoding: br"),
        "deep JSON": answer(b"[" * 200_000 + b"]" * 200_000),
        "half of deep JSON": answer(b"[" * 100_000),
        **{f"charset {name}": answer(b"\xff<html>", f"content-type: text/html; charset={name}") for name in CHARSETS},
        **{f"date {date[:30]}": answer(b"{}", f"date: {date}") for date in DATES},
        **{f"redirect to {place[:20]}": answer(b"", f"location: {place}", status="302 Found") for place in PLACES},
        "a header that is not ASCII": answer(BOOKED, "x: \x9b2J", "date: \xff", "x-ratelimit-limit: \x9b"),
        "odd health": answer({"flags": {"FEATURE_AUTO_ASSIGN_ON_BOOKING": [1]}, "faults": {"\x1b[2J": {"a": [1]}}}),
        "deep JSON in a booking": answer(b'{"booking": ' + b'{"a": ' * 200_000 + b"1" + b"}" * 200_001),
        "wide JSON": answer(b"[" + b'{"a": []},' * 190_000 + b"0]"),
        "wide JSON in a booking": answer({"booking": {**BOOKED["booking"], "x": [{}] * 400_000}}),
        "an endless number": answer(b'{"booking": {"id": ' + b"9" * 100_000 + b"}}"),
        "1e999": answer(b'{"booking": {"id": 1e999, "status": -1e999}, "retryAfter": 1e999}', status="429 Slow down"),
        "NaN": answer(b'{"booking": NaN, "error": Infinity}', status="500 Oops"),
        "a list": answer([BOOKED]),
        "null": answer(b"null"),
        "a text": answer(b'"booking"'),
        "HTML": answer(b"<html>log in</html>", "content-type: text/html", status="200 OK"),
        "a booking that is a list": answer({"booking": [1, 2]}),
        "no id": answer({"booking": {"status": "confirmed"}}),
        "an id that is no UUID": answer({"booking": {"id": "'; DROP TABLE bookings; --", "status": "confirmed"}}),
        "an id that is a number": answer({"booking": {"id": 7, "status": "confirmed"}}),
        "a status that is a number": answer({"booking": {"id": str(uuid4()), "status": 7}, "duplicate": "yes"}),
        "a status that is a dict": answer({"booking": {"id": str(uuid4()), "status": {"a": []}}, "duplicate": []}),
        "a status of control characters": answer({"booking": {"id": str(uuid4()), "status": "con\x00firmed\x1b[2J\n"}}),
        "a long status": answer({"booking": {"id": str(uuid4()), "status": "x" * 1_000_000}}),
        "an error that is a dict": answer({"error": {"a": [1]}, "code": ["b"]}, status="500 Oops"),
        "a long error": answer({"error": "://a:" * 300_000}, status="500 Oops"),
        "lone surrogates": answer(b'{"error": "\\ud800 \\udfff", "code": "\\ud83d"}', status="400 Bad"),
        "not UTF-8": answer(b'{"error": "\xff\xfe\x80"}', status="400 Bad"),
        "UTF-16": answer(json.dumps(BOOKED).encode("utf-16")),
        **{
            f"Retry-After: {value}": answer({"error": "slow down"}, f"retry-after: {value}", status="429 Slow down")
            for value in ("inf", "nan", "-5", "1e400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 99 Foo", "")
        },
        "retryAfter that is a list": answer({"retryAfter": [1]}, status="429 Slow down"),
        "chunks that are garbage": chunked(end=b"zz\r\nhello\r\n"),
        "a chunk of 2^70": chunked(end=b"%x\r\nhello" % 2**70),
        "chunks that end early": chunked(b'{"booking"', end=b""),
        "tiny chunks": chunked(*([b" "] * 500_000)),
        "a body shorter than told": answer(BOOKED, length=5_000),
        "a body longer than told": answer(BOOKED, length=20),
        "a negative length": answer(BOOKED, length=-3),
        "a length of 10^30": answer(BOOKED, length=10**30),
        "two lengths": answer(BOOKED, "content-length: 3"),
        "a second answer nobody asked for": answer(BOOKED) * 2,
        "3 MB": answer(b" " * 3_000_000),
    }


async def drip(head: bytes, drop: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        await asyncio.sleep(0.05)
        yield drop


async def flood(head: bytes, wave: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        yield wave


async def silence() -> AsyncIterator[bytes]:
    yield b""
    await asyncio.sleep(3_600)


_CHUNKED = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n"
STREAMS: dict[str, Callable[[], AsyncIterator[bytes]]] = {
    "silence": silence,
    "dripping headers": lambda: drip(b"HTTP/1.1 201 Created\r\n", b"a: b\r\n"),
    "a dripping header": lambda: drip(b"HTTP/1.1 201 Created\r\na: ", b"b"),
    "a dripping body": lambda: drip(b"HTTP/1.1 201 Created\r\ncontent-length: 1000000\r\n\r\n", b" "),
    "dripping chunks": lambda: drip(_CHUNKED, b"1\r\n \r\n"),
    "a dripping body without length": lambda: drip(b"HTTP/1.1 201 Created\r\n\r\n", b" "),
    "endless headers": lambda: flood(b"HTTP/1.1 201 Created\r\n", b"a: b\r\n" * 10_000),
    "an endless header": lambda: flood(b"HTTP/1.1 201 Created\r\na: ", b"b" * 60_000),
    "an endless body": lambda: flood(b"HTTP/1.1 201 Created\r\n\r\n", b" " * 60_000),
    "endless chunks": lambda: flood(_CHUNKED, b"ea60\r\n" + b" " * 60_000 + b"\r\n"),
    "endless trailers": lambda: flood(_CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "endless 100 Continue": lambda: flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "an endless status line": lambda: flood(b"HTTP/1.1 201 ", b"x" * 60_000),
}


# --- the platform that gives them, in a process of its own


async def handle(kinds: Sequence[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests come to ``/KIND/REQUEST/api/bookings…``: that request of the driver is answered by that kind."""
    try:
        while line := await reader.readline():
            method, path, _ = line.decode().split(" ")
            _, kind, victim, *rest = path.split("/")
            headers = {}
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            await reader.readexactly(int(headers.get("content-length", 0)))
            request = requested(method, rest, "idempotency-key" in headers)
            if request not in victims(int(victim)):
                writer.write(friendly(request, int(victim)))
                continue
            if isinstance(hostile := kinds[int(kind)], bytes):
                writer.write(hostile)
                await writer.drain()
                return
            async for part in hostile():
                writer.write(part)
                await writer.drain()
    except (ConnectionError, ValueError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


UNKNOWN = "00000000-0000-4000-8000-000000000001"


def requested(method: str, rest: Sequence[str], books: bool) -> str:
    if method == "POST":
        return "booking" if books else "warm-up POST"
    if rest[-1:] == ["job"]:
        return "job" if rest[-2] == UNKNOWN else "job detection"
    return "warm-up GET"  # and the probe, which asks the same


def victims(number: int) -> tuple[str, ...]:
    return {"probe": ("warm-up GET",)}.get(REQUESTS[number], (REQUESTS[number],))


def friendly(request: str, victim: int) -> bytes:
    if request == "booking" and REQUESTS[victim] == "probe":
        return b"nonsense\r\n\r\n"  # so that the driver asks whether the platform is there
    if request == "booking":
        status = "pending" if REQUESTS[victim] == "job" else "confirmed"
        return answer({"booking": {"id": UNKNOWN, "status": status}})
    return answer({"error": "Not found"}, status="404 Not Found")


async def serve() -> None:
    """Prints the port and the kinds of answer, then serves until standard input ends."""
    kinds = {**answers(), **STREAMS}
    server = await asyncio.start_server(partial(handle, list(kinds.values())), "127.0.0.1", 0)
    print(json.dumps([server.sockets[0].getsockname()[1], list(kinds)]), flush=True)
    await asyncio.to_thread(sys.stdin.read)


# --- the driver


class Bookings:
    """The database: every booking is there, confirmed but for those whose job is asked for; no key is known."""

    def __init__(self, status: str) -> None:
        tables = ({"id": "a", "tableNumber": "X", "capacity": 4},) if status == "confirmed" else ()
        self._booking = BookingState(UNKNOWN, status, assignments=tables)

    async def read(self, booking_id: str) -> BookingState | None:
        return self._booking

    async def read_many(self, booking_ids: Sequence[str]) -> dict[str, BookingState]:
        return dict.fromkeys(booking_ids, self._booking)

    async def find(self, idempotency_key: str) -> BookingState | None:
        return None

    async def job(self, booking_id: str) -> JobState | None:
        return None

    async def clock_offset_ms(self, clock: Any) -> float:
        return 0.0


@dataclass
class Ended:
    """How a level ended: how long it took, its outcomes, and the error of ours that it ended with, if any."""

    took_s: float = 0.0
    heeded_s: float = 0.0
    outcomes: list[str] = field(default_factory=list)
    error: str | None = None
    stopped: str | None = None

    def faults(self, interrupted: bool) -> list[str]:
        faults = [f"not an outcome: {each}" for each in self.outcomes if each not in OUTCOMES]
        if self.error:
            faults.append(self.error)
        if not interrupted and not self.outcomes and not self.stopped:
            faults.append("no outcome")
        return faults

    def delays(self) -> list[str]:
        delays = [f"Ctrl+C was heeded after {self.heeded_s:.1f} s"] if self.heeded_s > HEEDED_S else []
        return [*delays, f"took {self.took_s:.0f} s"] if self.took_s > MOST_S else delays


async def play(
    kind: int,
    request: str,
    port: int,
    folder: Path,
    interrupt_after_s: float | None = None,
    settings: Settings = SETTINGS,
) -> Ended:
    """One level of one attempt, as the driver process makes it."""
    base_url = f"http://127.0.0.1:{port}/{kind}/{REQUESTS.index(request)}"
    ended, clock, began = Ended(), SystemClock(), time.perf_counter()
    folder.mkdir(exist_ok=True)
    bookings: Any = Bookings("pending" if request == "job" else "confirmed")
    context = httpx.create_ssl_context(verify=False)

    def open_client() -> Client:
        return Client(open_transport(base_url, context, False, clock))

    async def drive() -> None:
        level_plan = plan(settings, 1)
        level = await _level(level_plan, settings, bookings, base_url, clock, open_client)
        journal = Journal(folder, clock)
        fill = Fill(
            level_plan, level, journal, lambda: _warmed(open_client(), settings, base_url), lambda _: None, "run"
        )
        fills.append(fill)
        await fill.run()
        ended.stopped = fill.stopped.reason if fill.stopped else None

    fills: list[Fill] = []
    driving = asyncio.create_task(drive())
    if interrupt_after_s is not None:
        await asyncio.wait([driving], timeout=interrupt_after_s)
        interrupted = time.perf_counter()
        if fills:
            fills[0].stopping.interrupt()
        else:
            driving.cancel()  # as Python's own Ctrl+C does before the fill
    try:
        await asyncio.wait_for(driving, HUNG_S)
    except SlotfillError as error:
        ended.stopped = str(error)
    except asyncio.CancelledError:
        ended.stopped = "interrupted"
    except Exception as error:
        ended.error = f"{type(error).__name__}: {error}"
    if interrupt_after_s is not None:
        ended.heeded_s = time.perf_counter() - interrupted
    ended.took_s = time.perf_counter() - began
    lines = [events.parse_event(line) for file in folder.glob("*.log") for line in file.read_text().splitlines()]
    ended.outcomes = [line.fields["status"] for line in lines if line and line.phase == events.FINAL_SUMMARY]
    return ended


@asynccontextmanager
async def platform() -> AsyncIterator[tuple[int, list[str]]]:
    """The hostile platform's port and kinds; the bounds of real life are small meanwhile."""
    bounds = [(job_endpoint, "TIMEOUT_MS", 300.0), (lost, "PROBE_TIMEOUT_MS", 300.0)]
    bounds += [(lost, "RECOVERY_MS", 600.0), (lost, "LATE_MS", 300.0), (lost, "SILENT_MS", 600.0)]
    bounds += [(doctor_web, "FIRST_TIMEOUT_S", 0.5)]
    before = [(module, name, getattr(module, name)) for module, name, _ in bounds]
    for module, name, value in bounds:
        setattr(module, name, value)
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        port, kinds = json.loads(await server.stdout.readline())
        yield port, kinds
    finally:
        server.kill()
        await server.wait()
        for module, name, value in before:
            setattr(module, name, value)


async def play_all(
    only: Sequence[str], requests: Sequence[str], ways: Sequence[float | None], timed: bool = False
) -> tuple[int, list[str]]:
    """How many kinds of answer were tried (all, or only those), and the faults, a line each; delays where timed."""
    places, faults = asyncio.Semaphore(AT_ONCE), list[str]()

    async def one(kind: str, request: str, after_s: float | None) -> None:
        async with places:
            with tempfile.TemporaryDirectory() as folder:
                settings = SETTINGS if after_s is None else PATIENT
                ended = await play(names.index(kind), request, port, Path(folder), after_s, settings)
        when = "" if after_s is None else f", Ctrl+C after {after_s:g} s"
        found = ended.faults(after_s is not None) + (ended.delays() if timed else [])
        faults.extend(f"{kind} → {request}{when}: {fault}" for fault in found)

    async with platform() as (port, names):
        kinds = only or names
        await asyncio.gather(*(one(kind, request, way) for kind in kinds for request in requests for way in ways))
    return len(kinds), faults


async def examine_all(only: Sequence[str]) -> tuple[int, list[str]]:
    """How many kinds of answer ``doctor`` was given, to its POST and to its pages, and how it failed, a line each."""
    faults = list[str]()
    async with platform() as (port, names):
        kinds = only or names
        for kind in kinds:
            for victim in ("warm-up POST", "warm-up GET"):
                base_url = f"http://127.0.0.1:{port}/{names.index(kind)}/{REQUESTS.index(victim)}"
                examined = Platform("embedded", base_url, "", embedded=True)
                try:
                    await asyncio.to_thread(lambda: list(doctor_web.web_sights(examined, SETTINGS)))  # noqa: B023 (awaited)
                except Exception as error:
                    faults.append(f"{kind} → doctor's {victim.removeprefix('warm-up ')}: {error!r}")
    return len(kinds), faults


async def outcomes(kinds: Sequence[str], folder: Path, wait_ms: float) -> dict[str, list[str]]:
    """What comes of a booking that is answered so, by kind; ``wait_ms``: how long an answer is waited for."""
    settings = ANSWERED.model_copy(update={"submit_timeout_ms": wait_ms})
    async with platform() as (port, names):
        ended = await asyncio.gather(
            *(
                play(names.index(kind), "booking", port, folder / f"{number}", settings=settings)
                for number, kind in enumerate(kinds)
            )
        )
    return {kind: each.outcomes for kind, each in zip(kinds, ended, strict=True)}


@click.command()
@click.option("--only", help="one kind of answer")
def main(only: str | None) -> None:
    began = time.perf_counter()
    kinds, faults = asyncio.run(play_all([only] if only else [], REQUESTS, (None, 0.25), timed=True))
    faults += asyncio.run(examine_all([only] if only else []))[1]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    if peak_mb > MOST_MB:
        faults.append(f"the driver needed {peak_mb:.0f} MB")
    for fault in faults:
        print(fault)
    took_s = time.perf_counter() - began
    print(f"{kinds} kinds of answer, {len(REQUESTS)} requests and doctor's, to the end and with Ctrl+C: "
          f"{len(faults)} faults, {took_s:.0f} s, {peak_mb:.0f} MB")  # fmt: skip
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
