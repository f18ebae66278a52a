"""The documents of a run or of some logs: metrics.json, bottleneck.json, verification.md, report.html."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from slotfill.analyse import study
from slotfill.analyse.study import Study
from slotfill.files import write_json, write_text
from slotfill.params import ROOT
from slotfill.report import page, verification

NOTEBOOKS = ROOT / "notebooks"


def write_analysis(run_folder: Path) -> None:
    """What a run says in figures, metrics.json and bottleneck.json. Raises BadInput where it holds no attempt."""
    _write_figures(study.of_run(run_folder), run_folder)


def write_report(run_folder: Path, levels: Sequence[Path] = ()) -> Study:
    """All documents of a run, into its folder, and its notebook into each of ``levels``, which are folders of levels.

    The notebooks have a process of their own, so they are executed meanwhile. Raises BadInput where the run holds no
    attempt, and what ``execute`` raises.
    """
    jobs = {level / "level.ipynb": {"level_folder": str(level)} for level in levels}
    stop = Event()
    with ThreadPoolExecutor(1) as beside:
        notebooks = beside.submit(execute, "02-run-level", jobs, stop)
        try:
            found = study.with_seat_optimum(study.of_run(run_folder))
            _write_figures(found, run_folder)
            write_text(run_folder / "report.html", page.report(found))
            notebooks.result()
        except BaseException:
            stop.set()
            raise
    write_text(run_folder / "verification.md", verification.write(found, run_folder))
    return found


def write_logs_report(
    paths: Sequence[Path],
    server_logs: Sequence[Path],
    out: Path,
    otlp: Sequence[Path] = (),
    postgres_logs: Sequence[Path] = (),
) -> Study:
    """All documents of any logs, into ``out``, which is created. Raises BadInput where they hold no attempt."""
    found = study.of_logs(paths, server_logs, otlp, postgres_logs)
    out.mkdir(parents=True, exist_ok=True)
    write_documents(found, out)
    return found


def execute(notebook: str, jobs: Mapping[Path, Mapping[str, Any]], stop: Event) -> None:
    """Run one of the notebooks by papermill into each of ``jobs`` (whose folders exist) with its parameters, and export
    it beside as HTML; none of them is begun after ``stop``.

    They share one warm kernel, for our notebooks set every name that they use. A notebook that fails raises papermill's
    error and leaves its output where it failed.
    """
    if not jobs:
        return
    with _without("rfc3987_syntax"):
        import papermill  # they take long to import, and bad input is told before they are needed

        from slotfill.report import html
        from slotfill.report.kernel import warm_kernel

    with warm_kernel() as kernel:
        for out, parameters in jobs.items():
            if stop.is_set():
                return
            papermill.execute_notebook(
                *(_as_template(path) for path in (NOTEBOOKS / f"{notebook}.ipynb", out)),
                parameters=dict(parameters),
                progress_bar=False,
                cwd=NOTEBOOKS,
                km=kernel,
            )
            html.export(out, out.with_suffix(".html"))


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Import as if an optional module were not installed.

    The checker of notebooks compiles a grammar of web addresses for more than a second wherever it finds that one, and
    no notebook holds an address that is checked.
    """
    known = module in sys.modules
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if not known:
            del sys.modules[module]


def _as_template(path: Path) -> str:
    """The path for papermill, which would put parameters in for braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def write_documents(found: Study, folder: Path) -> None:
    """All documents of a study, into ``folder``."""
    _write_figures(found, folder)
    write_text(folder / "report.html", page.report(found))
    # Last, because it lists the artifacts.
    write_text(folder / "verification.md", verification.write(found, folder))


def _write_figures(found: Study, folder: Path) -> None:
    write_json(folder / "metrics.json", found.metrics)
    write_json(folder / "bottleneck.json", found.document.as_json())
