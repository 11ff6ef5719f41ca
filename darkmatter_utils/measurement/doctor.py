"""A diagnosis, what ``darkmatter doctor`` makes: which setting explains an SAE that fits its model badly.

The rule: a setting is named where its L0 is within `NEAR_L0` times the stated one and its FVU at most `LOWER`
times that of the SAE as given, and below 1, that of the mean. Where the SAE as given has more latents than
are stated, the two are compared as they would be there (`at_stated`): a TopK SAE that is run with all its
positive latents leaves less than the right one, by ten times as many. Of several the lowest comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ..adapters import stated
from ..adapters.formats import canonical
from ..adapters.hub import sae_folder
from ..adapters.saes import load_any
from ..base.errors import BadInput
from ..base.words import plain
from ..stats.intervals import doubts
from ..studies.recipes import Request
from .mistakes import Tried, places, tried
from .one_sae import Plan, plan
from .patient import Patient, shortened

NEAR_L0, LOWER = 1.3, 2 / 3
"""The rule's two numbers."""
TOLD = 0.9
"""A setting whose FVU is lower than so many times that as given is told, though it is not named."""
ROUNDS = 2
"""A second mistake is looked for where a first was named."""
ALIKE = 1e-3
"""Settings whose FVU and L0 differ by less, relatively, are one thing by two names."""


@dataclass(frozen=True)
class Row:
    """A setting that was tried."""

    kind: str
    name: str
    fvu: float
    l0: float
    fits: bool
    """Whether the L0 is within `NEAR_L0` times the stated one; true where none is stated."""
    named: bool = False
    beside: str = ""
    """The setting that it is tried together with: the one that was named without it."""

    @property
    def title(self) -> str:
        """All that is set."""
        return f"{self.beside}, and {self.name}" if self.beside else self.name


@dataclass(frozen=True)
class Diagnosis:
    """What each setting makes of an SAE, and which are named."""

    given: Row
    rows: tuple[Row, ...]
    """The settings tried, by FVU."""
    l0: float | None
    """As stated."""
    tokens: int
    documents: int
    warnings: tuple[str, ...]
    about: dict
    """For the JSON: the SAE, what was asked."""

    @property
    def named(self) -> list[Row]:
        """Settings that the rule names, the most likely first."""
        return sorted((row for row in self.rows if row.named), key=lambda row: at_stated(row, self.l0))

    def reading(self) -> list[str]:
        """What is wrong, most likely; or that nothing that was tried explains the FVU."""
        given, within = self.given, f"within {NEAR_L0} × the stated {self.l0:g}" if self.l0 else ""
        off = "" if given.fits else f", which is not {within}"
        said = [f"On {self.tokens:,} tokens of {self.documents:,} documents, {_told(given)}{off}."]
        if self.named:
            first, *more = self.named
            fell = f"FVU {number(first.fvu)} in the place of {number(given.fvu)}"
            said.append(f"Most likely wrong: {first.title}. That gives {fell}, at L0 {plain(first.l0, 1)}.")
            if not given.fits and given.l0 > self.l0:
                there = number(at_stated(given, self.l0))
                said.append(f"FVU falls about with the root of L0: at the stated one that would be {there}.")
            if more:
                said.append(f"A third lower too, but less likely: {'; '.join(map(_told, more[:4]))}.")
        else:
            at = f" at an L0 {within}" if within else ""
            said.append(f"None of {len(self.rows)} settings that were tried lowers the FVU by a third{at}.")
            if low := [row for row in self.rows if not row.fits and lower(row, given, self.l0)]:
                asked = f"is the stated {self.l0:g} this SAE's, and on such a text?"
                said.append(f"Lower, but at another L0: {_told(low[0])}; {asked}")
            if some := [row for row in self.rows if row.fits and row.fvu < TOLD * min(given.fvu, 1)]:
                said.append(f"The lowest, which is not enough to name it: {_told(some[0])}.")
        if not self.l0:
            said.append("No L0 is stated, so none is held against a setting: give the published one (--l0).")
        return said


def number(fvu: float) -> str:
    """An FVU as a table shows it; one far above 1 needs no digits."""
    return plain(fvu, 3) if fvu < 100 else f"{fvu:.3g}"


def _told(row: Row) -> str:
    return f"{row.title}: FVU {number(row.fvu)}, L0 {plain(row.l0, 1)}"


def lower(row: Row, given: Row, l0: float | None) -> bool:
    """Whether a setting's FVU is by a third lower than that of the SAE as given, and below that of the mean;
    where the latter has more latents than `NEAR_L0` times the stated L0, which flatters it, both as they
    would be at that L0."""
    flattered = not given.fits and given.l0 > l0
    at = (lambda one: at_stated(one, l0)) if flattered else (lambda one: one.fvu)
    return row.l0 > 0 and row.fvu < 1 and at(row) <= LOWER * at(given)


def at_stated(row: Row, l0: float | None) -> float:
    """A setting's FVU at the stated L0: it falls about with the root of L0, so that of two scales of one SAE
    the one with more active latents has the lower FVU, right or wrong."""
    return row.fvu * math.sqrt(row.l0 / l0) if l0 else row.fvu


