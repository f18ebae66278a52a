"""What a person types, and the line and exit code they get."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import waiting

from slotfill import pipeline
from slotfill.errors import BadInput
from slotfill.params import ROOT, Settings
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


def slotfill(*words: str | Path, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SLOTFILL, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        cwd=cwd,
    )


def plant(folder: Path) -> Path:
    """Modules that no process of ours may import from its working folder; the file in which they would say so."""
    imported = folder / "imported"
    code = f"open({str(imported)!r}, 'a').write(__name__ + chr(10))\n"
    for name in ("json", "signal", "httpx"):
        (folder / f"{name}.py").write_text(code)
    for name in ("slotfill", "whitehorse", "ipykernel_launcher"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)
    return imported


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
        (["run", "--junit", "no-such-folder/x.xml"], "--junit no-such-folder/x.xml: No such file"),
        (["run", "--nothing"], "No such option"),
        (["resume", "lib"], "is not a run folder"),
        (["resume", "x" * 5000], "x…x"),
        (["tap", "http://127.0.0.1:9", "--delay-ms", "nan"], "must be a number"),
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
    out = tmp_path / "a run of {mine} – Übung"  # papermill would put a parameter in for the braces
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    imported = plant(elsewhere)
    answer = slotfill(
        "run", *SMALL, "--set", "thresholds.submit_ms.max=0.001", "--out", out, cwd=elsewhere, MPLBACKEND="x"
    )
    assert answer.returncode == 1, answer.stderr
    assert not imported.exists(), imported.read_text()
    assert "broken" in answer.stderr
    readable = [file for file in (out, *out.rglob("*")) if file.stat().st_mode & 0o077]
    assert not readable, "guests' data is for the owner alone"
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
        [SLOTFILL, "run", *words, "--set", "faults.api_delay_ms=300", "--set", "stress_max=4", "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    logs = partial(out.glob, "concurrency-1/slot-fill-*.log")
    waiting.until(
        lambda: process.poll() is not None or any("final_summary" in log.read_text() for log in logs()),
        "an attempt has ended",
    )
    with pytest.raises(BadInput, match="another slotfill is at work here"):
        pipeline.resume(out, print)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=waiting.PATIENCE_S)
    assert process.returncode == 130, said
    assert "stop again (Ctrl+C) to stop at once" in said and f"slotfill resume {out}" in said
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


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"start": "18:05", "end": "18:20"}, "every 15 minutes from 12:00, and the grid asks for 18:05"),
        ({"end": "20:30"}, "from 17:00 to 20:00, and the grid asks for 20:15"),
        ({"start": "11:00"}, "from 12:00 to 16:45, and the grid asks for 11:00"),
        ({"booking_type": "lunch"}, "takes lunch bookings from 12:00 to 16:45, and the grid asks for 17:00"),
    ],
)
def test_a_grid_that_the_venue_would_refuse_is_refused_before_a_folder_is_made(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        pipeline.run(Settings(**changes), tmp_path / "run", print)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_refused_leaves_no_folder_and_a_folder_that_was_there(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/nothing"}
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for out in (new, old):
        assert_one_line(slotfill("run", *SMALL, "--out", out, **environ), 5, "127.0.0.1:1")
    assert not new.exists() and old.is_dir() and not any(old.iterdir())
