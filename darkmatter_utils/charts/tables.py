"""Words and tables as notebooks show them: Markdown, plain HTML tables, the same bytes from run to run."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape
from math import isnan

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate, estimates
from ..base.words import interval, plain
from .theme import GLYPHS, builder


class Words(str):
    """Markdown that a cell shows as text; used where the sentence depends on the result."""

    @classmethod
    def of(cls, *found, say: Callable[..., str]) -> Words:
        """What ``say`` makes of some results; where one of them is absent, the reason."""
        absent = [one for one in found if isinstance(one, Absent)]
        return cls(absent[0]._repr_markdown_() if absent else say(*found))

    def _repr_markdown_(self) -> str:
        return str(self)


class Html(str):
    """Markup already: a cell of a table, which a style returns instead of text, or a cell's output."""

    def _repr_html_(self) -> str:
        return str(self)


class Table:
    """A frame as an HTML table; `styles` turns a column's values into text (one style alone is that of all
    estimates), `left` names columns set to the left.

    Numbers, and columns with a style, are set to the right; an `Estimate` is shown with its interval, its
    three numbers in the column's style, and where a column lacks one stands a dash. `bold`: a frame of flags
    for some of the columns. Of a frame that is absent the table is its reason.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        styles: Mapping[str, Callable] | Callable | None = None,
        *,
        left=(),
        bold: pd.DataFrame | None = None,
    ):
        self.absent = frame if isinstance(frame, Absent) else None
        frame = pd.DataFrame() if self.absent is not None else frame
        self.styles = {} if callable(styles) else dict(styles or {})
        self.estimate = styles if callable(styles) else plain
        self.names = [str(name) for name in frame.columns]
        has_estimates = lambda column: any(isinstance(value, Estimate) for value in column)
        self.estimated = {str(name) for name in frame.columns if has_estimates(frame[name])}
        numeric = {str(name) for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])}
        to_the_right = (numeric | self.estimated | self.styles.keys()) - set(left)
        self.right = [name in to_the_right for name in self.names]
        rows = frame.itertuples(index=False)
        self.rows = [[self._text(name, value) for name, value in zip(self.names, row)] for row in rows]
        for name in bold if bold is not None else ():
            for row in np.flatnonzero(bold[name]):
                cells, at = self.rows[row], self.names.index(str(name))
                cells[at] = Html(f"<strong>{escape(cells[at])}</strong>")

    def _text(self, name: str, value) -> str:
        if isinstance(value, Estimate):
            return interval(value, self.styles.get(name, self.estimate))
        if name in self.estimated or value is None or (isinstance(value, float) and isnan(value)):
            return "–"
        return self.styles.get(name, as_text)(value)

    def _repr_html_(self) -> str:
        if self.absent is not None:
            return f"<p><em>{escape(self.absent.reason)}</em></p>"
        head = self._line("th", self.names)
        body = "\n".join(self._line("td", row) for row in self.rows)
        return f'<table class="table dark-table">\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>'

    def _line(self, tag: str, cells) -> str:
        sides = ["right" if right else "left" for right in self.right]
        cells = [_unbroken(cell if isinstance(cell, Html) else escape(str(cell))) for cell in cells]
        shown = [f'<{tag} class="text-{side}">{cell}</{tag}>' for side, cell in zip(sides, cells)]
        return f"<tr>{''.join(shown)}</tr>"

    def csv(self) -> str:
        """Its cells as text, commas between them."""
        lines = io.StringIO()
        text = [[unescape(re.sub(r"<[^>]+>", "", str(cell))) for cell in row] for row in self.rows]
        csv.writer(lines, lineterminator="\n").writerows([self.names, *text])
        return lines.getvalue()

    def __repr__(self) -> str:
        if self.absent is not None:
            return self.absent.reason
        text = [[re.sub(r"<[^>]+>", "", str(cell)) for cell in row] for row in self.rows]
        return "\n".join(" | ".join(row) for row in [self.names, *text])


def _unbroken(cell: str) -> str:
    """A cell in which a line may end before an interval, not inside it."""
    return re.sub(r"\[[^][<>]*\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)


@builder
def wide(frame: pd.DataFrame, index: str | Sequence[str], what: str) -> pd.DataFrame:
    """The estimates of a tidy frame side by side: a row an ``index``, a column a value of ``what``."""
    rows = frame.assign(estimate=estimates(frame))
    shape = {"index": [index] if isinstance(index, str) else list(index), "columns": what}
    made = rows.pivot_table(**shape, values="estimate", aggfunc="first", sort=False)
    return made.reset_index().rename_axis(columns=None)


def as_text(value) -> str:
    """A value as text: flags as yes and no, NaN and None as a dash, three significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.3g}".replace("-", "−")
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


class Folded:
    """A table under a line to click on, with its values as a CSV: for what most readers pass over."""

    def __init__(self, summary: str, table: Table):
        self.summary, self.table = summary, table

    def _repr_html_(self) -> str:
        link = "" if self.table.absent is not None else f"{_download(self.summary, self.table, 'CSV')}\n"
        body = f"{link}{self.table._repr_html_()}"
        return f"<details><summary>{escape(self.summary)}</summary>\n{body}\n</details>"

    def __repr__(self) -> str:
        return f"{self.summary}\n{self.table!r}"


class Csv(Folded):
    """A table as a file to take along, where a figure of the page shows the same."""

    def _repr_html_(self) -> str:
        if self.table.absent is not None:
            return self.table._repr_html_()
        words = f"{self.summary}: {len(self.table.rows)} rows as CSV"
        return f'<p class="numbers">{_download(self.summary, self.table, words)}</p>'


def _download(name: str, table: Table, words: str) -> str:
    file = re.sub(r"\W+", "-", name.lower()).strip("-")
    data = base64.b64encode(table.csv().encode()).decode()
    return f'<a class="csv" download="{file}.csv" href="data:text/csv;base64,{data}">{escape(words)}</a>'


def badge(word: str) -> Html:
    """A verdict's word behind its mark; another word as it is."""
    if word not in GLYPHS:
        return Html(escape(word))
    return Html(f'<span class="verdict"><span aria-hidden="true">{GLYPHS[word]}</span> {word}</span>')


def link(chapter: str, anchor: str = "", words: str = "") -> Html:
    """A link to a chapter's page, or to a figure on it."""
    target = f"{chapter}.html{'#' + anchor if anchor else ''}"
    return Html(f'<a href="{target}">{escape(words or chapter[:2])}</a>')


def emphasis(text: str) -> str:
    """Text as HTML, its **strong** words, *stressed* words and `names` marked; markup already stays."""
    if isinstance(text, Html):
        return text
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escape(text, quote=False))
    text = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
