"""Processes that end with the one that started them, however violently that one ended."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def spawn(role: str, home: Path, environ: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start ``python -m whitehorse <role>`` in a session of its own, its standard input held open by this process.

    What it prints goes to ``home/<role>.log``, unless ``stdout`` says otherwise.
    """
    with (home / f"{role}.log").open("ab") as log:
        known: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "start_new_session": True}
        command = [sys.executable, "-P", "-m", "whitehorse", role, "--home", str(home)]
        child: subprocess.Popen[bytes] = subprocess.Popen(command, env=environ, **(known | options))
        return child


def end_with_supervisor() -> None:
    """End this process at once when its standard input does."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For ``Popen(preexec_fn=…)``: have Linux send this signal when the parent dies; elsewhere, nothing.

    Reaches those who cannot watch a pipe: a server that is not ours, a process that was stopped.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)
