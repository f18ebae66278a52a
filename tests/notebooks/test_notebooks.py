"""The notebooks as files: thin, parameterised by plain literals, without outputs."""

import ast

import nbformat
import pytest

from slotfill.params import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameter_cells(notebook):
    return [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    node = nbformat.read(request.param, as_version=4)
    nbformat.validate(node)
    return node


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "01-prepare-database",
        "02-run-level",
        "03-compare-levels",
        "04-read-logs",
        "05-compare-runs",
    ]


def test_there_is_one_parameters_cell_and_it_holds_plain_literals(notebook):
    (cell,) = parameter_cells(notebook)
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


def test_the_parameters_cell_says_by_its_first_line_that_it_is_one(notebook):
    (cell,) = parameter_cells(notebook)
    assert cell.source.startswith("# Parameters. ")
    assert not [other for other in code_cells(notebook) if other != cell and other.source.startswith("# Parameters")]


def test_no_notebook_defines_anything(notebook):
    for cell in code_cells(notebook):
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source, mode="exec"))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}


def test_outputs_are_stripped_and_cells_keep_their_names(notebook):
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert not any(name.isdigit() for name in ids)


def test_no_notebook_knows_this_machine(notebook):
    assert str(ROOT) not in nbformat.writes(notebook)
