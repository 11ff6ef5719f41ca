"""What inference costs and saves at each width: the scores of `inference_scores` joined over seeds, and the
gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..claims import c09_inference
from ..measurement.results import Tables
from ..measurement.widths import over_widths
from ..stats.intervals import percentile
from .inference import ENCODER, NON_NEGATIVE


def by_width(tables: Tables, inference: str, metric: str, *, change: bool = False) -> dict[int, Estimate]:
    """A score at each width of the suite, over its seeds, with an interval that carries documents and seeds;
    with ``change``, its change from the encoder's as a share (paired: the same documents and the same SAE).
    The maps' estimation error is taken out."""
    scores = _of(tables, inference)
    if scores.empty:
        return {}
    values, drawn = scores[f"{metric}_population"].to_numpy(), _draws(tables, scores["id"], inference, metric)
    if change:
        base = _of(tables, ENCODER).set_index("id").loc[scores["id"], f"{metric}_population"].to_numpy()
        values, drawn = values / base - 1, drawn / _draws(tables, scores["id"], ENCODER, metric) - 1
    return over_widths(scores, values, drawn, "change" if change else metric).estimates()


def of_sae(tables: Tables, sae: str, inference: str, metric: str) -> Estimate:
    """A score of one SAE under one inference, with its interval over documents; without the maps' estimation
    error."""
    row = _of(tables, inference).set_index("id").loc[sae]
    return percentile(row[f"{metric}_population"], _draws(tables, [sae], inference, metric)[:, 0])


def _of(tables: Tables, inference: str) -> pd.DataFrame:
    return tables["scores"][tables["scores"]["inference"] == inference].reset_index(drop=True)


def _draws(tables: Tables, ids, inference: str, metric: str) -> np.ndarray:
    return np.stack([tables["replicates"][f"{id} | {inference} | {metric}"] for id in ids], axis=1)


def best_at(tables: Tables) -> dict[int, str]:
    """At each width, the non-negative inference with the lowest FVU_nonlinear."""
    each = {name: by_width(tables, name, "fvu_nonlinear") for name in NON_NEGATIVE}
    widths = each[NON_NEGATIVE[0]]
    return {width: min(NON_NEGATIVE, key=lambda name: each[name][width].value) for width in widths}


def evidence(tables: Tables) -> c09_inference.Evidence:
    """What the rule of claim 9 takes."""
    best = best_at(tables)
    pick = lambda metric: {
        width: by_width(tables, name, metric, change=True)[width] for width, name in best.items()
    }
    return c09_inference.Evidence(pick("fvu_nonlinear"), pick("fvu"), best)


def gaps(tables: Tables) -> pd.DataFrame:
    """At each width: width, part, share of the variance of x. The encoder gap is what the best inference
    saves; the rest, split by a linear map of x, is the dictionary gap."""
    rows = []
    for width, name in best_at(tables).items():
        encoder, best, rest = (
            by_width(tables, which, metric)[width].value
            for which, metric in ((ENCODER, "fvu"), (name, "fvu"), (name, "fvu_nonlinear"))
        )
        for part, share in (
            ("NonlinearError", rest),
            ("LinearError", best - rest),
            ("encoder gap", encoder - best),
        ):
            rows.append({"width": width, "part": part, "share": share})
    return pd.DataFrame(rows, columns=["width", "part", "share"])
