"""Files that are either whole or not there, and read with care: a person may have been at them since."""

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from slotfill.complaint import complaint
from slotfill.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd


class Shape(BaseModel):
    """What a JSON file must hold so that it can be relied on; it may hold more."""

    model_config = ConfigDict(extra="allow", strict=True)


def require_writable(path: Path, option: str) -> None:
    """Raise BadInput where a file could not be written; for before the hours of which it is to tell."""
    try:
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise BadInput(f"{option} {path}: is there, and no plain file; name another one")
        partial = _partial(path)
        with open(partial, "ab", opener=_no_link):
            pass
        partial.unlink()
    except (OSError, ValueError) as error:  # ValueError: no name that a file can have
        raise BadInput(f"{option} {path}: {getattr(error, 'strerror', None) or error}") from None


def write_text(path: Path, text: str) -> None:
    """Write in one step: a reader, or a run that dies midway, never sees half a file."""
    partial = _partial(path)
    with _named(path), open(partial, "w", encoding="utf-8", newline="\n", opener=_no_link) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _put(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON; NaN and infinity have no place in it and raise ValueError."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Write a frame; the columns keep their types."""
    partial = _partial(path)
    with _named(path), open(partial, "wb", opener=_no_link) as file:
        table.to_parquet(file, index=False)
        file.flush()
        os.fsync(file.fileno())
    _put(partial, path)


def read_parquet(
    file: Path, columns: list[str] | None = None, types: Mapping[str, str] | None = None
) -> "pd.DataFrame":
    """A frame; with ``types`` of exactly these columns in these dtypes, where a column that is not there is empty.

    BadInput names the file where it is not readable, not whole, or holds something else.
    """
    import pandas as pd  # which takes long, and a driver that waits to begin has no frames

    require_regular(file)
    try:
        table = pd.read_parquet(file, columns=columns)
        if types is not None:
            kinds: Any = dict(types)  # the stubs know dtypes by literal only
            table = table.reindex(columns=list(types)).astype(kinds)
    except PermissionError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except Exception:  # what its bytes say may be anything, and so may be what a library makes of it
        raise BadInput(f"{file}: is not a whole Parquet file, or not one of Slotfill's") from None
    return table


def read_json(file: Path, shape: type[Shape] | None = None) -> Any:
    """Plain values from a JSON file. BadInput names the file where it is not readable, or does not have its shape."""
    require_regular(file)
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if "\\ud" in text.lower():  # half a character, which no file of ours could be written with
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except UnicodeError:
        raise BadInput(f"{file}: is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: is not JSON ({error})") from None
    if shape is not None:
        try:
            shape.model_validate(content)
        except ValidationError as error:
            raise BadInput(f"{file}: {complaint(error, shape)}; it was not written by slotfill") from None
    return content


def require_regular(file: Path) -> None:
    """Raise BadInput for what is no file: to open a pipe would wait for whoever writes to it."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise BadInput(f"{file}: is a {'folder' if stat.S_ISDIR(mode) else 'pipe or a device'}, not a file")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of writing, of a full disk, say, names the file; Python's own does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _no_link(path: str, flags: int) -> int:
    """An opener that follows no link: what it leads to is not ours to write."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _put(partial: Path, path: Path) -> None:
    partial.replace(path)
    # The rename itself is only safe once the folder has reached the disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
