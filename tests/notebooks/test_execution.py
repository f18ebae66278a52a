"""The notebooks as programs: run by papermill in a kernel of their own, as a person's Run All would."""

import json
import subprocess
import sys
from pathlib import Path

import driven
import nbformat
import papermill
import pytest
import waiting
from bs4 import BeautifulSoup
from papermill.exceptions import PapermillExecutionError

from slotfill import params
from slotfill.params import ROOT
from slotfill.report import documents

SEED = 77_000_451
"""Marks the runs that these tests leave under artifacts/, so that only those are removed."""


@pytest.fixture
def own_runs():
    """Removes what a notebook driven by a test left under artifacts/."""
    yield
    driven.remove(SEED)


def execute(notebook: str, out: Path, **parameters):
    return papermill.execute_notebook(
        ROOT / "notebooks" / f"{notebook}.ipynb",
        out,
        parameters=parameters,
        progress_bar=False,
        cwd=out.parent,
        shutdown_kernel="immediate",
        start_timeout=int(waiting.PATIENCE_S),
        extra_arguments=["--log-level=ERROR"],
    )


def outputs_of(notebook) -> str:
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


def test_logs_of_others_become_a_report_with_all_its_documents(recorded_levels, tmp_path):
    out = tmp_path / "out"
    documents.write_logs_report([recorded_levels], [], out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert [(level["label"], level["confirmed"], level["submit_ms"]["mean"]) for level in metrics["levels"]] == [
        ("concurrency-1", 3, 1900),
        ("concurrency-4", 3, 1900),
    ]
    assert json.loads((out / "bottleneck.json").read_text())["kind"] == "constant_cost"
    page = BeautifulSoup((out / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert "concurrency is not the cause" in page.get_text()
    assert all(chart["aria-label"] for chart in page.find_all("svg"))
    assert page.find_all("figcaption")
    assert "- [ ] **Slot fill at concurrency 1, 4 and 8**" in (out / "verification.md").read_text()


def test_the_notebook_on_logs_shows_the_whole_report(recorded_levels, tmp_path):
    shown = outputs_of(execute("04-read-logs", tmp_path / "out.ipynb", paths=[str(recorded_levels)]))
    for part in ("Where the time goes", "6 confirmed of 6 attempts", "<svg"):
        assert part in shown


def test_a_misspelt_parameter_stops_the_notebook_with_one_line(recorded_levels, tmp_path):
    with pytest.raises(PapermillExecutionError, match="unknown parameter path; known: paths, server_logs"):
        execute("04-read-logs", tmp_path / "out.ipynb", path=[str(recorded_levels)])


def test_a_level_is_driven_by_its_notebook_alone_and_another_notebook_compares_it(tmp_path, own_runs):
    grid = {"start": "17:00", "end": "17:00", "rounds": 1, "stress_max": 2, "min_party_size": 2, "max_party_size": 2}
    filled = execute("02-run-level", tmp_path / "level.ipynb", concurrency=1, seed=SEED, **grid)
    assert "concurrency-1, round 1: 2 attempts of at most 2 over 1 slots, 2 confirmed" in outputs_of(filled)
    (run_folder,) = driven.runs(SEED)
    level = run_folder / "concurrency-1"
    study = documents.write_report(run_folder, [level])
    assert study.metrics["levels"][0]["confirmed"] == 2
    assert (run_folder / "report.html").is_file()
    again = outputs_of(nbformat.read(level / "level.ipynb", as_version=4))
    assert "2 confirmed" in again and "attempts of at most" not in again
    assert "<svg" in (level / "level.html").read_text()
    assert "concurrency-1/level.html" in (run_folder / "verification.md").read_text()


def test_the_database_notebook_passes_nbval_which_runs_it_in_its_own_folder_also_twice_at_once():
    notebook = ROOT / "notebooks" / "01-prepare-database.ipynb"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", str(notebook)]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for answer in both:
        said, _ = answer.communicate()
        assert answer.returncode == 0, said


def test_the_parameters_shown_by_the_level_notebook_have_the_defaults_values():
    notebook = nbformat.read(ROOT / "notebooks" / "02-run-level.ipynb", as_version=4)
    (source,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    namespace: dict = {}
    exec(source, namespace)
    given = {name: value for name, value in namespace.items() if not name.startswith("__")}
    assert given.pop("level_folder") == ""
    assert params.validate(given, "the cell") == params.validate({"concurrency": 4, "rounds": 1}, "the defaults")
