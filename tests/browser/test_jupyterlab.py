"""The notebooks in a real JupyterLab, by hand: open, Run All, edit a parameter, Run All again, watch, stop."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import driven
import psutil
import pytest
import waiting

from slotfill.outcomes import CONFIRMED_OUTCOMES
from slotfill.params import ROOT
from slotfill.read import logs

SEED = 77_000_452
"""Marks the runs that these tests leave under artifacts/, so that only those are removed."""
TOTAL_ROW = r'<td>total</td><td class=\\"figure\\">([^<]+)</td><td class=\\"figure\\">([^<]+)</td>'
SMALL = {"concurrency": 1, "start": "17:00", "end": "18:00", "stress_max": 2, "seed": SEED}

# What the page is asked; `panel` is the notebook in front.
PANEL = "const app = window.jupyterapp, panel = app.shell.currentWidget; const model = panel.content.model;"
CELLS = f"""{PANEL} return [...model.cells].map((cell, index) => ({{
    index, code: cell.type == 'code', source: cell.sharedModel.getSource(), count: cell.executionCount ?? null,
    outputs: cell.type == 'code' ? cell.outputs.toJSON() : []}}))"""
RUN_ALL = f"{PANEL} window.ran = false; app.commands.execute('notebook:run-all-cells').finally(() => window.ran = true)"
IDLE = f"{PANEL} return window.ran && panel.sessionContext.session?.kernel?.status == 'idle'"
READY = """const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path == arguments[0] && panel.context.isReady
        && panel.sessionContext.session?.kernel?.status == 'idle'"""
EDIT = f"{PANEL} model.cells.get(arguments[0]).sharedModel.setSource(arguments[1])"
BAR = """() => { const bar = document.querySelector('.jp-Notebook progress'), place = bar?.getBoundingClientRect();
    return bar && place.top >= 0 && place.bottom <= innerHeight ? [bar.value, bar.parentElement.textContent] : null }"""
WATCH = f"""window.bars = []; const look = {BAR};
    const note = () => {{ const bar = look(); if (bar) window.bars.push(bar) }};
    new MutationObserver(note)
        .observe(document.body, {{childList: true, subtree: true, characterData: true, attributes: true}});
    clearInterval(window.noting); window.noting = setInterval(note, 100)"""
STARTED = "return Boolean(window.jupyterapp?.shell?.currentWidget)"
OPEN = "window.jupyterapp.commands.execute('docmanager:open', {path: arguments[0], kernel: arguments[1]})"
KERNEL = f"{PANEL} return {{id: panel.sessionContext.session.kernel.id}}"
STOP = f"{PANEL} app.commands.execute('notebook:interrupt-kernel')"


class Lab:
    """A JupyterLab in a browser, with one notebook in front."""

    def __init__(self, browser) -> None:
        self.browser = browser
        self.kernel: dict | None = None

    def open(self, notebook: str) -> None:
        """A copy of the notebook in front, all on one kernel: what ran there before must not matter to the next."""
        path = f"{notebook}.ipynb"
        self.browser.run(OPEN, path, self.kernel)
        self.until(lambda: self.browser.run(READY, path), "the notebook's kernel is ready")
        self.kernel = self.browser.run(KERNEL)

    def edit(self, **values: object) -> None:
        """Change these lines of the cell of parameters, and add those that it lacks."""
        (cell,) = [cell for cell in self.cells if cell["source"].startswith("# Parameters. ")]
        lines = {line.partition(" = ")[0]: line for line in cell["source"].splitlines()}
        lines |= {name: f"{name} = {value!r}" for name, value in values.items()}
        self.browser.run(EDIT, cell["index"], "\n".join(lines.values()))

    def start(self) -> None:
        self.browser.run(RUN_ALL)

    def run_all(self, **values: object) -> list[dict]:
        self.edit(**values)
        self.start()
        return self.finished()

    def finished(self) -> list[dict]:
        self.until(lambda: self.browser.run(IDLE), "all cells have run")
        return self.cells

    @property
    def cells(self) -> list[dict]:
        return self.browser.run(CELLS)

    @property
    def bar(self) -> tuple[float, str] | None:
        """What the live view shows in the page itself: how far, and in words."""
        return self.browser.run(f"return ({BAR})()")

    def until(self, happened: Callable[[], object], what: str) -> None:
        try:
            waiting.until(happened, what)
        except TimeoutError as late:
            raise AssertionError(f"{late}; the page says {self.browser.complaints}") from None


def text_of(outputs: list[dict]) -> str:
    return json.dumps(outputs, ensure_ascii=False)


def errors(cells: list[dict]) -> list[str]:
    return ["\n".join(out["traceback"]) for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    driven.remove(SEED)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder)
    port, token = waiting.free_port(), secrets.token_hex(16)
    own = {f"JUPYTER_{name}_DIR": str(folder / f".{name}") for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / f".lab-{name}") for name in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--LabApp.news_url="]
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        waiting.until(lambda: answers(f"{url}/api?token={token}", server), "JupyterLab's server answers")
        browser.open(f"{url}/lab?token={token}", 1280, 900)
        started = Lab(browser)
        started.until(lambda: browser.run(STARTED), "JupyterLab starts")
        yield started
    finally:
        browser.driver.get("about:blank")
        server.terminate()
        server.wait(waiting.PATIENCE_S)
        log.close()
        driven.remove(SEED)


def answers(url: str, server: "subprocess.Popen[bytes]") -> bool:
    assert server.poll() is None, "it has ended"
    with suppress(OSError), urllib.request.urlopen(url, timeout=waiting.PATIENCE_S):
        return True
    return False


def bookings(cells: list[dict]) -> float:
    """Milliseconds of an attempt by the headline of the verdict card that the cells show."""
    (found,) = re.findall(r"<h1>The slowest hop is the database: ([\d,.]+) (ms|s) of", text_of(cells))
    return float(found[0].replace(",", "")) * (1000 if found[1] == "s" else 1)


def assert_whole(cells: list[dict]) -> None:
    code = [cell for cell in cells if cell["code"]]
    assert errors(cells) == []
    assert all(cell["count"] for cell in code)


def processes(run: Path) -> list[str]:
    """The programs that work for a run: its driver and its platform's."""
    lines = {process.pid: " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
    return [line for line in lines.values() if run.name in line]


@pytest.fixture(scope="module")
def two_runs(lab) -> list[Path]:
    """Notebook 02 with Run All, a parameter edited, Run All again; what a person saw meanwhile."""
    lab.open("02-run-level")
    for number, rtt_ms in enumerate((40, 80), 1):
        lab.edit(**SMALL, faults={"db_rtt_ms": rtt_ms})
        lab.browser.run(WATCH)
        lab.start()
        assert_whole(lab.finished())
        # In sight, and moving: what the page showed without anybody scrolling.
        seen = lab.browser.run("return window.bars")
        assert len({bar[0] for bar in seen}) >= 3, seen
        assert any("concurrency-1, round 1: preparing" in bar[1] for bar in seen)
        assert "10 attempts of at most 10 over 5 slots, 10 confirmed" in text_of(lab.cells)
        assert "<progress" not in text_of(lab.cells)
        assert len(driven.runs(SEED)) == number
    return driven.runs(SEED)


def test_a_level_fills_in_sight_and_again_with_an_edited_parameter(two_runs):
    for run in two_runs:
        outcomes = logs.read_logs([run]).attempts["outcome"]
        assert len(outcomes) == 10 and outcomes.isin(CONFIRMED_OUTCOMES).all()
        assert processes(run) == []


@pytest.mark.parametrize(("notebook", "name"), [("03-compare-levels", "run_folder"), ("04-read-logs", "paths")])
def test_a_reading_notebook_shows_each_run_that_it_is_pointed_at(lab, two_runs, notebook, name):
    lab.open(notebook)
    shown = []
    for run in two_runs:
        place = str(run.relative_to(ROOT))
        cells = lab.run_all(**{name: place if name == "run_folder" else [place]})
        assert_whole(cells)
        shown.append(bookings(cells))
    assert shown[1] > shown[0]


def test_the_comparing_notebook_turns_round_with_its_parameters(lab, two_runs):
    lab.open("05-compare-runs")
    before, after = (str(run.relative_to(ROOT)) for run in two_runs)
    slower, faster = lab.run_all(before=before, after=after), lab.run_all(before=after, after=before)
    assert_whole(slower)
    assert_whole(faster)
    (there,), (back,) = (re.findall(TOTAL_ROW, text_of(cells)) for cells in (slower, faster))
    assert there == back[::-1]


def test_the_database_is_prepared_again_with_another_seed_and_a_misspelt_one_is_refused(lab):
    lab.open("01-prepare-database")
    first, second = (lab.run_all(seed=seed) for seed in (SEED, SEED + 1))
    assert_whole(first)
    assert_whole(second)
    misspelt = errors(lab.run_all(sed=3))
    assert misspelt[0].startswith("BadInput: parameters: unknown parameter sed; did you mean seed?")


def test_the_stop_button_ends_a_level_in_one_line_with_its_logs_whole_and_nothing_left(lab):
    lab.open("02-run-level")
    lab.edit(**{**SMALL, "start": "16:00", "end": "20:00"}, faults={"db_rtt_ms": 40})
    lab.start()
    lab.until(lambda: (lab.bar or [0])[0] > 1, "the level fills")
    run = driven.runs(SEED)[-1]
    assert processes(run)
    lab.browser.run(STOP)
    cells = lab.finished()
    (line, *others) = errors(cells)
    assert not others
    assert "\n" not in line and f"`slotfill resume {run}` continues it" in line and str(run) in line
    outcomes = logs.read_logs([run]).attempts["outcome"]
    assert 1 < len(outcomes) < 34 and outcomes.isin(CONFIRMED_OUTCOMES).all()
    lab.until(lambda: not processes(run), "the driver and the platform have ended")
