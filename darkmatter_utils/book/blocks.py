"""What a chapter shows beside its figures: a claim with verdict and reasons, and the folded run record."""

from __future__ import annotations

import html
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..base import cache, provenance
from ..base.values import Absent
from ..charts.tables import Html, badge, emphasis
from ..claims.claim import Claim, Question, Verdict
from ..studies.study import Study


def claim(asked: Question, told: Verdict, *, control: str = "", more: Iterable[str] = ()) -> Html:
    """The claim, chips (verdict, our number, the paper's, a control) and, folded, why; ``more``: further
    paragraphs of the fold, "" for none."""
    chips = [badge(told.word)]
    if isinstance(asked, Claim):
        name = f"<strong>Claim {asked.number} of the paper.</strong> {emphasis(asked.short)}"
        chips += [f"here: {emphasis(told.measured)}"] if told.measured else []
        chips += [f"the paper: {emphasis(asked.paper)}"]
    else:
        name = f"<strong>What this chapter checks.</strong> {emphasis(asked.short)}"
    chips += [emphasis(control)] if control else []
    line = "".join(f'<span class="chip">{chip}</span> ' for chip in chips)
    why = "".join(f"<p>{emphasis(said)}</p>" for said in (told.why, *more) if said)
    return Html(
        f'<div class="claim"><p class="claim-words">{name}</p>\n<p class="chips">{line}</p>\n'
        f"<details><summary>Why, statement by statement</summary>{why}</details></div>"
    )


def rules(asked: Iterable[Question]) -> Html:
    """What would change our mind, and each rule under a fold."""
    return Html("\n".join(_rule(one) for one in asked))


def _rule(asked: Question) -> str:
    if not isinstance(asked, Claim):
        return _fold("The rule of this chapter", f"{asked.rule_in_words} {asked.written}")
    wrong = f"<strong>Against claim {asked.number}</strong> (in places: partly): {emphasis(asked.falsifier)}."
    rule = _fold(f"The rule for claim {asked.number}", f"{asked.rule_in_words} {asked.written}")
    return f"<p>{wrong}</p>\n{rule}"


def _fold(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><p>{emphasis(text)}</p></details>"


def sentence(said: str | Callable[..., str], *found) -> str:
    """A sentence, or what a function makes of ``found``: "" where one of these is absent or empty."""
    if not callable(said):
        return said
    there = (not isinstance(one, Absent) and (not hasattr(one, "__len__") or len(one)) for one in found)
    return said(*found) if all(there) else ""


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


def data_hashes(study: Study) -> dict[str, str]:
    """Hashes of a study's settings, and of the manifest with the sha256 of every data file and SAE."""
    hashes = {"settings": study.fingerprint()[:16]}
    if study.data is None:
        return hashes
    manifest = study.data_folder() / "manifest.json"
    return hashes | {"manifest": provenance.digest(manifest.read_bytes())}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, without labels such as +cpu."""
    found = cache.versions(sorted(PACKAGES)).items()
    return {"python": platform.python_version()} | {name: said.partition("+")[0] for name, said in found}
