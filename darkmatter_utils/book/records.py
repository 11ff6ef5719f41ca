"""What a chapter says in numbers: glued into its prose and written to its record, ``NN.json``.

    chapter = open_chapter(5, study)            first code cell
    chapter.estimate("floor", fit.c, ".3f")     "0.061 [0.032, 0.080]" in prose as {glue:text}`floor`
    chapter.close()                             last code cell: writes the record, shows the run record

A record holds nothing that changes from run to run. Where it goes: the folder in ``DARKMATTER_RECORDS`` (set
by ``darkmatter run``); run by hand, ``NN.<study>.record.json`` beside the output.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import charts
from ..base import cache, provenance
from ..base.errors import BadInput
from ..base.ideas import Ideas
from ..base.values import Absent, to_json, write_atomic
from ..base.words import said
from ..charts.tables import Html
from ..claims.claim import Claim, Question, Verdict
from ..claims.claim import unfit as why_unfit
from ..claims.protocol import Changes, as_recorded
from ..claims.worth import cannot_answer
from ..experiments import calibration
from ..measurement.measure import shipped
from ..studies.study import Study
from . import blocks, chapters, others
from .blocks import RunRecord, data_hashes, versions
from .chapters import DEFAULT_STUDY, hashes, project, published, read_json, read_records, titled

RECORDS, CELLS, SHIPPED = "DARKMATTER_RECORDS", "DARKMATTER_CELLS", "DARKMATTER_SHIPPED"
"""Environment variables of a run: folder for records, hash of the cells; if set, only SAEs at hand."""


def open_chapter(number: int, study: str | Path | Study, **parameters) -> Chapter:
    """The chapter at hand: its study loaded, the book's theme and renderer in use; ``parameters``: its
    others, for the record. Raises BadInput for an unknown study."""
    charts.use()
    name = study.name if isinstance(study, Study) else Path(study).name  # no path of this machine
    study = Study.load(study)
    (place := project()) and cache.also_read(chapters.stored(place, study.name))
    given = {"study": name, **parameters}
    return Chapter(number, study.at_hand() if os.environ.get(SHIPPED) else study, given)


@dataclass
class Chapter:
    """One chapter while it runs."""

    number: int
    study: Study
    parameters: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)  # every number and sentence the prose quotes, by key
    findings: dict[str, str] = field(default_factory=dict)  # what the figures show, by their labels
    ideas: Ideas = field(default_factory=Ideas)  # what the visible functions say, by name
    read: dict[str, Any] = field(default_factory=dict)  # the studies asked for, the hash of each record
    part: Study | None = None  # of the study, where not all of its SAEs can be run again

    def again(self, *, also: str = "") -> Study:
        """The study for what runs the model or an SAE again: of its SAEs those alone whose weights are kept
        with it, and those of the suite ``also``; `opening` says so where it is not all of them."""
        found = shipped(self.study, also=also)
        self.part = found if len(found.selected()) < len(self.study.selected()) else None
        return found

    def idea(self, function: Callable) -> Callable:
        """The decorator of a chapter's visible function: notes what it says, and says so where it was edited.

        It goes to the experiment as it stands. Raises BadInput where it uses a variable of the notebook.
        """
        from IPython.display import Markdown, display

        self.ideas.add(function)
        if function.__name__ in self.edited():
            told = "is not the published idea: the numbers of this page follow from it as edited."
            display(Markdown(f"*`{function.__name__}` {told}*"))
        return function

    def edited(self) -> list[str]:
        """The ideas of this chapter that are not the published ones, by the record that the book holds."""
        place = project()
        for name in (self.study.name, DEFAULT_STUDY) if place else ():
            record = read_json(published(place, name) / f"{self.number:02d}.json")
            if record is not None:
                return sorted(self.ideas.edited(record.get("ideas", {})))
        return []

    def record(self, key: str, value) -> None:
        """Keep a number, text, list, dict or estimate; of what is absent nothing. BadInput: key taken."""
        if isinstance(value, Absent):
            return
        if key in self.values:
            raise BadInput(f"chapter {self.number:02d} records '{key}' twice; a key names one value")
        self.values[key] = to_json(value)

    def glue(self, key: str, value, fmt: str = "") -> None:
        """Record a value and make it available to prose as ``{glue:text}`` (formatted) under ``key``."""
        self._glue(key, value, value if isinstance(value, str) else said(value, fmt))

    def estimate(self, key: str, estimate, fmt: str = ".2f") -> None:
        """Glue "value [low, high]"; the value alone where there is no interval."""
        self._glue(key, estimate, said(estimate, fmt))

    def sentence(self, key: str, markdown: str) -> None:
        """Record a sentence that depends on the results; prose has it by ``{glue:md}``, ``:format: myst``."""
        from IPython.display import Markdown

        self._glue(key, markdown, Markdown(markdown))

    def _glue(self, key: str, value, shown) -> None:
        from myst_nb import glue

        self.record(key, value)
        glue(key, shown, display=False)

    def judge(self, asked: ModuleType, evidence, *, unfit: str | None = None) -> Verdict:
        """Record what a rule takes, and the verdict that follows from the record.

        asked: the file of a claim or of a question (`claims.c04_flat`). evidence: its ``Evidence``; None
        where nothing was measured, `Absent` where the study lacks what it would be measured on. unfit: why
        the study cannot speak of it; by default what `claims.claim.unfit` says. Judged from what the record
        will hold (6 significant digits), so that chapter and report agree. Kept are ``evidence`` and
        ``verdicts`` by the claim's number, in ``claims`` what the index says of it, and in ``protocol`` what
        its evidence says of choices of protocol; or ``question`` and ``verdict``.
        """
        reason = why_unfit(self.study) if unfit is None else unfit
        if isinstance(evidence, Absent):
            evidence, reason = None, reason or evidence.reason
        return judged(self.values, _asked(asked), evidence, reason)

    def headed(self, sentence: str | Callable[..., str], *found) -> None:
        """Record what the page found, in a sentence: its title, where it is rendered. As in `finding`."""
        if said := blocks.sentence(sentence, *found):
            self.record("finding", said)

    def finding(self, sentence: str | Callable[..., str], *found) -> str:
        """Record what a figure shows, a sentence with its numbers, under the figure's label; returned for the
        chart's ``title``. It may be a function of ``found``: "" where one of these is absent or empty."""
        if said := blocks.sentence(sentence, *found):
            name = chapters.options(_cells(last=True)).get("name", f"figure {len(self.findings) + 1}")
            self.findings[name] = said
        return said

    def opening(self, *asked: ModuleType, control: Mapping[int, str] | None = None) -> Html:
        """Each claim with its verdict in a line, for the first screen, and why under a fold; ``control``: by
        a claim's number, what a control or the null gives."""
        said = [self._opening(_asked(one), control or {}) for one in asked]
        if control:
            self.values.setdefault("controls", {}).update({str(n): text for n, text in control.items()})
        if self.part is not None:
            ids = [entry.id for entry in self.part.selected()]
            kept = f"{len(ids)} of this study's {len(self.study.selected())} SAEs here are kept with it"
            these = f"What this page runs again is of {', '.join(ids)}: the weights of {kept}."
            said.append(f'<p class="part"><strong>What is run again.</strong> {these}</p>')
        return Html("\n".join(said))

    def _opening(self, asked: Question, control: Mapping[int, str]) -> Html:
        if not isinstance(asked, Claim):
            return blocks.claim(asked, Verdict(**self.values["verdict"]))
        told = self.values["verdicts"][str(asked.number)]
        more = cannot_answer(calibration.summary(), asked.number) if told["numbers"] else ""
        more = more, self._elsewhere(str(asked.number), told["word"])
        return blocks.claim(asked, Verdict(**told), control=control.get(asked.number, ""), more=more)

    def _elsewhere(self, claim: str, word: str) -> str:
        """What `others.elsewhere` says, noted among what this chapter reads."""
        if (place := project()) is None:
            return ""
        self.read = {"asked": [], "found": {}, "points": {}} | self.read
        self.read["points"] |= others.hashes(place, self.study.name, [f"{self.number:02d} verdicts"])
        return others.elsewhere(place, self.study, self.number, claim, word)

    def rules(self, *asked: ModuleType) -> Html:
        """What would falsify each claim and, folded, the rules that judged."""
        return blocks.rules(map(_asked, asked))

    def protocol(self, changes: Mapping[str, str], effects: Changes | None = None) -> None:
        """Record what choices of protocol change here, in words and numbers, by their keys in `CHOICES`."""
        self.values.setdefault("protocol", {}).update(changes)
        if effects:
            self.values.setdefault("effects", {}).update(to_json(as_recorded(effects)))

    def headline(self, what: str, here, paper: str = "", fmt: str = ".3f", **more: str) -> None:
        """A row of the README's table: what is measured, our number (text, number or estimate), the paper's.

        more: other columns, and as ``chapter`` the file of the one that measures it, if not this one.
        """
        text = here if isinstance(here, str) else said(here, fmt)
        row = {"what": what, "here": text, "paper": paper} | {k: v for k, v in more.items() if v}
        self.values.setdefault("headline", []).append(row)

    def reads(self, *others: str) -> dict[str, dict[int, dict]]:
        """What other chapters recorded: values by chapter number, of this study and of ``others`` (`EVERY`).

        Which records these are: `chapters.read_records`; a study without records has an empty mapping.
        """
        place, own = project(), self.study.name
        found = read_records(place, own, others, reader=self.number) if place else {own: {}}
        self.read |= {"asked": sorted({own, *others}), "found": hashes(found)}
        return found

    def story(self) -> dict[int, str]:
        """The names of this project's pages between index and report by their numbers, in the order of the
        table of contents; none outside a project."""
        place = project()
        return chapters.story(place) if place else {}

    def beside(self, theirs, key: str, draw: Callable = lambda rows: rows, *, of=None, nulls=True):
        """The paper's points and, below, what other editions (and ``nulls``) recorded under ``key`` in this
        chapter (or ``of``), as ``draw`` makes it: with a column ``study`` where there are any (`others`)."""
        place, own, key = project(), self.study.name, f"{of or self.number:02d} {key}"
        self.read = {"asked": [], "found": {}, "points": {}} | self.read
        self.read["points"] |= others.hashes(place, own, [key]) if place else {}
        return others.beside(place, own, theirs, key, draw, nulls=nulls) if place else theirs

    def close(self):
        """Write the record and return the folded run record to show. The last cell of the chapter."""
        found = self.content()
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_atomic(path, text + "\n")
        return RunRecord(self.number, found)

    def content(self) -> dict[str, Any]:
        """The record: what was asked, of what, with which sources and versions, and what came out."""
        return {
            "chapter": self.number,
            "parameters": to_json(self.parameters),
            "study": self.study.name,
            "title": titled(self.study),
            "seed": self.study.seed,
            "cells": os.environ.get(CELLS, ""),
            "ideas": dict(self.ideas),
            "edited": self.edited(),
            "data": data_hashes(self.study),
            "records": self.read,
            "sources": provenance.closure(provenance.script(_cells())),
            "versions": versions(),
            "values": self.values | ({"findings": self.findings} if self.findings else {}),
        }

    def path(self) -> Path:
        """Where the record goes."""
        if os.environ.get(RECORDS):
            return Path(os.environ[RECORDS]) / self.study.name / f"{self.number:02d}.json"
        return _beside_output() / f"{self.number:02d}.{self.study.name}.record.json"


