"""Settings are validated before anything starts."""

import os
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from slotfill.errors import BadInput
from slotfill.options import GROUPS
from slotfill.params import ROOT, Settings, load, next_quiet_day, today, validate


def write(folder: Path, text: str) -> Path:
    file = folder / "given.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_base_file_and_the_built_in_defaults_are_the_same_values() -> None:
    named = yaml.safe_load((ROOT / "params" / "base.yaml").read_text(encoding="utf-8"))
    remote = {"base_url", "env_file", "allow_local_fallback", "server_log", "headers", "csrf"}
    assert set(named) | remote == set(Settings.model_fields)
    assert load([ROOT / "params" / "base.yaml"]) == Settings()


@pytest.mark.parametrize("file", sorted((ROOT / "params").glob("*.yaml")), ids=lambda file: file.name)
def test_every_parameter_file_is_valid(file: Path) -> None:
    assert load([file]).concurrency


def test_a_parameter_of_an_earlier_version_is_named_and_has_no_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "bootstrap_resamples: 2000")
    assert load([file]) == load()
    [line] = capsys.readouterr().err.splitlines()
    assert str(file) in line and "bootstrap_resamples has no effect" in line and "take it out" in line
    assert validate({"bootstrap_resamples": 500}, "run.json") == Settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("concurency: 4", "unknown parameter concurency; did you mean concurrency?"),
        ("brakes: {error_rat: 1}", "unknown parameter brakes.error_rat; did you mean error_rate?"),
        ("concurrency: 0", "concurrency.0: must be 1 or more, not 0"),
        ("concurrency: 128", "concurrency: 128 is more than one driver can keep apart; 64 is the most"),
        ("concurrency: {}", "concurrency: must be a list"),
        ("concurrency: []", "concurrency"),
        ("concurrency: [4, 4]", "names a level twice"),
        ("concurrency: [true]", "concurrency: must be a number, not [True]"),
        ("rounds: yes", "rounds: must be a number, not True"),
        ("brakes: {error_window: on}", "brakes.error_window: must be a number, not True"),
        ("stress_max: many", "stress_max: must be a whole number, not 'many'"),
        ("stress_max: .inf", "stress_max: must be a finite number"),
        ("max_rate_per_min: .inf", "max_rate_per_min: must be a finite number"),
        ("brakes: {p95_ms: .nan}", "brakes.p95_ms: must be a finite number"),
        ("thresholds: {submit_ms.p95: -.inf}", "thresholds.submit_ms.p95: must be a finite number"),
        ("faults: {db_rtt_ms: .inf}", "faults.db_rtt_ms: must be a finite number"),
        ("faults: {db_rtt_ms: 1e+300}", "faults.db_rtt_ms: must be 600000 or less"),
        ("faults: {db_rtt_ms: slow}", "faults.db_rtt_ms: must be a number, or true or false, not 'slow'"),
        ("faults: {bool: slow}", "faults.bool: must be a number, or true or false, not 'slow'"),
        ("thresholds: {bool: abc}", "thresholds.bool: must be a number, not 'abc'"),
        ("thresholds: {bool: a, float: b}", "thresholds.bool: must be a number, not 'a'"),
        ("headers: {bool: [1]}", "headers.bool: must be a text"),
        ("faults: 3", "faults: must be a mapping"),
        ("seed: 0x" + "f" * 4000, "seed: must be less than 9223372036854775808, not so long a number"),
        ("date: 0x" + "f" * 4000, "is not a date YYYY-MM-DD or auto: so long a number"),
        ("brakes: {p95_ms: 0x" + "f" * 4000 + "}", "brakes.p95_ms"),
        ("base_url: 0x" + "f" * 4000, "base_url: must be a text"),
        ("flags: {1: x, a: y}", "has no flag 1"),
        ("flags: {? 0x" + "f" * 4000 + " : x}", "flags: "),
        ("taps: {? 0x" + "f" * 4000 + " : null}", "taps"),
        ("headers: {? 0x" + "f" * 4000 + " : y}", "headers"),
        ("concurrency: [0x" + "f" * 4000 + "]", "concurrency: so long a number is more than one driver"),
        ("timeout_ms: 1000000000000", "timeout_ms: must be 86400000 or less"),
        ("profiling: 7", "profiling: must be true or false, not 7"),
        ("booking_type: brunch", "booking_type: must be one of 'auto', 'lunch', 'dinner' or 'drinks', not 'brunch'"),
        ("target: ../../x", "target: is a name of letters"),
        ('server_log: "a\\0b"', "server_log: holds a control character"),
        ("headers: {Authorization: Bearer hunter2}", "headers: Authorization: run.json keeps what stands here"),
        ("headers: {Idempotency-Key: x}", "headers: names Idempotency-Key, which Slotfill sets itself"),
        ('headers: {X-Site: "a\\r\\nb"}', "X-Site: holds characters that no header can have"),
        ("csrf: {cookie: a, headr: b}", "csrf"),
        ("csrf: {page: book, cookie: a, header: b}", "csrf.page"),
        ("? [a]\n: 1", "a name must be plain text"),
        ("? {a: 1}\n: 1", "a name must be plain text"),
        ("seed: " + "[" * 3000, "is nested too deep"),
        ("seed: &a [*a]", "its aliases (*name) written out"),
        ("\n".join(["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]), "aliases"),
        ("seed: !!timestamp x", "is not what its tag (!!) says"),
        ("seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("seed: " + "x" * 2_000_000, "is too large"),
        ("interval_minutes: 0", "interval_minutes"),
        ('start: "20:00"\nend: "16:00"', "end 16:00 is before start 20:00"),
        ('start: "25:00"', "start: must be a time like"),
        ("start: 25:00", "start: must be a time like"),
        ("date: 2001-01-01", "date 2001-01-01 is in the past"),
        ("date: 9999-12-31", "date 9999-12-31 lies over"),
        ("date: soon", "is not a date"),
        ("date: 20990228", "is not a date"),
        ("date: 2099-03-28 18:00:00", "date: is a day and a time; give the day alone: 2099-03-28"),
        ("date: 2099-03-28T10:00:00Z", "date: is a day and a time"),
        ("date: 2099-02-30", "day"),
        ("flags: {FEATURE_NOTHING: 1}", "has no flag FEATURE_NOTHING"),
        ("min_party_size: 9\nmax_party_size: 2", "max_party_size 2 is below"),
        ("seed: 1\nseed: 2", "seed stands twice"),
        ("- 1", "must hold 'name: value' lines"),
        ("start: [", ":1"),
        ("poll_interval_ms: 10", "poll_interval_ms"),
        ("base_url: 'localhost:3000'", "base_url: must look like"),
        ("base_url: 'http://localhost:port'", "base_url: must look like"),
        ("base_url: 'http://[::1'", "base_url: must look like"),
        ("base_url: 'http://runner:hunter2@localhost'", "base_url: must hold no login"),
    ],
)
def test_a_bad_file_is_named_with_its_fault_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        load([file])
    message = str(caught.value)
    assert complaint in message and str(file) in message and "\n" not in message


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load([tmp_path / "absent.yaml"])


def test_a_pipe_is_no_file_of_parameters(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")  # to read it would wait for a writer
    with pytest.raises(BadInput, match="is a pipe"):
        load([tmp_path / "params.yaml"])


def test_later_files_and_overrides_win_and_maps_merge(tmp_path: Path) -> None:
    file = write(tmp_path, "faults: {api_delay_ms: 5}\nstress_max: 3")
    settings = load([file], {"faults.db_rtt_ms": "20", "stress_max": "4", "thresholds.submit_ms.p95": "2000"})
    assert settings.faults == {"api_delay_ms": 5, "db_rtt_ms": 20}
    assert settings.stress_max == 4
    assert settings.thresholds == {"submit_ms.p95": 2000}


def test_a_time_without_quotes_is_read_as_the_time_that_was_meant(tmp_path: Path) -> None:
    settings = load([write(tmp_path, "start: 16:30\nend: 17:45")])
    assert (settings.start, settings.end) == ("16:30", "17:45")


def test_auto_chooses_a_quiet_day_at_least_two_weeks_ahead() -> None:
    chosen = date.fromisoformat(Settings().date)
    assert chosen >= today() + timedelta(days=14)
    for offset in range(7):
        after = date(2026, 11, 22) + timedelta(days=offset)
        assert next_quiet_day(after).strftime("%A") in {"Tuesday", "Wednesday", "Thursday"}
        assert 14 <= (next_quiet_day(after) - after).days <= 18


def test_help_lists_every_parameter_once() -> None:
    names = [name for group in GROUPS.values() for name in group.split()]
    assert sorted(names) == sorted(Settings.model_fields)
