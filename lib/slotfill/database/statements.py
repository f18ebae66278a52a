"""SQL texts as they may be kept: without the values in them."""

import re

# Strings (also E'' and cut off at the end), dollar-quoted texts, and numbers that are no part of a name or parameter.
# A quoted name is matched to be left alone.
_LITERALS = re.compile(
    r"""(?sx) (?P<name> "[^"]*" ) | [eE]?'(?:[^'\\]|''|\\.)*(?:'|$) | (\$\w*\$).*?(?:\2|$) | (?<![\w$.])\d[\d.]*\b"""
)


def masked(query: str | None, length: int) -> str | None:
    """The statement on one line, its literals replaced by ``?`` and cut to ``length`` characters."""
    if query is None:
        return None
    return " ".join(_LITERALS.sub(lambda found: found["name"] or "?", query).split())[:length]
