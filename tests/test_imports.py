"""Imports go one way, stage to stage: reading knows nothing of analysis, and analysis nothing of the report."""

import ast
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib" / "slotfill"
LATER = {"read": ("analyse", "report", "drive"), "analyse": ("report", "drive"), "database": ("analyse", "report")}


@pytest.mark.parametrize("stage", LATER)
def test_no_stage_imports_a_later_one(stage: str) -> None:
    wrong = [
        f"{file.relative_to(LIB)} imports {name}"
        for file in sorted((LIB / stage).rglob("*.py"))
        for name in _imported(file)
        if name.startswith(tuple(f"slotfill.{later}" for later in LATER[stage]))
    ]
    assert not wrong


def _imported(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names
