"""The page to look things up in: the paper's figures by their numbers, its choices, its slips in print."""

from __future__ import annotations

from collections.abc import Iterable

from ..charts.tables import link
from ..claims.paper import CHOICES, ERRATA, PAPER_FIGURES

HEAD = """# The paper, figure by figure

(figures-by-number)=
## Its figures, by number

Numbers are those of the paper as published (arXiv v2). The README of the released code counts otherwise: its
Figs. 7 to 10 are 6 to 9 here.

"""
CHOSEN = """

## What its released code does otherwise

What a choice changes on a study, where it was measured, is in {doc}`15_the_report`.

"""
SLIPS = """

## Slips in print

Found while reading the paper beside its code and its figures. What they change is mostly nothing; some of it
favours the authors.

"""


def page() -> str:
    """The page as MyST Markdown."""
    figures = [(f.name, f.experiment, f.shows, _places(f)) for f in PAPER_FIGURES]
    made = _table(("the paper's", "experiment", "what it shows", "here"), figures)
    chosen = [(c.name, c.released, c.here, f"{c.chapter:02d}" if c.chapter else "–") for c in CHOICES]
    choices = _table(("choice", "the released code", "this book", "chapter"), chosen)
    slips = _table(("where", "printed", "right", "what it changes"), ERRATA)
    return f"{HEAD}{made}{CHOSEN}{choices}{SLIPS}{slips}\n"


def _places(figure) -> str:
    words = lambda chapter, label: f"{chapter[:2]} {label.removeprefix('fig-').replace('-', ' ')}"
    return ", ".join(link(*place, words(*place)) for place in figure.counterparts)


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    line = lambda cells: f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
    names = list(names)
    return "\n".join([line(names), line(["---"] * len(names)), *map(line, rows)])
