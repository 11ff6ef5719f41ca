"""A Sphinx extension: a chapter has the number of its file, wherever the table of contents has it.

The contents tell a story; files, records, figures keep their numbers. Pages that are no chapters have none.
"""

from __future__ import annotations

import re


def setup(app) -> dict[str, bool]:
    """Number chapters by their files, before figures are numbered after them."""
    from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

    by_position = Collector.assign_section_numbers

    def by_file(self, env) -> list[str]:
        changed = by_position(self, env)
        for name in env.toc_secnumbers:
            _renumber(env, name)
        return changed

    Collector.assign_section_numbers = by_file
    return {"parallel_read_safe": True, "parallel_write_safe": True}


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
