"""Environment files: each value as ``@next/env`` 16.4.6 gave it (Node 20), but for a ``#`` inside a word."""

from pathlib import Path

import pytest

from slotfill import env_file
from slotfill.env_file import environment, read_env_file
from slotfill.errors import BadInput

KNOWN = {"OUTSIDE": "from $X the shell", "EMPTY": ""}

# What the file says, and what Next.js made of it: `node -e 'require("@next/env").processEnv([{path, contents}])'`.
AS_NEXT_READS_IT: list[tuple[str, dict[str, str]]] = [
    ("A=1\nexport B = two words  # a comment\n", {"A": "1", "B": "two words"}),
    ("\ufeffA=1\r\nB=2\rC=3", {"A": "1", "B": "2", "C": "3"}),
    ("A: 1\nB:2\nC : 3", {"A": "1"}),
    ("A='a $X b'\nX=1", {"A": "a 1 b", "X": "1"}),
    (r"URL=postgresql://u:pa\$word@h/db", {"URL": "postgresql://u:pa$word@h/db"}),
    (r"""URL="pa\$word" """, {"URL": "pa$word"}),
    (r"URL='pa\$word'", {"URL": "pa$word"}),
    ("PW=s3cret\nURL=u:$PW@h", {"PW": "s3cret", "URL": "u:s3cret@h"}),
    ("URL=u:${PW}@h\nPW=s3cret", {"URL": "u:s3cret@h", "PW": "s3cret"}),
    ("A=${NONE}|${NONE:-x y}|$NONE", {"A": "|x y|"}),
    ("X=1\nA=${X:-2}", {"X": "1", "A": "2"}),
    ("A=$OUTSIDE", {"A": "from  the shell"}),
    ("A=x$", {"A": "x$"}),
    ("X=a$$b\nA=<$X>", {"X": "a$", "A": "<a$>"}),
    ("A=`b\"c'd`", {"A": "b\"c'd"}),
    ("A=\"one\\ntwo\\tthree\"\nB='one\\ntwo'", {"A": "one\ntwo\\tthree", "B": "one\\ntwo"}),
    ('A="first\nsecond # no comment"\nB=2', {"A": "first\nsecond # no comment", "B": "2"}),
    ('A="say \\"hi\\"" # note', {"A": 'say \\"hi\\"'}),
    ("A=\nB= \nC", {"A": "", "B": ""}),
    ("A=1\nA=2", {"A": "2"}),
    ("A.b-c=1\n9=x\n=y", {"A.b-c": "1", "9": "x"}),
    ("A=#x\nB=y #x", {"A": "", "B": "y"}),
    ('A="unbalanced\nB=2', {"A": '"unbalanced', "B": "2"}),
]


@pytest.mark.parametrize(("text", "values"), AS_NEXT_READS_IT)
def test_a_file_is_read_as_next_reads_it(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    (tmp_path / "env").write_bytes(text.encode())
    assert read_env_file(tmp_path / "env", KNOWN) == values


def test_a_hash_inside_a_word_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=p#w\n")
    assert read_env_file(tmp_path / "env", {}) == {"A": "p#w"}


@pytest.mark.parametrize(
    ("case", "url"),
    [
        ("escaped-dollar", "postgresql://u:pa$word@h:5432/db"),
        ("dollar-var", "postgresql://u:s3cret@h:5432/db"),
        ("brace-var-later", "postgresql://u:s3cret@h:5432/db"),
        ("cp1252-comment", "postgresql://u:p@h:5432/db"),
        ("hash-unquoted", "postgresql://u:p#w@h:5432/db"),
    ],
)
def test_a_case_gives_its_right_value(corpus: Path, case: str, url: str) -> None:
    assert read_env_file(corpus.parent / "cases" / "env-file" / f"{case}.env", {})["SUPABASE_DB_URL"] == url


def test_the_shell_goes_before_the_files_and_among_them_the_more_local_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_file.os, "environ", {"SHELL_VALUE": "shell"})
    for number, name in enumerate((".env.development.local", ".env.local", ".env.development", ".env")):
        told = "".join(f"V{each}={name}\n" for each in range(number, 4))
        (tmp_path / name).write_text(f"SHELL_VALUE={name}\n{told}")
    known = environment(tmp_path / ".env.local")
    assert [known[f"V{each}"] for each in range(4)] == [".env.development.local"] * 4
    (tmp_path / ".env.development.local").unlink()
    known = environment(tmp_path / ".env.local")
    assert [known.get(f"V{each}") for each in range(4)] == [None, *[".env.local"] * 3]
    assert known["SHELL_VALUE"] == "shell"
    (tmp_path / "other").write_text("V1=other\n")
    assert environment(tmp_path / "other") == {"SHELL_VALUE": "shell", "V1": "other"}


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / "none", {}) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("A=1\n".encode("utf-16"), "is not UTF-8 text"),
        (b"A=1\n" * 100_000, "larger than 256 KiB"),
        (b"A=$B\nB=$A\n", "A refers to itself"),
        (b"A=$A$A\n", "A refers to itself"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "env").write_bytes(content)
    with pytest.raises(BadInput, match=rf"^\S*env: .*{words}"):
        read_env_file(tmp_path / "env", {})


def test_a_folder_is_no_environment_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a file"):
        read_env_file(tmp_path, {})
