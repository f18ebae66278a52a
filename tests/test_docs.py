"""The documents name every parameter, exit code and picture that there is, and no other."""

import re

from slotfill import errors, params
from slotfill.errors import SlotfillError
from slotfill.params import ROOT

DOCS = ROOT / "docs"


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_parameter_is_explained_with_its_default():
    rows = re.findall(r"^\| ((?:`[^`]+` ?)+)\| (.*?) \|", text("parameters.md"), re.MULTILINE)
    named = {name: cell for names, cell in rows for name in re.findall("`([^`]+)`", names)}
    fields = {*params.Settings.model_fields, *(f"brakes.{name}" for name in params.Brakes.model_fields)}
    assert set(named) == fields - {"brakes"}
    defaults = params.Settings(date="auto")
    for name in ("concurrency", "rounds", "stress_max", "timeout_ms", "max_attempts", "job_retry_delays_ms", "seed"):
        assert f"`{getattr(defaults, name)}`" in named[name]


def test_every_exit_code_is_explained():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SlotfillError)]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text("exit-codes.md"), re.MULTILINE)}
    assert {kind.exit_code for kind in kinds} | {0, 1} == told


def test_links_and_pictures_lead_somewhere():
    for document in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (DOCS / target).is_file(), f"{document.name}: {target}"
