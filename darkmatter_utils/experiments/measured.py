"""What a measurement says with nothing more computed: where errors are over tokens and positions, how far the
protocols lie apart, and trends over SAE width: change per doubling, a power law with a floor, and widths
predicted from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate
from ..claims import c04_flat, c05_floor, q01_setting, q02_protocols
from ..measurement.measure import Measurement, manifest
from ..measurement.widths import WIDTHS, Suite, first_seeds, one_l0, reference_sae, suite_l0, width_suite
from ..stats.intervals import around, ends, percentile
from ..stats.power_law import PowerLaw, curves

ZERO = 1e-4
"""A fitted floor below this FVU is on its bound: it counts as 0."""
TOO_FEW = Absent("This study has too few widths at one L0.")


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
    an SAE and a bin of positions (64 of equal length; the first 16 positions one by one)."""
    tokens = measurement.tokens
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


def protocols(measurement: Measurement) -> q02_protocols.Evidence:
    """Chapter 02: how far strict and paper lie apart."""
    apart = protocol_differences(measurement).drop(columns="id")
    return q02_protocols.Evidence({name: float(abs(values).max()) for name, values in apart.items()})


def protocol_differences(measurement: Measurement) -> pd.DataFrame:
    """Strict minus paper for every SAE: id, and one column for each metric that both protocols give."""
    names = {"r2_per_dim": "R² per dimension", "r2_total": "R² total", "fvu_nonlinear": "FVU_nonlinear"}
    wanted = ["id", *names]
    both = measurement.saes[wanted].merge(measurement.paper[wanted], on="id", suffixes=("", "_paper"))
    apart = {words: both[name] - both[f"{name}_paper"] for name, words in names.items()}
    return pd.DataFrame({"id": both["id"]} | apart)


def breakdown(measurement: Measurement) -> pd.DataFrame:
    """Shares of the variance of x at each width of the suite, mean over seeds (sum 1): width, part, share."""
    total, rest = (width_suite(measurement, metric) for metric in ("fvu", "fvu_nonlinear"))
    shares = {"Sae(x)": 1 - total.values, "LinearError": total.values - rest.values}
    parts = _by_part(total, shares | {"NonlinearError": rest.values})
    return parts.sort_values("width", kind="stable", ignore_index=True)


def above_floor(total: Suite, nonlinear: Suite, fit: FloorFit | Absent) -> pd.DataFrame:
    """The error's parts at each width as in the paper's Fig. 1: width, part, share; they add up to the FVU.

    Absent is what lies above the floor c, or above the nonlinear part where that is higher; LinearError is
    what is left between the two. Without a fit, LinearError is all that is not nonlinear.
    """
    edge = np.clip(fit.c.value, nonlinear.values, total.values) if fit else total.values
    shares = {"NonlinearError": nonlinear.values, "LinearError": edge - nonlinear.values}
    return _by_part(total, shares | ({"absent": total.values - edge} if fit else {}))


def _by_part(suite: Suite, shares: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"width": suite.widths} | shares)
    return table.melt("width", var_name="part", value_name="share")


@dataclass(frozen=True)
class FloorFit:
    """FVU = c + a W^-m over the widths of a suite, with what documents and seeds leave open: the floor c (0
    is its bound), the scale a and the exponent m; the ``law`` fitted to the suite's values, and c, a and m of
    the fit to each replicate, ``refits`` [replicate, 3]."""

    c: Estimate
    a: Estimate
    m: Estimate
    law: PowerLaw
    refits: np.ndarray

    def curve(self, widths) -> pd.DataFrame:
        """The curve with its 95% band: width, value, low, high."""
        c, a, m = (column[:, None] for column in self.refits.T)
        low, high = ends(c + a * np.asarray(widths, float) ** -m)
        return pd.DataFrame({"width": widths, "value": self.law(widths), "low": low, "high": high})


def per_doubling(suite: Suite) -> Estimate | None:
    """Relative change of an FVU with each doubling of the width: 2^slope − 1, slope of log2 FVU on log2
    width.

    Widths are weighed by the inverse of their variance over replicates, so one that was trained once counts
    less; alike where there is no interval. None with fewer than two widths.
    """
    if len(suite.widths) < 2:
        return None
    x, y = _logs(suite)
    variance = y[1:].var(axis=0)
    variance = variance if np.isfinite(variance).all() else np.ones(len(x))
    weight = 1 / np.maximum(variance, 1e-12 + 1e-3 * variance.mean())
    centred = x - (weight * x).sum() / weight.sum()
    return _relative((y * weight * centred).sum(axis=1) / (weight * centred**2).sum())


def steps(suite: Suite) -> tuple[dict[tuple[int, int], Estimate], Estimate | None]:
    """Relative change between neighbouring widths, per doubling: {(width, next): Estimate}; and the change
    from the narrowest to the widest SAE, all in all (None with one width)."""
    x, y = _logs(suite)
    pairs = zip(suite.widths.tolist(), suite.widths[1:].tolist())
    each = {pair: _relative(slopes) for pair, slopes in zip(pairs, (np.diff(y, axis=1) / np.diff(x)).T)}
    return each, _relative(y[:, -1] - y[:, 0]) if len(x) > 1 else None


