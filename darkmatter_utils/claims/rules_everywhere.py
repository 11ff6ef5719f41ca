"""The rule of claim 12, written before any record was counted: is an effect special to one model, layer or
kind of SAE?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..base.words import counted, percent
from .rules import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

FAMILIES, LAYERS, KINDS = 3, 4, 2
"""Model families, layers of each, and kinds of SAE below which nothing is said of "any model"."""
DIFFER = 0.2
"""The share of cells in which the sign of an effect may differ from the paper's."""


def everywhere(*, cells: Sequence[Mapping]) -> Verdict:
    """Claim 12: cells {effect, family, layer, kind, sign}; sign is 1 where the effect has the paper's sign,
    −1 where it has the opposite one, 0 where its interval holds 0. Every effect is judged by the cells that
    have a sign."""
    layers: dict[str, set] = {}
    for cell in cells:
        layers.setdefault(cell["family"], set()).add(cell["layer"])
    kinds = {cell["kind"] for cell in cells}
    signed = [cell for cell in cells if cell["sign"]]
    share = _differ(signed)
    seen = (
        f"The records hold {_number(len(layers), 'model family', 'model families')}, "
        f"{_number(max(map(len, layers.values()), default=0), 'layer')} of the one with most, and "
        f"{_number(len(kinds), 'kind')} of SAE"
    )
    numbers = {"cells": len(cells), "signed": len(signed), "families": len(layers), "kinds": len(kinds)}
    if signed:
        agree = sum(cell["sign"] > 0 for cell in signed)
        numbers |= {"differ": share, "measured": f"the paper's sign in {agree} of {len(signed)}"}
    few = len(layers) < FAMILIES or min(map(len, layers.values()), default=0) < LAYERS or len(kinds) < KINDS
    if few or not signed:
        told = f" An effect has the paper's sign in {counted(agree, len(signed), 'cell')}." if signed else ""
        return Verdict(
            UNKNOWN,
            (
                f"{seen}; the claim is tested with {FAMILIES} families, {LAYERS} layers of each and "
                f"{KINDS} kinds.{told}"
            ),
            numbers,
        )
    worst = max(_differ([c for c in signed if c["effect"] == name]) for name in {c["effect"] for c in signed})
    numbers["worst effect"] = worst
    why = (
        f"{seen}. The sign of an effect differs from the paper's in {percent(share)} of {len(signed)} "
        f"cells; at the "
        f"effect where most differ, in {percent(worst)}."
    )
    return Verdict(FAILS if share > DIFFER else PARTLY if worst > DIFFER else HOLDS, why, numbers)


def _differ(cells) -> float:
    """The share of cells with the opposite sign."""
    return sum(cell["sign"] < 0 for cell in cells) / len(cells) if cells else 0.0


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


RULE = (
    "The sign of each measured effect, in every model family, layer and kind of SAE of which there is "
    "a record; an "
    "effect whose interval holds 0 has none. *Holds*: the sign differs from the paper's in at most "
    f"{percent(DIFFER)} of the cells. *Does not hold*: in more. *Partly*: in at most {percent(DIFFER)} "
    f"of all, but in "
    f"more of some effect's. *Cannot be told*: fewer than {FAMILIES} families, {LAYERS} layers of each "
    f"and {KINDS} "
    "kinds of SAE."
)
"""The rule in words."""
