"""Files of any encoding and size come out as lines; what is no log file is one clear line."""

import gzip
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from slotfill.errors import BadInput
from slotfill.read import excerpt, read_logs
from slotfill.read.find import find_logs
from slotfill.read.text import LONGEST_LINE, lines

EVENT = (
    '[2025-11-15T10:30:00.853Z] [INFO] [bootstrap] Starting booking flow {"correlationId":"4e77d08f","iteration":1}\n'
    '[2025-11-15T10:30:00.853Z] [INFO] [submit] Submitting booking request {"correlationId":"4e77d08f","party":2}\n'
)


def _texts(path: Path) -> list[str]:
    return [text for _, text, _ in lines(path)]


@pytest.mark.parametrize(
    "written",
    [
        b"one\ntwo \xc3\xa9\nthree\n",
        b"\xef\xbb\xbfone\r\ntwo \xc3\xa9\r\nthree\r\n",
        "one\ntwo é\nthree\n".encode("utf-16"),
        gzip.compress(b"one\ntwo \xc3\xa9\nthree"),
        gzip.compress(b"one\n") + gzip.compress(b"two \xc3\xa9\nthree\n"),
        b"\x00\x00one\n\x1b[32mtwo \xc3\xa9\x1b[39m\n\xef\xbb\xbfthree\n",
    ],
    ids=["plain", "bom and crlf", "utf-16", "gzip, no last newline", "two gzip members", "nul, colours, inner bom"],
)
def test_the_same_lines_come_out_of_any_encoding(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "a.log").write_bytes(written)
    assert _texts(tmp_path / "a.log") == ["one", "two é", "three"]


def test_invalid_bytes_are_replaced_and_the_line_stays(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"before \xff\xfe after\nnext\n")
    assert _texts(tmp_path / "a.log") == ["before \ufffd\ufffd after", "next"]


def test_a_hole_of_zeros_before_the_text_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"\0" * 7000 + EVENT.encode())
    assert len(read_logs([tmp_path / "a.log"]).attempts) == 1


def test_a_cut_gzip_file_gives_the_lines_before_the_cut(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f"line {n} {os.urandom(20).hex()}\n" for n in range(2000)).encode())
    (tmp_path / "a.log.gz").write_bytes(packed[: len(packed) // 2])
    *read, (number, text, problem) = lines(tmp_path / "a.log.gz")
    assert len(read) > 100 and read[5][1].startswith("line 5 ")
    assert (number, text) == (len(read) + 1, "") and problem and "gzip" in problem


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\n\n\u2028three\x0c\nfour\n")
    assert [number for number, _, _ in lines(tmp_path / "a.log")] == [1, 3, 4]


def test_a_line_without_end_is_one_problem_and_eats_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "slot-fill.log"
    path.write_text(EVENT)
    with path.open("ab") as file:
        for _ in range(60):
            file.write(b"a" * 1_000_000)
        file.write(b"\n" + EVENT.replace("4e77d08f", "later").encode())
    program = (
        "import resource, sys; from slotfill.read import read_logs; base = resource.getrusage(0).ru_maxrss;"
        "reading = read_logs([sys.argv[1]]); print(len(reading.attempts), resource.getrusage(0).ru_maxrss - base);"
        "print(reading.note)"
    )
    out = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True).stdout
    counts, note = out.splitlines()
    attempts, grown_kib = map(int, counts.split())
    assert attempts == 2
    assert grown_kib < 25_000
    assert note == f"1 line not read, first at {path}:3 (longer than {LONGEST_LINE >> 20} MiB)"


def test_a_file_of_nothing_but_an_endless_line_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * (LONGEST_LINE + 5))
    with pytest.raises(BadInput, match=r"no booking log: 1 line not read, first at .*a\.log:1 \(longer than 1 MiB\)"):
        read_logs([tmp_path / "a.log"])


def test_a_missing_path_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"^/no/such: no such file or folder$"):
        read_logs(["/no/such"])


def test_a_folder_without_logs_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BadInput, match="no log files in this folder"):
        read_logs([tmp_path])


@pytest.mark.parametrize(
    "content",
    [bytes(range(256)) * 40, b"\0" * 5000, b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50, b"\x1f\x8bnonsense"],
    ids=["bytes", "zeros", "bad deflate stream", "bad gzip header"],
)
def test_a_binary_file_is_bad_input_by_name_and_counted_in_a_folder(tmp_path: Path, content: bytes) -> None:
    binary = tmp_path / "a.log"
    binary.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.log: a (binary file|damaged gzip)"):
        read_logs([binary])
    (tmp_path / "b.log").write_text(EVENT)
    reading = read_logs([tmp_path])
    assert len(reading.attempts) == 1
    assert reading.note is not None and str(binary) in reading.note


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(EVENT)
    (tmp_path / "a.log").chmod(0)
    with pytest.raises(BadInput, match="cannot be read"):
        read_logs([tmp_path / "a.log"])


def test_text_that_is_no_booking_log_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("once upon a time\nthere was\n")
    with pytest.raises(BadInput, match=r"no booking log: 2 lines not read, first at .*:1"):
        read_logs([tmp_path / "a.log"])


def test_logs_are_found_in_folders_once_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "concurrency-1").mkdir()
    for name in ("concurrency-1/slot.log", "server.log.1", "old.log.gz", "notes.md", ".hidden.log", "metrics.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "again.log").symlink_to(tmp_path / "concurrency-1" / "slot.log")
    found = find_logs([tmp_path, tmp_path / "concurrency-1", tmp_path / "old.log.gz"])
    assert sorted(path.resolve().name for path in found.files) == ["old.log.gz", "server.log.1", "slot.log"]


def test_reading_does_not_take_memory_for_noise(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(EVENT)
    with path.open("a") as file:
        for _ in range(20):
            file.write("[resend] Email sent successfully. ID: undefined deadlock detected\n@ not understood\n" * 5000)
    tracemalloc.start()
    try:
        reading = read_logs([path])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert int(reading.unread["lines"].iloc[0]) == 100_000
    assert int(reading.error_lines["times"].sum()) == 100_000 and len(reading.error_lines) == 200
    assert most < 30_000_000


def test_an_excerpt_is_one_short_clean_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\n\x1b[31m  two\x07 " + "x" * 500 + "\n")
    assert excerpt(path, 1) == "one"
    assert excerpt(str(path), 2, width=10) == "two xxxxx…"
    assert excerpt(path, 3) == ""
