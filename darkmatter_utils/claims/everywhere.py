"""What claim 12 is judged by: the sign of every effect of which some study has a record."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..base.errors import BadInput
from ..base.values import Estimate
from ..studies.study import FORMAT_TESTS, Study
from . import c12_everywhere, q13_controls
from .report import Records, every, findings

OTHER_KINDS = {"TopK SAE": "topk", "L1 SAE": "standard"}
"""Other kinds of trained SAE as chapter 13 names them."""


def evidence(studies: Mapping[str, Records]) -> c12_everywhere.Evidence:
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
    return c12_everywhere.Evidence(cells)


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
