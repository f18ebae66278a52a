"""A run folder that was edited or damaged: one line that names the file, and nothing outside of it is written."""

import json
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from shutil import copytree
from typing import Any

import pandas as pd
import pytest

from slotfill import pipeline, sample
from slotfill.analyse import study
from slotfill.analyse.document import Bottleneck
from slotfill.cell import Cell
from slotfill.drive.journal import SlotLog
from slotfill.errors import BadInput
from slotfill.files import read_json, write_json, write_parquet, write_text
from slotfill.levels import fill_all
from slotfill.params import Settings
from slotfill.read.find import find_logs
from slotfill.report import documents, page, results, terminal
from slotfill.run import Run, create, newest, open_run, require_inside

LEVEL = {
    "state": "driven",
    "started_at": "2026-12-08T16:00:00.000+00:00",
    "resumes": 0,
    "server_log_starts": 0,
    "postgres_log_starts": 0,
}
PROOF = {
    "status": "asserted",
    "reason": "it was tried",
    "hop": "api",
    "mechanism": "cpu",
    "border": "web",
    "delay_ms": 2.0,
    "calls": 1.0,
    "calls_ci95": [0.9, 1.1],
    "parts": [],
    "effects": [],
    "attempts": {},
}
CHECKS = {"checks": [{"name": "overlap", "status": "passed", "violations": 0}]}
JSON = ("run.json", "proof.json", "concurrency-1/integrity-before.json")
PARQUET = ("concurrency-1/samples.parquet", "concurrency-1/calls.parquet", "concurrency-1/spans.parquet")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, recorded_levels: Path) -> Path:
    """A run of one level that was driven, with a file of every kind."""
    run = create(Settings(concurrency=[1], rounds=1), tmp_path_factory.mktemp("recorded") / "run")
    level = run.folder / "concurrency-1"
    level.mkdir()
    log = (recorded_levels / "slot-fill-concurrency1.log").read_text(encoding="utf-8")
    write_text(level / "slot-fill-2026-12-08-16-00-p3-20261208T160000Z-abcdef.log", log)
    write_json(level / "level.json", LEVEL)
    write_json(run.folder / "proof.json", PROOF)
    write_json(run.folder / "bottleneck.json", Bottleneck("api", "cpu", "constant_cost").as_json())
    for when in ("before", "after"):
        write_json(level / f"integrity-{when}.json", CHECKS)
    write_parquet(level / "samples.parquet", sample.frame([]))
    for name in ("calls", "spans"):
        write_parquet(level / f"{name}.parquet", pd.DataFrame())
    return run.folder


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Run:
    return open_run(copytree(recorded, tmp_path / "run"))


def test_what_is_damaged_below_is_whole_before(run: Run) -> None:
    assert len(results.open_run(run.folder).attempts) == 3
    assert Cell(run.level_folders[0], run.settings).record == LEVEL


def test_what_an_experiment_tapped_is_not_exported_as_the_runs(run: Run) -> None:
    level = run.folder / "concurrency-1"
    copytree(level, run.folder / "prove" / "plain" / "concurrency-1" / "round-1")
    pipeline.export([run.folder], [], None, print)
    assert len(pd.read_parquet(run.folder / "exports" / "attempts.parquet")) == 3


def test_what_an_experiment_drove_is_no_level_of_the_run(run: Run) -> None:
    """Nor of a folder of runs; only who names it reads it."""
    level = run.folder / "concurrency-1"
    for arm in ("plain", "delayed"):
        copytree(level, run.folder / "prove" / arm / "concurrency-1" / "round-1")
    for named, logs in ((run.folder, 1), (run.folder.parent, 1), (run.folder / "prove", 2)):
        assert len(find_logs([named]).files) == logs
    (run.folder / "run.json").unlink()
    assert len(find_logs([run.folder]).files) == 3  # any folder can have that name


