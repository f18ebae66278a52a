import base64
import json
import shutil
import subprocess

import nbformat
import pytest
import waiting
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from slotfill.params import ROOT
from slotfill.report import html

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d4944415478da63fcffff3f0300050001ff8d2e5f5d0000000049454e44ae426082"
    )
).decode()


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


TABLE = "<table border=1><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
HOSTILE = '<img src="https://example.com/x.png" onerror="alert(1)"><script src="https://x.y/z.js"></script>'


@pytest.fixture
def notebook():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "bar"}
    cell = new_code_cell(
        "secret_source = 42",
        execution_count=1,
        outputs=[
            shown({"image/png": PNG, "text/plain": "x"}, **{"image/png": {"alt": 'Bars, "tall" & small'}}),
            shown({"text/html": TABLE}),
            shown({"text/html": HOSTILE}),
            shown(widget),
            new_output("stream", name="stdout", text=f"wrote {ROOT}/artifacts/r and /home/jane/x\n"),
        ],
    )
    cells = [new_markdown_cell("# The report\n\n## One\n\ntext\n\n### Deep\n\n## One"), cell]
    return new_notebook(cells=cells, metadata={"widgets": {"state": {}}})


@pytest.fixture
def page(notebook):
    return html.page(notebook)


@pytest.fixture
def soup(page):
    return BeautifulSoup(page, "html.parser")


def test_source_code_is_not_in_the_page(page):
    assert "secret_source" not in page


def test_nothing_in_the_page_loads_anything(page, soup):
    assert not soup.find_all(["script", "iframe", "object", "embed"])
    loading = [
        tag.get(name) for tag in soup.find_all(True) for name in ("src", "srcset", "data", "poster") if tag.get(name)
    ]
    loading += [link["href"] for link in soup.find_all("link")]
    assert loading and all(value.startswith("data:") for value in loading)
    assert "url(" not in page and "@import" not in page
    assert "onerror" not in page


def test_every_picture_says_what_it_shows(soup):
    assert [image["alt"] for image in soup.find_all("img")] == ['Bars, "tall" & small']


def test_contents_lead_to_every_heading(soup):
    links = [(link["href"], link.get_text()) for link in soup.select("nav a")]
    assert links == [("#one", "One"), ("#deep", "Deep"), ("#one-2", "One")]
    assert all(soup.find(id=href.removeprefix("#")) for href, _ in links)


def test_page_has_title_and_language(soup):
    assert soup.title.get_text() == "The report"
    assert soup.html["lang"] == "en"


def test_a_notebook_without_heading_is_titled_by_its_name(tmp_path):
    nbformat.write(new_notebook(cells=[]), tmp_path / "level.ipynb")
    html.export(tmp_path / "level.ipynb", tmp_path / "level.html")
    assert "<title>level</title>" in (tmp_path / "level.html").read_text(encoding="utf-8")


def test_column_heads_are_marked_as_such(soup):
    assert soup.find("th")["scope"] == "col"


def test_places_on_this_machine_are_left_out(page):
    assert str(ROOT) not in page
    assert "artifacts/r and ~/x" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_chromium_opens_the_page_without_any_request_or_console_error(notebook, tmp_path):
    nbformat.write(notebook, tmp_path / "in.ipynb")
    html.export(tmp_path / "in.ipynb", tmp_path / "page.html")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    quiet += ["--enable-logging=stderr", f"--log-net-log={tmp_path}/net.json"]
    quiet += ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", f"--user-data-dir={tmp_path}/profile"]
    answer = subprocess.run(
        ["chromium", *quiet, "--dump-dom", (tmp_path / "page.html").as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE_S,
    )
    assert "The report" in answer.stdout
    assert "CONSOLE" not in answer.stderr
    events = json.loads((tmp_path / "net.json").read_text())["events"]
    urls = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    assert not [url for url in urls if "example.com" in url or "x.y" in url]
