"""Processes that end with their supervisor: its death, however violent, closes the pipe they watch."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def spawn(role: str, home: Path, environ: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start ``python -m whitehorse <role>`` in a session of its own, its standard input held open by this process.

    What it prints goes to ``home/<role>.log``, unless ``stdout`` says otherwise.
    """
    with (home / f"{role}.log").open("ab") as log:
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log}
        command = [sys.executable, "-m", "whitehorse", role, "--home", str(home)]
        child: subprocess.Popen[bytes] = subprocess.Popen(
            command, env=environ, start_new_session=True, **(streams | options)
        )
        return child


def end_with_supervisor() -> None:
    """End this process at once when its standard input does."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
