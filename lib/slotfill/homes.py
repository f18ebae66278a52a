"""The databases of embedded platforms that runs keep until they are done, and those that nothing will ever continue.

A home (``Run.platform_home``) names its run folder. A run that was killed needs it to be resumed, also where its folder
has moved since, which nobody can tell from one that was removed: such a home is told of and left to a person.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slotfill.drive.target import discard_home, is_new, is_used
from slotfill.errors import BadInput
from slotfill.lock import held
from slotfill.params import ROOT
from slotfill.run import Run, discard, is_run, open_run

HOMES = ROOT / "artifacts" / ".platform"
OWNER = "run-folder"
"""In a platform's home: the run folder it belongs to."""
PROVING = "-prove-"
"""In the name of an experiment's home, between its run's and a random one; nobody owns it, and nothing continues it."""


@dataclass(frozen=True)
class Home:
    """One that nobody uses now; ``run`` is the folder it belonged to when it was used last."""

    folder: Path
    run: Path

    @property
    def size_bytes(self) -> int:
        """Of its files now; somebody may be removing it."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        return sum(map(_size_bytes, files))

    @property
    def is_needed(self) -> bool | None:
        """By that run, which is not done; ``None``: that run is not there any more, and may be somewhere else."""
        with suppress(BadInput):
            run = open_run(self.run)
            return run.record.get("state") != "done" if run.platform_home.name == self.folder.name else None
        return None


def unused(parent: Path = HOMES) -> list[Home]:
    """The homes of runs that no process uses, in the order of their names."""
    return [Home(folder, run) for folder, run in _of_runs(parent) if not is_used(folder)]


def discard_useless(parent: Path = HOMES) -> list[Path]:
    """Remove what killed processes left and no command needs: homes of experiments, and of runs that are done."""
    useless = [home.folder for home in unused(parent) if home.is_needed is False]
    experiments = (home for home in parent.glob(f"*{PROVING}*") if not (home / OWNER).exists())
    useless += [home for home in experiments if not is_used(home)]
    useless = [home for home in useless if not is_new(home)]
    for home in useless:
        discard_home(home)
    return useless


def discard_unmeasured(run: Run, keep_folder: bool = False) -> bool:
    """Remove a run that measured nothing, its platform's home with it; False where it did, or has moved."""
    if run.measured or not is_run(run.folder):
        return False
    discard_home(run.platform_home)
    discard(run, keep_folder)
    return True


def require_original(run: Run, home: Path) -> None:
    """Raise BadInput where an embedded platform's home belongs to another run folder, of which this one is a copy."""
    if other := _owner(run, home):
        raise BadInput(
            f"{run.folder}: is a copy of {other}, and both name one embedded platform; continue that one, or remove "
            "it first"
        )


def claim(run: Run, home: Path) -> None:
    """Write down in a home, which is there, whose it is. Raises BadInput where it is another one's."""
    require_original(run, home)
    (home / OWNER).write_bytes(os.fsencode(run.folder))


@contextmanager
def owning(run: Run, home: Path) -> Iterator[None]:
    """The home of a running embedded platform, for this run folder alone. Raises BadInput where another one has it."""
    require_original(run, home)
    with held(home):
        claim(run, home)
        yield


def owns(run: Run, home: Path) -> bool:
    """Whether an embedded platform's home is there and is this run folder's, whatever ``run.json`` says now."""
    return (home / OWNER).is_file() and _owner(run, home) is None


def _owner(run: Run, home: Path) -> Path | None:
    """The run folder that a home belongs to, where that is another one; a run that has moved takes its home along."""
    with suppress(BadInput, OSError, ValueError, AttributeError):  # what was there is gone, or no run any more
        other = Path(os.fsdecode((home / OWNER).read_bytes()))
        if not other.samefile(run.folder) and Run(other, run.settings).platform_home == run.platform_home:
            return other
    return None


def _of_runs(parent: Path) -> Iterator[tuple[Path, Path]]:
    for file in sorted(parent.glob(f"*/{OWNER}")):
        with suppress(OSError):
            yield file.parent, Path(os.fsdecode(file.read_bytes()))


def _size_bytes(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0
