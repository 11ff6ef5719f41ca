"""Where errors are, over tokens and positions; and what a measurement says with nothing more computed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..claims import q01_setting, q02_protocols
from ..measurement.widths import reference_sae, width_suite
from ..stats.intervals import around


def breakdown(measurement) -> pd.DataFrame:
    """Shares of the variance of x at each width of the suite, mean over seeds: width, part, share; they sum
    to 1.
    """
    total, rest = (width_suite(measurement, metric) for metric in ("fvu", "fvu_nonlinear"))
    rows = []
    for width, fvu, nonlinear in zip(total.widths, total.values, rest.values, strict=True):
        for part, share in (
            ("Sae(x)", 1 - fvu),
            ("LinearError", fvu - nonlinear),
            ("NonlinearError", nonlinear),
        ):
            rows.append({"width": int(width), "part": part, "share": float(share)})
    return pd.DataFrame(rows)


def typical_context(measurement, sae_id: str) -> int:
    """The context whose mean squared error is the median of all (of full contexts): not picked by hand."""
    tokens = measurement.tokens[measurement.tokens["scored"]]
    mean = tokens.groupby("context")[f"{sae_id}:error"].agg(["mean", "size"])
    mean = mean[mean["size"] == mean["size"].max()]["mean"].sort_values(kind="stable")
    return int(mean.index[len(mean) // 2])


def tokens_of(measurement, sae: str, context: int, *, most: int = 120) -> pd.DataFrame:
    """The tokens of one context from the first scored position on, in order: text, position, error (the SAE's
    squared error in units of the variance of x), loss (nats of the next token, where there is a model)."""
    tokens = measurement.tokens[measurement.tokens["context"] == context]
    tokens = tokens[tokens["position"] >= measurement.study.window[0]].head(most)
    frame = pd.DataFrame({"text": measurement.decode(tokens["token"].tolist())})
    frame["position"] = tokens["position"].to_numpy()
    frame["error"] = (tokens[f"{sae}:error"] / unit_variance(measurement, sae)).to_numpy()
    return frame.assign(loss=tokens["loss"].to_numpy()) if tokens["loss"].notna().any() else frame


def positions(measurement, ids, *, bins: int = 64) -> pd.DataFrame:
    """Mean squared error by position in units of the variance of x, with an interval over documents: one row
    an SAE and a bin of positions (bins of equal length; the first 16 positions one by one).
    """
    tokens = measurement.tokens
    step = max(1, int(tokens["position"].max() + 1) // bins)
    position = tokens["position"].to_numpy()
    place = np.where(position < 16, position, 16 + (position - 16) // step * step + (step - 1) / 2)
    rows = []
    for sae_id in ids:
        value = tokens[f"{sae_id}:error"] / unit_variance(measurement, sae_id)
        means = value.groupby(
            [pd.Series(place, index=tokens.index, name="position"), tokens["document"]]
        ).mean()
        stats = means.groupby(level=0).agg(["mean", "sem"]).reset_index()
        width = int(measurement.saes.set_index("id").loc[sae_id, "width"])
        low, high = around(stats["mean"], stats["sem"])
        rows.append(stats.assign(width=f"{width:,} latents", error=stats["mean"], low=low, high=high))
    return pd.concat(rows, ignore_index=True)[["position", "width", "error", "low", "high"]]


def unit_variance(measurement, sae_id: str) -> float:
    """The variance of x, mean ‖x − x̄‖² over scored tokens: Σ‖SaeError‖² / (n FVU)."""
    row = measurement.saes.set_index("id").loc[sae_id]
    tokens = measurement.tokens
    return float(tokens.loc[tokens["scored"], f"{sae_id}:error"].mean() / row["fvu"])


def concentration(measurement, sae_id: str, *, share: float = 0.1) -> float:
    """The share of the total squared error that the `share` of tokens with the largest errors holds."""
    tokens = measurement.tokens
    error = np.sort(tokens.loc[tokens["scored"], f"{sae_id}:error"].to_numpy())[::-1]
    return float(error[: max(1, round(share * len(error)))].sum() / error.sum())


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
