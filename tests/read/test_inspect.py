"""The reader of util.inspect against the real one: Node prints, we read back."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotfill.read.inspect import Shown, Unreadable, parse, parse_flat

Node = Callable[[str, dict[str, Any]], str]
Evidence = tuple[str, Any]
"""A JavaScript expression, and what its printed form must be read as."""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """The real util.inspect, in one long-lived process."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed; the recorded set below still runs")
    script = Path(__file__).with_name("node_inspect.js")
    with subprocess.Popen([program, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def inspect(expression: str, options: dict[str, Any]) -> str:
            print(json.dumps({"expression": expression, "options": options}), file=process.stdin, flush=True)
            return str(json.loads(process.stdout.readline()))

        yield inspect
        process.stdin.close()


def _javascript(value: str) -> str:
    return json.dumps(value)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
words = st.text(max_size=40) | st.sampled_from(
    ["it's", 'it\'s "x"', "`a` 'b' \"c\"", "line one\nline two\n" * 6, "}", "[Object]", "a: 1, ", "\\", "\x1b[31m"]
)
scalars: st.SearchStrategy[Evidence] = st.one_of(
    words.map(lambda text: (_javascript(text), text)),
    st.integers(-(2**53) + 1, 2**53 - 1).map(lambda n: (str(n), n)),
    st.integers().map(lambda n: (f"{n}n" if n >= 0 else f"({n}n)", n)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: (repr(x), x)),
    st.integers(-(10**12), 10**12).map(lambda ms: (f"new Date({ms})", EPOCH + timedelta(milliseconds=ms))),
    st.sampled_from(
        [
            ("null", None),
            ("undefined", None),
            ("true", True),
            ("false", False),
            ("-0", -0.0),
            ("Infinity", math.inf),
            ("-Infinity", -math.inf),
            ("Symbol('a b')", Shown("Symbol(a b)")),
            ("function f() {}", Shown("[Function: f]")),
            ("(() => () => 1)()", Shown("[Function (anonymous)]")),
            ("class A {}", Shown("[class A]")),
            ("/a[/]'b\\/\"{/gi", Shown("/a[/]'b\\/\"{/gi")),
            ("new Date(NaN)", Shown("Invalid Date")),
            ("Buffer.from('abc')", Shown("<Buffer 61 62 63>")),
            ("new Number(3)", Shown("[Number: 3]")),
            ("Object.assign(new Error('no'), {stack: ''})", Shown("[Error: no]")),
        ]
    ),
)


def _object(items: dict[str, Evidence]) -> Evidence:
    inner = ", ".join(f"[{_javascript(name)}]: {case[0]}" for name, case in items.items())
    return f"{{{inner}}}", {name: case[1] for name, case in items.items()}


def _dressed(case: Evidence) -> st.SearchStrategy[Evidence]:
    """The same object as an instance of a class, without a prototype, or with properties inspect adds."""
    expression, value = case
    own = f"Object.getOwnPropertyDescriptors({expression})"
    return st.sampled_from(
        [
            (expression, value),
            (f"Object.defineProperties(new (class Foo {{}})(), {own})", value),
            (f"Object.create(null, {own})", value),
            (f"({{...{expression}, get g() {{ return 1 }}}})", value | {"g": "[Getter]"}),
            (f"({{...{expression}, [Symbol('k')]: 1}})", value | {"[Symbol(k)]": 1}),
        ]
    )


def _list(cases: list[Evidence]) -> Evidence:
    return f"[{', '.join(case[0] for case in cases)}]", [case[1] for case in cases]


def _set(cases: list[Evidence]) -> Evidence:
    return f"new Set([{', '.join(f'[{case[0]}]' for case in cases)}])", [[case[1]] for case in cases]


def _map(pairs: list[tuple[Evidence, Evidence]]) -> Evidence:
    inner = ", ".join(f"[[{key[0]}], {value[0]}]" for key, value in pairs)
    return f"new Map([{inner}])", [([key[1]], value[1]) for key, value in pairs]


names = st.text(max_size=12) | st.sampled_from(
    ["a", "b-c", "durationMs", "null", "NaN", "é", "$x", "a]: b", "__proto__"]
)
values: st.SearchStrategy[Evidence] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.dictionaries(names, inner, max_size=8).map(_object).flatmap(_dressed),
        st.lists(inner, max_size=30).map(_list),
        st.lists(inner, max_size=4).map(_set),
        st.lists(st.tuples(inner, inner), max_size=4).map(_map),
    ),
    max_leaves=30,
)
options = st.fixed_dictionaries(
    {"depth": st.none(), "maxArrayLength": st.none(), "maxStringLength": st.none()},
    optional={
        "colors": st.booleans(),
        "breakLength": st.integers(1, 200),
        "compact": st.integers(0, 6).map(lambda n: n or False),
    },
)


