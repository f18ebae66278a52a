"""Who uses a platform: every user holds a shared lock on a file, and the platform ends when nobody does.

A lock goes with the process that holds it, so a killed user cannot keep the platform alive.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class Lease:
    """A lock on ``path``, shared or exclusive, until it is closed or the process ends."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)

    def share(self) -> None:
        """Wait until nobody has it exclusively, then share it."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take it exclusively if nobody else has it in any way."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Share it if nobody has it exclusively."""
        return self._try(fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self._fd)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_taken(path: Path) -> bool:
    """Whether somebody holds the lock."""
    return _sees(path, lambda lease: not lease.try_exclusive())


def is_shared(path: Path) -> bool:
    """Whether somebody shares the lock, which excludes one who has it exclusively."""
    return _sees(path, lambda lease: not lease.try_exclusive() and lease.try_shared())


def _sees(path: Path, question: Callable[[Lease], bool]) -> bool:
    """No file is made to look at: somebody may be removing its folder."""
    try:
        lease = Lease(path, create=False)
    except FileNotFoundError:
        return False
    try:
        return question(lease)
    finally:
        lease.close()