def _asked(module: ModuleType) -> Question:
    return getattr(module, "CLAIM", None) or module.QUESTION


def judged(values: dict[str, Any], asked: Question, evidence, unfit: str) -> Verdict:
    """Keep what a rule takes among a record's values, and the verdict that follows from what is kept."""
    kept = asked.kept(evidence, unfit=unfit)
    verdict = asked.from_record(kept)
    told = to_json({"word": verdict.word, "why": verdict.why, "numbers": verdict.numbers})
    if not isinstance(asked, Claim):
        values |= {"question": kept, "verdict": told}
        return verdict
    taken = asked.recorded(kept)
    here = asked.measured_here(taken, verdict)
    index = {"short": asked.short, "paper": asked.paper, "chapter": asked.chapter, "here": here}
    for key, value in {"evidence": kept, "verdicts": told, "claims": index}.items():
        values.setdefault(key, {})[str(asked.number)] = value
    if asked.protocol and taken is not None:
        values.setdefault("protocol", {}).update(asked.protocol(taken))
    return verdict


def _cells(*, last: bool = False) -> str:
    """The code of the cells that this kernel has run, or of the last alone; nothing outside a notebook."""
    from IPython import get_ipython

    shell = get_ipython()
    run = shell.user_ns.get("In", []) if shell is not None else []
    return "\n".join(run[-1:] if last else run)


def _beside_output() -> Path:
    """The folder of papermill's output when papermill runs this kernel, else the current one."""
    import psutil  # comes with ipykernel

    try:
        parent = psutil.Process(os.getppid())
        command, folder = parent.cmdline(), Path(parent.cwd())
    except psutil.Error:
        return Path.cwd()
    notebooks = [word for word in command[1:] if word.endswith(".ipynb")]
    called_papermill = any("papermill" in Path(word).name for word in command[:3])
    return (folder / notebooks[1]).resolve().parent if called_papermill and len(notebooks) > 1 else Path.cwd()
