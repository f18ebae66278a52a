"""Imports go one way, stage to stage: reading knows nothing of analysis, and analysis nothing of the report."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib" / "slotfill"
DRIVING = ("drive", "collect", "cell", "levels", "pipeline", "notebook", "cli", "cli_db")
LATER = {
    "params": ("plan", "database", *DRIVING, "read", "analyse", "report"),
    "plan": ("database", *DRIVING, "read", "analyse", "report"),
    "events": ("plan", "database", *DRIVING, "read", "analyse", "report"),
    "database": (*DRIVING, "read", "analyse", "report"),
    "drive": ("collect", "cell", "levels", "pipeline", "analyse", "report"),
    "collect": ("cell", "levels", "pipeline", "analyse", "report"),
    "read": (*DRIVING, "database", "analyse", "report"),
    "analyse": (*DRIVING, "report"),
    "report": (*DRIVING, "database"),
}


@pytest.mark.parametrize("stage", LATER)
def test_no_stage_imports_a_later_one(stage: str) -> None:
    wrong = [
        f"{file.relative_to(LIB)} imports {name}"
        for file in _files(stage)
        for name in _imported(file)
        if name.split(".")[1] in LATER[stage]
    ]
    assert not wrong


def test_no_two_parts_import_each_other() -> None:
    """Of all folders and modules of the library, however they are called; raises CycleError naming them."""
    parts = {path.stem for path in LIB.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    needs = {part: {name.split(".")[1] for file in _files(part) for name in _imported(file)} - {part} for part in parts}
    assert set(TopologicalSorter(needs).static_order()) >= parts


def test_only_one_module_knows_the_specimen() -> None:
    knowing = {
        str(file.relative_to(LIB)) for file in LIB.rglob("*.py") for name in _named(file) if "whitehorse" in name
    }
    assert knowing == {"drive/target.py"}


@pytest.mark.parametrize("word", ["whitehorse", "procrastinate", "table_occupancy"])
def test_what_only_the_specimen_has_is_handed_over_by_that_module(word: str) -> None:
    naming = {str(file.relative_to(LIB)) for file in LIB.rglob("*.py") if word in file.read_text(encoding="utf-8")}
    assert naming == {"drive/target.py"}


def _files(part: str) -> list[Path]:
    return sorted((LIB / part).rglob("*.py")) or [LIB / f"{part}.py"]


def _imported(file: Path) -> Iterator[str]:
    """What a file imports of this library, with two names at least."""
    for name in _named(file):
        if name.startswith("slotfill."):
            yield name


def _named(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_a_driver_that_waits_to_begin_loads_no_frames() -> None:
    loaded = "import sys, slotfill.drive.__main__; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    assert "httptools" in told
    assert not {"pandas", "numpy", "scipy", "pyarrow"} & set(told)
