"""What few tokens and few documents a dimension do to the decomposition, by protocol.

Documents of a study are drawn again and again in smaller numbers, the paper's among them, and each draw is
decomposed three ways: held out, with the bias-corrected centre, and as the released code does it. A draw is
solved from sums kept of every context, never from tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ..base.cache import kept
from ..base.values import Absent, Estimate
from ..base.words import plain
from ..claims import q02_protocols
from ..decomposition.released import train_rows
from ..measurement.measure import Measurement, stream_parts
from ..stats.documents import assign_folds
from ..stats.fits import LinearMap, centre, leave_out, merged, residual_squares
from ..stats.intervals import ends, percentile
from ..stats.moments import Moments

DOCUMENTS, TOKENS = 300 / 3584, 300 * 823 / 3584
"""Documents and scored tokens a dimension in the paper: 300 contexts, each a document of its own, of which
823 positions are scored, at the 3,584 dimensions of Gemma 2 9B (§4)."""
HELD_OUT, CENTRE, PAPER = "held out", "corrected centre", "the paper's protocol"
DRAWS = 100
MEMORY = 4_000_000_000
"""Bytes of the contexts' sums; where there are more, contexts at equal distances are taken."""


class Piece(NamedTuple):
    """Sums of a context's scored tokens: of those that the paper's protocol fits on, and of the rest."""

    document: int
    fitted: Moments
    rest: Moments


