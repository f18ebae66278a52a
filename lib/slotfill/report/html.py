"""HTML of an executed notebook: no code, no script, one file that opens offline and asks the network for nothing.

nbconvert renders the cells with its ``basic`` template (a fragment without scripts; the ``lab`` template
loads MathJax, RequireJS and widgets from CDNs and drops alternative texts); a page of our own goes around
it, with title, language, table of contents and style.
"""

import html
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbconvert import HTMLExporter

from slotfill.files import write_text
from slotfill.report.page import assemble

_HEADINGS = ("h2", "h3")
_SHORT = 40
"""Characters of a table cell up to which it stays on one line."""
_LOADING = {"src", "srcset", "data", "poster", "background"}


def export(notebook: Path, out: Path) -> None:
    """Write the notebook's outputs and prose to ``out`` as one self-contained page."""
    node = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    write_text(out, page(node, fallback_title=notebook.stem))


def page(notebook: nbformat.NotebookNode, fallback_title: str = "Slotfill") -> str:
    """The page as text. The notebook is changed: pictures become figures, widgets are dropped."""
    _drop_widgets(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            _picture_to_figure(output)
    body = BeautifulSoup(_render(notebook), "html.parser")
    _remove_active_content(body)
    title = _title(body) or fallback_title
    _mark_up_tables(body)
    contents = _contents(body)
    return assemble(title, contents, str(body))


def _render(notebook: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        embed_images=True,
    )
    fragment, _ = exporter.from_notebook_node(notebook)
    return str(fragment)


def _drop_widgets(notebook: nbformat.NotebookNode) -> None:
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for mime in [mime for mime in output.get("data", {}) if "widget" in mime or "javascript" in mime]:
                del output.data[mime]


def _picture_to_figure(output: nbformat.NotebookNode) -> None:
    """Replace a PNG by a ``figure`` element: templates drop the alternative text that the metadata carry."""
    data = output.get("data", {})
    if "image/png" not in data:
        return
    alt = output.metadata.get("image/png", {}).get("alt") or data.get("text/plain") or "Chart"
    source = "".join(data.pop("image/png").split())
    data["text/html"] = f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{source}"/></figure>'


def _remove_active_content(body: BeautifulSoup) -> None:
    """No script, no style of a cell's own, nothing that makes a browser fetch; links to read on stay."""
    for element in body.find_all(["script", "style", "link", "iframe", "object", "embed", "base", "meta"]):
        element.decompose()
    for element in body.find_all(True):
        for name in list(element.attrs):
            value = str(element.attrs[name])
            fetches = name in _LOADING and not value.startswith("data:")
            if fetches or name.startswith("on") or (name == "style" and "url(" in value):
                del element.attrs[name]
    for image in body.find_all("img"):
        if not image.get("src"):
            image.replace_with(str(image.get("alt") or ""))
        elif not image.get("alt"):
            image["alt"] = "Picture"


def _title(body: BeautifulSoup) -> str | None:
    heading = body.find("h1")
    return heading.get_text(" ", strip=True) if heading else None


def _mark_up_tables(body: BeautifulSoup) -> None:
    """Headers say what they head, and wide tables scroll in a box that the keyboard reaches."""
    for table in body.find_all("table"):
        for cell in table.select("thead th"):
            cell["scope"] = "col"
        for cell in table.find_all("td"):
            if len(cell.get_text()) > _SHORT:
                cell["class"] = "long"
        for name in ("style", "border"):
            for element in [table, *table.find_all(True)]:
                element.attrs.pop(name, None)
        table.wrap(body.new_tag("div", attrs={"class": "wide", "tabindex": "0"}))


def _contents(body: BeautifulSoup) -> list[tuple[int, str, str]]:
    """(depth, anchor, text) of the headings, each given an anchor of its own."""
    taken: set[str] = set()
    entries = []
    for heading in body.find_all(_HEADINGS):
        text = heading.get_text(" ", strip=True)
        anchor = _free_anchor(text, taken)
        heading["id"] = anchor
        entries.append((_depth(heading), anchor, text))
    return entries


def _depth(heading: Tag) -> int:
    return int(heading.name[1]) - 1


def _free_anchor(text: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
    anchor, again = base, 2
    while anchor in taken:
        anchor, again = f"{base}-{again}", again + 1
    taken.add(anchor)
    return anchor
