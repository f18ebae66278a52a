"""A run and the database it began with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotfill import run
from slotfill.drive.driver import Progress
from slotfill.drive.target import discard_home
from slotfill.errors import Refused
from slotfill.levels import fill_all
from slotfill.params import Settings
from slotfill.plan import Plan

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")


@contextmanager
def stopping(plan: Plan) -> Iterator[Progress]:
    """Ctrl+C at the first attempt that has ended."""

    def on_progress(line: object) -> None:
        raise KeyboardInterrupt

    yield on_progress


@contextmanager
def quietly(plan: Plan) -> Iterator[Progress]:
    yield lambda line: None


def test_a_run_goes_on_with_the_database_it_began_with_and_with_no_other(tmp_path: Path) -> None:
    small = {
        "start": "18:00",
        "end": "18:15",
        "concurrency": [1],
        "rounds": 1,
        "stress_max": 2,
        "sample_interval_ms": 0,
    }
    driven = run.create(Settings.model_validate(small), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        fill_all(driven, stopping)
    began_with = driven.record["target"]["database"]
    assert began_with.startswith("whitehorse#")
    left = {file: file.read_bytes() for file in driven.folder.rglob("*") if file.is_file() and file.name != "run.json"}
    assert driven.cell_folder(1, 1) / "level.json" in left

    discard_home(driven.platform_home)
    with pytest.raises(Refused, match="began with the database whitehorse#") as caught:
        fill_all(driven, quietly)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in left if "integrity" not in file.name}.items() <= left.items()
    assert driven.record["target"]["database"] == began_with
    assert not driven.platform_home.exists(), "no other one was made in its place"
