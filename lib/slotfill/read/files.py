"""All files of a reading: small ones one after another, many or large ones over the cores of the machine."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from slotfill.cores import Call, cores, over_cores
from slotfill.errors import BadInput
from slotfill.read.file import LogFile, read_file, size_of, uncollected
from slotfill.read.part import read_part
from slotfill.read.text import Irregular, line_starts, lines
from slotfill.read.wrapper import is_bare

_WORTH_IT = 1 << 26
"""Bytes that take a second or two to read; less does not pay for more processes, which take half of one to start."""

Read = LogFile | BadInput
"""A file, or why it cannot be read."""


def read_files(paths: Sequence[Path], worth_it: int = _WORTH_IT) -> Iterator[Read]:
    """Files, read, in the order of their paths; from ``worth_it`` bytes on over the cores of the machine."""
    sizes = {path: size_of(path) for path in paths}
    count = cores()
    if count < 2 or sum(sizes.values()) < worth_it:
        yield from map(_read, paths)
        return
    small = [path for path in paths if sizes[path] < worth_it]
    known = _read_over_cores(sorted(small, key=lambda path: -sizes[path]), count)
    for path in paths:
        yield known.pop(path) if path in known else read_over_cores(path, count)


def _read_over_cores(paths: Sequence[Path], count: int) -> dict[Path, Read]:
    """Files of which no one is large, in turn to the cores, the largest first."""
    groups = [paths[which::count] for which in range(min(count, len(paths)))]
    calls: list[list[Call]] = [[(_read, (path,)) for path in group] for group in groups]
    read = over_cores(calls) if calls else []
    return {
        path: file for group, files in zip(groups, read, strict=True) for path, file in zip(group, files, strict=True)
    }


def read_over_cores(path: Path, count: int) -> Read:
    """A large file in ``count`` parts, where nearly all of it is of regular attempts."""
    try:
        with uncollected():
            if not is_bare(lines(path)):
                return _read(path)
            starts = line_starts(path, count)
            calls: list[list[Call]] = [[(read_part, (path, *ends))] for ends in zip_longest(starts, starts[1:])]
            file = LogFile(path)
            file.read_parts([part for [part] in over_cores(calls)])
            return file
    except Irregular:
        return _read(path)
    except BadInput as error:
        return error


def _read(path: Path) -> Read:
    try:
        return read_file(path)
    except BadInput as error:
        return error
