"""The documents of a run or of some logs: metrics.json, bottleneck.json, verification.md, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
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


def write_report(run_folder: Path) -> Study:
    """All documents of a run, into its folder. Raises BadInput where it holds no attempt."""
    found = study.with_seat_optimum(study.of_run(run_folder))
    write_documents(found, run_folder)
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


def execute(notebook: str, jobs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Run one of the notebooks by papermill into each of ``jobs`` (whose folders exist) with its parameters, and export
    it beside as HTML.

    They share one warm kernel, for our notebooks set every name that they use. A notebook that fails raises papermill's
    error and leaves its output where it failed.
    """
    import papermill  # they take seconds to import, and bad input is told before they are needed

    from slotfill.report import html
    from slotfill.report.kernel import warm_kernel

    with warm_kernel() as kernel:
        for out, parameters in jobs.items():
            papermill.execute_notebook(
                *(_as_template(path) for path in (NOTEBOOKS / f"{notebook}.ipynb", out)),
                parameters=dict(parameters),
                progress_bar=False,
                cwd=NOTEBOOKS,
                km=kernel,
                # At every start the kernel warns that it listens on loopback without encryption.
                extra_arguments=["--log-level=ERROR"],
            )
            html.export(out, out.with_suffix(".html"))


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
