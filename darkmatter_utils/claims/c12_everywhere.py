"""Claim 12: none of this is special to one model or layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..base.words import counted, percent
from ..stats.intervals import share
from .claim import FAILS, HOLDS, UNKNOWN, Claim, Verdict


class Thresholds(NamedTuple):
    """What "special" means, and how much must have been measured to say so."""

    families: int = 3  # model families below which nothing is said of "any model"
    layers: int = 4  # layers of each
    kinds: int = 2  # kinds of SAE
    differ: float = 0.2  # the share of cells in which an effect may have another sign than the paper's


class Cell(NamedTuple):
    """One effect that can have either sign, in one place."""

    effect: str  # the effect, in words
    family: str  # of the model
    layer: int  # where the SAE reads
    kind: str  # of the SAE
    sign: int  # 1 where the effect has the claimed sign, −1 the opposite one, 0 where its interval holds 0


class Evidence(NamedTuple):
    """What the rule takes."""

    cells: Sequence[dict]  # the fields of a `Cell` by name. An effect is judged by the cells that have a sign


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 12 over all cells that have a sign: the 95% interval of the share that differs, against one
    end."""
    cells = [Cell(**cell) for cell in evidence.cells]
    signed = [cell for cell in cells if cell.sign]
    layers = Counter(family for family, _ in {(cell.family, cell.layer) for cell in cells})
    most, least = max(layers.values(), default=0), min(layers.values(), default=0)
    families, kinds = len(layers), len({cell.kind for cell in cells})
    other = [cell for cell in signed if cell.sign < 0]
    seen = (
        f"The records hold {families} model {'family' if families == 1 else 'families'}, {most} "
        f"layer{'s' * (most != 1)} of the one with most, and {kinds} kind{'s' * (kinds != 1)} of SAE"
    )
    numbers = {"cells": len(cells), "signed": len(signed), "families": families, "kinds": kinds}
    if signed:
        low, high = share(len(other), len(signed))
        agree = len(signed) - len(other)
        numbers |= {"differ": len(other) / len(signed), "low": low, "high": high}
        numbers |= {"measured": f"the claimed sign in {agree} of {len(signed)}"}
    few = families < thresholds.families or least < thresholds.layers or kinds < thresholds.kinds
    if few or not signed:
        told = f" An effect has the claimed sign in {counted(agree, len(signed), 'cell')}." if signed else ""
        needs = (
            f"{thresholds.families} families, {thresholds.layers} layers of each and {thresholds.kinds} kinds"
        )
        return Verdict(UNKNOWN, f"{seen}; the claim is tested with {needs}.{told}", numbers)
    word = HOLDS if high <= thresholds.differ else FAILS if low > thresholds.differ else UNKNOWN
    why = (
        f"{seen}. The sign of an effect differs from the paper's in {percent(numbers['differ'])} of "
        f"{len(signed)} "
        f"cells [{percent(low)}, {percent(high)}]."
    )
    if other:
        effect, count = Counter(cell.effect for cell in other).most_common(1)[0]
        of = sum(cell.effect == effect for cell in signed)
        why += f" Most often, in {counted(count, of, 'cell')}, it is this one that does: {effect}."
    return Verdict(word, why, numbers)


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
        "The sign of each effect that could have the other one, in every model family, layer and kind "
        "of SAE of "
        "which there is a record; an effect whose interval holds 0 has none. *Holds*: the 95% interval "
        "of the "
        "share of cells whose sign differs from the paper's (Wilson's, as if cells were independent) ends at "
        f"{percent(THRESHOLDS.differ)} or below. *Does not hold*: it starts above. *Cannot be told*: "
        f"anything "
        f"else, or fewer than {THRESHOLDS.families} families, {THRESHOLDS.layers} layers of each and "
        f"{THRESHOLDS.kinds} kinds of SAE. Effects that are positive by construction (an R², the fall "
        f"of the FVU "
        "with width) are not counted."
    ),
    falsifier=f"a sign differs in more than {percent(THRESHOLDS.differ)} of the cells",
    written=(
        "Its present form was fixed before the next study's model was measured and after tiny had been seen: "
        "that only orderings count which can fail, and the interval of the share, are new; its "
        "thresholds are "
        "those of its first form."
    ),
    evidence=Evidence,
    verdict=verdict,
)