def test_an_experiment_of_another_verdict_says_nothing_of_this_one(run: Run) -> None:
    """As it is where bottleneck.json was edited before ``prove``, or other logs changed the verdict after it."""
    tested = {**PROOF, "status": "refuted"}
    write_json(run.folder / "proof.json", tested)
    documents.write_analysis(run.folder)
    found = read_json(run.folder / "bottleneck.json")
    assert (found["verdict"], found["mechanism"]) != ("api", "cpu")
    assert found["status"] == "asserted"
    assert "tested another verdict, api (cpu), and refuted that" in found["experiment"]
    read = study.of_run(run.folder)
    assert "another verdict, api (cpu), and refuted that" in " ".join(terminal.verdict(read).split())
    assert "tested another verdict: api (cpu), and <strong>refutes</strong> that one" in page.report(read)

    write_json(run.folder / "proof.json", {**tested, "hop": found["verdict"], "mechanism": found["mechanism"]})
    read = study.of_run(run.folder)
    assert (read.document.status, read.document.experiment) == ("refuted", "it was tried")
    assert f"<strong>refutes</strong> the verdict {found['verdict']} ({found['mechanism']})" in page.report(read)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"connections": 0}, "no connection came to it"),
        ({"connections": 3, "encrypted": 3, "unreadable": 3}, "it saw only encrypted connections.*sslmode=disable"),
        ({"connections": 9, "encrypted": 3, "unreadable": 4, "calls": 40}, "3 of 9 connections are encrypted.* 1 of 9"),
        ({"connections": 9, "encrypted": 0, "unreadable": 0, "calls": 40}, None),
    ],
)
def test_what_passed_a_tap_unread_is_told_where_the_run_is(run: Run, counts: dict[str, int], told: str | None) -> None:
    tap = {"calls": 0, "protocol": "postgresql", **counts}
    write_json(run.folder / "concurrency-1" / "level.json", {**LEVEL, "heard": {"taps": {"database": tap}}})
    fill_all(run, lambda plan: nullcontext(print))
    said = " ".join(terminal.verdict(study.of_run(run.folder)).split())
    assert ("Not all calls" in said) == (told is not None)
    if told is not None:
        assert re.search(f"tap database: {told}", said)


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def _zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _text_for_times(file: Path) -> None:
    write_parquet(file, pd.DataFrame({name: ["soon"] for name in ("at", "started_at", "start_ns")}))


def _without_instants(file: Path) -> None:
    write_parquet(file, sample.frame([{"kind": "server", "metric": "active", "value": 1.0}]))


def _without_most(file: Path) -> None:
    write_parquet(file, pd.DataFrame({"trace_id": ["1"], "target": ["bookings"]}))


def _another_document(file: Path) -> None:
    write_json(file, [{"a": 1}])


def _no_number(file: Path) -> None:
    file.write_text('{"parameters": {}, "checks": [], "seed": NaN}')


def _half_a_character(file: Path) -> None:
    file.write_text('{"parameters": {}, "checks": [], "reason": "\\ud800"}')


ANY = (_a_folder, _a_pipe, _cut, _zeros)
DAMAGED = [
    *((name, damage) for name in JSON for damage in (*ANY, _another_document, _no_number, _half_a_character)),
    *((name, damage) for name in PARQUET for damage in (*ANY, _text_for_times)),
    (PARQUET[0], _without_instants),
    *((name, _without_most) for name in PARQUET[1:]),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_damaged_file_is_named_in_one_line(run: Run, name: str, damage: Callable[[Path], None]) -> None:
    damage(run.folder / name)
    for read in (lambda: results.open_run(run.folder), lambda: pipeline.export([run.folder], [], None, print)):
        with pytest.raises(BadInput, match=rf"{name}: \S") as caught:
            read()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "edited"),
    [
        ("run.json", {"parameters": 7}),
        ("run.json", {"host": {"cpus": 0}}),
        ("run.json", {"target": {"sessions": 7}}),
        ("run.json", {"stops": ["by hand"]}),
        ("run.json", {"unread": 7}),
        ("run.json", {"state": "x" * 1_000_000, "git": 1}),
        ("proof.json", {"status": "proven"}),
        ("proof.json", {"calls_ci95": [1]}),
        ("proof.json", {"parts": [{}]}),
        ("concurrency-1/integrity-after.json", {"checks": [{"name": "overlap", "status": "passed"}]}),
    ],
)
def test_an_edited_document_is_named_with_the_place(run: Run, name: str, edited: dict[str, Any]) -> None:
    file = run.folder / name
    write_json(file, {**read_json(file), **edited})
    with pytest.raises(BadInput, match=rf"{name}: .*{list(edited)[-1]}") as caught:
        results.open_run(run.folder)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("edited", [{"verdict": None}, {"shares": {"concurrency-1": {"api": 3}}}, {"leaves": [{}]}])
def test_an_edited_verdict_is_not_put_to_the_test(run: Run, edited: dict[str, Any]) -> None:
    file = run.folder / "bottleneck.json"
    write_json(file, {**read_json(file), **edited})
    with pytest.raises(BadInput, match=rf"bottleneck\.json: {next(iter(edited))}"):
        pipeline.prove(run.folder, print)


