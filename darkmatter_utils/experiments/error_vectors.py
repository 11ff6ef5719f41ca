"""How much of the error vector, as the notebook defines it, is a linear function of x, and what kind of map
it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from torch import Tensor

from ..base.cache import kept
from ..base.values import Absent, Estimate
from ..claims import c01_half_linear
from ..decomposition.paper import train_rows
from ..decomposition.shares import linear_shares, rescaled
from ..measurement.measure import Measurement
from ..measurement.widths import over_l0, over_widths, suite_rows
from ..stats.fits import LinearMap, merged, residual_squares
from .regress import Regression, of, regress

SHARES = {
    "gain": "a scalar gain",
    "pc1": "1 component of x",
    "pc10": "10 components of x",
    "full": "all of x",
}
"""Predictors of the error, as columns of ``shares``, in words."""
KINDS = {"r2_per_dim": "each", "r2_total": "pooled"}
"""The two R², and how they average over dimensions."""


@kept
def error_vectors(
    measurement: Measurement, *, error: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, pd.DataFrame | Absent]:
    """R² of the error of every SAE from x, out of fold, and what of it simpler predictors explain.

    error: (x, Sae(x)) -> what is predicted, [token, d_model]. ``saes``: the measurement's table of SAEs with
    both R² anew, ``r2_per_dim`` and ``r2_total`` with their intervals over documents, and ``paper``, R² per
    dimension by the released code's protocol; ``grid``: its means by width and L0. ``suite``: metric, width,
    value, low, high, seeds, joined over seeds. ``shares``: `linear_shares` of every SAE, and with shrinkage
    undone. ``by_width``: means of these over the seeds of each width of the suite.
    Cost: two passes of the model, one of the SAEs; sums of d_model × d_model for every SAE, fold and side.
    """
    study = measurement.study
    fit = regress(measurement, of(error), apart=train_rows(None, measurement.card["tokens"], study.seed))
    r2 = {metric: fit.r2(average) for metric, average in KINDS.items()}
    saes = measurement.saes
    for metric, (table, _) in r2.items():
        columns = {"value": metric, "low": f"{metric}_low", "high": f"{metric}_high"}
        saes = saes.drop(columns=list(columns.values())).merge(table.rename(columns=columns), on="id")
    saes = saes.assign(paper=[_released(fit, id) for id in saes["id"]])
    shares = linear_shares(fit.moments, {id: fit.columns(id) for id in fit.ids})
    shares = rescaled(shares.merge(pd.DataFrame({"id": fit.ids, "fvu": _fvu(fit)}), on="id"))
    rows = suite_rows(measurement)
    mine = [fit.ids.index(id) for id in rows["id"]]
    suite = [
        over_widths(rows, table["value"].to_numpy()[mine], drawn[:, mine], metric)
        .frame()
        .assign(metric=metric)
        for metric, (table, drawn) in r2.items()
    ]
    columns = ["fvu", *SHARES, "mean", "scale", "after", "r2_per_dim", "paper"]
    means = rows[["id", "width"]].merge(shares, on="id").merge(saes[["id", "r2_per_dim", "paper"]], on="id")
    return {
        "saes": saes,
        "grid": over_l0(saes),
        "suite": pd.concat(suite, ignore_index=True),
        "shares": shares,
        "by_width": means.groupby("width", as_index=False)[columns].mean(),
    }


def half_linear(found: Mapping[str, pd.DataFrame]) -> c01_half_linear.Evidence:
    """Claim 1: R² of the error, what shrinkage and the choice of protocol explain of it."""
    suite, means = found["suite"].query("metric == 'r2_per_dim'"), found["by_width"]
    full = means["full"].where(means["full"] > 0)
    by_width = lambda values: dict(zip(means["width"].tolist(), values.tolist()))
    return c01_half_linear.Evidence(
        r2={row.width: Estimate(row.value, row.low, row.high) for row in suite.itertuples()},
        kept=by_width((means["after"] / full).fillna(0.0)),
        split=by_width(means["r2_per_dim"] - means["paper"]),
    )


def _released(fit: Regression, id: str) -> float:
    """R² per dimension as the released code has it: a map without intercept of some tokens, scored on the
    others."""
    held_out, fitted = (side.targets(fit.columns(id)) for side in fit.parts)
    left = residual_squares(held_out, LinearMap.fit(fitted, intercept=False)).cpu().numpy()
    return float(np.mean(1 - left / held_out.yy.cpu().numpy()))


def _fvu(fit: Regression) -> list[float]:
    """Σ‖e‖² / Σ‖x − x̄‖² of every SAE, from the sums."""
    total = merged(fit.moments)
    squares = total.yy + total.n * total.y_mean**2
    return [float(squares[fit.columns(id)].sum() / total.xx.trace()) for id in fit.ids]