def _same(read: Any, meant: Any) -> bool:
    if isinstance(meant, float):
        return isinstance(read, int | float) and read == meant and math.copysign(1, read) == math.copysign(1, meant)
    if isinstance(meant, list | tuple):
        return type(read) is type(meant) and len(read) == len(meant) and all(map(_same, read, meant))
    if isinstance(meant, dict):
        return isinstance(read, dict) and read.keys() == meant.keys() and all(_same(read[k], meant[k]) for k in meant)
    return (bool(read == meant) and isinstance(read, Shown) is isinstance(meant, Shown)) or meant == "[Getter]" == read


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=values, chosen=options)
def test_what_node_prints_is_read_back(node: Node, case: Evidence, chosen: dict[str, Any]) -> None:
    expression, meant = case
    printed = node(expression, chosen)
    assert _same(parse(printed), meant), printed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=values, depth=st.integers(0, 3), most=st.integers(0, 3), hidden=st.booleans(), colours=st.booleans())
def test_what_node_leaves_out_does_not_stop_the_reader(
    node: Node, case: Evidence, depth: int, most: int, hidden: bool, colours: bool
) -> None:
    limits = {"depth": depth, "maxArrayLength": most, "maxStringLength": 5 * most + 1}
    parse(node(case[0], limits | {"showHidden": hidden, "colors": colours}))


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("depth", [0, 2, None])
@pytest.mark.parametrize(
    "expression", ["Object.assign(new Error('boom {'), {code: '40P01'})", "new TypeError('a\\nb')"]
)
def test_an_error_with_its_stack_does_not_swallow_its_neighbours(
    node: Node, expression: str, depth: int | None, colors: bool
) -> None:
    read = parse(
        node(f"{{before: 1, error: {expression}, after: [{expression}, 2]}}", {"depth": depth, "colors": colors})
    )
    assert read["before"] == 1
    assert "Error" in read["error"]
    assert depth == 0 or read["after"][1] == 2


def test_circular_marks_are_read(node: Node) -> None:
    printed = node("(() => { const a = {n: 1}; a.self = a; a.list = [a]; return a; })()", {})
    assert parse(printed) == {"n": 1, "self": "[Circular *1]", "list": ["[Circular *1]"]}


