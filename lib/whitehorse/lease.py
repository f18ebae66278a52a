"""Who uses a platform: every user holds a shared lock on a file, and the platform ends when nobody does.

A lock goes with the process that holds it, so a killed user cannot keep the platform alive.
"""

import fcntl
import os
from pathlib import Path


class Lease:
    """A lock on ``path``, shared or exclusive, until it is closed or the process ends."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

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
    lease = Lease(path)
    try:
        return not lease.try_exclusive()
    finally:
        lease.close()


def is_shared(path: Path) -> bool:
    """Whether somebody shares the lock, which excludes one who has it exclusively."""
    lease = Lease(path)
    try:
        return not lease.try_exclusive() and lease.try_shared()
    finally:
        lease.close()
