"""What a person types, and the line and exit code they get."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slotfill.params import ROOT
from slotfill.run import open_run

SLOTFILL = Path(sys.executable).with_name("slotfill")
SMALL = [
    "--set",
    "rounds=1",
    "--set",
    "start=18:00",
    "--set",
    "end=18:15",
    "--set",
    "concurrency=[2]",
    "--set",
    "stress_max=2",
]


def slotfill(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SLOTFILL, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        cwd=ROOT,
    )


def assert_one_line(answer: subprocess.CompletedProcess[str], code: int, complaint: str) -> None:
    assert answer.returncode == code, answer.stderr
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1 and answer.stdout == ""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["db", "--help"], ["db", "reset", "--help"]])
def test_help_is_everywhere(words: list[str]) -> None:
    answer = slotfill(*words)
    assert answer.returncode == 0 and "Usage: slotfill" in answer.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "-f", "no-such.yaml"], "no-such.yaml: No such file"),
        (["run", "--set", "concurrency=0"], "concurrency.0"),
        (["run", "--set", "concurrency=128"], "64 is the most"),
        (["run", "--set", "target=../../x"], "is a name of letters"),
        (["run", "--set", "stress_max"], "must be KEY=VALUE"),
        (["run", "--set", "nothing=1"], "unknown parameter nothing"),
        (["run", "--set", "thresholds.submit=1"], "no figure submit"),
        (["run", "--out", "lib"], "is not empty"),
        (["run", "--nothing"], "No such option"),
        (["resume", "lib"], "is not a run folder"),
        (["logs", "/no/such"], "/no/such"),
        (["logs"], "Missing argument"),
        (["report", "/no/such"], "/no/such"),
        (["compare", "lib", "tests"], "is not a run folder"),
        (["nothing"], "No such command"),
        (["rum"], "Did you mean one of: 'resume', 'run'?"),
        (["run", "--ou", "x"], "Did you mean '--out'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], complaint: str) -> None:
    assert_one_line(slotfill(*words), 2, complaint)


def test_a_fault_nobody_knows_is_bad_input(tmp_path: Path) -> None:
    answer = slotfill("run", *SMALL, "--set", "faults.gremlins=1", "--out", tmp_path / "run")
    assert_one_line(answer, 2, "gremlins")


def test_a_remote_target_needs_its_addresses(tmp_path: Path) -> None:
    file = tmp_path / "env"
    answer = slotfill("run", *SMALL, "--set", "target=theirs", "--set", f"env_file={file}", "--out", tmp_path / "run")
    assert_one_line(answer, 2, "BOOKING_API_BASE_URL is missing")


def test_an_unresolvable_host_is_exit_code_5(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(
        "BOOKING_API_BASE_URL=http://platform.invalid\nSUPABASE_DB_URL=postgresql://u:p@platform.invalid/d\n"
    )
    answer = slotfill("run", *SMALL, "--set", "target=theirs", "--set", f"env_file={file}", "--out", tmp_path / "run")
    assert_one_line(answer, 5, "platform.invalid")


def test_a_run_leaves_every_artifact_and_prints_its_folder_last(tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = slotfill("run", *SMALL, "--set", "thresholds.submit_ms.max=0.001", "--out", out)
    assert answer.returncode == 1, answer.stderr
    assert "broken" in answer.stderr
    assert answer.stdout.splitlines()[-1] == str(out)
    names = {str(file.relative_to(out)) for file in out.rglob("*")}
    assert names >= {
        "run.json",
        "integrity-before.json",
        "integrity-after.json",
        "metrics.json",
        "bottleneck.json",
        "report.html",
        "verification.md",
        "concurrency-2/samples.parquet",
        "concurrency-2/attempts.parquet",
        "concurrency-2/server.log",
    }
    assert open_run(out).record["state"] == "done"
    metrics = json.loads((out / "metrics.json").read_text())
    assert [level["label"] for level in metrics["levels"]] == ["concurrency-2"]
    told = json.loads(slotfill("logs", out, "--format", "json").stdout)
    assert told["levels"] == metrics["levels"]
    assert len(told["attempts"]) == metrics["levels"][0]["attempts"]


def test_ctrl_c_keeps_what_was_measured_and_resume_finishes_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--set", "rounds=1", "--set", "start=18:00", "--set", "end=18:30", "--set", "concurrency=[1]"]
    words += ["--set", "min_party_size=4", "--set", "max_party_size=4"]  # tables enough for twelve
    process = subprocess.Popen(
        [SLOTFILL, "run", *words, "--set", "faults.api_delay_ms=150", "--set", "stress_max=4", "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    while process.poll() is None and not any(
        "final_summary" in log.read_text() for log in out.glob("concurrency-1/slot-fill-*.log")
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert open_run(out).record["state"] == "stopped"
    measured = json.loads(slotfill("logs", out, "--format", "json").stdout)["attempts"]
    assert measured

    assert slotfill("resume", out).returncode == 0
    finished = json.loads(slotfill("logs", out, "--format", "json").stdout)["attempts"]
    ended = {one["idempotency_key"]: one["total_ms"] for one in finished}
    assert len(ended) == len(finished) == 12, "each planned attempt ends once"
    for one in measured:
        if one["outcome"].startswith("confirmed"):
            assert ended[one["idempotency_key"]] == one["total_ms"]