@pytest.mark.parametrize(
    "edited",
    [
        {"state": "new"},
        {"resumes": "1"},
        {"started_at": "2026-12-08"},
        {"server_log_starts": -1},
        {"server_log_starts": 10**22},
        {"heard": {"taps": {"database": {"encrypted": "all"}}}},
    ],
)
def test_a_level_goes_on_from_what_a_run_wrote_only(run: Run, edited: dict[str, Any]) -> None:
    level = run.level_folders[0]
    write_json(level / "level.json", {**LEVEL, **edited})
    with pytest.raises(BadInput, match=rf"level\.json: {next(iter(edited))}"):
        _ = Cell(level, run.settings).record


@pytest.mark.parametrize("name", ["no-such/x.xml", ".", "", "x" * 250, "pipe"])
def test_a_place_for_junit_that_is_none_is_told_before_a_run_goes_on(run: Run, tmp_path: Path, name: str) -> None:
    before = (run.folder / "run.json").read_text()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="--junit"):
        pipeline.resume(run.folder, print, tmp_path / name if name != "." else Path())
    assert (run.folder / "run.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "run"]


def test_a_run_folder_whose_name_is_not_utf8_is_refused(run: Run, tmp_path: Path) -> None:
    try:
        odd = run.folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(BadInput, match="must be UTF-8"):
        open_run(odd)


def test_a_level_whose_record_is_gone_is_not_driven_again(run: Run) -> None:
    level = run.level_folders[0]
    (level / "level.json").unlink()
    with pytest.raises(BadInput, match=r"level\.json: is missing"):
        _ = Cell(level, run.settings).record


LINE = "[2026-12-08T16:00:00.000Z] [INFO] [{phase}] {message} {fields}\n"
START = LINE.format(phase="bootstrap", message="Starting booking flow", fields='{"iteration":1,"correlationId":"a"}')


@pytest.mark.parametrize(
    ("phase", "message", "fields"),
    [
        ("bootstrap", "Starting booking flow", {"correlationId": "b"}),
        ("bootstrap", "Starting booking flow", {"correlationId": ["b"], "iteration": 1}),
        ("final_summary", "Booking failed to confirm", {"status": "failed", "iteration": True}),
        ("final_summary", "Booking failed to confirm", {"iteration": 1}),
        ("submit", "Booking created", {"correlationId": "a", "durationMs": "long"}),
        ("diagnostics", "Slot finished", {"state": None}),
        ("diagnostics", "Slot reopened", {"iterations": 3}),
    ],
)
def test_a_slot_does_not_go_on_from_an_edited_line(
    tmp_path: Path, phase: str, message: str, fields: dict[str, Any]
) -> None:
    file = tmp_path / "slot.log"
    file.write_text(START + LINE.format(phase=phase, message=message, fields=json.dumps(fields)))
    with pytest.raises(BadInput, match=r"slot\.log:2: this line was changed"):
        SlotLog(file)


LINKS = ("report.html", ".report.html.partial", "run.json", "concurrency-1", "exports", "prove", "concurrency-1/a.log")


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_by_way_of_a_link(run: Run, tmp_path: Path, name: str) -> None:
    link, outside = run.folder / name, tmp_path / "outside"
    if link.exists():
        link.rename(outside)
    elif "." in name:
        outside.write_text("kept")
    else:
        outside.mkdir()
    link.symlink_to(outside)
    before = {file: file.read_bytes() for file in [outside, *outside.rglob("*")] if file.is_file()}

    for write in (pipeline.report, pipeline.export):
        with pytest.raises(BadInput, match=f"{name}: is a link"):
            write([run.folder], [], None, print)
    for change in (pipeline.resume, pipeline.prove):
        with pytest.raises(BadInput, match=f"{name}: is a link"):
            change(run.folder, print)
    assert {file: file.read_bytes() for file in [outside, *outside.rglob("*")] if file.is_file()} == before


def test_a_link_on_the_way_to_a_run_is_no_matter(run: Run, tmp_path: Path) -> None:
    (tmp_path / "by-another-way").symlink_to(run.folder.parent)
    require_inside(tmp_path / "by-another-way" / run.folder.name)


def test_a_file_is_not_written_over_what_a_link_leads_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (tmp_path / ".junit.xml.partial").symlink_to(outside)
    with pytest.raises(OSError):
        write_text(tmp_path / "junit.xml", "new")
    assert outside.read_text() == "kept"


def test_the_newest_run_is_found_beside_one_that_is_damaged(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    other = run.folder.parent / "other" / "concurrency-1"
    other.mkdir(parents=True)
    (other / "slot-fill-x.log").touch()
    (other.parent / "run.json").write_text("{")
    assert newest(run.folder.parent) == run.folder
    assert "other/run.json: is not JSON" in capsys.readouterr().err