RECORDED = [
    (
        "{ a: 1, 'b-c': \"it's\", d: `it's \"x\"`, e: 'a\\n\\x07\\'' }",
        {"a": 1, "b-c": "it's", "d": 'it\'s "x"', "e": "a\n\x07'"},
    ),
    (
        "{ u: undefined, n: null, t: true, i: -Infinity, big: 12n }",
        {"u": None, "n": None, "t": True, "i": -math.inf, "big": 12},
    ),
    ("{ a: { b: { c: [Object] } }, l: [ [ [Array] ] ] }", {"a": {"b": {"c": "[Object]"}}, "l": [["[Array]"]]}),
    ("[ 1, 2, ... 2 more items ]", [1, 2, "... 2 more items"]),
    ("{ s: 'abc'... 5 more characters }", {"s": "abc... 5 more characters"}),
    ("Map(2) { 'a' => 1, { b: 1 } => [ 1, 2 ] }", [("a", 1), ({"b": 1}, [1, 2])]),
    ("Set(3) { 1, 'x', { a: 1 } }", [1, "x", {"a": 1}]),
    ("Map(0) {}", []),
    ("{}", {}),
    ("[]", []),
    ("<ref *1> { a: { self: [Circular *1] } }", {"a": {"self": "[Circular *1]"}}),
    ("{\n  s: 'one\\n' +\n    'two\\n' +\n    'three',\n  t: 1\n}", {"s": "one\ntwo\nthree", "t": 1}),
    ("\x1b[32m{ a: \x1b[33m1\x1b[39m }", {"a": 1}),
    ("2025-11-15T10:30:00.123Z", datetime(2025, 11, 15, 10, 30, 0, 123000, tzinfo=UTC)),
    ("[Object: null prototype] { x: 1 }", {"x": 1}),
    ("Bar(1) [Map] { 1 => 2 }", [(1, 2)]),
    ("[ <1 empty item>, 1 ]", ["<1 empty item>", 1]),
    ("{ ['__proto__']: 1, [Symbol(k)]: 2, '': 3 }", {"__proto__": 1, "[Symbol(k)]": 2, "": 3}),
    ("[ 1, foo: 'bar' ]", [1]),
    (f"{{ n: {'9' * 400}, after: 2 }}", {"n": math.inf, "after": 2}),
    ("{ n: 1_000_000, f: [Function: f] { p: 1 }, after: 2 }", {"n": 1000000, "f": "[Function: f]", "after": 2}),
    (
        "{\n  e: Error: boom, {x}\n      at a (/b.js:1:2)\n      at c:3:4 {\n    code: '40P01'\n  },\n  after: 2\n}",
        {"e": "Error: boom, {x}\n      at a (/b.js:1:2)\n      at c:3:4", "after": 2},
    ),
]


@pytest.mark.parametrize(("printed", "meant"), RECORDED)
def test_the_recorded_set_is_read(printed: str, meant: Any) -> None:
    assert parse(printed) == meant


def test_minus_zero_and_nan_keep_what_they_are() -> None:
    zero, nan = parse("[ -0, NaN ]")
    assert math.copysign(1, zero) == -1 and math.isnan(nan)


def test_of_a_cut_object_what_came_before_the_cut_is_kept() -> None:
    with pytest.raises(Unreadable) as cut:
        parse("{\n  bookingId: 'b',\n  durationMs: 12,\n  error: 'dead")
    assert cut.value.partial == {"bookingId": "b", "durationMs": 12}


@pytest.mark.parametrize(
    "text", ["", "{", "[ 1", "{ a: }", "{ a 1 }", "'open", "{ a: 1 } b", "[" * 100_000, "{ a: 1n2 }"]
)
def test_what_node_never_prints_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


@settings(max_examples=300)
@given(text=st.text(st.sampled_from("{}[]()'\"`:,<>=.\\/ \nab1-nErrorat "), max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parse(text)
    except Unreadable as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "is_flat"),
    [
        ("{\n  a: 1,\n  b: -2.50,\n  c: 'x y',\n  d: null,\n  e: true,\n  f: -0,\n  g: undefined\n}", True),
        ("{\n  a: 900719925474099,\n  a: 'again'\n}", True),
        ("{\n  a: 1\n  b: 2\n}", False),
        ("{\n  a: 1,\n}", False),
        ("{\n  a: 'it\\'s',\n  b: [ 1 ]\n}", False),
        ("{\n  a: 1n,\n  b: 2027-02-09T10:00:00.000Z\n}", False),
        ("{ a: 1 }", False),
        ("{\n  a: 1234567890123456789\n}", False),
    ],
)
def test_the_short_way_for_flat_objects_gives_what_the_long_one_gives(text: str, is_flat: bool) -> None:
    flat = parse_flat(text)
    assert (flat is not None) == is_flat
    if flat is not None:
        assert repr(flat) == repr(parse(text))


def test_the_short_way_agrees_on_every_recorded_block(corpus: Path) -> None:
    blocks = flat = 0
    for log in sorted(corpus.rglob("*.log")):
        for match in re.finditer(r"^\[.*? (\{\n(?:  .*\n)+\})$", log.read_text(errors="replace"), re.MULTILINE):
            blocks += 1
            if (short := parse_flat(match[1])) is not None:
                flat += 1
                assert repr(short) == repr(parse(match[1]))
    assert flat > blocks / 2 > 100
