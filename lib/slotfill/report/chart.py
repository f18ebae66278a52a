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

    def html(self, folded: bool = True) -> str:
        """The ``figure`` element, with the narrow picture for small screens beside the wide one, and the table."""
        pictures = []
        for narrow in (False, True):
            figure = self.draw(narrow)
            figure.set_label(self.caption)
            kind = "narrow" if narrow else "wide"
            pictures.append(svg.render(figure, f"{self.name}-{kind}", svg.NARROW if narrow else "for-wide"))
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>"
        return f"<figure>{''.join(pictures)}{caption}</figure>{self._table(folded)}"

    def _repr_html_(self) -> str:
        """In a notebook, which has room: the wide picture alone, unless an exported page chooses."""
        return self.html()

    def _table(self, folded: bool) -> str:
        if self.table.empty:
            return ""
        table = f'<div class="of-chart">{markup.table(self.table, self.caption)}</div>'
        return f"<details><summary>The same as a table</summary>{table}</details>" if folded else table
