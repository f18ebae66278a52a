"""A chart as a page or a notebook shows it: the picture, a sentence on what it shows, the same figures as a table."""

import html
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from slotfill.report import markup, svg


@dataclass(frozen=True)
class Chart:
    """``draw`` makes the figure, wide or narrow; ``caption`` says in one sentence what it shows."""

    name: str
    draw: Callable[[bool], Figure]
    caption: str
    table: pd.DataFrame

    def html(self) -> str:
        """The ``figure`` element, with the narrow picture for small screens beside the wide one."""
        pictures = []
        for narrow in (False, True):
            figure = self.draw(narrow)
            figure.set_label(self.caption)
            kind = "narrow" if narrow else "wide"
            pictures.append(svg.render(figure, f"{self.name}-{kind}", f"for-{kind}"))
        return (
            f"<figure>{''.join(pictures)}<figcaption>{html.escape(self.caption)}</figcaption></figure>{self._table()}"
        )

    def _repr_html_(self) -> str:
        """In a notebook, which has room: the wide picture alone, unless an exported page chooses."""
        return self.html().replace('class="chart for-narrow"', 'class="chart for-narrow" hidden')

    def _table(self) -> str:
        if self.table.empty:
            return ""
        return f"<details><summary>The same as a table</summary>{markup.table(self.table, self.caption)}</details>"
