"""compare.html as people open it: the recorded run and its repetition, the worked example of docs/."""

import json

import pytest

from slotfill import pipeline


@pytest.fixture(scope="module")
def folder(recorded_levels, tmp_path_factory):
    """A recorded run against the same with every booking 500 ms slower, in six slots."""
    home = tmp_path_factory.mktemp("compare")
    text = (recorded_levels / "slot-fill-concurrency1.log").read_text()
    slots = [
        "".join(text.replace('"16:00"', f'"{hour}:00"').replace("-8000-", f"-8{hour}0-")) for hour in range(10, 18)
    ]
    for name, submit, total in (("before", 1900, 2000), ("after", 2400, 2500)):
        logs = home / name
        logs.mkdir()
        slower = "".join(slots).replace('Ms":1900', f'Ms":{submit}').replace('Ms":2000', f'Ms":{total}')
        (logs / "slot-fill-concurrency1.log").write_text(slower)
    files = [home / name / "slot-fill-concurrency1.log" for name in ("before", "after")]
    pipeline.compare(files[0], files[1], home / "out")
    return home / "out"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_asks_for_nothing_and_says_first_what_changed(browser, folder, width, scheme):
    browser.open((folder / "compare.html").as_uri(), width, scheme=scheme)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.requests == [] and browser.complaints == []
    headline = browser.run("return document.querySelector('h1').textContent")
    assert headline == "Changed: total at concurrency-1 from 2.00 s to 2.50 s."


def test_every_change_of_the_page_stands_in_the_json_beside_it(browser, folder):
    browser.open((folder / "compare.html").as_uri())
    rows = browser.run("return [...document.querySelectorAll('main table tbody tr')].map(e => e.textContent)")
    changes = json.loads((folder / "compare.json").read_text())["changes"]
    assert len(rows) == len(changes)
    total = next(change for change in changes if change["figure"] == "total_ms")
    assert (total["before"], total["after"], total["verdict"]) == (2000, 2500, "changed")
    assert browser.run("return document.querySelectorAll('svg.for-wide title').length") >= len(changes) - 2
