"""One process at a time in a folder: a lock on the folder itself, which goes with the processes that hold it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slotfill.errors import BadInput

RETRY_EVERY_S = 0.1


@contextmanager
def held(folder: Path, wait_s: float = 0) -> Iterator[int]:
    """Hold the folder for this process; the descriptor is for a child that has to hold it as well.

    Raises BadInput where another process still holds it after ``wait_s`` seconds.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + wait_s
        while not _taken(descriptor):
            if time.monotonic() >= until:
                raise BadInput(f"{folder}: another slotfill is at work here; wait until it has ended")
            time.sleep(RETRY_EVERY_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
