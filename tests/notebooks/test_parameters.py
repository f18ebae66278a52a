"""Edit, then run again: the notebooks' core gesture, in a kernel as JupyterLab and papermill use it."""

import re
from functools import partial

import pytest
import waiting
from jupyter_client.manager import start_new_kernel

SHOW = "settings = read_settings('level_folder'); print(settings.concurrency, settings.stress_max)"
OWN = "# Parameters. Edit, and run all cells again.\nlevel_folder = ''\n"


class Kernel:
    def __init__(self, client):
        self.client = client

    def run(self, *cells: str) -> str:
        """The text that the last of the cells prints, or the error it ends in."""
        told: list[str] = []
        for cell in cells:
            told = []
            hear = partial(_note, told)
            self.client.execute_interactive(cell, timeout=waiting.PATIENCE_S, output_hook=hear)
        return re.sub(r"\x1b\[[0-9;]*m", "", "".join(told)).strip()


def _note(told: list[str], message) -> None:
    told.append(_text(message))


def _text(message) -> str:
    content = message["content"]
    return "\n".join(content["traceback"]) if message["msg_type"] == "error" else content.get("text", "")


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all: what ran in it before must not matter."""
    manager, client = start_new_kernel(startup_timeout=waiting.PATIENCE_S, extra_arguments=["--log-level=ERROR"])
    started = Kernel(client)
    started.run("from slotfill.notebook import read_parameters, read_settings")
    yield started
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_before_the_cell_of_parameters_it_is_said_what_to_run(kernel):
    assert "run the cell of parameters first" in kernel.run(SHOW)


def test_a_second_run_of_all_cells_takes_the_parameters_as_edited(kernel):
    assert kernel.run(OWN + "concurrency = 1", SHOW) == "[1] 10"
    imports = "from slotfill.notebook import read_parameters, read_settings"
    assert kernel.run(imports, OWN + "concurrency = 8\nstress_max = 2", SHOW) == "[8] 2"
    assert kernel.run(SHOW) == "[8] 2"


def test_a_parameter_taken_out_of_the_cell_is_back_at_its_default(kernel):
    assert kernel.run(OWN + "concurrency = 1\nstress_max = 3", SHOW) == "[1] 3"
    assert kernel.run(OWN + "concurrency = 1", SHOW) == "[1] 10"


def test_a_misspelt_name_is_refused_in_one_line_each_time_until_it_is_mended(kernel):
    refusal = "BadInput: parameters: unknown parameter concurency"
    assert kernel.run(OWN + "concurency = 1", SHOW).splitlines()[-1].startswith(refusal)
    again = kernel.run(OWN + "concurency = 1", SHOW)
    assert again.startswith(refusal) and "\n" not in again
    assert kernel.run(OWN + "concurrency = 1", SHOW) == "[1] 10"


def test_variables_of_other_cells_are_nobodys_parameters(kernel):
    assert kernel.run("import math\nmine = 3\nseed = 'x'", OWN + "concurrency = 1", SHOW) == "[1] 10"


def test_what_papermill_injects_wins_until_the_own_cell_runs_again(kernel):
    own, injected = OWN + "concurrency = 1\nstress_max = 5", "# Parameters\nconcurrency = 4\n"
    assert kernel.run(own, injected, SHOW) == "[4] 5"
    assert kernel.run(own, SHOW) == "[1] 5"
    assert "unknown parameter stres_max" in kernel.run(own, "# Parameters\nstres_max = 4\n", SHOW)


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("pahts = []", "unknown parameter pahts; known: paths"),
        ("paths = 'logs'", "paths must be a list of texts, not 'logs'"),
        ("paths = [5]", "paths must be a list of texts, not [5]"),
    ],
)
def test_a_reading_notebooks_own_parameters_are_checked(kernel, cell, complaint):
    assert complaint in kernel.run("# Parameters. Edit.\n" + cell, "read_parameters(paths=list)")


def test_a_level_folder_is_a_text(kernel):
    told = kernel.run("# Parameters. Edit.\nlevel_folder = 5", "read_settings('level_folder')")
    assert told == "BadInput: parameters: level_folder must be a text, not 5"
