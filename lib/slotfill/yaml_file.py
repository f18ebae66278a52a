"""YAML as a person writes it: bounded, each name once, and every fault with its file and line."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from slotfill.errors import BadInput

LARGEST_FILE_BYTES = 1_000_000
MOST_VALUES = 10_000


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping; BadInput where the file is missing, unreadable, no mapping, or names a key twice."""
    try:
        if file.is_fifo() and not str(file).startswith("/dev/"):  # the shell's own, <(command), has its writer
            raise BadInput(f"{file}: is a pipe, not a file; save what it gives to a file first")
        with file.open("rb") as opened:
            raw = opened.read(LARGEST_FILE_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{file}: is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise BadInput(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise BadInput(f"{file}: is too large for a parameter file ({LARGEST_FILE_BYTES // 1000} kB at most)")
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BadInput(f"{file}{line}: {getattr(error, 'problem', None) or error}") from None
    except ValueError as error:  # a date that no calendar has
        raise BadInput(f"{file}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise BadInput(f"{file}: must hold 'name: value' lines")
    return content


def parse_yaml(text: str) -> Any:
    """A document's value. Raises YAMLError, and ValueError where a value is none or is nested beyond reason."""
    try:
        loader = _StrictLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _count(node, {}) > MOST_VALUES:
                raise ValueError(f"holds more than {MOST_VALUES} values, its aliases (*name) written out")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (AttributeError, TypeError, OverflowError):  # a tag such as !!timestamp before what is none
        raise ValueError("holds a value that is not what its tag (!!) says") from None
    except RecursionError:
        raise ValueError("is nested too deep for a parameter") from None


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many values a node comes to with every alias written out; each is looked at once."""
    if id(node) not in counted:
        counted[id(node)] = MOST_VALUES + 1  # where it holds itself, it never ends
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        counted[id(node)] = 1 + sum(_count(part, counted) for part in parts)
    return counted[id(node)]


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key written twice is an error instead of the last one winning in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a name must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
