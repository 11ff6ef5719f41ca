"""What the paper's own points say: every number here is computed from the values of its figures alone.

The values are those of arXiv 2410.14670v2 (CC BY 4.0), read off its vector figures (data/paper/README.md).
The paper gives no intervals; those here are of a line or a curve through its points: they know nothing of
tokens or of training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from ..base.values import Estimate
from ..claims.paper import points
from ..stats.intervals import coefficients
from ..stats.power_law import PowerLaw

GRIDS = {
    "Gemma 2 9B, layer 20": ("2", "b"),
    "Gemma 2 2B, layer 12": ("2", "a"),
    "Gemma 2 9B, layer 31": ("11", "b"),
    "Gemma 2 2B, layer 19": ("10", "b"),
    "Gemma 2 9B, layer 9": ("11", "a"),
    "Gemma 2 2B, layer 5": ("10", "a"),
}
"""The grids over width and L0, and the figure of each."""
L0 = 60.0
"""At which the paper reads its sweeps over width."""
PURSUED = {2**14: 58, 2**15: 57, 2**16: 55, 2**17: 62, 2**19: 48, 2**20: 57}
"""L0 by name of the SAEs that were pursued (Fig. 9a); at 262k Fig. 2 has another."""
SOURCE = ["figure", "panel", "model", "layer"]
"""Columns that say where points are from: what `charts.paper_points` names them by."""


class Floor(NamedTuple):
    """How much the points say of the floor c of a fitted curve c + a W^-m."""

    fit: PowerLaw
    low: float
    high: float
    """The values of c from 0 up to the lowest point that an F test at 5% leaves."""
    f: float
    p: float
    """Of c = 0, F with 1 and n − 3 degrees of freedom."""
    predicted: float
    observed: float
    """At the widest SAE, by the curve through the others; as drawn."""
    misfit_f: float
    misfit_p: float
    """Of the widest SAE, given the others; F with 1 and n − 4 degrees of freedom."""


def floor(series: str = "SAE") -> Floor:
    """The curve of Fig. 1 (``series`` "SAE") or of Fig. 9a ("pursuit"), c profiled: at each c the rest is
    fitted anew, and (n − 3) (RSS(c) / RSS − 1) is an F."""
    figure, panel = ("1", None) if series == "SAE" else ("9", "a")
    drawn = points(figure, panel=panel, series=series, quantity="FVU").sort_values("width")
    width, fvu = drawn["width"].to_numpy(), drawn["value"].to_numpy()
    fit, free = PowerLaw.fit(width, fvu), len(fvu) - 3
    rss = lambda curve, w=width, y=fvu: float(((y - curve(w)) ** 2).sum())
    of = lambda c: free * (rss(PowerLaw.fit(width, fvu - c, floor=False), width, fvu - c) / rss(fit) - 1)
    grid = np.linspace(0, fvu.min(), 400, endpoint=False)
    left = [c for c in grid if fdtrc(1, free, max(0.0, of(c))) > 0.05]
    rest = PowerLaw.fit(width[:-1], fvu[:-1])
    misfit = (free - 1) * ((rss(fit) / rss(rest, width[:-1], fvu[:-1])) - 1)
    at_zero = (of(0.0), float(fdtrc(1, free, of(0.0))))
    seen = (float(rest(width[-1:])[0]), float(fvu[-1]))
    return Floor(fit, min(left), max(left), *at_zero, *seen, misfit, float(fdtrc(1, free - 1, misfit)))


def floors() -> pd.DataFrame:
    """`floor` of both curves, a row a curve: ``curve``, c, a, m of the fit, and the fields."""
    curves = {"Fig. 1, encoder": floor(), "Fig. 9a, pursuit": floor("pursuit")}
    fits = [{"curve": name, "c": f.fit.c, "a": f.fit.a, "m": f.fit.m} for name, f in curves.items()]
    rest = [
        {key: float(value) for key, value in f._asdict().items() if key != "fit"} for f in curves.values()
    ]
    return pd.DataFrame([fit | more for fit, more in zip(fits, rest)])


def constancy() -> pd.DataFrame:
    """Per grid: n, the change of FVU_nonlinear a doubling of the width at L0 60, its ends, how that change
    moves with a doubling of L0 and its ends, and the change over the whole range of widths.

    Least squares of log FVU_nonlinear on log₂ W, log₂ L0 and its square, and their product; 95% intervals of
    the coefficients (t).
    """
    rows = []
    for name, (figure, panel) in GRIDS.items():
        drawn = points(figure, panel=panel, quantity="FVU_nonlinear")
        w, l = np.log2(drawn["width"]), np.log2(drawn["l0"] / L0)
        design = np.column_stack([np.ones(len(w)), w - w.mean(), l, l**2, (w - w.mean()) * l])
        _, slope, _, _, turn = coefficients(design, np.log(drawn["value"]))
        change = Estimate(*(float(np.expm1(v)) for v in (slope.value, slope.low, slope.high)))
        whole = float(np.expm1(slope.value * (w.max() - w.min())))
        rows.append(
            {"grid": name, "figure": f"{figure}{panel}", "n": len(w)}
            | {"change": change.value, "low": change.low, "high": change.high, "whole": whole}
            | {"by_l0": turn.value, "by_l0_low": turn.low, "by_l0_high": turn.high}
        )
    return pd.DataFrame(rows)


def pursuit() -> pd.DataFrame:
    """Per width: how FVU_nonlinear changes from the encoder to the pursuit, as drawn (Fig. 1 against Fig. 9a)
    and on the same tokens (Fig. 2 against Fig. 9a, positions from 200 in both); FVU as drawn. NaN at 262k,
    where Fig. 2 has another SAE."""
    by_width = lambda rows: rows.set_index("width")["value"]
    take = lambda quantity, *args, **where: by_width(points(*args, quantity=quantity, **where))
    made = {}
    for quantity in ("FVU", "FVU_nonlinear"):
        found = take(quantity, "9", panel="a", series="pursuit")
        made[f"{quantity}, as drawn"] = found / take(quantity, "1", series="SAE") - 1
    same = points("2", panel="b", quantity="FVU_nonlinear")
    same = by_width(same[same["l0"] == same["width"].map(PURSUED)])
    made["FVU_nonlinear, same tokens"] = found / same - 1
    return pd.DataFrame(made).rename_axis("width").reset_index()


def loss_shares() -> pd.DataFrame:
    """Fig. 8 by part and sweep: the least and the largest share of the loss over share of R² and over share
    of the norm, the slope through the origin, the correlation over SAEs of the shares of loss and of R²."""
    rows = []
    for sweep in ("width", "L0"):
        for part in ("LinearError", "NonlinearError"):
            drawn = points("8", panel=sweep, series=part)
            by = "width" if sweep == "width" else "l0"
            wide = drawn.pivot(index=by, columns="quantity", values="value").sort_index()
            loss, r2, norm = (wide[name].to_numpy() for name in ("CE recovered", "R2 share", "norm share"))
            rows.append(
                {"part": part, "sweep": sweep, "least": (loss / r2).min(), "most": (loss / r2).max()}
                | {"least_by_norm": (loss / norm).min(), "most_by_norm": (loss / norm).max()}
                | {"slope": float(loss @ r2 / (r2 @ r2)), "correlation": float(np.corrcoef(r2, loss)[0, 1])}
            )
    return pd.DataFrame(rows)


def synthetic() -> pd.DataFrame:
    """Table 1 beside the same correlations over the heat maps of Fig. 15: noise that was put in against the
    part that was estimated."""
    maps, rows = heat_maps().reset_index(), []
    for noise, level in (("x' noise", "dense"), ("Sae(x') noise", "introduced")):
        for estimated, part in (("estimated Dense", "linear"), ("estimated Introduced", "nonlinear")):
            (printed,) = points("Table 1", series=noise, x=estimated)["value"]
            found = float(np.corrcoef(maps[level], maps[part])[0, 1])
            rows.append({"noise": noise, "estimated": estimated, "Table 1": printed, "Fig. 15": found})
    return pd.DataFrame(rows)


def heat_maps() -> pd.DataFrame:
    """Fig. 15, bottom: FVU of the estimated ``linear`` and ``nonlinear`` part, by the level of the noise on
    x' (``dense``) and of that on Sae(x') (``introduced``)."""
    maps = points("15", panel="bottom")
    levels = {"dense": maps["series"].str[-1].astype(int), "introduced": maps["x"].astype(int)}
    maps = maps.assign(**levels, part=maps["quantity"].str.split().str[1])
    return maps.pivot(index=["dense", "introduced"], columns="part", values="value")


def landing() -> pd.DataFrame:
    """Of one noise alone (Fig. 15, bottom), at each level: the share of what it adds to the two estimated
    parts that lands in the other one. ``noise``, ``level``, ``share``."""
    maps = heat_maps()
    added, rows = maps - maps.loc[0, 0], []
    for noise, there, other in (
        ("x' noise", "introduced", "nonlinear"),
        ("Sae(x') noise", "dense", "linear"),
    ):
        alone = added.xs(0, level=there).loc[1:]
        rows.append(pd.DataFrame({"noise": noise, "share": alone[other] / alone.sum(axis=1)}))
    return pd.concat(rows).rename_axis("level").reset_index()


def made_and_lands() -> dict[str, dict[str, float]]:
    """What claim 11 asks, of Fig. 15, by case. Parts that were put in count as uncorrelated, so that a part
    is what it adds; the maps are scored on the rows that they were fitted on.

    Absent features: what each ablation adds to the error of no ablation (top), as a share of LinearError
    (``linear``) and as the share of it that lands there (``absent``). Introduced error (bottom): of what a
    noise on Sae(x') adds, the share that lands in NonlinearError (``introduced``); of NonlinearError
    (``nonlinear``), that noise and what is left without any noise, which is the SAE's own.
    """
    top = points("15", panel="top").pivot(index=["x", "series"], columns="quantity", values="value")
    whole = top["FVU"].unstack("series")
    linear = whole - top["FVU_nonlinear"].unstack("series")
    ablated = whole.index != "0"
    lands, added = ((one - one.loc["0"])[ablated].stack() for one in (linear, whole))
    of_linear = lands / linear[ablated].stack()
    maps = heat_maps()
    bottom = (maps - maps.xs(0, level="introduced")).query("introduced > 0")
    scale = bottom.sum(axis=1)  # one noise, over the variance of x' + the other: it tells how that grows
    own = maps.loc[(0, 0), "nonlinear"] * scale / scale.loc[0].reindex(scale.index, level="introduced")
    of_nonlinear = (bottom["nonlinear"] + own) / maps["nonlinear"].loc[bottom.index]
    named = lambda found, name: {name(*key): float(value) for key, value in found.items()}
    above = lambda share, noise: f"{share}% ablated, {noise}"
    below = lambda dense, introduced: f"x' noise {dense}, Sae(x') noise {introduced}"
    return {
        "linear": named(of_linear, above),
        "absent": named(lands / added, above),
        "nonlinear": named(of_nonlinear, below),
        "introduced": named(bottom["nonlinear"] / scale, below),
    }


def norms() -> pd.DataFrame:
    """Fig. 6, a row a part: its median R² over the SAEs as ``value``, 5% and 95% of them as low and high."""
    wide = points("6").pivot(index="series", columns="quantity", values="value")
    wide = wide.loc[["x", "Sae(x)", "SaeError(x)", "LinearError(x)", "NonlinearError(x)"]]
    names = [name if name == "Sae(x)" else name.removesuffix("(x)") for name in wide.index]
    return pd.DataFrame({"part": names, "value": wide["median"], "low": wide["q05"], "high": wide["q95"]})


def probe() -> pd.DataFrame:
    """Fig. 14, a row a rank: the mean activation when on, ``active``, and the probe's ``weight``."""
    weight = points("14", series="probe times latent, smoothed").rename(columns={"value": "weight"})
    active = points("14", series="mean activation when on").set_index("x")["value"]
    return weight.assign(active=weight["x"].map(active))


def detection() -> pd.DataFrame:
    """Fig. 7 as this book scores it: by decile and what the SAE reads, the mean of the share of its windows
    that are found and of silent windows that are left alone; ``found`` is the first share, as drawn."""
    drawn = points("7", quantity="accuracy")
    drawn = drawn.assign(reads=drawn["series"].str.removeprefix("SAE on "))
    silent = drawn[drawn["x"] == "Not"].set_index("reads")["value"]
    rows = drawn[drawn["x"] != "Not"].rename(columns={"value": "found"})
    decile, value = rows["x"].str[1:].astype(int), (rows["found"] + rows["reads"].map(silent)) / 2
    return rows.assign(decile=decile, value=value)


def shares(sweep: str) -> pd.DataFrame:
    """Fig. 8, a row an SAE (by its true L0) and a part: ``ce`` (of the loss), ``variance`` (of R²), ``norm``,
    as shares of 1. sweep: "width" or "L0"."""
    names = {"CE recovered": "ce", "R2 share": "variance", "norm share": "norm"}
    drawn = points("8", panel=sweep).assign(part=lambda rows: rows["series"], sweep=f"over {sweep}")
    keys = ["part", "sweep", *SOURCE, "width", "l0"]
    found = drawn.groupby([*keys, "quantity"], dropna=False)["value"].first().unstack("quantity") / 100
    return found.rename(columns=names).reset_index().sort_values(["part", "width", "l0"])


def inferred() -> pd.DataFrame:
    """Fig. 9a beside the encoder: ``width``, ``quantity`` (FVU, FVU_nonlinear), ``by`` and ``value``. The
    encoder's FVU is Fig. 1's, of more tokens; its FVU_nonlinear Fig. 2's, of the same."""
    found = points("9", panel="a", series="pursuit")
    same = points("2", panel="b", quantity="FVU_nonlinear")
    same = same[same["l0"] == same["width"].map(PURSUED)]
    encoder = pd.concat([points("1", series="SAE", quantity="FVU"), same])
    return pd.concat([encoder.assign(by="encoder"), found.assign(by="pursuit")], ignore_index=True)


def pursued() -> pd.DataFrame:
    """`pursuit`'s changes of FVU_nonlinear, in percent: ``width``, ``tokens``, ``value``."""
    found = pursuit().melt("width", var_name="tokens").dropna()
    found = found[found["tokens"].str.startswith("FVU_nonlinear")]
    found["tokens"] = found["tokens"].str.removeprefix("FVU_nonlinear, ")
    source = points("9", panel="a")[SOURCE].iloc[0].to_dict()
    return found.assign(value=100 * found["value"], **source)


def earlier(sites: Iterable[str]) -> dict[str, float]:
    """Fig. 9b's R² of NonlinearError from what answers to each of these sites (`answering`)."""
    drawn = points("9", panel="b", series="NonlinearError").set_index("x")["value"]
    return {site: float(drawn[kind]) for kind, site in answering(sites).items()}


def answering(sites: Iterable[str]) -> dict[str, str]:
    """The sites that answer to those of Fig. 9b, by its names: MLP, attention, and, of residual streams, the
    last."""
    kinds = {}
    for site in sites:
        named = [
            name
            for key, name in (("mlp", "MLP"), ("attn", "attention"), ("resid", "prev residual"))
            if key in site
        ]
        kinds |= {named[0]: site} if named else {}
    return kinds
