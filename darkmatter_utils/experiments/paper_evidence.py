"""The paper's own points as what each rule takes: `Question.judge(..., points=True)` says what they earn.

Values alone, without intervals; what the paper does not publish is empty or None, and the statements about it
are left out. Source: the figures of arXiv 2410.14670v2, as `claims.paper.points` has them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..claims import (
    c01_half_linear,
    c02_norm_linear,
    c03_same_tokens,
    c04_flat,
    c05_floor,
    c06_norm_lowest,
    c07_fewer_features,
    c08_proportional,
    c09_inference,
    c10_earlier,
    c11_parts_land,
    c12_everywhere,
    c13_beyond_simple,
    report,
)
from ..claims.paper import grids, points
from ..stats.power_law import PowerLaw
from . import paper_points
from .everywhere import by_layer

LAYERS, LAYER = 42, 20
"""Of Gemma 2 9B, and the layer of the paper's sweep over width."""


def by_width(rows: pd.DataFrame) -> dict[int, Estimate]:
    """Points by width."""
    return {int(width): Estimate(value) for width, value in zip(rows["width"], rows["value"])}


def suite(quantity: str) -> dict[int, Estimate]:
    """The seven widths at L0 60 of the paper's own sweep: Gemma 2 9B, layer 20 (Fig. 2b)."""
    near = grids(quantity, l0=60)
    return by_width(near[(near["figure"] == "2") & (near["panel"] == "b")])


def half_linear() -> c01_half_linear.Evidence:
    """Claim 1: the seven widths of Fig. 2b, and the 142 SAEs of Figs. 2, 10 and 11."""
    every = grids("vector R2")
    saes = {
        f"Fig. {row.figure}{row.panel}, {row.width:,.0f}, L0 {row.l0:g}": Estimate(row.value)
        for row in every.itertuples()
    }
    return c01_half_linear.Evidence(r2=suite("vector R2"), saes=saes, kept={}, split={})


def norm_linear() -> c02_norm_linear.Evidence:
    """Claim 2: the seven widths of Fig. 2b, and all 198 places of Fig. 3."""
    drawn = points("3")
    places = {
        f"layer {layer:.0f}, {series}": Estimate(value)
        for layer, series, value in zip(drawn["layer"], drawn["series"], drawn["value"])
    }
    return c02_norm_linear.Evidence(r2=suite("norm R2"), layers=places, gain={}, simple={})


def same_tokens() -> c03_same_tokens.Evidence:
    """Claim 3: the 21 pairs of Fig. 4, as they are; nothing was taken out of either norm."""
    drawn = points("4")
    pairs = zip(drawn["width"].astype(int), drawn["x"].astype(int), drawn["value"])
    raw = {f"{narrow:,} and {wide:,}": Estimate(value) for narrow, wide, value in pairs}
    return c03_same_tokens.Evidence(raw=raw, partial={}, shuffled={}, seeds=None)


def fewer_features() -> c07_fewer_features.Evidence:
    """Claim 7: the two FVUs of §5.2, and the accuracies of Fig. 7 scored as in this book; one SAE a part."""
    fvu = points("text", panel="5.2", quantity="FVU, about").set_index("series")["value"]
    fvu = {name.removeprefix("SAE on "): value for name, value in fvu.items()}
    accuracy = paper_points.detection().groupby("reads")["value"].mean()
    gaps = fvu["NonlinearError"] - fvu["LinearError"], accuracy["LinearError"] - accuracy["NonlinearError"]
    fvu_gap, accuracy_gap = (Estimate(float(gap)) for gap in gaps)
    return c07_fewer_features.Evidence(seeds=1, fvu_gap=fvu_gap, accuracy_gap=accuracy_gap, fvu=fvu)


def flat() -> c04_flat.Evidence:
    """Claim 4: the two middle layers of which §4.3 says it, at L0 60 (`paper_points.constancy`)."""
    table = paper_points.constancy().set_index("grid").loc[["Gemma 2 9B, layer 20", "Gemma 2 2B, layer 12"]]
    by = lambda name: {f"{grid}, L0 {paper_points.L0:g}": Estimate(v) for grid, v in table[name].items()}
    told = {"steps": {}, "misfit": {}, "narrow": [], "widths": 7, "l0": (paper_points.L0, paper_points.L0)}
    return c04_flat.Evidence(change=by("change"), whole=by("whole"), over_null={}, null=None, **told)


def floor() -> c05_floor.Evidence:
    """Claim 5: Fig. 1, with the curve fitted to FVU and to FVU less FVU_nonlinear."""
    wide = points("1", series="SAE").pivot(index="width", columns="quantity", values="value").sort_index()
    width, fvu, rest = wide.index.to_numpy(float), wide["FVU"].to_numpy(), wide["FVU_nonlinear"].to_numpy()
    c, linear = PowerLaw.fit(width, fvu).c, PowerLaw.fit(width, fvu - rest).c
    slope = np.polyfit(np.log2(width), np.log2(fvu), 1)[0]
    l0 = grids("FVU_nonlinear", l0=paper_points.L0).query("figure == '2' and panel == 'b'")["l0"]
    return c05_floor.Evidence(
        widths=len(wide),
        l0=(float(l0.min()), float(l0.max())),
        fall=Estimate(float(2**slope - 1)),
        above=Estimate(float((c - rest.mean()) / fvu[-1])),
        linear=Estimate(float(linear / (fvu - rest)[-1])),
        c=Estimate(c),
        nonlinear=Estimate(float(rest.mean())),
    )


