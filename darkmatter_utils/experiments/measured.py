"""What a measurement says with nothing more run: where errors are over tokens and positions, how far the
protocols lie apart, how FVU fell in training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..base.values import Absent
from ..claims import q01_setting
from ..claims.protocol import Change, Changes, difference, relative
from ..measurement.measure import Measurement, manifest
from ..measurement.widths import first_seeds, over_widths, reference_sae, suite_rows, width_suite
from ..stats.intervals import around

R2_OF = "R² of SaeError"


def setting(measurement: Measurement) -> q01_setting.Evidence:
    """Chapter 01: the model's and the SAEs' own numbers."""
    saes, held = measurement.saes, measurement.held_out
    main = saes[saes["main"].astype(bool)]
    return q01_setting.Evidence(
        gain=None if not held else held["trigram"] - held["nats_per_token"],
        dead=float(saes["dead"].max()),
        left=float(measurement.sae(reference_sae(measurement))["fvu"]),
        l0_off=float((main["l0"] / main["l0_target"] - 1).abs().max()),
    )


@kept
def by_token(measurement: Measurement, *, sae: str, context: int | None, ids: list[str]) -> dict:
    """Chapter 01's look at the per-token table. ``tokens``: `tokens_of` a context (None: `typical_context`).
    ``positions``: of ``ids``. ``about``: the share of the squared error in the worst tenth of the tokens, the
    first and last position that is scored, and the error in its later half over that in its earlier one."""
    which, tokens = typical_context(measurement, sae) if context is None else context, measurement.tokens
    tokens = tokens[tokens["scored"]]
    early = tokens["position"] < tokens["position"].median()
    late, first = (tokens.loc[part, f"{sae}:error"].mean() for part in (~early, early))
    about = {"worst tenth": concentration(measurement, sae), "late over early": float(late / first)}
    about["window"] = f"{tokens['position'].min()} to {tokens['position'].max()}"
    found = {"tokens": tokens_of(measurement, sae, which), "positions": positions(measurement, ids)}
    return found | {"about": about}


def typical_context(measurement: Measurement, sae: str) -> int:
    """The context whose mean squared error is the median of all (of full contexts): not picked by hand."""
    tokens = measurement.tokens[measurement.tokens["scored"]]
    mean = tokens.groupby("context")[f"{sae}:error"].agg(["mean", "size"])
    mean = mean[mean["size"] == mean["size"].max()]["mean"].sort_values(kind="stable")
    return int(mean.index[len(mean) // 2])


def tokens_of(measurement: Measurement, sae: str, context: int) -> pd.DataFrame:
    """The first 120 tokens of one context from the first scored position on: text, position, error (squared,
    in units of the variance of x), loss (nats of the next token, where there is a model)."""
    tokens = measurement.tokens[measurement.tokens["context"] == context]
    tokens = tokens[tokens["position"] >= measurement.study.window[0]].head(120)
    frame = pd.DataFrame({"text": measurement.decode(tokens["token"].tolist())})
    frame["position"] = tokens["position"].to_numpy()
    frame["error"] = (tokens[f"{sae}:error"] / unit_variance(measurement, sae)).to_numpy()
    return frame.assign(loss=tokens["loss"].to_numpy()) if tokens["loss"].notna().any() else frame


def positions(measurement: Measurement, ids) -> pd.DataFrame:
    """Mean squared error by position in units of the variance of x, with an interval over documents: one row
    an SAE and a bin of positions (64 of equal length; the first 16 positions one by one). Inside the window
    only scored tokens count."""
    tokens, (start, stop) = measurement.tokens, measurement.study.window
    tokens = tokens[tokens["scored"] | ~tokens["position"].between(start, stop - 1)]
    step = max(1, int(tokens["position"].max() + 1) // 64)
    position = tokens["position"].to_numpy()
    place = np.where(position < 16, position, 16 + (position - 16) // step * step + (step - 1) / 2)
    by = [pd.Series(place, index=tokens.index, name="position"), tokens["document"]]
    rows = []
    for id in ids:
        value = tokens[f"{id}:error"] / unit_variance(measurement, id)
        stats = value.groupby(by).mean().groupby(level=0).agg(["mean", "sem"]).reset_index()
        width = f"{int(measurement.sae(id)['width']):,} latents"
        low, high = around(stats["mean"], stats["sem"])
        rows.append(stats.assign(width=width, error=stats["mean"], low=low, high=high))
    return pd.concat(rows, ignore_index=True)[["position", "width", "error", "low", "high"]]


def unit_variance(measurement: Measurement, sae: str) -> float:
    """The variance of x, mean ‖x − x̄‖² over scored tokens: Σ‖SaeError‖² / (n FVU)."""
    tokens = measurement.tokens
    return float(tokens.loc[tokens["scored"], f"{sae}:error"].mean() / measurement.sae(sae)["fvu"])


def concentration(measurement: Measurement, sae: str, *, share: float = 0.1) -> float:
    """The share of the total squared error that the `share` of tokens with the largest errors holds."""
    tokens = measurement.tokens
    error = np.sort(tokens.loc[tokens["scored"], f"{sae}:error"].to_numpy())[::-1]
    return float(error[: max(1, round(share * len(error)))].sum() / error.sum())


def protocol_differences(measurement: Measurement) -> pd.DataFrame:
    """Strict minus paper for every SAE: id, and one column for each metric that both protocols give."""
    names = {"r2_per_dim": "R² per dimension", "r2_total": "R² total", "fvu_nonlinear": "FVU_nonlinear"}
    wanted = ["id", *names]
    both = measurement.saes[wanted].merge(measurement.paper[wanted], on="id", suffixes=("", "_paper"))
    apart = {words: both[name] - both[f"{name}_paper"] for name, words in names.items()}
    return pd.DataFrame({"id": both["id"]} | apart)


def training_curves(measurement: Measurement) -> pd.DataFrame | Absent:
    """FVU while the suite's SAEs were trained (first seed of each width), from the manifest: width, latents
    (it in words), tokens, fvu."""
    curves = manifest(measurement.study).get("sae_curves", {})
    saes = first_seeds(measurement)
    rows = [(row.width, *point) for row in saes.itertuples() for point in curves.get(row.id, [])]
    if not rows:
        return Absent("How this study's SAEs were trained is not known, or they were not trained.")
    curves = pd.DataFrame(rows, columns=["width", "tokens", "fvu"])
    return curves.assign(latents=[f"{width:,} latents" for width in curves["width"]])


def last_third(curves: pd.DataFrame | Absent) -> pd.Series | Absent:
    """The relative fall of FVU over the last third of training, by width."""
    if not len(curves):
        return curves
    late = curves[curves["tokens"] >= 2 / 3 * curves.groupby("width")["tokens"].transform("max")]
    ends = late.groupby("width")["fvu"].agg(["first", "last"])
    return 1 - ends["last"] / ends["first"]


def by_choice(measurement: Measurement) -> Changes:
    """What two choices of protocol change at every width of the suite, by what the measurement holds.

    ``weight``: R² averaged over dimensions for R² total. ``together``: R² per dimension and FVU_nonlinear
    by the released code for this book's. Of all of the study's tokens; intervals, which R² alone has, carry
    documents and training seeds. Cost: a sort of the measurement's replicates."""
    saes = suite_rows(measurement, measurement.saes.reset_index(drop=True))
    if not len(saes):
        return {}
    each, pooled = (width_suite(measurement, name).estimates() for name in ("r2_per_dim", "r2_total"))
    by_weight = width_suite(measurement, "r2_per_dim", minus="r2_total").estimates()
    paper = measurement.paper.set_index("id").loc[saes["id"]]
    drawn = [np.asarray(measurement.replicates[f"{of}r2_per_dim"])[:, saes.index] for of in ("", "paper ")]
    moved = paper["r2_per_dim"].to_numpy(float) - saes["r2_per_dim"].to_numpy(float)
    by_code = over_widths(saes, moved, drawn[1] - drawn[0], "r2_per_dim").estimates()
    both = saes.assign(paper=paper["fvu_nonlinear"].to_numpy())[["width", "fvu_nonlinear", "paper"]]
    both = np.exp(np.log(both.set_index("width")).groupby("width").mean())
    return {
        "weight": [_moved(width, pooled[width].value, by) for width, by in by_weight.items()],
        "together": [
            *(_moved(width, each[width].value, by) for width, by in by_code.items()),
            *(relative("FVU_nonlinear", *row, place=_place(width)) for width, row in both.iterrows()),
        ],
    }


def _moved(width: int, here: float, by) -> Change:
    return difference(R2_OF, here, here + by.value, ends=(by.low, by.high), place=_place(width))


def _place(width: int) -> str:
    return f"{int(width):,} latents"
