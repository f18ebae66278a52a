"""Files that are either whole or not there."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from slotfill.errors import BadInput


def write_text(path: Path, text: str) -> None:
    """Write in one step: a reader, or a run that dies midway, never sees half a file."""
    partial = path.with_name(f".{path.name}.partial")
    with _named(path), partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _put(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON; NaN and infinity have no place in it and raise ValueError."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a frame; the columns keep their types."""
    partial = path.with_name(f".{path.name}.partial")
    with _named(path):
        table.to_parquet(partial, index=False)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    _put(partial, path)


def read_parquet(file: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """A frame; BadInput names the file where it is not readable or not whole."""
    try:
        return pd.read_parquet(file, columns=columns)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BadInput(f"{file}: {os.strerror(error.errno or errno.ENOENT)}") from None
    except (OSError, ValueError, KeyError):  # ValueError: of which pyarrow's errors are
        raise BadInput(f"{file}: is not a whole Parquet file, or not one of Slotfill's") from None


def read_json(file: Path) -> Any:
    """Plain values from a JSON file; BadInput names the file where it is not readable."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: is not JSON ({error})") from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of writing, of a full disk, say, names the file; Python's own does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _put(partial: Path, path: Path) -> None:
    partial.replace(path)
    # The rename itself is only safe once the folder has reached the disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
