"""A run folder is stamped, never reused, and found again."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree

import pandas as pd
import pytest

from slotfill.errors import BadInput
from slotfill.files import read_json, read_parquet, write_json, write_parquet, write_text
from slotfill.homes import owning, require_original
from slotfill.params import Settings
from slotfill.process import ending
from slotfill.run import at_work, create, discard, driven_cells, newest, open_run


def test_a_run_is_opened_with_the_settings_it_was_created_with(tmp_path: Path) -> None:
    settings = Settings(stress_max=3, faults={"api_delay_ms": 20})
    run = create(settings, tmp_path / "first")
    assert open_run(run.folder).settings == settings


def test_the_stamp_names_seed_versions_host_and_clock(tmp_path: Path) -> None:
    record = create(Settings(seed=5), tmp_path / "first").record
    assert record["seed"] == 5
    assert record["versions"]["httpx"].count(".") == 2
    assert {"created_at", "parameters", "git", "host", "clock", "state", "stops"} <= set(record)


def test_stops_are_added_and_never_overwritten(tmp_path: Path) -> None:
    run = create(Settings(), tmp_path / "first")
    run.stopped("Ctrl+C")
    run.stopped("brake")
    assert [stop["reason"] for stop in run.record["stops"]] == ["Ctrl+C", "brake"]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("measured")
    with pytest.raises(BadInput, match="never reused"):
        create(Settings(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_folder_without_a_usable_record_is_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadInput, match="run"):
        open_run(tmp_path)


def test_the_newest_run_is_the_one_created_last_of_those_that_drove_something(tmp_path: Path) -> None:
    for name, created_at, driven in (("b", "2026-01-01", True), ("a", "2026-02-01", True), ("c", "2026-03-01", False)):
        level = tmp_path / name / "concurrency-1"
        level.mkdir(parents=True)
        write_json(tmp_path / name / "run.json", {"created_at": created_at, "parameters": {}})
        if driven:
            (level / "slot-fill-2026-12-08-17-00-p3-20261122T184522Z-y7sj21.log").touch()
    assert newest(tmp_path) == tmp_path / "a"
    assert newest(tmp_path / "c") is None


def test_rounds_lie_below_their_level_and_the_only_one_in_it(tmp_path: Path) -> None:
    one, three = (create(Settings(rounds=rounds, concurrency=[1, 4]), tmp_path / str(rounds)) for rounds in (1, 3))
    assert one.cell_folders == one.level_folders
    assert three.cell_folder(4, 2) == three.folder / "concurrency-4" / "round-2"
    assert len(three.cell_folders) == 6


def test_the_driven_rounds_of_a_level_are_found_in_their_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        if number != 2:
            (folder / "slot-fill-2026-12-08-17-00-p3-20261122T184522Z-y7sj21.log").touch()
    assert [folder.name for folder in driven_cells(tmp_path)] == ["round-1", "round-10"]


def test_a_run_from_before_there_were_rounds_drove_each_level_once(tmp_path: Path) -> None:
    run = create(Settings(), tmp_path / "first")
    parameters = {name: value for name, value in run.record["parameters"].items() if name != "rounds"}
    run.note(parameters=parameters)
    assert open_run(run.folder).settings.rounds == 1


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    write_json(file, {"kept": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"mean": float("nan")})
    assert json.loads(file.read_text()) == read_json(file) == {"kept": 1}


def test_frames_keep_their_types(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"n": pd.array([1, None], dtype="Int64"), "at": pd.to_datetime(["2026-01-01", None], utc=True)}
    )
    write_parquet(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)
    write_text(tmp_path / "t.md", "ü\n")
    assert (tmp_path / "t.md").read_bytes() == "ü\n".encode()


def test_of_two_runs_that_want_one_new_folder_only_one_gets_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with ThreadPoolExecutor() as pool:
        tries = [pool.submit(create, Settings(), folder) for _ in range(8)]
    refused = [attempt.exception() for attempt in tries if attempt.exception()]
    assert len(refused) == 7 and all(isinstance(each, BadInput) for each in refused)
    assert open_run(folder).record["state"] == "running"


def test_a_moved_run_still_knows_its_platform(tmp_path: Path) -> None:
    run = create(Settings(), tmp_path / "first")
    home = run.platform_home
    run.folder.rename(tmp_path / "moved")
    assert open_run(tmp_path / "moved").platform_home == home


@pytest.mark.parametrize("name", ["..", "../../x-0123abcd", "/", "a/b", "a\0b", "serve", "notebooks", "x-prove-0123ab"])
def test_a_platform_home_that_no_run_makes_is_refused(tmp_path: Path, name: str) -> None:
    run = create(Settings(), tmp_path / "first")
    run.note(platform_home=name)
    with pytest.raises(BadInput, match="platform_home must be a name"):
        _ = run.platform_home


def test_a_run_that_names_no_home_does_not_take_a_shared_one_by_its_own_name(tmp_path: Path) -> None:
    run = create(Settings(), tmp_path / "serve")
    run.note(platform_home="")
    with pytest.raises(BadInput, match="platform_home must be a name"):
        _ = run.platform_home


@pytest.mark.parametrize("below", ["b", "prove/x"])
def test_no_folder_is_made_in_that_of_a_run(tmp_path: Path, below: str) -> None:
    run = create(Settings(), tmp_path / "first")
    with pytest.raises(BadInput, match=f"lies in the run folder {run.folder}; name a place outside"):
        create(Settings(), run.folder / below)
    assert [file.name for file in run.folder.iterdir()] == ["run.json"]


@pytest.mark.parametrize("fault", [KeyError("started_at"), FileNotFoundError("run.json"), KeyboardInterrupt()])
def test_a_folder_that_moves_while_at_work_is_told_so_and_any_other_fault_as_it_is(
    tmp_path: Path, fault: BaseException
) -> None:
    run = create(Settings(), tmp_path / "first")
    with pytest.raises(type(fault)), at_work(run):
        raise fault
    with pytest.raises(BadInput, match=r"first: was moved or removed while at work; `slotfill resume`"), at_work(run):
        run.folder.rename(tmp_path / "moved")
        raise fault


def test_a_run_that_measured_nothing_is_removed_and_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    kept, made = (create(Settings(), tmp_path / name) for name in ("kept", "made"))
    discard(kept, keep_folder=True)
    discard(made)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"] and not any(kept.folder.iterdir())


def test_a_run_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert create(Settings(), tmp_path / "first").folder.stat().st_mode & 0o077 == 0


def test_a_torn_table_is_bad_input_with_its_name(tmp_path: Path) -> None:
    for name, content in (("short", b"PAR1"), ("cut", b"PAR1" + bytes(200)), ("empty", b""), ("text", b"{}" * 50)):
        file = tmp_path / f"{name}.parquet"
        file.write_bytes(content)
        with pytest.raises(BadInput, match=f"{name}.parquet: is not a whole Parquet file"):
            read_parquet(file)
    with pytest.raises(BadInput, match=r"none\.parquet: No such file"):
        read_parquet(tmp_path / "none.parquet")


def test_a_copy_of_a_run_does_not_drive_the_platform_of_the_original(tmp_path: Path) -> None:
    original, home = create(Settings(), tmp_path / "original"), tmp_path / "home"
    home.mkdir()
    with owning(original, home):
        pass
    copytree(original.folder, tmp_path / "copy")
    copy = open_run(tmp_path / "copy")

    with pytest.raises(BadInput, match=rf"copy: is a copy of {original.folder}, .*continue that one"):
        require_original(copy, home)
    require_original(original, home)
    rmtree(original.folder)
    with owning(copy, home), pytest.raises(BadInput, match="another slotfill is at work"), owning(copy, home):
        pass  # what is left of a run is the run, but one process at a time


@pytest.mark.parametrize(
    "edited", [{"target": []}, {"stops": 7}, {"host": "x"}, {"created_at": None}, {"parameters": 1}]
)
def test_a_run_json_that_somebody_edited_is_bad_input_and_names_the_place(
    tmp_path: Path, edited: dict[str, object]
) -> None:
    run = create(Settings(), tmp_path / "run")
    file = run.folder / "run.json"
    write_json(file, {**run.record, **edited})

    with pytest.raises(BadInput, match=rf"run\.json: .*{next(iter(edited))}"):
        open_run(run.folder)


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "metrics.json", "{}")
    assert ending(caught.value) == (f"{tmp_path / 'metrics.json'}: No space left on device", 2)
