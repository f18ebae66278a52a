"""What is wrong with a value that a person gave, in words about what it should have been."""

import difflib
from collections.abc import Sequence
from typing import TypeGuard, get_args

from pydantic import BaseModel, ValidationError

from slotfill.masking import mask

LONGEST_SHOWN = 60


def complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with a value, in one sentence about what it should be; the first fault that was found."""
    first, *others = error.errors()
    # A value that may be of two types has a complaint of each, at its place and that type's name.
    either = first["loc"][-1:] == ("bool",) and first["type"] in ("bool_type", "bool_parsing")
    if either and others[0]["type"] not in ("float_type", "float_parsing"):
        first = others[0]  # of the two types it could have, it has the second
    names = first["loc"][:-1] if either else first["loc"]
    key, kind, given = ".".join(map(str, names)), first["type"], first["input"]
    limits = {name: _number(limit) for name, limit in first.get("ctx", {}).items()}
    if kind == "extra_forbidden":
        return _unknown(names, model)
    if kind == "value_error":
        return f"{key}: {limits['error']}" if key else str(limits["error"])
    if kind == "missing":
        return f"{key} is missing"
    if key.startswith("concurrency.") and kind == "less_than_equal":
        return f"concurrency: {shown(given)} is more than one driver can keep apart; {limits['le']} is the most"
    if either and first is not others[0]:
        return f"{key}: must be a number, or true or false, not {shown(given)}"
    return f"{key or 'it'}: {_MUST_BE.get(kind, first['msg']).format(**limits)}, not {shown(given)}"


_MUST_BE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a mapping, name: value"),
    "finite_number": "must be a finite number",
    "string_type": "must be a text; put quotes around it",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "list_type": "must be a list, [1, 4]",
    "literal_error": "must be one of {expected}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
}


def _unknown(names: Sequence[object], model: type[BaseModel]) -> str:
    """A name that is none, and the one that was probably meant."""
    *path, wrong = map(str, names)
    known = model
    for name in path:
        kind = known.model_fields[name].annotation if name in known.model_fields else None
        known = next((each for each in (kind, *get_args(kind)) if _is_model(each)), known)
    near = difflib.get_close_matches(wrong, known.model_fields, n=1)
    meant = f"did you mean {near[0]}?" if near else "slotfill run --help lists them"
    return f"unknown parameter {'.'.join([*path, _plain(wrong)])}; {meant}"


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _number(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def shown(value: object) -> str:
    """A value as a message repeats it: short, and without what could be a password."""
    try:
        return mask(_plain(repr(value)))
    except ValueError:  # Python writes no number of thousands of digits
        return "so long a number"


def _plain(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
