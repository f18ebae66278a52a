"""Excerpts of a server's log are whole blocks, found from any of their lines, and bounded."""

import pytest

from slotfill.read.block_text import MOST_LINES, block

SHORT = ["[bookings][POST] failed {", "  error: 'deadlock detected',", "  code: '40P01'", "}"]


def long_block(keys):
    return ["[capacity.profile] request {", *(f"  key{number}: {number}," for number in range(keys)), "}"]


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "server.log"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.mark.parametrize("line", [3, 4, 6])
def test_a_block_is_whole_and_cited_by_its_first_line(write, line):
    path = write("GET / 200 in 4ms", "ready {", *SHORT, "GET / 200 in 5ms", *long_block(2))
    assert block(path, line) == (3, "\n".join(SHORT))


@pytest.mark.parametrize("line", [1, 6])
def test_a_line_outside_any_block_is_shown_alone(write, line):
    lines = ["GET / 200 in 4ms", *SHORT, "POST / 201 in 9ms"]
    assert block(write(*lines), line) == (line, lines[line - 1])


@pytest.mark.parametrize("line", [1, 2, 11, 18, 30])
def test_a_long_block_is_cut_around_the_line_and_says_by_how_much(write, line):
    lines = long_block(29)
    first, text = block(write(*lines), line)
    shown = [row for row in text.splitlines() if "more lines" not in row]
    left_out = sum(int(row.split()[1]) for row in text.splitlines() if "more lines" in row)
    assert first == 1 and shown[0] == lines[0] and lines[line - 1] in shown
    assert len(shown) == MOST_LINES and left_out == len(lines) - MOST_LINES


def test_a_block_that_never_closes_gives_the_line_alone(write):
    assert block(write(*SHORT[:2]), 2) == (2, "error: 'deadlock detected',")


def test_an_indented_line_after_a_block_is_none_of_its_lines(write):
    assert block(write(*SHORT, "  at query (db.js:3:1)"), 5) == (5, "at query (db.js:3:1)")
