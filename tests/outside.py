"""Faults from outside the platform: what others do to its database, its machine and its processes, while levels run."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import psutil
import psycopg

from slotfill.drive.target import Platform

Around = Callable[[Platform], AbstractContextManager[None]]
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
