"""``python -m slotfill.collect otlp|tap {orders}``: started by ``Collector``, ends when its standard input does."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

Answer = dict[str, Any]


class Listener(Protocol):
    """What both roles are: opened, told, closed."""

    async def open(self) -> str:
        """Begin to listen; ``host:port``. Raises OSError."""

    def told(self, order: dict[str, Any]) -> Answer:
        """Obey an order and answer it."""

    async def close(self) -> None:
        """Stop listening, and write what was heard."""


class _Orders(asyncio.Protocol):
    """Standard input: a line is an order, the end means that nobody waits for us any more."""

    def __init__(self, obey: Callable[[dict[str, Any]], Answer], ended: asyncio.Event) -> None:
        self._obey, self._ended, self._received = obey, ended, b""

    def data_received(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            try:
                _say(self._obey(json.loads(line)))
            except OSError as error:  # a full disk, say
                _say(_refusal(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


def main() -> int:
    """Listen until standard input ends."""
    # A terminal's Ctrl+C is the run's business, which then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    role, orders = sys.argv[1], json.loads(sys.argv[2])
    if role == "otlp":
        from slotfill.collect.receiver import Receiver

        listener: Listener = Receiver(**orders)
    else:
        from slotfill.collect.tap import TapListener

        listener = TapListener(**orders)
    return asyncio.run(_listen(listener))


async def _listen(listener: Listener) -> int:
    ended = asyncio.Event()
    try:
        address = await listener.open()
    except OSError as error:
        _say(_refusal(error))
        return 2
    _say({"listening": address})
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Orders(listener.told, ended), sys.stdin)
    await ended.wait()
    await listener.close()
    return 0


def _refusal(error: OSError) -> Answer:
    return {"error": error.strerror or str(error)}


def _say(answer: Answer) -> None:
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
