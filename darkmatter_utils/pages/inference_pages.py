"""What chapter 11 shows: charts and tables of the decomposition under each inference."""

from __future__ import annotations

from typing import NamedTuple

import altair as alt
import pandas as pd
import torch
from torch import Tensor

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, percent, plain, span
from ..charts.tables import Table, Words
from ..claims import c09_inference
from ..experiments.inference import (
    ENCODER,
    INFERENCES,
    REFIT,
    SETTLED,
    SIGNED,
    WARM,
    dictionary_of,
    over_complete,
)
from ..experiments.inference_gaps import best_at, by_width, gaps, of_sae
from ..experiments.inference_scores import joined
from ..stats.metrics import fvu
from ..stats.pursuit import Codes
from ..studies.activations import Activations
from ..studies.saes import load_saes

NONE = Words(
    "*No SAE of this study has a dictionary that another inference could use, and fewer active latents "
    "than x has "
    "dimensions.*"
)
COMPARED = (ENCODER, REFIT, WARM, SETTLED, SIGNED)
"""Inferences drawn in charts; the two other pursuits differ from `SETTLED` by little, and the tables have
them."""
NULL = f"true codes: {SETTLED}"
"""Name of the control: an SAE of a simulated world that introduces nothing."""
TITLES = {"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}


class Live(NamedTuple):
    """Scored tokens of a few contexts, and one SAE's dictionary and codes, for the cell that shows the
    idea."""

    signal: Tensor
    """x − the decoder's bias [token, d_model], float64; no token where the SAE has no dictionary."""
    atoms: Tensor
    """Rows of the decoder [d_sae, d_model]."""
    own: Codes
    """The encoder's codes."""

    def fvu(self, codes: Codes) -> float:
        """FVU of the reconstruction from other codes."""
        return fvu(self.signal, codes.decode(self.atoms))


def live(measurement, sae: str, *, contexts: int = 16) -> Live:
    """The arrays of the live cell, for one SAE."""
    study = measurement.study
    source = Activations(study)
    loaded = next(one for one in load_saes(study, source) if one.id == sae)
    dictionary = dictionary_of(loaded)
    empty = torch.zeros(0, 1, dtype=torch.float64)
    nothing = Live(empty, torch.ones(1, 1, dtype=torch.float64), Codes(empty.long(), empty))
    if dictionary is None:
        return nothing
    batches = list(source.batches(contexts=contexts))
    keep = torch.cat([torch.from_numpy(batch.scored) for batch in batches])
    x = torch.cat([batch.x for batch in batches])[keep].double()
    own = joined([dictionary.encode(batch.source) for batch in batches])
    if over_complete(own, x.shape[1]):
        return nothing
    return Live(
        x - dictionary.bias, dictionary.atoms.double(), Codes(own.indices[keep], own.values[keep].double())
    )


def width_lines(tables):
    """FVU and FVU_nonlinear over width, one line an inference, side by side."""
    views = []
    for metric, title in TITLES.items():
        frame = _frame(tables, COMPARED, metric)
        if frame.empty:
            return NONE
        views.append(
            charts.lines(
                frame,
                "width",
                "value",
                low="low",
                high="high",
                color="inference",
                y_title=title,
                y_domain=(0, 1.05 * frame["high"].max()),
                width=300,
                height=270,
            )
        )
    return alt.hconcat(*views).resolve_scale(color="shared", y="independent")


def change_lines(tables, null=None):
    """The change of FVU_nonlinear from the encoder's over width, with the fall that falsifies the claim.

    ``null``: the tables of a world whose SAEs hold true features with their true coefficients; drawn as one
    more line.
    """
    frame = _frame(tables, COMPARED, "fvu_nonlinear", change=True)
    if frame.empty:
        return NONE
    if null is not None:
        frame = pd.concat(
            [frame, _frame(null, (SETTLED,), "fvu_nonlinear", change=True).assign(inference=NULL)],
            ignore_index=True,
        )
    for column in ("value", "low", "high"):
        frame[column] *= 100
    return charts.lines(
        frame,
        "width",
        "value",
        low="low",
        high="high",
        color="inference",
        y_title="change of FVU_nonlinear (%)",
        reference=-100 * c09_inference.THRESHOLDS.falls,
        reference_label="a larger fall falsifies the claim",
    )


def gap_chart(tables):
    """The error's share of the variance at each width: the encoder gap on top of what the dictionary
    leaves."""
    frame = gaps(tables)
    if frame.empty or frame["width"].nunique() < 2:
        return NONE if frame.empty else Words("*The study has one width: there is no curve to draw.*")
    return charts.stacked_breakdown(frame)


def gap_table(tables):
    """Encoder gap and dictionary gap at each width, with intervals: of the FVU and of its nonlinear part."""
    best = best_at(tables)
    if not best:
        return NONE
    rows = []
    for width, name in best.items():
        row = {"width": width, "best inference": name}
        for metric, title in TITLES.items():
            row[f"{title}, encoder"] = _three(by_width(tables, ENCODER, metric)[width])
            row[f"{title}, best"] = _three(by_width(tables, name, metric)[width])
            row[f"{title}, change"] = _share(by_width(tables, name, metric, change=True)[width])
        rows.append(row)
    frame = pd.DataFrame(rows)
    return Table(frame, dict.fromkeys(frame.columns[2:], str))


def inference_table(tables, sae: str):
    """Every inference on one SAE: realised L0, how far it is from the encoder's, and the decomposition."""
    rows = tables["scores"][tables["scores"]["id"] == sae].set_index("inference")
    if rows.empty:
        return NONE
    lines = []
    for name in INFERENCES:
        row = rows.loc[name]
        line = {
            "inference": name,
            "realised L0": plain(row["l0"], 3),
            "tokens with fewer": percent(row["short"], 2),
            "latents shared with the encoder": percent(row["shared"]),
        }
        for metric, title in {
            "fvu": "FVU",
            "fvu_linear": "FVU_linear",
            "fvu_nonlinear": "FVU_nonlinear",
            "r2_per_dim": "R² per dimension",
            "r2_total": "R² total",
        }.items():
            line[title] = _three(of_sae(tables, sae, name, metric))
        lines.append(line)
    frame = pd.DataFrame(lines)
    return Table(frame, dict.fromkeys(frame.columns[1:], str))


def sentences(tables) -> dict[str, str]:
    """The sentences of the page that depend on the numbers, by key."""
    best, scores = best_at(tables), tables["scores"]
    about = tables["about"].iloc[0]
    said = {
        "tokens": (
            f"{int(about['tokens']):,} tokens of {int(about['contexts']):,} contexts, spread evenly over "
            f"the text"
        )
    }
    if not best:
        return said | dict.fromkeys(("l0", "gap", "shared"), NONE)
    over = scores["over"].max()
    short = scores[scores["inference"] != ENCODER].groupby("inference")["short"].max()
    allowed = "no token has more" if over == 0 else f"at most {percent(over, 2)} of the tokens have more"
    said["l0"] = (
        f"Under every inference, {allowed} active latents than under the encoder. Fewer are seen most "
        f"often under "
        f"*{short.idxmax()}*: on {percent(short.max(), 1)} of the tokens of some SAE; under *{SETTLED}*, on "
        f"{percent(short[SETTLED], 2)} at most."
    )
    share = {}
    for width, name in best.items():
        encoder, left = (by_width(tables, which, "fvu")[width].value for which in (ENCODER, name))
        share[width] = (encoder - left) / encoder
    low, high = min(share, key=share.get), max(share, key=share.get)
    said["gap"] = (
        f"Of the FVU, the encoder gap is {percent(share[low])} at {low:,} latents, where it is smallest, and "
        f"{percent(share[high])} at {high:,}, where it is largest; the rest is the dictionary gap."
    )
    shared = scores[scores["inference"] == SETTLED]["shared"]
    said["shared"] = (
        f"The pursuit that starts from nothing chooses {percent(shared.min())} to {percent(shared.max())} of "
        "its latents among those that the encoder chose on the same token."
    )
    return said


def null_sentence(null) -> str:
    """What a pursuit does to codes that are true: the control, in words."""
    change = [e.value for e in by_width(null, SETTLED, "fvu_nonlinear", change=True).values()]
    shared = null["scores"][null["scores"]["inference"] == SETTLED]["shared"]
    return (
        f"In a simulated world whose SAEs hold true features with their true coefficients, and so "
        f"introduce no error at all, the "
        f"pursuit changes FVU_nonlinear by {span(change, percent)}, and {span(shared, percent)} of the "
        f"latents that it "
        "chooses are those that are truly there."
    )


def _frame(tables, names, metric, *, change: bool = False) -> pd.DataFrame:
    rows = [
        {"width": width, "inference": name, "value": e.value, "low": e.low, "high": e.high}
        for name in names
        for width, e in by_width(tables, name, metric, change=change).items()
    ]
    return pd.DataFrame(rows, columns=["width", "inference", "value", "low", "high"])


def _three(estimate: Estimate) -> str:
    return interval(estimate, lambda value: plain(value, 3))


def _share(estimate: Estimate) -> str:
    return interval(estimate, lambda value: percent(value, 1))
