"""The one family of errors.

    SlotfillError      70  a part of Slotfill failed, and what it left says why
    ├── BadInput        2  a parameter, a path or a file the user gave is wrong
    ├── Braked          3  a brake stopped the load
    ├── Refused         4  a guard will not touch this target
    ├── Unreachable     5  the target does not answer
    └── Stopped       130  a person stopped the load

The message is the one line a person sees: what is wrong, where, what to do. The command line prints
it and exits with ``exit_code``; ``process`` says what becomes of every other exception.
"""

from slotfill.escape import for_terminal


class SlotfillError(Exception):
    """Something the user can act on; on its own, a part of Slotfill that failed."""

    exit_code = 70

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback, which would say nothing to a person."""
        return [for_terminal(f"{type(self).__name__}: {self}")]


class BadInput(SlotfillError):
    """A parameter, a path or a file the user gave is wrong."""

    exit_code = 2


class Braked(SlotfillError):
    """A brake stopped the load; everything measured so far is on disk."""

    exit_code = 3


class Refused(SlotfillError):
    """A guard will not touch this target; nothing was written to it."""

    exit_code = 4


class Unreachable(SlotfillError):
    """The target does not answer."""

    exit_code = 5


class Stopped(SlotfillError):
    """A person stopped the load; everything measured so far is on disk."""

    exit_code = 130
