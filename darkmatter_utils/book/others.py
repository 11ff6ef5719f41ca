"""The points of other studies beside a chapter's own: as they are published, and nothing is run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..base.errors import BadInput
from ..base.provenance import digest
from ..claims.report import simulated
from ..measurement import about
from ..studies.study import Study
from .chapters import RECORD, editions, published, read_json


def others(root: Path, own: str) -> dict[str, str]:
    """The studies drawn beside ``own``, and what a legend calls them: the other published editions, and the
    published simulated studies, which are nulls."""
    there = sorted({path.parent.name for path in published(root, "").glob(f"*/{RECORD}")} - {own})
    listed = editions(root)
    named = {name: name for name in listed if name in there}
    return named | {name: f"{name}, a null" for name in there if name not in listed and simulated(name)}


def recorded(root: Path, own: str, key: str) -> dict[str, Any]:
    """What others recorded under "NN key", by their names; without those that have nothing there."""
    number, _, name = key.partition(" ")
    found = {}
    for study in others(root, own):
        record = read_json(published(root, study) / f"{number}.json") or {}
        if (value := record.get("values", {}).get(name)) is not None:
            found[study] = value
    return found


def hashes(root: Path, own: str, keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """The hash of what every other study recorded, by key and study."""
    told = lambda value: digest(json.dumps(value, sort_keys=True).encode())
    return {key: {name: told(value) for name, value in recorded(root, own, key).items()} for key in keys}


def elsewhere(root: Path, own: Study, number: int, claim: str, word: str) -> str:
    """On which other editions the verdict on a claim of a chapter is not ``word``, and what sets their models
    and SAEs apart; "" where all agree."""
    listed, said = editions(root), []
    for name, told in recorded(root, own.name, f"{number:02d} verdicts").items():
        if name in listed and told.get(claim, {}).get("word", word) != word:
            said.append(f"on `{name}` ({_setting(root, name)}) it is **{told[claim]['word']}**")
    return f"**Elsewhere.** Here: {about.setting(own)}; {'; '.join(said)}." if said else ""


def _setting(root: Path, study: str) -> str:
    try:
        told = about.setting(Study.load(study))
        return told[0].lower() + told[1:] if told[1:2] == " " else told  # A model of ..., amid a sentence
    except BadInput:  # a study of a file that is not here
        return (read_json(published(root, study) / "01.json") or {}).get("title", study)


def beside(
    root: Path, own: str, theirs: pd.DataFrame, key: str, draw: Callable, *, nulls: bool = True
) -> pd.DataFrame:
    """The paper's points, and below them a frame of every other study's, by ``draw``, named in ``study``;
    ``nulls``: the simulated ones, too."""
    named, found, listed = others(root, own), recorded(root, own, key), editions(root)
    found = {name: value for name, value in found.items() if nulls or name in listed}
    rows = [draw(pd.DataFrame(value)).assign(study=named[name]) for name, value in found.items()]
    return pd.concat([theirs, *rows], ignore_index=True) if rows else theirs
