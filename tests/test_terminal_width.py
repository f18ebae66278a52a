"""What a terminal of 80 columns shows: no line of any help, table or message is wider."""

import re

import click
import pytest
from click.testing import CliRunner

from slotfill.cli import cli
from slotfill.params import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group, *path: str):
    for name, command in group.commands.items():
        yield from commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
        if isinstance(command, click.Group):
            yield (*path, name)


def shown(*words: object) -> str:
    answer = CliRunner(env={"COLUMNS": "80"}).invoke(cli, [str(word) for word in words])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer.output


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("path", [(), *commands(cli)], ids=" ".join)
def test_help_of_every_command_fits(path):
    text = shown(*path, "--help")
    assert text.startswith("Usage:") and widest(text) <= 80


def test_what_logs_and_their_report_show_fits(recorded_levels, tmp_path):
    assert widest(shown("logs", recorded_levels)) <= 80
    shown_lines = shown("report", recorded_levels, "--out", tmp_path / "out").splitlines()
    assert shown_lines[-1] == str(tmp_path / "out")  # a path, however long
    assert max(map(len, shown_lines[:-1])) <= 80


def test_what_a_comparison_shows_fits(recorded_levels):
    both = [recorded_levels / f"slot-fill-concurrency{level}.log" for level in (1, 4)]
    assert widest(shown("compare", both[0], both[0])) <= 80


def test_every_command_of_the_readme_exists_with_its_options():
    named = re.findall(r"^\| `slotfill ([^`]+)`", README, re.MULTILINE)
    assert {words.split()[0] for words in named} == set(cli.commands)
    for words in named:
        text = "".join(shown(*path, "--help") for path in commands(cli) if path[0] == words.split()[0])
        assert all(option in text for option in re.findall(r"(?<!\w)--?[a-z][a-z-]*", words.partition(" ")[2]))


def test_what_was_probably_meant_is_asked():
    for words, meant in ((["rnu"], "run"), (["logs", "--frmat", "json", "x"], "--format")):
        with pytest.raises(click.UsageError) as error:
            cli.main(words, standalone_mode=False)
        assert re.search(f"[Dd]id you mean.*{meant}", error.value.format_message())


def test_a_shell_completes_commands(monkeypatch, capsys):
    for name, value in {"_SLOTFILL_COMPLETE": "bash_complete", "COMP_WORDS": "slotfill se", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main(prog_name="slotfill")
    assert capsys.readouterr().out == "plain,serve\n"
