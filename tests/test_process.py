"""How a command ends: one line and an exit code for every exception, and no secret in what is kept of it."""

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import waiting

from slotfill.errors import BadInput, Refused, SlotfillError
from slotfill.process import ending, printable

FAILING = """
import sys
from pathlib import Path
from slotfill import process
import slotfill.process as ours

def fail():
    raise {error}

process.run(fail)
"""


def run_failing(error: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """A process whose command raises this."""
    return subprocess.run(
        [sys.executable, "-P", "-c", FAILING.format(error=error)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=waiting.PATIENCE_S,
    )


@pytest.mark.parametrize(
    "error",
    [
        "AttributeError('hunter2-secret')",
        "RecursionError('postgresql://u:hunter2-secret@h/d')",
        "UnicodeEncodeError('utf-8', 'x', 0, 1, 'surrogates')",
        "ExceptionGroup('several', [ValueError('hunter2-secret')])",
        "OSError('of its own kind')",
        "FileNotFoundError(2, 'No such file', 'ours.json')",
    ],
)
def test_an_unexpected_exception_is_one_line_a_saved_traceback_and_exit_code_70(error: str) -> None:
    answer = run_failing(error, SUPABASE_SERVICE_ROLE_KEY="hunter2-secret")
    assert answer.returncode == 70 and answer.stdout == ""
    assert answer.stderr.count("\n") == 1 and "Traceback" not in answer.stderr
    found = re.search(r"its traceback is in (\S+)", answer.stderr)
    assert found
    saved = Path(found.group(1))
    try:
        text = saved.read_text()
        assert "Traceback" in text and error.partition("(")[0] in text
        assert "hunter2" not in text + answer.stderr
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    finally:
        saved.unlink()


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BadInput("x: is wrong"), 2, "x: is wrong"),
        (Refused("no"), 4, "no"),
        (SlotfillError("the driver failed"), 70, "the driver failed"),
        (OSError(errno.ENOSPC, "No space", "/full/disk"), 2, "/full/disk: No space left on device"),
        (PermissionError(errno.EACCES, "Permission", b"/caf\xe9"), 2, "/caf\\udce9: Permission denied"),
        (FileExistsError(errno.EEXIST, "File exists", "/run/exports"), 2, "/run/exports: File exists"),
        (KeyboardInterrupt(), 130, "stopped by hand"),
    ],
)
def test_what_a_person_can_act_on_is_told_in_its_own_words(error: BaseException, code: int, told: str) -> None:
    assert ending(error) == (told, code)


def test_a_message_is_one_line_that_a_terminal_does_not_obey() -> None:
    assert printable("a\nb\x1b[2J\x9b1m\x00 caf\udce9") == "a b\\x1b[2J\\x9b1m\\x00 caf\\udce9"


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    answer = run_failing("BrokenPipeError(32, 'Broken pipe')")
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--version"], ["run", "--help"]])
def test_a_command_whose_reader_has_gone_ends_with_0_and_not_as_a_broken_threshold(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        answer = subprocess.run(
            [sys.executable, "-c", "from slotfill.cli import main; main()", *words],
            check=False,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(writing)
    assert (answer.returncode, answer.stderr) == (0, "")
