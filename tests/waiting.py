"""Waiting as a test may: for a condition and never for a time, so that a slow machine only takes longer."""

import random
import socket
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 600.0
"""Nothing takes so long that happens at all, on a slow machine with other work either."""
BELOW_THE_EPHEMERAL = range(20_000, 32_000)


def until(condition: Callable[[], Any], what: str = "what the test waits for") -> Any:
    """What the condition gives once it is true."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:g} s")
        time.sleep(0.03)
    return found


def free_port() -> int:
    """A port that nobody has now, and that the system gives to no outgoing connection before it is used."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.choice(BELOW_THE_EPHEMERAL)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
