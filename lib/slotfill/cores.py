"""Work over the cores of the machine, in processes that import nothing of the program that asks.

``multiprocessing`` would run a caller's script again, or copy the locks of a notebook's threads.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function that can be imported, and its arguments."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_cores(groups: Sequence[Sequence[Call]]) -> list[list[Any]]:
    """What the calls of each group give back, the first group here and each other one in a process of its own.

    Calls must not raise what their callers expect. Where a process fails, its calls are made here.
    """
    children = [_start(group) for group in groups[1:]]
    try:
        done = [_make(groups[0])]
        for child, group in zip(children, groups[1:], strict=True):
            answer = _answer_of(child)
            done.append(_make(group) if answer is None else answer)
        return done
    finally:
        for child in filter(None, children):
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def _answer_of(child: "subprocess.Popen[bytes] | None") -> list[Any] | None:
    """What a process made of its group; ``None`` where it failed. Read piece by piece: it may be large."""
    if child is None or child.stdout is None:
        return None
    try:
        return list(pickle.load(child.stdout))
    except (EOFError, pickle.UnpicklingError):
        return None


def _make(group: Sequence[Call]) -> list[Any]:
    return [function(*arguments) for function, arguments in group]


def _start(group: Sequence[Call]) -> "subprocess.Popen[bytes] | None":
    """In a session of its own: a terminal's Ctrl+C is for the one who waits. ``None`` where no process can be made."""
    with suppress(OSError):
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "slotfill.cores"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(OSError):  # it has failed, and its exit code will say so
            assert child.stdin is not None
            with child.stdin as orders:
                orders.write(pickle.dumps(group))
        return child
    return None


if __name__ == "__main__":
    pickle.dump(_make(pickle.load(sys.stdin.buffer)), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
