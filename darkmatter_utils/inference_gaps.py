"""What inference costs and saves at each width: the scores of `inference_scores` joined over seeds, and the gaps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from .inference import ENCODER, NON_NEGATIVE
from .metrics import Estimate
from .results import Tables
from .widths import width_suite


def by_width(tables: Tables, inference: str, metric: str, *, change: bool = False) -> dict[int, Estimate]:
    """A score at each width of the suite, over its seeds, with an interval that carries documents and seeds; with
    ``change``, its change from the encoder's as a share (paired: the same documents and the same SAE; of the values without
    the maps' estimation error, as the replicates are)."""
    scores = tables["scores"][tables["scores"]["inference"] == inference].reset_index(drop=True)
    if scores.empty:
        return {}
    draws = lambda name: np.stack([tables["replicates"][f"{id} | {name} | {metric}"] for id in scores["id"]], axis=1)
    values, drawn = scores[metric].to_numpy(), draws(inference)
    if change:
        whole = f"{metric}_population"
        base = tables["scores"][tables["scores"]["inference"] == ENCODER].set_index("id").loc[scores["id"], whole]
        values, drawn = scores[whole].to_numpy() / base.to_numpy() - 1, drawn / draws(ENCODER) - 1
    name = "change" if change else metric
    table = scores[["id", "width", "seed"]].assign(main=True, **{name: values})
    return width_suite(SimpleNamespace(saes=table, replicates={name: drawn}), name).estimates()


def best_at(tables: Tables) -> dict[int, str]:
    """At each width, the non-negative inference with the lowest FVU_nonlinear."""
    each = {name: by_width(tables, name, "fvu_nonlinear") for name in NON_NEGATIVE}
    widths = each[NON_NEGATIVE[0]]
    return {width: min(NON_NEGATIVE, key=lambda name: each[name][width].value) for width in widths}


def evidence(tables: Tables) -> dict:
    """What the rule of claim 9 takes."""
    best = best_at(tables)
    pick = lambda metric: {width: by_width(tables, name, metric, change=True)[width]
                           for width, name in best.items()}  # fmt: skip
    return {"change": pick("fvu_nonlinear"), "total": pick("fvu"), "best": best}


def gaps(tables: Tables) -> pd.DataFrame:
    """At each width: width, part, share of the variance of x. The encoder gap is what the best inference saves; the rest,
    split by a linear map of x, is the dictionary gap."""
    rows = []
    for width, name in best_at(tables).items():
        encoder, best, rest = (by_width(tables, which, metric)[width].value
                               for which, metric in ((ENCODER, "fvu"), (name, "fvu"), (name, "fvu_nonlinear")))  # fmt: skip
        for part, share in (("NonlinearError", rest), ("LinearError", best - rest), ("encoder gap", encoder - best)):
            rows.append({"width": width, "part": part, "share": share})
    return pd.DataFrame(rows, columns=["width", "part", "share"])
