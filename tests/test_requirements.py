"""The pinned packages, which `make setup` installs on whatever Python a person has."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]


def test_every_pinned_package_runs_on_the_oldest_python_that_slotfill_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = next(iter(SpecifierSet(project["requires-python"]))).version + ".0"
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    distributions = {each.metadata["Name"].lower().replace("_", "-"): each for each in metadata.distributions()}
    asked = {
        pin: distributions[name].metadata["Requires-Python"]
        for pin in pins
        if (name := Requirement(pin).name.lower().replace("_", "-")) in distributions
    }

    assert len(asked) > 100
    assert [pin for pin, asks in asked.items() if asks and oldest not in SpecifierSet(asks)] == []