def pieces(measurement: Measurement, sae: str) -> list[Piece]:
    """The sums of x and of the SAE's error of every context. Cost: a pass of the model and the SAE; memory of
    4 d_model² numbers a context, `MEMORY` at most."""
    d = measurement.card["d_model"]
    most = max(1, MEMORY // (32 * d * d))
    fitted = torch.from_numpy(train_rows(None, measurement.card["tokens"], measurement.study.seed))
    found, at = [], 0
    for batch, parts in stream_parts(measurement, [sae], contexts=min(most, measurement.card["contexts"])):
        mine = fitted[at : at + len(batch.x)]
        at += len(batch.x)
        for context in np.unique(batch.context):
            here = torch.from_numpy(batch.context == context)
            x, error = batch.x.double(), parts[sae].error
            sums = [Moments(d, d).update(x[rows], error[rows]) for rows in (here & mine, here & ~mine)]
            found.append(Piece(int(batch.document[batch.context == context][0]), *sums))
    return found


def scores(drawn: Sequence[Piece], *, folds: int, seed: int) -> dict[str, dict[str, float]]:
    """R² per dimension and FVU_nonlinear of some contexts by `HELD_OUT`, `CENTRE` and `PAPER`, as `decompose`
    gives them. Cost: folds + 2 solves. BadInput for fewer documents than folds."""
    ids = [piece.document for piece in drawn]
    counts = pd.Series([p.fitted.n + p.rest.n for p in drawn]).groupby(ids).sum()
    fold = assign_folds(counts.index, counts.to_numpy(), folds, seed=seed)
    halves = [
        [merged([p[half] for p in drawn if fold[p.document] == k]) for k in range(folds)] for half in (1, 2)
    ]
    each = [merged(pair) for pair in zip(*halves)]
    whole, fitted, rest = merged(each), *map(merged, halves)
    held_out = sum(residual_squares(own, LinearMap.fit(o)) for own, o in zip(each, leave_out(each)))
    in_sample = residual_squares(whole, LinearMap.fit(whole))
    released = LinearMap.fit(fitted, intercept=False)
    residual = {HELD_OUT: held_out}
    residual[CENTRE] = centre(held_out, in_sample, folds)
    left = residual | {PAPER: residual_squares(rest, released)}
    residual[PAPER] = residual_squares(whole, released)  # the paper's FVU counts the fitted rows, too
    spread = float(torch.trace(whole.xx))
    return {
        name: {
            "r2_per_dim": float((1 - left[name] / (rest if name == PAPER else whole).yy).mean()),
            "fvu_nonlinear": float(squares.sum()) / spread,
        }
        for name, squares in residual.items()
    }


def sizes(documents: int, d: int, contexts: int, *, folds: int) -> list[tuple[int, int]]:
    """(documents, contexts of each at most): the paper's documents a dimension, two times, four times... as
    far as half of the documents go; with one context of each, two, four..., and with all of them."""
    first, some = max(folds, round(DOCUMENTS * d)), []
    while first * 2 ** len(some) <= documents / 2:
        some.append(first * 2 ** len(some))
    each = [2**k for k in range(contexts.bit_length()) if 2**k < contexts] + [contexts]
    return [(number, most) for number in some for most in each]


@kept
def sweep(measurement, *, sae: str, draws: int = DRAWS) -> dict[str, pd.DataFrame | Absent]:
    """Table ``draws``: documents, contexts (of each at most), draw, tokens, protocol, r2_per_dim and
    fvu_nonlinear. Table ``full``: the same of all documents. Cost: `pieces`, then some hundredths of a second
    a draw at d_model 128."""
    study, d = measurement.study, measurement.card["d_model"]
    every = pieces(measurement, sae)
    by_document: dict[int, list[Piece]] = {}
    for piece in every:
        by_document.setdefault(piece.document, []).append(piece)
    ids, rows = np.array(sorted(by_document)), []

    def add(drawn, seed, **about):
        tokens = sum(p.fitted.n + p.rest.n for p in drawn)
        found = scores(drawn, folds=study.folds, seed=seed)
        return [about | {"tokens": tokens, "protocol": name} | one for name, one in found.items()]

    most = max(map(len, by_document.values()))
    for number, contexts in sizes(len(ids), d, most, folds=study.folds):
        for draw in range(draws):
            rng = np.random.default_rng([study.seed, number, contexts, draw])
            chosen = [by_document[i] for i in rng.choice(ids, number, replace=False)]
            drawn = [own[i] for own in chosen for i in rng.permutation(len(own))[:contexts]]
            rows += add(drawn, draw, documents=number, contexts=contexts, draw=draw)
    full = pd.DataFrame(add(every, study.seed, documents=len(ids), contexts=most))
    few = f"{len(ids)} documents are too few to draw some of them at the paper's ratios."
    return {"draws": pd.DataFrame(rows) if rows else Absent(few), "full": full}


def place(draws: pd.DataFrame | Absent) -> pd.DataFrame | Absent:
    """The draws nearest to the paper's place: as many documents a dimension, with all of their contexts."""
    if not len(draws):
        return draws
    return draws[
        (draws["documents"] == draws["documents"].min()) & (draws["contexts"] == draws["contexts"].max())
    ]


def summary(found: dict[str, pd.DataFrame], d: int) -> pd.DataFrame | Absent:
    """A row a size and protocol, the last of all documents: documents and tokens, also a dimension
    (``documents_per_dim``, ``tokens_per_dim``); of each metric its mean over draws and their standard
    deviation (``..._sd``); of R² per dimension ``low`` and ``high``, between which 95% of the draws lie, and
    ``off``, how many standard errors of the mean it is from the corrected centre of all documents."""
    draws, full = found["draws"], found["full"].assign(draw=0)
    if not len(draws):
        return draws
    level, rows = target(found), []
    sizes = ["documents", "contexts", "protocol"]
    for size, own in pd.concat([draws, full]).groupby(sizes, sort=False):
        r2, left, tokens = own["r2_per_dim"], own["fvu_nonlinear"], own["tokens"].mean()
        low, high = ends(r2) if len(own) > 1 else (np.nan, np.nan)
        row = dict(zip(sizes, size)) | dict(tokens=tokens, draws=len(own), low=low, high=high)
        row |= dict(documents_per_dim=row["documents"] / d, tokens_per_dim=tokens / d)
        row |= dict(r2_per_dim=r2.mean(), r2_per_dim_sd=r2.std())
        row |= dict(fvu_nonlinear=left.mean(), fvu_nonlinear_sd=left.std())
        rows.append(row | {"off": (r2.mean() - level) / (r2.std() / np.sqrt(len(own)))})
    return pd.DataFrame(rows)


def in_words(sizes: pd.DataFrame) -> str:
    """What `summary` says of the paper's place, of all documents, and of the corrected centre."""
    three, first, most = partial(plain, digits=3), sizes["documents"].min(), sizes["contexts"].max()
    here = sizes[(sizes["documents"] == first) & (sizes["contexts"] == most)].set_index("protocol")
    full = sizes[sizes["documents"] == sizes["documents"].max()].set_index("protocol")
    few = sizes[sizes["protocol"] == CENTRE].nsmallest(1, "tokens_per_dim").iloc[0]
    said = [
        f"{three(row.r2_per_dim)} ± {three(row.r2_per_dim_sd)} ({row.Index})" for row in here.itertuples()
    ]
    values = [f"{three(row.r2_per_dim)} ({row.Index})" for row in full.itertuples()]
    one, off = here.iloc[0], here.loc[CENTRE, "off"]
    side, met = "above" if off > 0 else "below", "within" if abs(off) <= 2 else "not within"
    return (
        f"At {one['documents_per_dim']:.3f} documents and {one['tokens_per_dim']:.0f} tokens a dimension, "
        f"{one['draws']:.0f} draws of {first:.0f} documents have an R² per dimension, mean and standard "
        f"deviation, of {', '.join(said)}. All documents have {', '.join(values)}. The mean of the corrected "
        f"centre is {plain(abs(off), 1)} standard errors {side} its value for all documents, {met} two. With "
        f"the fewest tokens, {few['tokens_per_dim']:.0f} a dimension, it is {plain(abs(few['off']), 1)} from "
        "it: the correction is of first order in one over that number."
    )


def target(found: dict[str, pd.DataFrame]) -> float:
    """R² per dimension of all documents, the corrected centre."""
    return float(found["full"].set_index("protocol").loc[CENTRE, "r2_per_dim"])


def gap(found: dict[str, pd.DataFrame]) -> Estimate | None:
    """At the paper's place, the paper's protocol minus the corrected centre of the same draw, in R² per
    dimension: mean, and the interval in which 95% of the draws lie; None without draws."""
    if not len(draws := place(found["draws"])):
        return None
    r2 = draws.pivot(index="draw", columns="protocol", values="r2_per_dim")
    apart = (r2[PAPER] - r2[CENTRE]).to_numpy()
    return percentile(apart.mean(), apart)


def evidence(measurement: Measurement, found: dict[str, pd.DataFrame], sae: str) -> q02_protocols.Evidence:
    """Chapter 02: how far the paper's protocol lies from the corrected centre, at full data and at the
    paper's place."""
    at = int(np.flatnonzero(measurement.saes["id"] == sae)[0])
    strict, paper = (measurement.replicates[f"{end}r2_per_dim"][:, at] for end in ("", "paper "))
    value = measurement.paper["r2_per_dim"].iloc[at] - measurement.saes["r2_per_dim"].iloc[at]
    found_at = {"all of its text": percentile(value, paper - strict)}
    at_paper = gap(found)
    return q02_protocols.Evidence(found_at | ({"the paper's place": at_paper} if at_paper else {}))
