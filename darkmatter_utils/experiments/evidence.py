"""What a measurement says, with nothing more computed, to claim 1 and to chapters 01 and 02."""

from __future__ import annotations

import pandas as pd

from ..claims import c01_half_linear, q01_setting, q02_protocols
from ..decomposition import shares
from ..measurement.widths import reference_sae, suite_rows, width_suite

SHARES = {
    "gain": "a scalar gain",
    "pc1": "1 component of x",
    "pc10": "10 components of x",
    "full": "all of x",
}
"""Columns of `Measurement.linear_shares` that are an R², in words."""


def half_linear(measurement) -> c01_half_linear.Evidence:
    """Claim 1: R² of the error, what shrinkage and the choice of protocol explain of it."""
    strict, paper = (
        by_width(measurement, frame, "r2_per_dim") for frame in (measurement.saes, measurement.paper)
    )
    undone = rescaled(measurement)
    full, after = (by_width(measurement, undone, name) for name in ("full", "after"))
    return c01_half_linear.Evidence(
        r2=width_suite(measurement, "r2_per_dim").estimates(),
        kept={width: after[width] / full[width] if full[width] > 0 else 0.0 for width in full},
        split={width: strict[width] - paper[width] for width in strict},
    )


def setting(measurement) -> q01_setting.Evidence:
    """Chapter 01: the model's and the SAEs' own numbers."""
    saes, held = measurement.saes, measurement.held_out
    main = saes[saes["main"].astype(bool)]
    return q01_setting.Evidence(
        gain=None if not held else held["trigram"] - held["nats_per_token"],
        dead=float(saes["dead"].max()),
        left=float(saes.set_index("id").loc[reference_sae(measurement), "fvu"]),
        l0_off=float((main["l0"] / main["l0_target"] - 1).abs().max()),
    )


def protocols(measurement) -> q02_protocols.Evidence:
    """Chapter 02: how far strict and paper lie apart."""
    apart = protocol_differences(measurement).drop(columns="id")
    return q02_protocols.Evidence({name: float(abs(values).max()) for name, values in apart.items()})


def protocol_differences(measurement) -> pd.DataFrame:
    """Strict minus paper for every SAE: id, and one column for each metric that both protocols give."""
    names = {"r2_per_dim": "R² per dimension", "r2_total": "R² total", "fvu_nonlinear": "FVU_nonlinear"}
    both = measurement.saes[["id", *names]].merge(
        measurement.paper[["id", *names]], on="id", suffixes=("", "_paper")
    )
    apart = {words: both[name] - both[f"{name}_paper"] for name, words in names.items()}
    return pd.DataFrame({"id": both["id"]} | apart)


def by_width(measurement, frame: pd.DataFrame, column: str) -> dict[int, float]:
    """The mean of a column over the seeds of each width of the suite; `frame` has one row an SAE and an
    id."""
    joined = suite_rows(measurement)[["id", "width"]].merge(frame[["id", column]], on="id")
    return {int(width): float(value) for width, value in joined.groupby("width")[column].mean().items()}


def rescaled(measurement) -> pd.DataFrame:
    """The linear shares of every SAE, with shrinkage undone: `shares.rescaled`."""
    return shares.rescaled(measurement.linear_shares.merge(measurement.saes[["id", "fvu"]], on="id"))


def shares_by_width(measurement) -> pd.DataFrame:
    """Mean over seeds, one row a width: FVU, each R² of `SHARES`, `mean` (the constant's share of the squared
    error), and `scale` and `after` of `rescaled`.
    """
    joined = suite_rows(measurement)[["id", "width"]].merge(rescaled(measurement), on="id")
    columns = ["fvu", *SHARES, "mean", "scale", "after"]
    return joined.groupby("width", as_index=False)[columns].mean()
