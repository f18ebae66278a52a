"""The level that the attempts of a file belong to: what the log records, else the file's name, else its folder."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_CONCURRENCY = re.compile(r"concurrency[-_ ]?(\d{1,4})(?!\d)", re.IGNORECASE)
_ROUND = re.compile(r"round-\d+")
_RECORDED, NAMED, _FOLDER = 2, 1, 0


@dataclass(frozen=True)
class FileLevel:
    """The level a file's attempts belong to, and how sure that is."""

    folder: Path
    label: str
    concurrency: int | None
    known_by: int
    run: int = 0
    """Which of several runs that share the level but not the time, from 1; 0 where there is one."""


@lru_cache(4096)  # asked for each attempt, and a file's place is looked up on the disk
def level_of(file: Path, label: str | None = None, concurrency: int | None = None) -> FileLevel:
    """What the log records; else ``concurrency-N`` where the file's name says so; else the folder."""
    folder = file.resolve().parent
    if _ROUND.fullmatch(folder.name):  # of a level's own folder
        folder = folder.parent
    if label or concurrency:
        return FileLevel(
            folder, label or f"concurrency-{concurrency}", concurrency or _concurrency(label or ""), _RECORDED
        )
    named = _concurrency(file.name)
    if named is not None:
        return FileLevel(folder, f"concurrency-{named}", named, NAMED)
    inside = _concurrency(folder.name)
    if inside is not None and _CONCURRENCY.fullmatch(folder.name):
        return FileLevel(folder, f"concurrency-{inside}", inside, _FOLDER)
    return FileLevel(folder, folder.name or "/", inside, _FOLDER)


def distinct_labels(levels: set[FileLevel]) -> dict[FileLevel, str]:
    """Labels that stay apart: where one comes from several folders, these folders' labels begin with the folder."""
    places: dict[str, set[Path]] = defaultdict(set)
    for level in levels:
        places[level.label].add(_place(level))
    shared = set().union(*(folders for folders in places.values() if len(folders) > 1))
    above = _common(shared) if shared else None
    runs = {level: f"{level.label} run {level.run}" if level.run else level.label for level in levels}
    return {
        level: f"{_place(level).relative_to(above)}/{name}" if above and _place(level) in shared else name
        for level, name in runs.items()
    }


def _place(level: FileLevel) -> Path:
    """The folder of the run: a level's own folder has the level's name."""
    own = level.folder.name == level.label or _CONCURRENCY.fullmatch(level.folder.name)
    return level.folder.parent if own else level.folder


def _common(folders: set[Path]) -> Path:
    """The deepest folder above all of them."""
    first, *others = folders
    return next(
        above for above in first.parents if all(each.is_relative_to(above) and each != above for each in others)
    )


def _concurrency(name: str) -> int | None:
    match = _CONCURRENCY.search(name)
    return int(match[1]) if match else None
