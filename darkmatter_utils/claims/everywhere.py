"""What claim 12 is judged by: the sign of every effect of which some study has a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..base.errors import BadInput
from ..base.values import Estimate
from ..studies.study import FORMAT_TESTS, Study
from .report import Records, findings

EFFECTS: dict[int, tuple[str, Callable[[Mapping], Any]]] = {
    1: ("the error is linear in x, in part", lambda n: n["r2"]),
    2: ("the error's norm is linear in x, in part", lambda n: n["r2"] | (n.get("layers") or {})),
    3: ("wider SAEs fail on the same tokens", lambda n: n["partial"]),
    5: ("FVU falls with width", lambda n: minus(n["fall"])),
    7: ("NonlinearError is harder to learn", lambda n: n["fvu_gap"]),
    8: ("NonlinearError costs loss", lambda n: n["slope"]),
    9: ("better inference helps", lambda n: {width: minus(e) for width, e in n["change"].items()}),
    10: ("earlier SAE outputs tell of NonlinearError", lambda n: n["over_shuffled"]),
    13: ("x beats simple predictors of the norm", lambda n: n["lead"]),
}
"""By claim: the effect in words, and its estimate (or several, by width or by layer) with the paper's sign as
positive."""


OTHER_KINDS = {"TopK SAE": "topk", "L1 SAE": "standard"}
"""Other kinds of trained SAE as chapter 13 names them."""
SAME_SIGN = (1, 2, 3)
"""Claims whose number in chapter 13 is an R², positive where the effect has the paper's sign."""


def cells(every: Mapping[str, Records]) -> list[dict]:
    """One cell an effect, layer, kind of SAE and study with a language model: from the numbers of the claims'
    rules, and from the other kinds of SAE in chapter 13's record."""
    made = []
    for name, records in every.items():
        place = placed(name)
        if not place:
            continue
        for number, one in findings(records).items():
            if number in EFFECTS and one.verdict.numbers:
                effect, value = EFFECTS[number]
                made += [
                    {"effect": effect, **place, "layer": layer, "sign": sign(part)}
                    for layer, part in by_layer(value(one.numbers), place["layer"]).items()
                ]
        made += [
            {"effect": EFFECTS[number][0], **place, "kind": kind, "sign": sign(value)}
            for kind, number, value in other_kinds(records)
        ]
    return made


def other_kinds(records: Records) -> list[tuple[str, int, Estimate]]:
    """What chapter 13 measured with other kinds of trained SAE: kind, claim, number."""
    scores = records.get(13, {}).get("scores", {})
    rows = zip(*(scores.get(name, []) for name in ("name", "claim", "value", "low", "high")), strict=True)
    return [
        (OTHER_KINDS[name], int(claim), Estimate(value, low, high))
        for name, claim, value, low, high in rows
        if name in OTHER_KINDS and claim in SAME_SIGN and None not in (value, low, high)
    ]


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


def minus(estimate: Estimate | None) -> Estimate | None:
    """The estimate of the opposite effect."""
    return estimate and Estimate(-estimate.value, -estimate.high, -estimate.low)
