"""Where each effect was found and with which sign, over all studies: what claim 12's rule takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..base.errors import BadInput
from ..base.values import Estimate
from ..claims import c12_everywhere, q13_controls
from ..claims.claim import Records
from ..claims.report import every, findings
from ..studies.study import FORMAT_TESTS, Study
from .controls import KINDS

OTHER_KINDS = {KINDS["kind-topk"]: "topk", KINDS["kind-l1"]: "standard"}
"""Other kinds of trained SAE, as chapter 13 names them, and their architectures."""


def everywhere(studies: Mapping[str, Records]) -> c12_everywhere.Evidence:
    """What claim 12's rule takes: one cell an effect, layer, kind of SAE and study with a language model.

    From what the claims' rules took, and from the other kinds of SAE that chapter 13 measured.
    """
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
    """What chapter 13 measured of effects with other kinds of trained SAE: effect, kind, its number."""
    kept = q13_controls.QUESTION.recorded(records.get(13, {}).get("question", {}))
    effects = {n: c.effect.words for n, c in every().items() if c.effect}
    found = [
        (effects[number], OTHER_KINDS[name], value)
        for number, by_name in (kept.effects if kept else {}).items()
        for name, value in by_name.items()
        if number in effects and name in OTHER_KINDS
    ]
    return [(words, kind, value) for words, kind, value in found if math.isfinite(value.low)]


def placed(name: str) -> dict | None:
    """A study's model family, layer and kind of SAE; None without a study or a trained language model."""
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
    """Estimates by the layer of their names ("layer 0, 256 latents"), else by the study's ``own``."""
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
