"""What killed runs leave is kept while it can be continued, told of where nobody knows, and else removed."""

import os
from pathlib import Path

import pytest

from slotfill import homes, notebook
from slotfill.doctor import _kept
from slotfill.drive.target import discard_home, is_new
from slotfill.errors import Unreachable
from slotfill.homes import OWNER
from slotfill.levels import fill_all
from slotfill.params import Settings
from slotfill.run import Run, create
from whitehorse.lease import Lease, is_taken


def left_behind(parent: Path, name: str, run: Path | None, age_s: float = 3_600) -> Path:
    home = parent / name
    home.mkdir(parents=True)
    (home / "pgdata").write_bytes(bytes(2_000_000))
    (home / "lease").touch()
    at = (home / "lease").stat().st_mtime - age_s
    os.utime(home / "lease", (at, at))
    if run is not None:
        (home / OWNER).write_bytes(os.fsencode(run))
    return home


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(Settings(), tmp_path / "run")


def test_a_stopped_run_keeps_its_database_and_doctor_says_for_what(run: Run, tmp_path: Path) -> None:
    home = left_behind(tmp_path / "homes", run.platform_home.name, run.folder)
    assert homes.discard_useless(tmp_path / "homes") == []
    [said] = _kept(homes.unused(tmp_path / "homes"))
    assert said.status == "ok" and said.text == f"{home}: 2 MB, for slotfill resume {run.folder}"


def test_a_database_whose_run_is_gone_is_left_to_a_person(run: Run, tmp_path: Path) -> None:
    left_behind(tmp_path / "homes", run.platform_home.name, run.folder)
    run.folder.rename(tmp_path / "moved")
    assert homes.discard_useless(tmp_path / "homes") == []
    [said] = _kept(homes.unused(tmp_path / "homes"))
    assert said.status == "warn" and "unless that was moved" in said.text
    create(Settings(), run.folder)  # another run in its place
    assert homes.discard_useless(tmp_path / "homes") == []


def test_what_nothing_continues_is_removed(run: Run, tmp_path: Path) -> None:
    parent = tmp_path / "homes"
    done = left_behind(parent, run.platform_home.name, run.folder)
    proving = left_behind(parent, f"{run.platform_home.name}-prove-abc123", None)
    shared = left_behind(parent, "serve", None)
    run.note(state="done")
    assert homes.discard_useless(parent) == [done, proving]
    assert [*parent.iterdir()] == [shared]


def test_a_stopped_run_whose_name_is_like_an_experiments_keeps_its_database(tmp_path: Path) -> None:
    run = create(Settings(), tmp_path / "before-prove-x")
    left_behind(tmp_path / "homes", run.platform_home.name, run.folder)
    assert homes.discard_useless(tmp_path / "homes") == []


def test_a_home_that_another_run_removes_meanwhile_is_passed_over(run: Run, tmp_path: Path) -> None:
    home = left_behind(tmp_path / "homes", run.platform_home.name, run.folder)
    [found] = homes.unused(tmp_path / "homes")
    discard_home(home)
    assert found.size_bytes == 0
    assert is_new(home), "and not to be removed"
    home.mkdir()
    assert not is_taken(home / "lease")
    assert not any(home.iterdir()), "looking makes nothing that would keep it from being removed"


def test_a_run_says_whose_its_home_is_before_its_platform_starts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:1/none")
    with pytest.raises(Unreachable):
        fill_all(run, notebook.live_progress)
    [left] = [home for home in homes.unused() if home.folder == run.platform_home]
    assert left.run == run.folder and left.is_needed

    with pytest.raises(Unreachable):
        notebook._drive(run)
    assert not run.folder.exists() and not left.folder.exists(), "nothing was measured, and nothing stays"


def test_the_home_of_a_run_that_moved_away_stays(run: Run, tmp_path: Path) -> None:
    home = left_behind(tmp_path / "homes", run.platform_home.name, run.folder)
    run.folder.rename(tmp_path / "moved")
    assert not homes.discard_unmeasured(run)
    assert home.exists() and (tmp_path / "moved" / "run.json").exists()


def test_what_is_used_or_about_to_be_is_left_alone(run: Run, tmp_path: Path) -> None:
    parent = tmp_path / "homes"
    used = left_behind(parent, "a-prove-1", None)
    left_behind(parent, "b-prove-2", None, age_s=0)
    (parent / "c-prove-3").mkdir()
    lease = Lease(used / "lease")
    lease.share()
    try:
        assert homes.discard_useless(parent) == []
    finally:
        lease.close()
