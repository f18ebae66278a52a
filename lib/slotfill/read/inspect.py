"""What Node's ``util.inspect`` prints, read back.

===========================  =======================================================
printed                      read as
===========================  =======================================================
``{ a: 1, 'b-c': 2 }``       dict, also of a class, ``[Object: null prototype]``, …
``[ 1, 2 ]``, ``Set(1) {…}``   list; a printed property of an array is left out
``Map(1) { 'a' => 1 }``       list of (key, value)
``'…'``, ``"…"``, ``\\`…\\```     str, escapes resolved, parts joined with ``+`` joined
``1``, ``1n``, ``-0``, ``NaN``     int or float
``null``, ``undefined``        None
``2025-11-15T10:30:00.000Z``  datetime, UTC
everything else              ``Shown``, the text as printed: ``[Object]``, ``[Array]``,
                             ``[Circular *1]``, functions, symbols, errors,
                             ``... 2 more items``, strings that were cut, …
===========================  =======================================================

Written after ``lib/internal/util/inspect.js`` of Node 20. Colours are taken out before reading.
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from slotfill.events import parse_instant


class Shown(str):
    """Something Node prints but whose value its text does not carry; the text as printed."""

    __slots__ = ()


class Unreadable(ValueError):
    """Not, or not wholly, what util.inspect prints; ``partial`` is what was read before."""

    def __init__(self, text: str, at: int, partial: Any = None) -> None:
        super().__init__(f"not the output of util.inspect at character {at}: {text[at : at + 40]!r}")
        self.partial = partial


def parse(text: str) -> Any:
    """The one value that ``text`` shows; raises Unreadable. ``partial`` holds the outermost object up to a cut."""
    text = _COLOUR.sub("", text) if "\x1b" in text else text
    reader = _Reader(text)
    try:
        value, end = reader.value(_skip(text, 0))
    except RecursionError:
        raise Unreadable(text, 0) from None
    except Unreadable as error:
        error.partial = reader.outermost
        raise
    if _skip(text, end) != len(text):
        raise Unreadable(text, end, value)
    return value


def parse_flat(text: str) -> dict[str, Any] | None:
    """What ``parse`` gives for an object of plain scalars, one a line, which most are; ``None`` for any other text."""
    if not _FLAT.fullmatch(text):
        return None
    return {
        match[1]: match[2] if match[2] is not None else _WORDS[match[3]] if match[3] in _WORDS else _number(match[3])
        for match in _FLAT_ENTRY.finditer(text)
    }


def flat_pattern(keys: Sequence[str], wanted: Collection[str]) -> re.Pattern[bytes]:
    """What the lines between the braces have to be for an object with these keys; groups, for ``flat_value``, are of
    the wanted ones."""
    entries = (
        rb"  %b: (%b%b)" % (re.escape(key).encode(), b"" if key in wanted else b"?:", _FLAT_BYTES) for key in keys
    )
    return re.compile(rb",\n".join(entries) + rb"\n\}")


def flat_value(printed: bytes) -> Any:
    """What a plain scalar says."""
    if printed[0] == _QUOTE:
        return printed[1:-1].decode()
    if printed in _SHORT_WORDS:
        return _SHORT_WORDS[printed]
    return float(printed) if b"." in printed or printed == b"-0" else int(printed)


_FLAT_BYTES = rb"'[^'\\\n\x1b]*'|-?\d{1,15}(?:\.\d{1,15})?|true|false|null|undefined"
_QUOTE = ord("'")
_SHORT_WORDS = {b"undefined": None, b"null": None, b"true": True, b"false": False}
_FLAT_VALUE = r"(?:'([^'\\\n\x1b]*)'|(-?\d{1,15}(?:\.\d{1,15})?|true|false|null|undefined))"
_FLAT_ENTRY = re.compile(rf"\n  ([A-Za-z_$][A-Za-z0-9_$]*): {_FLAT_VALUE}(?=,?\n)", re.ASCII)
_FLAT = re.compile(
    rf"\{{(?:\n  [A-Za-z_$][A-Za-z0-9_$]*: {_FLAT_VALUE},)*\n  [A-Za-z_$][A-Za-z0-9_$]*: {_FLAT_VALUE}\n\}}", re.ASCII
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`")
_JOINED = re.compile(r" \+\n\s*(?=['\"`])")
_MORE_CHARACTERS = re.compile(r"\.\.\. \d+ more characters?")
_MORE_ITEMS = re.compile(r"\.\.\. (?:\d+ )?more items?")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "v": "\v", "0": "\0"}
_DATE = re.compile(r"[+-]?\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|Invalid Date")
_NUMBER = re.compile(r"-?(?:\d[\d_]*(?:\.[\d_]+)?(?:e[+-]?\d+)?n?|Infinity)(?![\w$])|NaN(?![\w$])")
_WORD = re.compile(r"(?:undefined|null|true|false)(?![\w$])")
_WORDS = {name.decode(): value for name, value in _SHORT_WORDS.items()}
_REGEXP = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/[a-z]*")
_LARGEST_EXACT = 2**53
_LONGEST_INT = 4000  # digits; Python refuses to read longer ones
_NAME = r"[^\W\d][\w$.]*|\$[\w$.]*"
# In front of a brace: the class, its size, what it extends, its tag, a strange prototype.
_PREFIX = re.compile(rf"(?:(?:{_NAME})(?:\(\d+\))?)?(?: ?\[[^\[\]\n]*\])?(?: <[^\n{{]*?>)? ?(?=[{{\[])")
_KEY = re.compile(
    r"(?:(?P<name>[^\W\d][\w$]*|\$[\w$]*)"
    r"|(?P<quoted>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`)"
    r"|\[(?P<bracketed>(?![\s{\[])(?:[^\]\n]|\](?![:,\s]))+)\]):\s+"
)
_ERROR_NAME = re.compile(r"(?:Error|Exception)$")
_ERROR_START = re.compile(_NAME)
_REFERENCE = re.compile(r"<ref \*\d+> ")
_ANGLED = re.compile(r"<[^<>\n]*>")
_REJECTED = re.compile(r"<rejected> ")
_SYMBOL = re.compile(r"Symbol\([^\n]*?\)(?=\s*(?:$|[,}\]]|=>))")
_BRACKETED = re.compile(r"\[[^\n]*?\](?=\s*(?:$|[,}\]{]|\[ |=>))")
_OPAQUE = re.compile(r"\[(?:\w*Function|class|Number|String|Boolean|BigInt|Symbol|Date|RegExp)\b")
_FRAME = re.compile(r"\n\s+(?:at |\.\.\. \d+ lines matching)[^\n]*")
_AT_END = re.compile(r",$|,(?=\s)| \{$|(?=\s*[}\]])")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _unquote(quoted: str) -> str:
    inner = quoted[1:-1]
    return _ESCAPE.sub(_unescape, inner) if "\\" in inner else inner


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return _ESCAPED.get(match[4], match[4])
    number = int(code, 16)
    return chr(number) if number <= 0x10FFFF else match[0]


def _number(text: str) -> int | float:
    """A bigint as int, a number as int where JavaScript holds it exactly, else as float."""
    digits = text.replace("_", "").removesuffix("n")
    if digits.lstrip("-").isdecimal() and len(digits) < _LONGEST_INT and digits != "-0":
        whole = int(digits)
        return whole if text.endswith("n") or abs(whole) <= _LARGEST_EXACT else float(digits)
    return float(digits.replace("Infinity", "inf"))


def _instant(text: str) -> datetime | Shown:
    return parse_instant(text) or Shown(text)


class _Reader:
    """Recursive descent; every method takes a position and returns a value and the position after it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.outermost: dict[str, Any] | None = None

    def value(self, at: int) -> tuple[Any, int]:
        text = self.text
        first = text[at : at + 1]
        if first in ("'", '"', "`"):
            return self._string(at)
        if first == "{":
            return self._body(at, "}")
        if first == "[" and (text[at + 1 : at + 2].isspace() or text.startswith("[]", at)):
            return self._body(at, "]")
        for pattern, read in _SCALARS:
            if match := pattern.match(text, at):
                return self._with_properties(read(match[0]), match.end())
        return self._special(at, first)

    def _special(self, at: int, first: str) -> tuple[Any, int]:
        text = self.text
        if match := _REFERENCE.match(text, at) or _REJECTED.match(text, at):
            return self.value(match.end())
        if first == "<" and (match := _ANGLED.match(text, at)):
            return Shown(match[0]), match.end()
        if (match := _PREFIX.match(text, at)) and not _OPAQUE.match(text, at) and self._opens(match.end()):
            return self._body(match.end(), "}" if text[match.end()] == "{" else "]", match[0])
        if first == "[" and (match := _BRACKETED.match(text, at)):
            return self._with_properties(Shown(match[0]), match.end())
        if match := _SYMBOL.match(text, at):
            return Shown(match[0]), match.end()
        return self._error(at)

    def _opens(self, at: int) -> bool:
        return self.text[at] == "{" or self.text[at + 1 : at + 2].isspace() or self.text.startswith("[]", at)

    def _string(self, at: int) -> tuple[str, int]:
        parts: list[str] = []
        while match := _STRING.match(self.text, at):
            parts.append(_unquote(match[0]))
            at = match.end()
            if joined := _JOINED.match(self.text, at):
                at = joined.end()
            elif more := _MORE_CHARACTERS.match(self.text, at):
                return Shown("".join(parts) + more[0]), more.end()
            else:
                return "".join(parts), at
        raise Unreadable(self.text, at)

    def _with_properties(self, shown: Any, at: int) -> tuple[Any, int]:
        """A function, a class, an error may have properties of its own; they are read over."""
        if self.text.startswith(" {", at):
            at = self._body(at + 1, "}")[1]
        return shown, at

    def _body(self, at: int, closing: str, prefix: str = "") -> tuple[Any, int]:
        named: dict[str, Any] = {}
        items: list[Any] = []
        if self.outermost is None:
            self.outermost = named
        text, at = self.text, _skip(self.text, at + 1)
        while not text.startswith(closing, at):
            if more := _MORE_ITEMS.match(text, at):
                items, at = [*items, Shown(more[0])], more.end()
            elif (key := _KEY.match(text, at)) and not (closing == "]" and _ERROR_NAME.search(key[0][:-2])):
                named[_key(key)], at = self.value(key.end())
            else:
                item, at = self._item(at)
                items.append(item)
            at = self._after(at, closing)
        is_list = closing == "]" or items or re.search(r"\b(Map|Set)\b[\](]", prefix)
        return (items if is_list else named), at + 1

    def _item(self, at: int) -> tuple[Any, int]:
        """An element, or the (key, value) of a Map."""
        item, at = self.value(at)
        if self.text.startswith(" => ", at) or self.text.startswith(" =>\n", at):
            value, at = self.value(_skip(self.text, at + 3))
            return (item, value), at
        return item, at

    def _after(self, at: int, closing: str) -> int:
        """Over the comma, to the next entry or the closing bracket."""
        at = _skip(self.text, at)
        if self.text.startswith(",", at):
            return _skip(self.text, at + 1)
        if not self.text.startswith(closing, at):
            raise Unreadable(self.text, at)
        return at

    def _error(self, at: int) -> tuple[Any, int]:
        """An error with its stack: ``Name: message`` and lines ``at …``, then perhaps its properties."""
        text, start = self.text, at
        named = _ERROR_START.match(text, at)
        frame = _FRAME.search(text, at) if named else None
        if named is None or not (frame or _ERROR_NAME.search(named[0])):
            raise Unreadable(text, at)
        if frame is None:
            end = _AT_END.search(text, at)
            return Shown(text[start : end.start() if end else len(text)]), end.start() if end else len(text)
        at = frame.start()
        while frame := _FRAME.match(text, at):
            stop = _AT_END.search(frame[0].rstrip())
            if stop and stop[0] and stop.end() == len(frame[0].rstrip()):
                at += stop.start()
                break
            at = frame.end()
        return self._with_properties(Shown(text[start:at]), at)


def _key(match: re.Match[str]) -> str:
    if match["quoted"]:
        return _unquote(match["quoted"])
    bracketed: str = match["bracketed"] or ""
    return _unquote(bracketed) if bracketed[:1] in ("'", '"', "`") else match["name"] or f"[{bracketed}]"


_SCALARS = (
    (_DATE, _instant),
    (_NUMBER, _number),
    (_WORD, _WORDS.__getitem__),
    (_REGEXP, Shown),
)
