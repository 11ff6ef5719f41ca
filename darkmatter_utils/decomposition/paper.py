"""protocol="paper": the decomposition by the formulas of the authors' released code, for comparison.

Linear maps have no intercept; tokens, not documents, are split; R² is scored on the rows that were not
fitted, FVU on all rows; R² of vectors is the mean over dimensions. Two traits of the released norm test are
kept: its parts of x come from a map fitted on *all* rows, and only the regression of their squared norms is
split. One is not: it predicted ‖z‖² + 1, a column of ones having been appended to z instead of to x.
Source: github.com/JoshEngels/SAE-Dark-Matter, utils.py and new_save_sae_power_laws.py, branch TMLR.
"""

from __future__ import annotations

import numpy as np
import torch

from ..base.errors import BadInput
from ..stats.documents import DocumentSums
from ..stats.fits import CrossFit, LinearMap
from ..stats.moments import Moments, as_float64, bad_rows, chunks
from .passes import PARTS, SELF_PARTS
from .scores import Floors

TRAIN_SHARE = 150_000 / 246_900
"""Share of tokens fitted on: 150k of the paper's 300 documents × 823 positions."""


def paper_sums(x, reconstruction, *, document: np.ndarray, train=None, seed: int = 0):
    """Per-document sums for `scores.evaluate`, the maps, and the rounding floors.

    x, reconstruction [token, d_model]; document ints [token]; train bools [token], rows to fit on (default: a
    random `TRAIN_SHARE` of the tokens, drawn from `seed`). Raises BadInput for a `train` of another shape or
    type, one that fits on every row or on none, and for NaN or infinity.
    """
    train = train_rows(train, len(document), seed)
    d_model = x.shape[1]

    def batches():
        for rows in chunks(len(document), 8 * d_model):
            xs, reconstructed = as_float64(x[rows]), as_float64(reconstruction[rows])
            for name, array in (("x", xs), ("reconstruction", reconstructed)):
                if len(bad := bad_rows(array)):
                    at = rows.start + int(bad[0])
                    raise BadInput(
                        f"{name} is NaN or infinite at token {at} (document {document[at]}); "
                        "drop that document or mend its values"
                    )
            yield rows, torch.from_numpy(train[rows]), xs, xs - reconstructed

    fitted, everything = Moments(d_model, d_model), Moments(d_model, d_model)
    for _, mine, xs, errors in batches():
        fitted.update(xs[mine], errors[mine])
        everything.update(xs, errors)
    linear, linear_all = (LinearMap.fit(moments, intercept=False) for moments in (fitted, everything))

    def norms(xs, errors):
        predicted = linear_all(xs)
        parts = dict(zip(PARTS, (xs, xs - errors, errors, predicted, errors - predicted), strict=True))
        return parts, torch.stack([(z**2).sum(dim=1) for z in parts.values()], dim=1)

    from_x = Moments(d_model, len(PARTS))
    from_self = {part: Moments(d_model, 1) for part in SELF_PARTS}
    for _, mine, xs, errors in batches():
        parts, squares = norms(xs[mine], errors[mine])
        from_x.update(xs[mine], squares)
        for i, part in enumerate(SELF_PARTS, start=1):
            from_self[part].update(parts[part], squares[:, i : i + 1])
    norm_map = LinearMap.fit(from_x, intercept=False)
    self_maps = [LinearMap.fit(moments, intercept=False) for moments in from_self.values()]

    sums = DocumentSums(document)
    for rows, mine, xs, errors in batches():
        rest, centred = ~mine, xs - everything.x_mean
        ids, held_out = document[rows], document[rows][rest.numpy()]
        sums.add(
            ids,
            n=torch.ones(len(xs)),
            x=centred,
            xx=(centred**2).sum(dim=1),
            error=(errors**2).sum(dim=1),
            residual=((errors - linear(xs)) ** 2).sum(dim=1),
        )
        xs, errors = xs[rest], errors[rest]
        parts, squares = norms(xs, errors)
        deviations, spreads = errors - everything.y_mean, squares - from_x.y_mean
        own = [
            squares[:, i] - self_maps[i - 1](parts[part])[:, 0] for i, part in enumerate(SELF_PARTS, start=1)
        ]
        sums.add(
            held_out,
            n_r2=torch.ones(len(xs)),
            e=deviations,
            ee=deviations**2,
            residual_r2=(errors - linear(xs)) ** 2,
            t=spreads,
            tt=spreads**2,
            norm=(squares - norm_map(xs)) ** 2,
            norm_self=torch.stack(own, dim=1) ** 2,
        )
    tables = sums.tables
    floors = Floors.of(
        n=tables["n"].sum(),
        x_mean=everything.x_mean.numpy(),
        x_squares=tables["xx"].sum(),
        error_mean=everything.y_mean.numpy(),
        norm_mean=from_x.y_mean.numpy(),
    )
    return tables, CrossFit([linear], linear), floors


def train_rows(train, tokens: int, seed: int) -> np.ndarray:
    """Which tokens are fitted on, bools [token]: those given, or a random `TRAIN_SHARE` of them."""
    if train is None:
        rows = np.zeros(tokens, dtype=bool)
        rows[np.random.default_rng(seed).permutation(tokens)[: round(TRAIN_SHARE * tokens)]] = True
    else:
        rows = train.cpu().numpy() if isinstance(train, torch.Tensor) else np.asarray(train)
        if rows.shape != (tokens,) or rows.dtype != bool:
            raise BadInput(f"train must be bools [token] = [{tokens}], got {rows.dtype} {list(rows.shape)}")
    if not 0 < rows.sum() < tokens:
        raise BadInput("train must leave rows on both sides: some to fit on and some to score R² on")
    return rows
