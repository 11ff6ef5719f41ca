"""What first tokens of a context do to shares of variance: a text decomposed from several positions on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from ..base.cache import kept
from ..base.values import Absent, in_columns
from ..base.words import plain, share
from ..decomposition.decompose import decompose
from ..measurement.measure import Measurement
from ..stats.loud import CUT, is_loud
from ..studies.activations import Activations
from ..studies.saes import load_saes
from ..studies.study import Study

LOUDEST = 0.001
"""The share of the tokens, by norm, whose share of the variance is told."""
CONTEXTS, PER_DIMENSION = 64, 100
"""Contexts that are read, at equal distances: so many at least, and tokens a dimension."""


@kept
def windows(measurement: Measurement, *, sae: str) -> dict[str, pd.DataFrame | Absent]:
    """``windows``: a row a first position, 0, 1 and that of the study's window, up to the window's end:
    first, tokens, loud (louder than `CUT` × the median norm), loudest (share of Σ‖x − x̄‖² that the `LOUDEST`
    hold), times (the longest ‖x‖ over the median), gamma (‖mean‖ / spread), and of one SAE fvu, r2_total and
    r2_per_dim with intervals. Every token counts, loud and special ones too; absent without a language model.

    Cost: the model and the SAE on those contexts, three decompositions; memory: x of them, twice, in float32.
    """
    study = measurement.study
    if study.model is None:
        none = "A simulated study has no first tokens of a context: every position follows one law."
        return {"windows": Absent(none)}
    source = Activations(study)
    (loaded,) = load_saes(replace(study, saes=(study.sae(sae),)), source)
    length = min(study.window[1], source.contexts.tokens.shape[1])
    rows = source.rows(max(CONTEXTS, -(-PER_DIMENSION * source.d_model // length)))
    xs, hats = [], []
    for some in np.array_split(rows, -(-len(rows) // 16)):
        x = source.whole(some)[1][:, :length]
        hats.append(loaded.reconstruct(x.flatten(0, 1))[0].view_as(x).float().cpu())
        xs.append(x.float().cpu())
    x, hat, document = torch.cat(xs), torch.cat(hats), source.contexts.document[rows]
    table = []
    for first in sorted({0, 1, study.window[0]}):
        kept_x, kept_hat = (one[:, first:].flatten(0, 1).numpy() for one in (x, hat))
        of = np.repeat(document, length - first)
        table.append({"first": first} | _row(study, kept_x, kept_hat, of))
    return {"windows": pd.DataFrame(table)}


def _row(
    study: Study,
    x: Float[np.ndarray, "token d_model"],
    hat: Float[np.ndarray, "token d_model"],
    document: Int[np.ndarray, "token"],
) -> dict:
    how = dict(folds=study.folds, bootstrap=study.bootstrap, seed=study.seed)
    found = decompose(x, hat, document=document, **how)
    norm, mean = np.linalg.norm(x, axis=1), x.mean(axis=0, dtype=np.float64)
    squares = ((x - mean) ** 2).sum(axis=1)
    loudest = np.argsort(-norm)[: max(1, round(LOUDEST * len(x)))]
    row = {
        "tokens": len(x),
        "loud": int(is_loud(norm, float(np.median(norm))).sum()),
        "loudest": float(squares[loudest].sum() / squares.sum()),
        "times": float(norm.max() / np.median(norm)),
        "gamma": float(np.linalg.norm(mean) / np.sqrt(squares.mean())),
    }
    for name in ("fvu", "r2_total", "r2_per_dim"):
        row |= in_columns(getattr(found, name), name)
    return row


def in_words(windows: pd.DataFrame) -> str:
    """What the rows say of loud tokens, and the first and the last of FVU."""
    rows = list(windows.itertuples())
    loud = ", ".join(f"{row.loud:,} from position {row.first} on" for row in rows)
    louder = f"louder than {CUT:g} times the median norm"
    told = f"Of the tokens, {loud} are {louder}." if windows["loud"].any() else f"No token is {louder}."
    said = lambda row: f"{share(row.loudest)} of the variance, with an FVU of {plain(row.fvu, 3)}"
    return (
        f"{told} The loudest {share(LOUDEST)} hold "
        f"{said(rows[0])}, from position {rows[0].first} on, and {said(rows[-1])}, from {rows[-1].first} on."
    )
