"""How an executed chapter becomes a page: what was found first, then how.

A script is in the order in which it runs: the idea before the figure that it feeds. The page opens with its
finding as the title and with the cells tagged ``first-screen``; then follow the introduction and the rest.
The script's own title stays that of the sidebar and of every link.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from ..base.errors import BadInput

FIRST = "first-screen"
"""The tag of a cell that the page shows before all others: the verdict, the main figure."""
_TITLE = re.compile(r"# (?P<title>[^\n]+)\n*")
_LINK = re.compile(r"\{doc\}`(\w+)`")


def title_of(book) -> str:
    """The title that a chapter's first cell has; raises BadInput where it has none."""
    found = _TITLE.match(book.cells[0].source) if book.cells else None
    if not found:
        raise BadInput("a chapter's first cell must be Markdown that begins with its title: # Title")
    return found["title"].strip()


def arranged(book, values: Mapping[str, Any], titles: Mapping[str, str]):
    """A copy of an executed chapter as its page shows it: by its record's ``values``, all pages' titles."""
    import nbformat

    book = copy.deepcopy(book)
    title, (start, *rest) = title_of(book), book.cells
    first = [cell for cell in rest if FIRST in cell.metadata.get("tags", [])]
    rest = [cell for cell in rest if FIRST not in cell.metadata.get("tags", [])]
    introduction = _TITLE.sub("", start.source, count=1)
    found = values.get("finding", "")
    head = f"# {found or title}\n" + (f'\n<p class="kicker">{escape(title)}</p>\n' if found else "")
    new = nbformat.v4.new_markdown_cell
    start.source = head
    if introduction.strip():
        first.append(new(introduction, id=f"{start['id']}-introduction"))
    book.cells = [start, *first, *rest]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = named(cell.source, titles)
    return book


def named(text: str, titles: Mapping[str, str]) -> str:
    """Markdown whose links to chapters say their own titles, not what these found."""
    link = lambda name: f"{titles[name]} <{name}>" if name in titles else name
    return _LINK.sub(lambda found: f"{{doc}}`{link(found[1])}`", text)


def listed(toc: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    """A table of contents whose sidebar has each chapter's own title."""
    toc = copy.deepcopy(dict(toc))
    toc |= {"title": titles[name] for name in [str(toc.get("root", "")).rpartition("/")[2]] if name in titles}
    for part in toc.get("parts", []):
        for entry in part.get("chapters", []):
            if title := titles.get(entry["file"].rpartition("/")[2]):
                entry["title"] = title
    return toc


def glossary(page: str) -> dict[str, str]:
    """The words that a page of tables explains, each with its meaning as plain text; symbols are left out."""
    found = {}
    for row in re.finditer(r"^\| (?P<words>[^|*]+) \| (?P<meaning>.+) \|$", page, re.M):
        meaning = row["meaning"].replace("\\|", "|")
        meaning = re.sub(r" ?\{(cite:[pt]|eq)\}`[^`]*`", "", meaning)
        meaning = re.sub(r"\\(mathrm|lVert|rVert|bar|times|top|sum_i|lambda_i)\b", _symbol, meaning)
        meaning = re.sub(r"[*`${}]|\\,", "", meaning).replace(",:", ":").strip(" ,")
        for word in re.split(r", ", re.sub(r"\*", "", row["words"])):
            if re.fullmatch(r"[A-Za-zÀ-ÿ][\w ²-]{2,}", word):
                found[word] = meaning
    return found


def _symbol(found) -> str:
    names = {"lVert": "‖", "rVert": "‖", "mathrm": "", "bar": "mean ", "times": "×", "top": "ᵀ", "sum_i": "Σ"}
    return names.get(found[1], "λ")
