"""A Sphinx extension: numbers and labels as a reader of the book expects them.

A chapter has the number of its file, wherever the table of contents has it: the contents tell a story;
files, records, figures keep their numbers. A reference is listed under the words that it is cited by.
"""

from __future__ import annotations

import re

STYLE = "authoryear"
"""The bibliography style that this extension adds."""


def setup(app) -> dict[str, bool]:
    """Number chapters by their files, before figures are numbered; add the bibliography's style."""
    from pybtex.plugin import register_plugin

    register_plugin("pybtex.style.formatting", STYLE, _style())
    _number_by_file()
    return {"parallel_read_safe": True, "parallel_write_safe": True}


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
