"""The SAEs of the paper: which there were, which can still be had, and what to take for one that cannot.

The list is that of the authors' released code (October 2024, of the paper's first version), and the six of
width 131k at layer 12 of Gemma 2 2B that came later and are in Fig. 2a of the second. A row is available if
SAELens 6.54 names it. 26 of the 60 at layer 20 of Gemma 2 9B were withdrawn by their makers: Figs. 4, 5, 8,
9a, 12 and 16 have some of them, Fig. 2b has the 34 that are left.
"""

from __future__ import annotations

import csv
import functools
import math
from dataclasses import dataclass

from ..base.config import DATA
from ..base.errors import BadInput, nearest

SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
"""The list's names of sites, and a model's."""


TAKE = ("nearest", "around", "all")
"""Which SAEs of a width are taken for an L0: the nearest; it and the next beyond that L0; or all."""


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
    """The SAE to take for an L0 of the paper, and the nearest that its first list had."""

    taken: GridSae
    paper: GridSae
    wanted: float
    beside: tuple[GridSae, ...] = ()
    """Others of the same width that are taken as well."""

    @property
    def all(self) -> tuple[GridSae, ...]:
        """The nearest one and those beside it."""
        return self.taken, *self.beside

    @property
    def sentence(self) -> str:
        """What is taken, and whether it is the nearest of the paper's first list."""
        line = f"width {self.taken.width}: L0 {self.taken.l0} is taken as nearest to {self.wanted:g}"
        if self.beside:
            line += f" (and {', '.join(str(sae.l0) for sae in self.beside)})"
        if self.taken == self.paper:
            return f"{line}, as in the paper"
        return f"{line}; L0 {self.paper.l0}, on the paper's first list, was withdrawn"


@functools.cache
def grid() -> tuple[GridSae, ...]:
    """The whole list, in its order."""
    with (DATA / "paper" / "sae_grid.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    read = lambda model, site, layer, width, l0, *names: (model, site, int(layer), width, int(l0), *names)
    return tuple(GridSae(*read(*row[:-1]), available=row[-1] == "yes") for row in rows)


def choose(model: str, site: str, layer: int, l0: float, *, take: str = TAKE[0]) -> list[Choice]:
    """For each width, narrowest first: the available SAE nearest to ``l0`` (in log), and what `TAKE` says.
    Raises BadInput for a model, site or layer that the list has not, naming what it has."""
    found = tuple(sae for sae in grid() if (sae.model, sae.site, sae.layer) == (model, site, layer))
    if not found:
        if model not in (models := sorted({sae.model for sae in grid()})):
            raise BadInput(f"the paper's list has no model '{model}'; {nearest(model, models)}")
        layers = sorted({sae.layer for sae in grid() if sae.model == model and sae.site == site})
        has = f"layers {layers[0]} to {layers[-1]}" if layers else nearest(site, SITES)
        raise BadInput(f"the paper's list has no {site} at layer {layer} of {model}; {has}")
    near = lambda saes: min(saes, key=lambda sae: nearness(sae.l0, l0))
    widths = sorted({sae.width for sae in found}, key=latents)
    here = {w: [s for s in found if s.width == w] for w in widths}

    def beside(saes, taken):
        others = [sae for sae in saes if sae != taken]
        if take == "around":
            others = [sae for sae in others if (sae.l0 - l0) * (taken.l0 - l0) < 0]
            others = [near(others)] if others else []
        return tuple(sorted(others, key=lambda sae: sae.l0)) if take != "nearest" else ()

    return [
        Choice(taken := near(left), near(here[w]), l0, beside(left, taken))
        for w in widths
        if (left := [s for s in here[w] if s.available])
    ]


def nearness(l0: float, wanted: float) -> tuple[float, float]:
    """How far an L0 is from another on a log scale, to sort by; the lower of two equally far comes first."""
    return abs(math.log(l0 / wanted)), l0


def latents(width: str) -> int:
    """ "16k" → 16,384; "1m" → 1,048,576."""
    return int(width[:-1]) * {"k": 1 << 10, "m": 1 << 20}[width[-1]]
