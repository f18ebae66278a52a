"""A chart as a notebook shows it: the picture with its alternative text, and the same figures as a table below."""

import base64
import io

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

RESOLUTION_DPI = 130


def show(figure: Figure, table: pd.DataFrame | None = None) -> None:
    """Display a figure from ``plots`` and the table of its figures, folded away."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=RESOLUTION_DPI)
    alt = str(figure.get_label())
    _display({"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": alt}, alt)
    if table is not None and not table.empty:
        _display({"text/html": f"<details><summary>The same as a table</summary>{_html(table)}</details>"})


def show_table(table: pd.DataFrame, otherwise: str = "Nothing to show.") -> None:
    """Display a table, or a sentence where it has no rows."""
    if table.empty:
        show_text(otherwise)
    else:
        _display({"text/html": _html(table)})


def show_text(markdown: str) -> None:
    """Display prose."""
    _display({"text/markdown": markdown})


def _display(data: dict[str, str], alt: str | None = None) -> None:
    metadata = {"image/png": {"alt": alt}} if alt else {}
    display(data, raw=True, metadata=metadata)  # type: ignore[no-untyped-call]


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="–", justify="left", classes="figures")
