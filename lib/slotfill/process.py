"""The process a command runs in: what it leaves to its children, and how each error ends it.

No exception reaches a person. One that somebody can act on is one line and its exit code; any other is a fault of
Slotfill's own: one line with the place of its traceback, and exit code 70.
"""

import atexit
import errno
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from slotfill.errors import BadInput, SlotfillError, Stopped
from slotfill.escape import for_terminal

OWN_FAULT = SlotfillError.exit_code
_SELDOM = 50_000
"""Objects that are made between two searches for what nothing refers to any more."""
LONGEST_TOLD = 1_000
# What a disk, a folder or a machine says no to: somebody can act on that, and it is no fault in the program.
_SURROUNDINGS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EAGAIN),
    errno.ENOMEM,
)
_SECRET_NAME = re.compile(r"key|secret|token|password|passwd|url", re.IGNORECASE)


def run(command: Callable[[], Any]) -> NoReturn:
    """Run a command to its exit code, in a process made ready for it."""
    _make_ready()
    try:
        sys.exit(command())
    except SystemExit:
        raise
    except BaseException as error:
        told, code = ending(error)
        if told:
            say(f"slotfill: {told}")
        sys.exit(code)


def make_short_lived() -> None:
    """Spare a command that is soon over what pays in the long run only; before numpy is imported."""
    gc.set_threshold(_SELDOM)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else it starts a thread a core, and is given no matrix


def ending(error: BaseException) -> tuple[str, int]:
    """What a person is told of an error, in one line without control characters, and the exit code it means."""
    match error:
        case SlotfillError():
            return printable(str(error)), error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            say(error.ctx.get_help() if error.ctx else "")
            return "", BadInput.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "stopped by hand", Stopped.exit_code
        case click.ClickException():
            return printable(f"{error.format_message()} (see slotfill --help)"), BadInput.exit_code
        case BrokenPipeError():  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return "", 0
        case OSError() if error.errno in _SURROUNDINGS:
            where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            return printable(f"{where}{os.strerror(error.errno)}"), BadInput.exit_code
        case MemoryError():
            return "the memory of this machine is used up", OWN_FAULT
    return _fault(error), OWN_FAULT


def say(text: str) -> None:
    """A line on standard error; where nobody reads that any more, nothing."""
    try:
        click.echo(text, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey, and short enough to be read."""
    if len(text) > LONGEST_TOLD:
        text = f"{text[: LONGEST_TOLD // 2]}…{text[-LONGEST_TOLD // 2 :]}"
    return for_terminal(" ".join(text.split()))


def _make_ready() -> None:
    # A shell starts background jobs with SIGINT ignored; a stop that is asked for by name still has to work.
    # A build server's polite stop is one as well: it drains, and says what was measured.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Guests' data and logs are for their owner alone, in whatever file.
    os.umask(0o077)
    # No interpreter that we start may import what happens to lie in the working folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    # We draw into files only; and what Matplotlib does not know there, it would not be imported with.
    os.environ.pop("MPLBACKEND", None)
    _make_home()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that is not UTF-8, or a terminal that is not, must not stop a message.
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's words to programmers
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = _report_thread


def _make_home() -> None:
    """Where the home folder cannot be written, a place of this process's own for what Jupyter and Matplotlib keep."""
    if os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111  (Path raises where there is no home at all)
        return
    place = tempfile.mkdtemp(prefix="slotfill-home-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        os.environ.setdefault(name, place)


def _report_thread(found: Any) -> None:
    if found.exc_value is not None and found.exc_type is not SystemExit:
        say(f"slotfill: {ending(found.exc_value)[0]}")


def _fault(error: BaseException) -> str:
    what = printable(f"{type(error).__name__}: {error}")
    try:
        told = f"its traceback is in {_save(error)}"
    except OSError as full:
        told = f"its traceback could not be saved ({full.strerror})"
    return f"a fault of slotfill's own ({masked(what)[:200]}); {told}"


def _save(error: BaseException) -> Path:
    """Write the traceback where a person finds it, without secrets; the file."""
    text = masked("".join(traceback.format_exception(error)))
    name = f"slotfill-fault-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-"
    for folder in (Path(__file__).resolve().parents[2] / "artifacts", Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile("wb", prefix=name, suffix=".log", dir=folder, delete=False) as out:
                out.write(text.encode(errors="backslashreplace"))
        except OSError:
            continue
        return Path(out.name)
    raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def masked(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text without what is masked everywhere, and without the secrets that this process's environment holds."""
    from slotfill.masking import mask

    secrets = [value for name, value in environ.items() if len(value) >= 6 and _SECRET_NAME.search(name)]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return mask(text)
