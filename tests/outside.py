"""Faults from outside the platform: what others do to its database, its machine, its processes and the way to it, while
a level runs.
"""

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from urllib.parse import urlsplit

import psutil
import psycopg

from slotfill.drive.target import Platform

Around = Callable[[Platform], AbstractContextManager[Platform | None]]
"""What goes on while a level runs; it may hand over another way to the platform."""
Disturb = Callable[[int], None]
LOCKED_S, FREE_S = 0.3, 0.2
REPORT = "select count(*) from generate_series(1, 3000000) n where n % 7 = 3"


@contextmanager
def lock_holder(platform: Platform) -> Iterator[None]:
    """Somebody's session that locks the venue's row again and again, as a forgotten transaction does."""
    stop = threading.Event()

    def hold() -> None:
        with psycopg.connect(platform.database_url, autocommit=True, application_name="nightly-report") as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("select id from restaurants for update")
                    time.sleep(LOCKED_S)
                time.sleep(FREE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def cpu_hog(_: Platform) -> Iterator[None]:
    """Twice as many busy processes as there are cores, none of which knows of the platform."""
    with ExitStack() as ending:
        for _each in range(2 * (os.cpu_count() or 1)):
            ending.enter_context(_beside(_burn))
        yield


@contextmanager
def loaded_database(platform: Platform) -> Iterator[None]:
    """Others' sessions that keep the database computing."""
    with ExitStack() as ending:
        for _each in range(4):
            ending.enter_context(_beside(_report, platform.database_url))
        yield


@contextmanager
def stopped_worker(platform: Platform) -> Iterator[None]:
    """The job worker is there and does nothing."""
    worker = psutil.Process(platform.pids()["worker"])
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


@contextmanager
def network_outlier(platform: Platform) -> Iterator[Platform]:
    """One request in 20 takes 2 s longer on its way there."""
    with _in_front(platform, lambda number: time.sleep(2 if number % 20 == 10 else 0)) as detour:
        yield detour


@contextmanager
def stalled_api(platform: Platform) -> Iterator[Platform]:
    """The web process stands still once, for 2 s, while the tenth request is in it."""
    with _in_front(platform, _soon(lambda number: _suspend(platform, 2 if number == 10 else 0))) as detour:
        yield detour


@contextmanager
def stalled_lock(platform: Platform) -> Iterator[Platform]:
    """Somebody locks the venue's row once, for 2 s, from the tenth request on."""
    with _in_front(platform, _soon(lambda number: _lock(platform, 2 if number == 10 else 0))) as detour:
        yield detour


@contextmanager
def lock_outlier(platform: Platform) -> Iterator[Platform]:
    """Somebody locks the venue's row at one request in 40, for 2 s."""
    with _in_front(platform, _soon(lambda number: _lock(platform, 2 if number % 40 == 20 else 0))) as detour:
        yield detour


@contextmanager
def fading_start(platform: Platform) -> Iterator[Platform]:
    """The web process stands still at each of the first ten requests, 1 s at the first and a third less each time."""
    with _in_front(platform, _soon(lambda number: _suspend(platform, 1.5 * 0.67**number * (number <= 10)))) as detour:
        yield detour


@contextmanager
def _in_front(platform: Platform, disturb: Disturb) -> Iterator[Platform]:
    """The platform behind a port that passes bytes on.

    ``disturb`` is called with each booking request's number, from 1, before that goes on its way.
    """
    there = urlsplit(platform.base_url)
    numbers = count(1)

    def passed(source: socket.socket, sink: socket.socket, requests: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65_536):
                if requests and chunk.startswith(b"POST /api/bookings "):
                    disturb(next(numbers))
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((there.hostname or "", there.port or 80))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for arguments in ((client, server, True), (server, client, False)):
                    threading.Thread(target=passed, args=arguments, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield replace(platform, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _soon(disturb: Disturb) -> Disturb:
    """The same 5 ms later, when the request has arrived, and one at a time."""
    turn = threading.Lock()

    def later(number: int) -> None:
        time.sleep(0.005)
        with turn:
            disturb(number)

    return lambda number: threading.Thread(target=later, args=(number,)).start()


def _suspend(platform: Platform, seconds: float) -> None:
    if seconds:
        web = psutil.Process(platform.pids()["web"])
        web.suspend()
        try:
            time.sleep(seconds)
        finally:
            web.resume()


def _lock(platform: Platform, seconds: float) -> None:
    if seconds:
        with psycopg.connect(platform.database_url, application_name="nightly-report") as connection:
            connection.execute("select id from restaurants for update")
            time.sleep(seconds)


@contextmanager
def _beside(work: Callable[..., None], *arguments: str) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _burn() -> None:
    while True:
        pass


def _report(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True, application_name="nightly-report") as connection:
        while True:
            connection.execute(REPORT)
