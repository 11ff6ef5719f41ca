"""The numbers that a claim's rule takes, gathered from a measurement for its chapter, which records and
judges them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..decomposition import shares
from ..measurement.widths import suite_rows, width_suite
from . import questions, rules
from .ledger import unfit
from .rules import Verdict


def evidence(number: int, measurement) -> dict:
    """What `claims.judge(number, ...)` takes for claim 1; empty for the others, whose chapters gather it."""
    return _half_linear(measurement) if number == 1 else {}


def by_width(measurement, frame, column: str) -> dict[int, float]:
    """The mean of a column over the seeds of each width of the suite; `frame` has one row an SAE and an
    id."""
    saes = suite_rows(measurement)[["id", "width"]]
    joined = saes.merge(frame[["id", column]], on="id")
    return {int(width): float(value) for width, value in joined.groupby("width")[column].mean().items()}


def _half_linear(measurement) -> dict:
    suite = width_suite(measurement, "r2_per_dim")
    strict, paper = (
        by_width(measurement, frame, "r2_per_dim") for frame in (measurement.saes, measurement.paper)
    )
    undone = rescaled(measurement)
    full, after = (by_width(measurement, undone, name) for name in ("full", "after"))
    kept = {width: after[width] / full[width] if full[width] > 0 else 0.0 for width in full}
    return {"r2": suite.estimates(), "kept": kept, "split": {w: strict[w] - paper[w] for w in strict}}


def rescaled(measurement) -> pd.DataFrame:
    """The linear shares of every SAE, with shrinkage undone: `shares.rescaled`."""
    return shares.rescaled(measurement.linear_shares.merge(measurement.saes[["id", "fvu"]], on="id"))


def setting(measurement) -> Verdict:
    """Whether the study is one worth studying: `rules.setting` on its held-out losses and its SAEs."""
    reason = unfit(measurement.study)
    if reason:
        return Verdict(rules.UNKNOWN, reason)
    saes, held = measurement.saes, measurement.held_out
    main = saes[saes["main"].astype(bool)]
    off = (main["l0"] / main["l0_target"] - 1).abs().max()
    left = saes.set_index("id").loc[reference_sae(measurement), "fvu"]
    gain = None if not held else held["trigram"] - held["nats_per_token"]
    return questions.setting(gain=gain, dead=float(saes["dead"].max()), left=float(left), l0_off=float(off))


def reference_sae(measurement, *, factor: int = 8) -> str:
    """Id of the suite's SAE with a width nearest to `factor` × d_model (the first seed): the one single
    figures show.
    """
    saes = suite_rows(measurement)
    off = np.abs(np.log2(saes["width"].to_numpy(float) / (factor * measurement.card["d_model"])))
    return str(saes["id"].iloc[int(np.argmin(off))])


def protocol_differences(measurement) -> pd.DataFrame:
    """Strict minus paper for every SAE: id, and one column for each metric that both protocols give."""
    names = {"r2_per_dim": "R² per dimension", "r2_total": "R² total", "fvu_nonlinear": "FVU_nonlinear"}
    both = measurement.saes[["id", *names]].merge(
        measurement.paper[["id", *names]], on="id", suffixes=("", "_paper")
    )
    return pd.DataFrame(
        {"id": both["id"]} | {word: both[n] - both[f"{n}_paper"] for n, word in names.items()}
    )


def ends(measurement) -> tuple[str, str]:
    """Ids of the narrowest and the widest SAE of the suite (first seed)."""
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    return str(saes["id"].iloc[0]), str(saes.loc[saes["width"] == saes["width"].max(), "id"].iloc[0])


SHARES = {
    "gain": "a scalar gain",
    "pc1": "1 component of x",
    "pc10": "10 components of x",
    "full": "all of x",
}
"""Columns of `Measurement.linear_shares` that are an R², in words."""


def shares_by_width(measurement) -> pd.DataFrame:
    """Mean over seeds, one row a width: FVU, each R² of `SHARES`, `mean` (the constant's share of the squared
    error), and `scale` and `after` of `rescaled`.
    """
    joined = suite_rows(measurement)[["id", "width"]].merge(rescaled(measurement), on="id")
    columns = ["fvu", *SHARES, "mean", "scale", "after"]
    return joined.groupby("width", as_index=False)[columns].mean()
