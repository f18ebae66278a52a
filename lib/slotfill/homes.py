"""The databases of embedded platforms that runs keep until they are done, and those that nothing will ever continue.

A home (``Run.platform_home``) names its run folder. A run that was killed needs it to be resumed, also where its folder
has moved since, which nobody can tell from one that was removed: such a home is told of and left to a person.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slotfill.drive.target import discard_home, is_new, is_used
from slotfill.errors import BadInput
from slotfill.params import ROOT
from slotfill.run import OWNER, open_run

HOMES = ROOT / "artifacts" / ".platform"
PROVING = "-prove-"
"""In the name of an experiment's home, between its run's and a random one; nothing ever continues an experiment."""


@dataclass(frozen=True)
class Home:
    """One that nobody uses now; ``run`` is the folder it belonged to when it was used last."""

    folder: Path
    run: Path
    size_bytes: int

    @property
    def is_needed(self) -> bool | None:
        """By that run, which is not done; ``None``: that run is not there any more, and may be somewhere else."""
        with suppress(BadInput):
            run = open_run(self.run)
            return run.record.get("state") != "done" if run.platform_home.name == self.folder.name else None
        return None


def unused(parent: Path = HOMES) -> list[Home]:
    """The homes of runs that no process uses, in the order of their names."""
    return [Home(folder, run, _size_bytes(folder)) for folder, run in _of_runs(parent) if not is_used(folder)]


def discard_useless(parent: Path = HOMES) -> list[Path]:
    """Remove what killed processes left and no command needs: homes of experiments, and of runs that are done."""
    useless = [home.folder for home in unused(parent) if home.is_needed is False]
    useless += [home for home in parent.glob(f"*{PROVING}*") if not is_used(home)]
    useless = [home for home in useless if not is_new(home)]
    for home in useless:
        discard_home(home)
    return useless


def _of_runs(parent: Path) -> Iterator[tuple[Path, Path]]:
    for file in sorted(parent.glob(f"*/{OWNER}")):
        with suppress(OSError):
            yield file.parent, Path(os.fsdecode(file.read_bytes()))


def _size_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))
