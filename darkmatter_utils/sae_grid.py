"""The SAEs of the paper: which there were, which can still be had, and what to take for one that cannot.

The list is the authors' (their released code, October 2024); a row is available if SAELens 6.54 names it. 26 of the
60 at layer 20 of Gemma 2 9B were withdrawn by their makers.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BadInput, nearest
from .study import DATA

SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
"""The list's names of sites, and a model's."""


@dataclass(frozen=True)
class GridSae:
    """One SAE of the paper's list."""

    model: str
    site: str
    layer: int
    width: str
    """As its name says it: 16k, 1m."""
    l0: int
    release: str
    id: str
    available: bool

    @property
    def name(self) -> str:
        """What ``--sae`` takes."""
        return f"{self.release}/{self.id}"


@dataclass(frozen=True)
class Choice:
    """The SAE to take for an L0 of the paper, and the paper's own."""

    taken: GridSae
    paper: GridSae
    wanted: float

    @property
    def sentence(self) -> str:
        """What is taken, and what the paper took."""
        line = f"width {self.taken.width}: L0 {self.taken.l0} is taken as nearest to {self.wanted:g}"
        if self.taken == self.paper:
            return f"{line}, as in the paper"
        return f"{line}; the paper's had L0 {self.paper.l0}, which was withdrawn"


@functools.cache
def grid() -> tuple[GridSae, ...]:
    """The whole list, in its order."""
    with (DATA / "paper" / "sae_grid.csv").open(encoding="utf-8", newline="") as file:
        return tuple(GridSae(r["model"], r["site"], int(r["layer"]), r["width"], int(r["l0"]), r["release"], r["sae_id"],
                             r["in_saelens_6_54"] == "yes") for r in csv.DictReader(file))  # fmt: skip


def at(model: str, site: str, layer: int) -> tuple[GridSae, ...]:
    """The list at one site; BadInput names what it has."""
    found = tuple(sae for sae in grid() if (sae.model, sae.site, sae.layer) == (model, site, layer))
    if not found:
        models = sorted({sae.model for sae in grid()})
        if model not in models:
            raise BadInput(f"the paper's list has no model '{model}'; {nearest(model, models)}")
        layers = sorted({sae.layer for sae in grid() if sae.model == model and sae.site == site})
        raise BadInput(f"the paper's list has no {site} at layer {layer} of {model}; "
                       f"{f'layers {layers[0]} to {layers[-1]}' if layers else nearest(site, SITES)}")  # fmt: skip
    return found


def nearest_l0(model: str, site: str, layer: int, l0: float) -> list[Choice]:
    """For each width, narrowest first: the available SAE nearest to ``l0`` on a log scale, and the paper's nearest."""
    found = at(model, site, layer)
    widths = sorted({sae.width for sae in found}, key=latents)

    def near(saes):
        return min(saes, key=lambda sae: (abs(math.log(sae.l0 / l0)), sae.l0))

    here = {w: [s for s in found if s.width == w] for w in widths}
    return [Choice(near(left), near(here[w]), l0) for w in widths if (left := [s for s in here[w] if s.available])]


def latents(width: str) -> int:
    """"16k" → 16,384; "1m" → 1,048,576."""
    return int(width[:-1]) * {"k": 1 << 10, "m": 1 << 20}[width[-1]]


def at_l0(l0s: Sequence[float], values: Sequence[float], wanted: float) -> float:
    """A quantity at an L0 that no SAE of a width has: linear in log L0 between the two nearest; NaN beyond the ends.

    Raises BadInput where two SAEs have one L0, or an L0 is not above 0.
    """
    order = np.argsort(l0s)
    x, y = np.asarray(l0s, dtype=float)[order], np.asarray(values, dtype=float)[order]
    if len(x) == 0 or x[0] <= 0 or (np.diff(x) == 0).any():
        raise BadInput(f"L0s must be above 0 and differ, got {list(map(float, x))}")
    return float(np.interp(math.log(wanted), np.log(x), y, left=math.nan, right=math.nan))
