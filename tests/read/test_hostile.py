"""Files and folders made to hurt: each ends soon, in little memory, with a line that names it; the rest is read."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slotfill.analyse.metrics import platform_table
from slotfill.errors import BadInput
from slotfill.read import read_logs
from slotfill.read.find import find_logs
from slotfill.read.text import lines

EVENT = (
    '[2025-11-15T10:30:00.853Z] [INFO] [bootstrap] Starting booking flow {"correlationId":"4e77d08f","iteration":1}\n'
    '[2025-11-15T10:30:00.853Z] [INFO] [submit] Submitting booking request {"correlationId":"4e77d08f","party":2}\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good log, to which a test adds what hurts."""
    (tmp_path / "good.log").write_text(EVENT)
    return tmp_path


def _named(folder: Path, words: str) -> None:
    """The good log is read, and what hurts is named."""
    reading = read_logs([folder])
    assert len(reading.attempts) == 1
    assert reading.note is not None and words in reading.note
    reading.note.encode()


def test_a_line_of_gigabytes_is_one_line_not_read(folder: Path) -> None:
    with (folder / "good.log").open("r+b") as file:
        file.seek(200_000_000, os.SEEK_END)
        file.write(b"end\n")
    _named(folder, "good.log:3 (longer than 1 MiB)")


@pytest.mark.parametrize("number", ["²", "9" * 30, "9" * 5_000], ids=["odd", "30 digits", "5000 digits"])
def test_a_number_that_is_none_or_too_long_is_no_fault(folder: Path, number: str) -> None:
    planned = f'[2025-11-15T10:30:00.000Z] [INFO] [slot] Slot planned {{"label":"concurrency-{number}"}}\n'
    worker = f">>> [worker {number}] Slot 17:30 (party {number})\n"
    died = f"> x run-booking-flow --date 2025-11-25 --time 17:30 --party-size {number}\n"
    (folder / "good.log").write_text(f"{planned}{worker}{EVENT}{worker}{died}")

    reading = read_logs([folder])

    assert len(reading.attempts) == 1
    assert [row["label"] for row in platform_table(reading.attempts)] == [f"concurrency-{number}"]


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.log")
    _named(folder, "pipe.log:1 (a pipe")
    with pytest.raises(BadInput, match=r"pipe\.log: a pipe or a device"):
        read_logs([folder / "pipe.log"])


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_device_is_not_read() -> None:
    with pytest.raises(BadInput, match="/dev/zero: a pipe or a device"):
        read_logs(["/dev/zero"])


@pytest.mark.parametrize("content", [b"a", b"deadlock detected\n"])
def test_a_gzip_bomb_is_left_where_it_grows(folder: Path, content: bytes) -> None:
    block = content * ((1 << 22) // len(content))
    with gzip.open(folder / "bomb.log.gz", "wb", compresslevel=9) as file:
        for _ in range(20):
            file.write(block)
    *_, (_, _, problem) = lines(folder / "bomb.log.gz")
    assert problem == "the gzip file unpacks to more than 100 times its size; the rest is left unread"


def test_links_that_go_round_are_not_followed(folder: Path) -> None:
    (folder / "loop.log").symlink_to("loop.log")
    (folder / "below").symlink_to(folder, target_is_directory=True)
    _named(folder, "loop.log:1 (")
    assert len(find_logs([folder]).files) == 1
    with pytest.raises(BadInput, match=r"loop\.log: cannot be read"):
        read_logs([folder / "loop.log"])


def test_a_folder_too_deep_for_the_system_is_named_where_it_ends(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("made with paths relative to open folders, as Linux allows them")
    here = os.open(folder, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        _named(folder, "cannot be looked into: File name too long")
    finally:
        subprocess.run(["rm", "-rf", folder / ("d" * 200)], check=True)


def test_a_name_that_is_not_utf_8_is_named_and_the_rest_is_read(folder: Path) -> None:
    odd = folder / os.fsdecode(b"caf\xe9.log")
    try:
        odd.write_text(EVENT)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    _named(folder, r"caf\xe9.log:1 (its name is not UTF-8")
    with pytest.raises(BadInput, match=r"caf\\xe9\.log: its name is not UTF-8"):
        read_logs([odd])


def test_a_path_with_a_nul_is_no_path() -> None:
    with pytest.raises(BadInput, match="no path has a NUL in it"):
        read_logs(["a\0b.log"])


def test_many_files_are_all_read(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.log").write_text(EVENT.replace("4e77d08f", f"a{number}"))
    assert len(read_logs([tmp_path]).attempts) == 300
