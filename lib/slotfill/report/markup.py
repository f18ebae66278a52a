"""HTML of prose and of tables, safe whatever a platform wrote into them."""

import html
import re

import mistune
import pandas as pd

from slotfill.report import labels

_SHORT = 40
"""Characters of a table cell up to which it stays on one line."""
_FIGURE = re.compile(r"^[<~]?\s?[-−+]?\d[\d,.]*( |$|[%/(\[])")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_markdown = mistune.create_markdown(escape=True, plugins=["table", "strikethrough"])


def prose(markdown: str) -> str:
    """Markdown as HTML; markup inside it is shown as text."""
    return str(_markdown(markdown))


def escape(text: object) -> str:
    """Text that a platform may have written, so that Markdown shows it and nothing in it is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def code(text: object) -> str:
    """Text as a code span, whatever backticks it holds."""
    plain = " ".join(str(text).split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    return f"{ticks} {plain} {ticks}" if len(ticks) > 1 else f"`{plain}`"


def fence(text: str, indent: str = "") -> str:
    """Lines as a block of code, whatever fences they hold; empty for no lines."""
    if not text.strip():
        return ""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    rows = [f"{ticks}text", *text.strip("\n").splitlines(), ticks]
    return "\n".join(f"{indent}{row}".rstrip() for row in rows)


def table(frame: pd.DataFrame, caption: str = "") -> str:
    """A table whose columns of figures are aligned to the right, in a box that scrolls by itself and by keyboard."""
    figures = {column for column in frame if _is_figures(frame[column])}
    heads = "".join(f'<th scope="col"{_class(c, figures)}>{html.escape(str(c))}</th>' for c in frame)
    rows = "".join(
        f"<tr>{''.join(_cell(column, value, figures) for column, value in zip(frame, row, strict=True))}</tr>"
        for row in frame.astype(object).itertuples(index=False, name=None)
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    label = html.escape(caption or "table")
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table>{told}'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(column: object, value: object, figures: set[object]) -> str:
    text = labels.UNKNOWN if labels.is_missing(value) else str(value)
    kind = _class(column, figures) or (' class="long"' if len(text.partition(chr(10))[0]) > _SHORT else "")
    return f"<td{kind}>{html.escape(text).replace(chr(10), '<br>')}</td>"


def _class(column: object, figures: set[object]) -> str:
    return ' class="figure"' if column in figures else ""


def _is_figures(values: pd.Series) -> bool:
    texts = [str(value) for value in values if not labels.is_missing(value) and str(value) not in (labels.UNKNOWN, "")]
    return bool(texts) and all(_FIGURE.match(text) and len(text) <= _SHORT for text in texts)
