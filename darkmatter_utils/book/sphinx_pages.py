"""A Sphinx extension: numbers, labels, names and the search as a reader of the book expects them.

A chapter has the number of its file, wherever the table of contents has it: the contents tell a story;
files, records, figures keep their numbers. A reference is listed under the words that it is cited by. What
pages can do without a server, as the pieces of text that a search shows, is written beside them.
"""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from ..base.config import STATIC

STYLE = "authoryear"
"""The bibliography style that this extension adds."""
NAMES = {
    ' aria-label="Toggle hidden content"': "",
    'role="doc-biblioentry"': 'role="listitem"',
    ' aria-label="Search" data-bs-placement="bottom" data-bs-toggle="tooltip">\n '
    '<i class="fa-solid fa-magnifying-glass"></i>\n <span': '><i class="fa-solid fa-magnifying-glass"></i>'
    "<span",
    ' title="Light"></i>': "></i>",
    ' title="Dark"></i>': "></i>",
    ' title="System Settings"></i>': "></i>",
}
"""What Sphinx and its theme say in pages that contradicts what is seen, and what is right: a name holds the
words of a button, a list has items."""


def setup(app) -> dict[str, bool]:
    """Number chapters by their files, before figures are numbered; add the bibliography's style."""
    from pybtex.plugin import register_plugin

    register_plugin("pybtex.style.formatting", STYLE, _style())
    _number_by_file()
    texts: dict[str, str] = {}
    app.connect(
        "html-page-context", lambda app, name, kind, context, tree: texts.update(_text(name, context))
    )
    app.connect("build-finished", lambda app, failed: failed or _finish(Path(app.outdir), texts))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _text(name: str, context: dict) -> dict[str, str]:
    if "body" not in context:
        return {}
    page = _Words()
    page.feed(context["body"])
    return {name: re.sub(r"\s+", " ", "".join(page.kept))}


def _finish(made: Path, texts: dict[str, str]) -> None:
    """Mend the names in every page; write what the search shows of each."""
    for path in made.rglob("*.html"):
        text = mended = path.read_text(encoding="utf-8")
        for said, right in NAMES.items():
            mended = mended.replace(said, right)
        if mended != text:
            path.write_text(mended, encoding="utf-8")
    script = f"const texts = {json.dumps(texts, ensure_ascii=False)};\n"
    script += (STATIC / "search.js").read_text(encoding="utf-8")
    (made / "_static" / "search.js").write_text(script, encoding="utf-8")


class _Words(HTMLParser):
    """The words of a page in the sections that the search can lead to."""

    LEFT_OUT = ("script", "style", "svg", "headerlink", "math", "hide")
    APART = ("td", "th", "p", "li", "div", "summary", "figcaption", "dt")
    VOID = ("br", "img", "input", "hr", "meta", "link", "source", "wbr", "col")

    def __init__(self):
        super().__init__()
        self.open: list[tuple[str, bool, bool]] = []
        self.kept: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in self.VOID:
            return
        about = dict(attrs)
        kinds = {tag, *(about.get("class") or "").split()}
        out = bool(kinds & set(self.LEFT_OUT)) or bool(self.open and self.open[-1][1])
        marked = not out and bool(about.get("id"))
        self.open.append((tag, out, marked))
        self.kept.append(f'<div id="{escape(about["id"])}">' if marked else "")

    def handle_endtag(self, tag):
        while self.open:
            name, _, marked = self.open.pop()
            self.kept.append(("</div>" if marked else "") + (" " if name in self.APART else ""))
            if name == tag:
                break

    def handle_data(self, data):
        if not (self.open and self.open[-1][1]):
            self.kept.append(escape(data, quote=False))


def _style() -> type:
    from pybtex.style.formatting.plain import Style
    from pybtex.style.labels import BaseLabelStyle

    class Labels(BaseLabelStyle):
        def format_labels(self, entries):
            return [label(entry) for entry in entries]

    class AuthorYear(Style):
        default_label_style = Labels

    return AuthorYear


def label(entry) -> str:
    """Authors and year of a reference as the text cites it: "Engels et al., 2025"."""
    names = [" ".join(person.last_names) for person in entry.persons.get("author", ())]
    who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{who}, {entry.fields.get('year', '')}".replace("{", "").replace("}", "")


def _number_by_file() -> None:
    from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

    by_position = Collector.assign_section_numbers

    def by_file(self, env) -> list[str]:
        changed = by_position(self, env)
        for name in env.toc_secnumbers:
            _renumber(env, name)
        return changed

    Collector.assign_section_numbers = by_file


def _renumber(env, name: str) -> None:
    from docutils import nodes

    found = re.match(r"(\d\d)_", name.rpartition("/")[2])
    own = [int(found[1])] if found else []
    numbered = lambda old: own + list(old)[1:] if old and own else []
    secnumbers = env.toc_secnumbers[name]
    for anchor, old in secnumbers.items():
        secnumbers[anchor] = tuple(numbered(old))
    for node in (env.titles[name], *env.tocs[name].findall(nodes.reference)):
        node["secnumber"] = numbered(node.get("secnumber")) or None
        if node["secnumber"] is None:
            del node["secnumber"]
