"""The error's two parts at single tokens, of the contexts that chapter 06 shows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..measurement.widths import first_seeds

PARTS = ("error", "linear", "nonlinear")
"""SaeError and its two parts: the columns of a split."""


@kept
def token_splits(measurement, *, contexts: list[int], shown: int = 100) -> dict[str, pd.DataFrame]:
    """``splits``: norms of SaeError = LinearError + NonlinearError at the first ``shown`` scored tokens of
    ``contexts``, a row a token and SAE (first seed of each width): context, position, width, error, linear,
    nonlinear.

    All three over that SAE's mean ‖SaeError‖ of all scored tokens; the map b x + c of a token was fitted on
    the other folds' documents. error² = linear² + nonlinear² + 2 p, with p the product of the two parts: near
    0 in the mean over all tokens, seldom at one, where the squares alone do not add up. Cost: that of the
    measurement's per-token table, which stored results leave out.
    """
    tokens = measurement.tokens[measurement.tokens["scored"]]
    some = tokens[tokens["context"].isin(contexts)].groupby("context", sort=False).head(shown)
    rows = []
    for sae in first_seeds(measurement).itertuples():
        mean = np.sqrt(tokens[f"{sae.id}:error"].to_numpy(float)).mean()
        norms = {part: np.sqrt(some[f"{sae.id}:{part}"].to_numpy(float)) / mean for part in PARTS}
        table = some[["context", "position"]].assign(width=int(sae.width), **norms)
        rows.append(table.astype(dict.fromkeys(PARTS, np.float32)))
    return {"splits": pd.concat(rows, ignore_index=True)}


def columns_of(strips: pd.DataFrame, splits: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """What a `TokenBrowser` is given: the strips of a `gallery` with the splits beside them; by an SAE in
    words, the columns of its error and, where it has a split, of its parts."""
    keys, known = ["context", "position"], set(splits["width"])
    wide = splits.pivot(index=keys, columns="width", values=list(PARTS))
    wide.columns = [f"{width:,} {part}" for part, width in wide.columns]
    widths = [name for name in strips.columns if name.replace(",", "").isdigit()]
    split = lambda name: int(name.replace(",", "")) in known
    named = {w: [f"{w} {part}" for part in PARTS] if split(w) else [w] for w in widths}
    return strips.join(wide, on=keys), {f"{w} latents": columns for w, columns in named.items()}