def _logs(suite: Suite) -> tuple[np.ndarray, np.ndarray]:
    """log2 of the widths [width], and of the values and their replicates [1 + replicate, width]."""
    return np.log2(suite.widths.astype(float)), np.log2(np.vstack([suite.values, suite.replicates]))


def _relative(slopes: np.ndarray) -> Estimate:
    return percentile(2 ** slopes[0] - 1, 2 ** slopes[1:] - 1)


def changes(suite: Suite) -> dict[str, Estimate]:
    """The change of every step, that of each doubling from the slope, and that of all of them, by name."""
    each, whole = steps(suite)
    named = {f"{a:,} to {b:,} latents": e for (a, b), e in each.items()}
    named |= {"each doubling, from the slope": per_doubling(suite), "from the narrowest to the widest": whole}
    return {name: e for name, e in named.items() if e is not None}


def fit_floor(suite: Suite) -> FloorFit | Absent:
    """The power law with a floor, fitted to the suite and to each replicate; absent with too few widths."""
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    sigma = _sigma(suite)
    law = PowerLaw.fit(suite.widths, suite.values, sigma=sigma)
    refits = refit(suite.widths, suite.replicates, sigma=sigma)
    return FloorFit(*map(percentile, (law.c, law.a, law.m), refits.T), law, refits)


def left_out(suite: Suite) -> pd.DataFrame | Absent:
    """Every width predicted from the others, with a floor and with c = 0: width, fvu, predicted, miss,
    predicted_c0, miss_c0.

    A miss is (measured − predicted) over the standard deviation of that difference over replicates. Absent
    with fewer than `WIDTHS` widths.
    """
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    rows = []
    for column, width in enumerate(suite.widths):
        rest, measured = suite.without(width), np.append(suite.values[column], suite.replicates[:, column])
        values, sigma = np.vstack([rest.values, rest.replicates]), _sigma(rest)
        row = {"width": int(width), "fvu": measured[0]}
        for end, floor in (("", True), ("_c0", False)):
            c, a, m = refit(rest.widths, values, sigma=sigma, floor=floor).T
            predicted = c + a * float(width) ** -m
            difference = measured - predicted
            row |= {f"predicted{end}": predicted[0], f"miss{end}": difference[0] / difference[1:].std()}
        rows.append(row)
    return pd.DataFrame(rows)


def _sigma(suite: Suite) -> np.ndarray | None:
    """The standard error of each value; None, all alike, where there is no interval."""
    sigma = suite.replicates.std(axis=0)
    return sigma if np.isfinite(sigma).all() else None


def refit(widths, values, *, sigma, floor: bool = True) -> np.ndarray:
    """c, a, m of the curve fitted to each row of values [row, width]: `curves`, a floor that is none as 0."""
    fitted = curves(widths, values, sigma=sigma, floor=floor)
    fitted[fitted[:, 0] < ZERO, 0] = 0.0
    return fitted


def wedge(suite: Suite, share: float) -> pd.DataFrame:
    """Between which values lie all curves through the suite's middle that change by less than ``share`` with
    each doubling: width, low, high."""
    at = np.log2(np.geomspace(suite.widths[0], suite.widths[-1], 41))
    doublings = np.abs(at - np.log2(suite.widths).mean())
    level = np.exp(np.log(suite.values).mean())
    low, high = level * (1 - share) ** doublings, level * (1 + share) ** doublings
    return pd.DataFrame({"width": 2**at, "low": low, "high": high})


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


def last_third(curves: pd.DataFrame | Absent) -> float | Absent:
    """The largest relative fall of FVU over the last third of training, over widths."""
    if not len(curves):
        return curves
    late = curves[curves["tokens"] >= 2 / 3 * curves.groupby("width")["tokens"].transform("max")]
    ends = late.groupby("width")["fvu"].agg(["first", "last"])
    return float((1 - ends["last"] / ends["first"]).max())


def flat(measurement: Measurement, null: Estimate | None) -> c04_flat.Evidence:
    """Claim 4: the change of FVU_nonlinear with width; ``null``: per doubling, for an SAE that introduces
    nothing (`nulls.null_change`)."""
    suite = width_suite(measurement, "fvu_nonlinear", l0=one_l0(measurement))
    each, whole = steps(suite)
    return c04_flat.Evidence(
        change=per_doubling(suite),
        whole=whole,
        steps=[step.value for step in each.values()],
        widths=len(suite.widths),
        l0=suite_l0(measurement),
        null=null,
    )


def floor(measurement: Measurement) -> c05_floor.Evidence:
    """Claim 5: the fall of FVU with width, the fitted floor, and how well the curve predicts."""
    suite = width_suite(measurement, "fvu", l0=one_l0(measurement))
    missed = left_out(suite)
    return c05_floor.Evidence(
        fall=per_doubling(suite),
        c=fit_floor(suite).c or None,
        misses=dict(missed[["width", "miss"]].to_numpy()) if len(missed) else {},
        widest=float(suite.values[-1]) if len(suite.widths) else np.nan,
        widths=len(suite.widths),
        l0=suite_l0(measurement),
    )
