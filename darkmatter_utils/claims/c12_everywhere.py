"""Claim 12: none of this is special to one model or layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..base.errors import BadInput
from ..base.values import Estimate
from ..base.words import counted, percent
from ..studies.study import FORMAT_TESTS, Study
from . import q13_controls
from .claim import FAILS, HOLDS, PARTLY, REPORTED, UNKNOWN, Claim, Verdict
from .report import Records, every, findings

OTHER_KINDS = {"TopK SAE": "topk", "L1 SAE": "standard"}
"""Other kinds of trained SAE as chapter 13 names them."""


def evidence(studies: Mapping[str, Records]) -> Evidence:
    """One cell an effect, layer, kind of SAE and study with a language model: from what the claims' rules
    took, and from the other kinds of SAE that chapter 13 measured."""
    cells = []
    for name, records in studies.items():
        place = placed(name)
        if not place:
            continue
        for one in findings(records).values():
            effect = one.claim.effect
            if effect and one.verdict.numbers:
                cells += [
                    {"effect": effect.words, **place, "layer": layer, "sign": sign(part)}
                    for layer, part in by_layer(effect.value(one.evidence), place["layer"]).items()
                ]
        cells += [
            {"effect": effect, **place, "kind": kind, "sign": sign(value)}
            for effect, kind, value in other_kinds(records)
        ]
    return Evidence(cells)


def other_kinds(records: Records) -> list[tuple[str, str, Estimate]]:
    """What chapter 13 measured with other kinds of trained SAE: effect, kind, its number."""
    kept = q13_controls.QUESTION.recorded(records.get(13, {}).get("question", {}))
    effects = {n: c.effect.words for n, c in every().items() if c.effect and c.effect.of_kinds}
    found = [
        (words, kind, kept.measured[number][name]["value"])
        for name, kind in OTHER_KINDS.items()
        for number, words in effects.items()
        if kept and name in kept.measured.get(number, {})
    ]
    return [(words, kind, value) for words, kind, value in found if math.isfinite(value.low)]


def placed(name: str) -> dict | None:
    """The model family, layer and kind of SAE of a study; None where there is no trained language model, or
    no such study."""
    try:
        study = Study.load(name)
    except BadInput:
        return None
    if not study.model or name in FORMAT_TESTS:
        return None
    layer = re.search(r"blocks\.(\d+)\.", study.site)
    kinds = [entry.kind for entry in study.saes if not entry.suite]
    # An embedded model is a family of its own; "google/gemma-2-2b" and "gemma-2-9b" are one.
    family = re.match(r"[a-z]+", (study.name if study.data else study.model.rsplit("/", 1)[-1]).lower())
    return {
        "family": family.group() if family else study.model,
        "layer": int(layer.group(1)) if layer else -1,
        "kind": max(set(kinds), key=kinds.count) if kinds else "",
    }


def by_layer(value, own: int) -> dict[int, Any]:
    """Estimates by the layer that their name gives ("layer 0, 256 latents"); those that give none are of the
    study's own."""
    if not isinstance(value, Mapping):
        return {own: value}
    found: dict[int, Any] = {}
    for name, estimate in value.items():
        named = re.match(r"layer (\d+)", str(name))
        found.setdefault(int(named.group(1)) if named else own, {})[name] = estimate
    return dict(sorted(found.items()))


def sign(value) -> int:
    """1 where every estimate lies above 0, interval and all, −1 where every one lies below, else 0."""
    found = list(value.values()) if isinstance(value, Mapping) else [value]
    if not found or any(e is None for e in found):
        return 0
    return 1 if all(e.low > 0 for e in found) else -1 if all(e.high < 0 for e in found) else 0


class Thresholds(NamedTuple):
    """What "special" means, and how much must have been measured to say so."""

    families: int = 3
    """Model families below which nothing is said of "any model"."""
    layers: int = 4
    """Layers of each."""
    kinds: int = 2
    """Kinds of SAE."""
    differ: float = 0.2
    """The share of cells in which the sign of an effect may differ from the paper's."""


class Cell(NamedTuple):
    """One effect in one place."""

    effect: str
    """The effect, in words."""
    family: str
    """Of the model."""
    layer: int
    """Where the SAE reads."""
    kind: str
    """Of the SAE."""
    sign: int
    """1 where the effect has the paper's sign, −1 the opposite one, 0 where its interval holds 0."""


class Evidence(NamedTuple):
    """What the rule takes."""

    cells: Sequence[dict]
    """The fields of a `Cell` by name. An effect is judged by the cells that have a sign."""


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 12 over all cells, and at the effect where most differ."""
    cells = [Cell(**cell) for cell in evidence.cells]
    signed = [cell for cell in cells if cell.sign]
    by_family = {
        family: len({cell.layer for cell in cells if cell.family == family})
        for family in {cell.family for cell in cells}
    }
    most, least = max(by_family.values(), default=0), min(by_family.values(), default=0)
    families, kinds, share = len(by_family), len({cell.kind for cell in cells}), _differ(signed)
    seen = (
        f"The records hold {families} model {'family' if families == 1 else 'families'}, {most} "
        f"layer{'s' * (most != 1)} of the one with most, and {kinds} kind{'s' * (kinds != 1)} of SAE"
    )
    numbers = {"cells": len(cells), "signed": len(signed), "families": families, "kinds": kinds}
    if signed:
        agree = sum(cell.sign > 0 for cell in signed)
        numbers |= {"differ": share, "measured": f"the paper's sign in {agree} of {len(signed)}"}
    few = families < thresholds.families or least < thresholds.layers or kinds < thresholds.kinds
    if few or not signed:
        told = f" An effect has the paper's sign in {counted(agree, len(signed), 'cell')}." if signed else ""
        needs = (
            f"{thresholds.families} families, {thresholds.layers} layers of each and {thresholds.kinds} kinds"
        )
        return Verdict(UNKNOWN, f"{seen}; the claim is tested with {needs}.{told}", numbers)
    effects = {cell.effect for cell in signed}
    worst = max(_differ([cell for cell in signed if cell.effect == name]) for name in effects)
    numbers["worst effect"] = worst
    why = (
        f"{seen}. The sign of an effect differs from the paper's in {percent(share)} of {len(signed)} cells; "
        f"at the effect where most differ, in {percent(worst)}."
    )
    differ = thresholds.differ
    return Verdict(FAILS if share > differ else PARTLY if worst > differ else HOLDS, why, numbers)


def _differ(cells: Sequence[Cell]) -> float:
    """The share of cells with the opposite sign."""
    return sum(cell.sign < 0 for cell in cells) / len(cells) if cells else 0.0


CLAIM = Claim(
    number=12,
    short="None of this is special to one model or layer.",
    topic="no model or layer is special",
    chapter="15_the_report",
    paper="3 models",
    paper_source=REPORTED,
    paper_place="a public reproducibility sheet that quotes the journal's text",
    rule=(
        "The sign of each measured effect, in every model family, layer and kind of SAE of which there is a "
        "record; an effect whose interval holds 0 has none. *Holds*: the sign differs from the paper's in "
        f"at most {percent(THRESHOLDS.differ)} of the cells. *Does not hold*: in more. *Partly*: in at most "
        f"{percent(THRESHOLDS.differ)} of all, but in more of some effect's. *Cannot be told*: fewer than "
        f"{THRESHOLDS.families} families, {THRESHOLDS.layers} layers of each and {THRESHOLDS.kinds} kinds of "
        "SAE."
    ),
    falsifier=f"a sign differs in more than {percent(THRESHOLDS.differ)} of the cells",
    evidence=Evidence,
    verdict=verdict,
)
