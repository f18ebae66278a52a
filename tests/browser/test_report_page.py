"""report.html as people open it: on two screens, in two schemes, on paper, and with a screen reader's eyes."""

import json
import re

import pytest
from axe_core_python.selenium import Axe

from slotfill.report import documents


@pytest.fixture(scope="module")
def folder(recorded_levels, tmp_path_factory):
    """The documents of recorded logs of two levels, with a server's log beside them."""
    out = tmp_path_factory.mktemp("report")
    documents.write_logs_report([recorded_levels], [], out)
    return out


@pytest.fixture(scope="module")
def url(folder):
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_asks_for_nothing_and_shows_the_verdict_at_once(browser, url, width, scheme):
    browser.open(url, width, scheme=scheme)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.requests == [] and browser.complaints == []
    bottom = "return document.querySelector('.card h1').getBoundingClientRect().bottom"
    assert 0 < browser.run(bottom) < 800
    sure = "return [...document.querySelectorAll('.card dt')].find(e => e.textContent == 'How sure')"
    assert browser.run(f"{sure}.getBoundingClientRect().bottom") < 800


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, url, scheme):
    browser.open(url, scheme=scheme)
    found = Axe().run(browser.driver)["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in serious]


def test_of_each_chart_one_picture_is_shown_also_where_a_notebook_has_no_style_sheet(browser, url):
    shown = (
        "return ['wide', 'narrow'].map(kind => [...document.querySelectorAll(`svg.for-${kind}`)]"
        ".some(picture => picture.getClientRects().length))"
    )
    browser.open(url, 400)
    assert browser.run(shown) == [False, True]
    browser.open(url)
    assert browser.run(shown) == [True, False]
    browser.run("document.querySelectorAll('style').forEach(sheet => sheet.remove())")
    assert browser.run(shown) == [True, False]


def test_text_of_charts_can_be_read_on_a_small_screen(browser, url):
    browser.open(url, 400)
    heights = browser.run(
        "return [...document.querySelectorAll('svg.chart text')].filter(e => e.getClientRects().length)"
        ".map(e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a)"
    )
    assert len(heights) > 20
    assert min(heights) >= 9


def test_every_mark_of_a_chart_says_what_it_is(browser, url):
    browser.open(url)
    marks = "svg.for-wide [id*='-mark-']"
    untold = f"return [...document.querySelectorAll(\"{marks}\")].filter(e => !e.querySelector('title')).length"
    assert browser.run(f'return document.querySelectorAll("{marks}").length') > 10
    assert browser.run(untold) == 0


def test_on_paper_every_table_is_open_and_the_contents_are_gone(browser, url):
    browser.open(url, 800, media="print")
    assert _shown(browser, "main details table") == _all(browser, "main details table") > 5
    assert _shown(browser, "nav") == 0


def test_contents_are_folded_on_a_small_screen_and_open_on_a_large_one(browser, url):
    assert _shown(browser.open(url, 400), "nav a") == 0
    assert _shown(browser.open(url, 1280), "nav a") >= 8


def _all(browser, selector: str) -> int:
    return browser.run("return document.querySelectorAll(arguments[0]).length", selector)


def _shown(browser, selector: str) -> int:
    visible = "e => e.checkVisibility({contentVisibilityAuto: true})"
    return browser.run(f"return [...document.querySelectorAll(arguments[0])].filter({visible}).length", selector)


def test_every_excerpt_of_a_hops_cost_marks_the_figure(browser, url, folder):
    browser.open(url)
    document = json.loads((folder / "bottleneck.json").read_text())
    marked = browser.run("return [...document.querySelectorAll('.evidence mark')].map(e => e.textContent)")
    costs = [item for item in document["evidence"] if "mean time" in item["claim"]]
    assert costs
    for item in costs:
        assert item["decisive"] and all(part in item["excerpt"] for part in item["decisive"])
        assert any(part in text for text in marked for part in item["decisive"])


def test_every_figure_of_the_text_stands_in_the_documents(browser, url, folder):
    browser.open(url)
    text = browser.run(
        "const copy = document.querySelector('main').cloneNode(true);"
        "copy.querySelectorAll('svg, pre, code, .run').forEach(e => e.remove());"
        "return [...copy.querySelectorAll('p, li, td, dd, h1, figcaption')].map(e => e.textContent).join('\\n')"
    )
    known = set()
    for name in ("metrics.json", "bottleneck.json"):
        for number in _numbers(json.loads((folder / name).read_text())):
            known |= _forms(number)
    unknown = {figure for figure in _figures(text) if figure not in known}
    assert not unknown


def _numbers(content):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _numbers(value)
            yield from _numbers(key)
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, str):
        yield from (float(digits) for digits in re.findall(r"\d+(?:\.\d+)?", content))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def _forms(number: float) -> set[str]:
    """How a figure may be written: plain, as a share, in seconds, each to a few digits."""
    minutes = {f"{int(number / 1000) // 60}", f"{round(number / 1000) % 60}"}
    scaled = (number, number * 100, number / 1000)
    return minutes | {f"{abs(value):.{digits}f}" for value in scaled for digits in (0, 1, 2)}


def _figures(text: str) -> set[str]:
    """The figures of a text, without those of labels, percentiles, clock times and the words of the method."""
    fixed = r"concurrency-\d+|95 %|p9[59]|p50|\d\d:\d\d(:\d\d\.\d+)?|\.log:\d+(–\d+)?"
    fixed += r"|levels 1, 4 and 8|below 5 of them, or 120 bookings"
    plain = re.sub(fixed, " ", text)
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", plain))