def norm_lowest() -> c06_norm_lowest.Evidence:
    """Claim 6: differences of the medians of Fig. 6, over all of its SAEs."""
    median = paper_points.norms().set_index("part")["value"]
    over = lambda part: {"medians": Estimate(float(median[part] - median["NonlinearError"]))}
    itself = {"itself": {}, "null_itself": {}, "lowest_self": 0, "saes": 0}
    return c06_norm_lowest.Evidence(
        over_linear=over("LinearError"),
        over_error=over("SaeError"),
        nonlinear={"median": Estimate(float(median["NonlinearError"]))},
        over_null={},
        null={},
        **itself,
    )


def inference() -> c09_inference.Evidence:
    """Claim 9: FVU_nonlinear on the same tokens (Figs. 2b and 9a), FVU as drawn (Figs. 1 and 9a: its tokens
    differ, so the two changes are not subtracted)."""
    table = paper_points.pursuit().set_index("width")
    by = lambda name: {int(width): Estimate(float(v)) for width, v in table[name].dropna().items()}
    same, total = by("FVU_nonlinear, same tokens"), by("FVU, as drawn")
    return c09_inference.Evidence(same, total, lead={}, best=dict.fromkeys(total, "gradient pursuit"))


def beyond_simple() -> c13_beyond_simple.Evidence:
    """Claim 13: Fig. 13, layer by layer; the paper has no joint model."""
    drawn = points("13").pivot(index="layer", columns="series", values="value")
    simple = drawn.drop(columns="activation")
    lead = {
        int(layer): Estimate(value) for layer, value in (drawn["activation"] - simple.max(axis=1)).items()
    }
    named = lambda first: {
        f"layer {n}": e for n, e in lead.items() if c13_beyond_simple.early(n, LAYERS) == first
    }
    best = {f"layer {layer:.0f}": name for layer, name in simple.idxmax(axis=1).items()}
    return c13_beyond_simple.Evidence(lead=named(False), gain={}, early=named(True), best=best)


def everywhere() -> c12_everywhere.Evidence:
    """Claim 12: the sign of every effect that the points of other claims have, all of them of Gemma 2."""
    place, cells = {"family": "gemma", "kind": "jumprelu"}, []
    for number, claim in report.every().items():
        if claim.effect and number in EVIDENCE:
            found = by_layer(claim.effect.value(EVIDENCE[number]()), LAYER)
            cells += [
                {"effect": claim.effect.words, **place, "layer": layer, "sign": sign_of_points(part)}
                for layer, part in found.items()
            ]
    return c12_everywhere.Evidence(cells)


def sign_of_points(found) -> int:
    """The sign of points, where all have the same."""
    values = found.values() if isinstance(found, dict) else [found]
    signs = {float(np.sign(e.value)) for e in values if e is not None}
    return int(signs.pop()) if len(signs) == 1 else 0


def proportional() -> c08_proportional.Evidence:
    """Claim 8: the SAEs of Fig. 8, each part added first, over its share of R²; there is no other order."""
    table = paper_points.loss_shares().set_index(["part", "sweep"])["slope"]
    drawn = pd.concat([paper_points.shares(sweep) for sweep in ("width", "L0")])
    drawn = drawn[drawn["part"] == "NonlinearError"]
    l0 = drawn["l0"].map(", L0 {:.0f}".format, na_action="ignore").fillna("")
    names = drawn["width"].map("{:,.0f} latents".format) + l0
    saes = {name: Estimate(float(ratio)) for name, ratio in zip(names, drawn["ce"] / drawn["variance"])}
    slope = Estimate(float(table["NonlinearError", "width"]))
    return c08_proportional.Evidence(slope, orders={}, saes=saes, over_control={}, controls={})


def earlier() -> c10_earlier.Evidence:
    """Claim 10: the three earlier components of Fig. 9b. Its R² is of rows that were not fitted, where
    shuffled tokens have none above 0: what is beyond them is at least as much."""
    drawn = points("9", panel="b", series="NonlinearError").set_index("x")["value"]
    found = {component: Estimate(r2) for component, r2 in drawn.drop("residual").items()}
    return c10_earlier.Evidence(sae=found, over_shuffled=found, raw={}, over_raw={})


def parts_land() -> c11_parts_land.Evidence:
    """Claim 11: both directions of Fig. 15 (`paper_points.made_and_lands`)."""
    found = paper_points.made_and_lands().items()
    return c11_parts_land.Evidence(
        **{key: {case: Estimate(v) for case, v in by.items()} for key, by in found}
    )


EVIDENCE: dict[int, Callable[[], object]] = {
    1: half_linear,
    2: norm_linear,
    3: same_tokens,
    4: flat,
    5: floor,
    6: norm_lowest,
    7: fewer_features,
    8: proportional,
    9: inference,
    10: earlier,
    11: parts_land,
    12: everywhere,
    13: beyond_simple,
}
"""By claim, what makes its evidence from the paper's points."""
