"""A process that listens while a run lasts, seen from the run: told by lines of JSON, heard by lines of JSON."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from slotfill.errors import BadInput, SlotfillError

START_TIMEOUT_S, ANSWER_TIMEOUT_S, END_TIMEOUT_S = 30, 30, 10


class Collector:
    """``python -P -m slotfill.collect ROLE {orders}`` for as long as the ``with`` block.

    Its first line says where it listens (``address``), each line we send is answered by one. Its standard input is its
    lifeline: where this process dies, it ends. Raises BadInput where it cannot listen.
    """

    def __init__(self, role: str, name: str, **orders: Any) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "slotfill.collect", role, json.dumps(orders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.hello = self._answer(START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """``host:port`` where it listens."""
        return str(self.hello["listening"])

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer. Raises SlotfillError where the process is gone."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(f"{json.dumps(order)}\n".encode())
            self._process.stdin.flush()
        return self._answer(ANSWER_TIMEOUT_S)

    def problem(self) -> str | None:
        """Why it does not listen any more; ``None`` while it does."""
        code = self._process.poll()
        return (
            None if code is None else f"{self.name} has ended by itself ({self._last_words() or f'exit code {code}'})"
        )

    def close(self) -> None:
        """End it, and wait until it has written what it heard."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise SlotfillError(f"{self.name} does not answer within {timeout_s} s") from None
        if not line:
            self._process.wait(END_TIMEOUT_S)
            raise SlotfillError(self.problem() or f"{self.name} has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BadInput(f"{self.name}: {answer['error']}")
        return answer

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else ""