def near(l0: float, as_stated: float | None) -> bool:
    """Whether an L0 is within `NEAR_L0` times the stated one, if there is one."""
    return as_stated is None or as_stated / NEAR_L0 <= l0 <= as_stated * NEAR_L0


def diagnose(
    request: Request,
    *,
    models: Sequence[str] = (),
    l0: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Try what people get wrong about an SAE of a model, on the same tokens.

    The site that is asked for stands, whatever the SAE says. ``models``: others that it may be of; ``l0``:
    as published, in the place of what the SAE says. Raises BadInput as `one_sae.plan` does, and for an L0
    that is no number above 0. Cost: two runs of the model up to two layers behind the site, the SAE once a
    setting.
    """
    if l0 is not None and not 0 < l0 < math.inf:
        raise BadInput(f"--l0 is {l0:g}; give the L0 that the SAE was published with, a number above 0")
    tell = progress or (lambda line: None)
    how = dict(dtype=request.sae_dtype, device=request.device, said=request.said)
    sae = load_any(sae_folder(request.sae, progress=tell), **how)
    if sae.card.earlier:
        layers = f"reads {1 + len(sae.card.earlier)} layers"
        raise BadInput(f"SAE {sae.id} {layers}; the doctor knows SAEs and transcoders that read one site")
    sae = stated.honoured(sae, stated.overrides(request.sae))
    own = sae.card.site
    if request.site:
        sae = replace(sae, card=replace(sae.card, site=canonical(request.site)))
    asked = replace(request, folds=2)  # of which a diagnosis makes none
    planned = lambda name: shortened(plan(replace(asked, model=name), progress=tell, sae=sae), request)
    others = {}
    for name in models:  # one at a time in memory
        other = Patient(planned(name), tell)
        others[name] = other.activations(other.given)
    patient = Patient(planned(request.model), tell, others)
    return _diagnosis(patient, own, l0 or sae.card.l0)


def _diagnosis(patient: Patient, own: str | None, l0: float | None) -> Diagnosis:
    """Every setting; where one is named, every one of another kind with it."""
    setup, planned = patient.given, patient.plan
    at = list(places(planned.model, setup.reads, setup.writes, patient.has))
    if own and own != setup.reads and (own, own) not in at and setup.reads == setup.writes:
        at += [(own, own)] if own in planned.model.sites() else []
    patient.sites = [site for pair in at for site in pair]
    name = f"as given ({setup.where}, {'with' if setup.bos else 'without'} <bos>)"
    first = given = Row("", name, *patient.measured(setup), fits=True)
    first = given = replace(given, fits=near(given.l0, l0))
    rows, had = [], ""
    for _ in range(ROUNDS):
        others = (Tried("model", f"model {one}", replace(setup, model=one)) for one in patient.others)
        options = chain(others, tried(setup, at, bos=patient.can_open, l0=l0, has=first.l0))
        options = (one for one in options if one.kind != first.kind)
        found, best = _found(patient, options, first, [given, *rows], l0, had)
        rows += found
        if best is None:
            break
        first, setup = best
        had = first.name
        if first.kind == "model":  # which is not in memory any more
            break
    return Diagnosis(
        given=given,
        rows=tuple(sorted(rows, key=lambda row: row.fvu)),
        l0=l0,
        tokens=planned.tokens,
        documents=len(planned.reading.length),
        warnings=tuple(_warnings(planned)),
        about={
            "sae": planned.sae.card.to_dict() | {"id": planned.sae.id},
            "model": planned.request.model,
            "models": list(patient.others),
            "text": planned.request.text,
            "positions": list(planned.reading.window),
            "token_sha256": planned.reading.sha256,
        },
    )


def _found(patient: Patient, options: Iterable[Tried], than: Row, known: list[Row], l0, had: str):
    """Rows of the options that are nothing known by another name, and the (row, setup) of the most likely
    among those named: which are lower ``than`` a row. had: the setting that all are tried beside."""
    rows, best, seen = [], None, [(row.fvu, row.l0) for row in known]
    for i, one in enumerate(options):
        if i % 10 == 0:
            patient.tell(f"{i} settings tried")
        made = patient.measured(one.setup)
        if any(all(math.isclose(a, b, rel_tol=ALIKE) for a, b in zip(made, pair)) for pair in seen):
            continue
        seen.append(made)
        row = Row(one.kind, one.name, *made, fits=near(made[1], l0), beside=had)
        rows.append(row := replace(row, named=row.fits and lower(row, than, l0)))
        if row.named and (best is None or at_stated(row, l0) < at_stated(best[0], l0)):
            best = row, one.setup
    return rows, best


def _warnings(planned: Plan) -> list[str]:
    """What is said before any measurement, less what is about intervals; and another model's name."""
    about_intervals = doubts(len(planned.reading.length), planned.tokens / planned.sae.card.d_out)
    found = [line for line in planned.warnings() if line not in about_intervals]
    said, given = planned.sae.card.model or "", planned.request.model
    plainly = lambda name: Path(name.partition("@")[0]).name.lower()
    if said and plainly(said) != plainly(given) and not any(said in line for line in found):
        found.append(
            f"the SAE says that it is of {said}; if that is not {given}, try it too: --models {said}"
        )
    return found
