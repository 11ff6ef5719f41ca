"""The folded run record at a chapter's end."""

from __future__ import annotations

import html
import platform
from dataclasses import dataclass
from typing import Any

from ..base import cache, provenance

PACKAGES = ("altair", *cache.LIBRARIES, "pandas", "scikit-learn", "vl-convert-python")
"""Whose versions a record names: what the numbers and pictures depend on."""


@dataclass(frozen=True)
class RunRecord:
    """The folded run record at a chapter's end; what differs between runs is filled in at rendering."""

    number: int
    content: dict[str, Any]

    def _repr_html_(self) -> str:
        found = self.content
        edited = f"edited, not the published one: {', '.join(found['edited'])}"
        rows = {
            "study": f"{found['study']}, seed {found['seed']}",
            "parameters": ", ".join(f"{key} = {value}" for key, value in sorted(found["parameters"].items())),
            "versions": ", ".join(f"{name} {number}" for name, number in found["versions"].items()),
            "data": ", ".join(f"{name} {digest}" for name, digest in found["data"].items()),
            "idea": edited if found["edited"] else "as published" * bool(found["ideas"]),
            "code": f"{provenance.key(found['sources'])}, {len(found['sources'])} definitions",
            "recorded values": str(len(found["values"])),
        }
        row = "<tr><th>{}</th><td>{}</td></tr>"
        cells = "".join(row.format(key, html.escape(text)) for key, text in rows.items() if text)
        run = f'<tr class="run-facts" data-chapter="{self.number:02d}" hidden><th>this run</th><td></td></tr>'
        table = f"<table>{cells}{run}</table>"
        return f'<details class="run-record"><summary>Run record</summary>{table}</details>'

    def __repr__(self) -> str:
        found = self.content
        return f"chapter {self.number:02d}, study {found['study']}: {len(found['values'])} recorded values"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, without labels such as +cpu."""
    found = cache.versions(sorted(PACKAGES)).items()
    return {"python": platform.python_version()} | {name: said.partition("+")[0] for name, said in found}
