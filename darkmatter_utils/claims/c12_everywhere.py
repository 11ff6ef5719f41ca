"""Claim 12: none of this is special to one model or layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..base.words import counted, percent
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Verdict


class Thresholds(NamedTuple):
    """What "special" means, and how much must have been measured to say so."""

    families: int = 3  # model families below which nothing is said of "any model"
    layers: int = 4  # layers of each
    kinds: int = 2  # kinds of SAE
    differ: float = 0.2  # the share of cells in which the sign of an effect may differ from the paper's


class Cell(NamedTuple):
    """One effect in one place."""

    effect: str  # the effect, in words
    family: str  # of the model
    layer: int  # where the SAE reads
    kind: str  # of the SAE
    sign: int  # 1 where the effect has the paper's sign, −1 the opposite one, 0 where its interval holds 0


class Evidence(NamedTuple):
    """What the rule takes."""

    cells: Sequence[dict]  # the fields of a `Cell` by name. An effect is judged by the cells that have a sign


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 12 over all cells, and at the effect where most differ."""
    cells = [Cell(**cell) for cell in evidence.cells]
    signed = [cell for cell in cells if cell.sign]
    layers = Counter(family for family, _ in {(cell.family, cell.layer) for cell in cells})
    most, least = max(layers.values(), default=0), min(layers.values(), default=0)
    families, kinds, share = len(layers), len({cell.kind for cell in cells}), _differ(signed)
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
        least, layers, kinds, _ = thresholds
        needs = f"{least} families, {layers} layers of each and {kinds} kinds"
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
    paper="three models of two families (§4)",
    paper_place="§4, Figs. 2, 3, 6, 10 and 11",
    paper_points=(
        "width and L0 are varied on Gemma 2 (2B and 9B) only; Llama 3.1 8B is in Figs. 3 and 6, its norm "
        "test at 0.03 and 0.00 at the last layer"
    ),
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
