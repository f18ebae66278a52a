"""The runs under the checkout's artifacts/ that tests drive: other tests' come and go there at the same time."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from slotfill.params import ROOT


def runs(seed: int) -> list[Path]:
    """The folders of the runs with a seed, which marks them as one test's; oldest first."""
    found = []
    for file in (ROOT / "artifacts").glob("*/run.json"):
        with suppress(FileNotFoundError):
            record = json.loads(file.read_text())
            if record["seed"] == seed:
                found.append((record["created_at"], file.parent))
    return [folder for _, folder in sorted(found)]


def remove(seed: int) -> None:
    for folder in runs(seed):
        shutil.rmtree(folder)
