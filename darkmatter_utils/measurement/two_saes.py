"""Two SAEs of one site on the same tokens, for ``darkmatter compare``: what differs, paired by document."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..adapters.models import token_losses
from ..base.errors import BadInput
from ..base.values import Estimate
from ..base.words import interval, plain
from ..decomposition.passes import FirstPass, SecondPass
from ..stats.documents import assign_folds
from ..stats.fits import centre
from ..stats.intervals import Sums, bootstrap, paired
from ..studies.recipes import Request
from . import formulas
from .one_sae import Plan, plan
from .shards import activations, discard, held

SIDES = ("a", "b")
METRICS = {
    "fvu": ("FVU", lambda s, side: s[f"error {side}"] / _spread(s)),
    "fvu_linear": ("FVU, linear", lambda s, side: (s[f"error {side}"] - s[f"left {side}"]) / _spread(s)),
    "fvu_nonlinear": ("FVU, nonlinear", lambda s, side: s[f"left {side}"] / _spread(s)),
    "l0": ("L0", lambda s, side: s[f"l0 {side}"] / s["n"]),
    "loss": ("loss added, nats a token", lambda s, side: (s[f"loss {side}"] - s["loss"]) / s["n loss"]),
}
"""What is compared: its name on a page, and the statistic from totals of documents."""
TOLD = {"fvu": ("FVU", ""), "loss": ("loss", " nats a token")}
"""What the verdict is about, and its unit."""
ALIKE = 1.1
"""L0s of a larger ratio are told beside the verdict: the SAE with more active latents has the easier task."""
ROUNDING = 1e-7
"""A smaller difference, of shares of a variance or of nats, is that of two orders of one sum in float32."""


@dataclass(frozen=True)
class Comparison:
    """What two SAEs leave on the same tokens, and by how much they differ."""

    names: tuple[str, str]
    table: dict[str, tuple[Estimate, Estimate, Estimate]]
    """By metric: A's, B's, and B's less A's, each with its 95% interval over documents."""
    tokens: int
    documents: int
    printed: dict[str, tuple[float, float]]
    """FVU of A and B by the formulas of others."""
    warnings: tuple[str, ...]
    about: dict
    """For the JSON: the SAEs, what was asked."""

    def verdict(self) -> str:
        """One line: which leaves less, and by how much; or the largest difference that there may be."""
        there = [name for name in TOLD if name in self.table]
        return "; ".join(_said(name, *self.table[name], self.names) for name in there)

    def reading(self) -> list[str]:
        """The verdict, and what it has to be read with."""
        said = [f"On {self.tokens:,} tokens of {self.documents:,} documents: {self.verdict()}."]
        first, second = (one.value for one in self.table["l0"][:2])
        if min(first, second) <= 0 or max(first, second) / min(first, second) > ALIKE:
            beside = "more active latents make it easier: compare at one L0, or a curve of each"
            said.append(f"They use {first:.3g} and {second:.3g} latents a token; {beside}.")
        return said


def _said(name: str, first: Estimate, second: Estimate, gap: Estimate, names: tuple[str, str]) -> str:
    what, unit = TOLD[name]
    most = max(abs(gap.low), abs(gap.high), abs(gap.value))
    larger = max(abs(first.value), abs(second.value))
    if not math.isfinite(most):
        return f"no interval for the difference in {what}"
    if most <= ROUNDING:
        return f"no difference in {what}"
    if gap.low <= 0 <= gap.high:
        return f"no difference in {what} larger than {most:.2g}{unit}"
    size = Estimate(abs(gap.value), *sorted((abs(gap.low), abs(gap.high))))
    told = interval(size, lambda value: plain(value, 4))
    share = f"{size.value / larger:.1%} of the larger" if name == "fvu" else ""
    return f"{names[gap.value < 0]} has the lower {what}, by {told}{unit}" + f" ({share})" * bool(share)


def _spread(s: Sums) -> np.ndarray:
    return s["xx"] - (s["x"] ** 2).sum(axis=-1) / s["n"]


def compared(sums: Sums, *, bootstrap_of: int, seed: int) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
    """Every metric that per-document ``sums`` hold, of A, of B and of B less A.

    n, x [d], xx: tokens, Σ(x − ref) and Σ‖x − ref‖²; error, left, l0 a and b: Σ‖SaeError‖², what the best map
    leaves of it, active latents; n loss, loss, loss a, loss b. One draw of documents serves all three, so
    that what two SAEs share is not counted as noise. Cost: replicates × documents × d.
    """
    how = dict(replicates=bootstrap_of, seed=seed)
    found = {}
    for name, (_, of) in METRICS.items():
        if name == "loss" and "loss" not in sums:
            continue
        gap = lambda s, of=of: of(s, "b") - of(s, "a")
        each = [bootstrap(lambda s, side=side, of=of: of(s, side), sums, **how)[0] for side in SIDES]
        found[name] = (*each, paired(gap, sums, **how))
    return found


def of_arrays(
    x, reconstructions: Sequence, document: np.ndarray, *, folds: int, seed: int, l0: Sequence | None = None
) -> dict[str, np.ndarray]:
    """Per-document sums for `compared`, from x and what A and B make of it [token, d]; ``l0``: active latents
    of each token [token], of A and of B. Cost: two passes over the arrays, of both at once."""
    ids, counts = np.unique(document, return_counts=True)
    fold = assign_folds(ids, counts, folds, seed=seed)
    batch = (x, dict(zip(SIDES, reconstructions)), document)
    second = SecondPass(FirstPass(x.shape[1], SIDES, fold, self_norms=False).update(*batch)).update(*batch)
    tables = {name: np.asarray(table) for name, table in second.sums.tables.items()}
    sums = {name: tables[name] for name in ("n", "x", "xx")}
    at = np.searchsorted(ids, document)
    for i, side in enumerate(SIDES):
        mine = second.columns(side)
        sums[f"error {side}"] = tables["error"][:, i]
        left = centre(tables["held_out"][:, mine], tables["in_sample"][:, mine], second.folds)
        sums[f"left {side}"] = left.sum(axis=1)
        active = np.zeros(len(document)) if l0 is None else np.asarray(l0[i], dtype=np.float64)
        sums[f"l0 {side}"] = np.bincount(at, weights=active, minlength=len(ids))
    return sums


def compare(
    first: Request,
    second: Request,
    *,
    loss: bool = True,
    others: Sequence[str] = (),
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Two SAEs of one model and site on one text. ``loss``: with the model's loss where either reconstruction
    stands at the counted positions; ``others``: names of `formulas.KNOWN`; ``strict``: a warning is an error.

    Raises BadInput as `one_sae.plan` does, for SAEs of two sites and for an unknown formula. Cost: that of
    measuring each, and of three runs of the whole model with its unembedding.
    """
    formulas.check(others)
    tell = progress or (lambda line: None)
    plans = planned(first, second, progress=tell)
    if strict and (warnings := _warnings(plans)):
        raise BadInput(f"strict: {'; '.join(warnings)}")
    folders = list(dict.fromkeys(one.folder for one in plans))
    with ExitStack() as held_all:
        for folder in folders:
            held_all.enter_context(held(folder))
        found = _found(plans, loss, others, tell)
        for folder in folders:
            discard(folder)
    return found


def planned(first: Request, second: Request, *, progress=None) -> tuple[Plan, Plan]:
    """Both plans, with one model and one reading. Raises BadInput for SAEs that are about two sites."""
    mine = plan(first, progress=progress)
    theirs = plan(second, progress=progress, model=mine.model)
    if mine.writes != theirs.writes:
        where = f"{mine.sae.id} is about {mine.writes}, {theirs.sae.id} about {theirs.writes}"
        raise BadInput(f"{where}: two SAEs are compared where both are about one site")
    return mine, replace(theirs, reading=mine.reading)


def _found(plans: tuple[Plan, Plan], loss: bool, others: Sequence[str], tell) -> Comparison:
    request, reading = plans[0].request, plans[0].reading
    made = [activations(one, tell) for one in plans]
    x, hats, l0 = made[0][0], [one[1] for one in made], [one[2] for one in made]
    document = np.repeat(reading.document, reading.scored)
    tell("the decomposition of both")
    sums = of_arrays(x, hats, document, folds=request.folds, seed=request.seed, l0=l0)
    sums |= _losses(plans[0], hats, tell) if loss else {}
    blocks = reading.scored.cumsum()[:-1]
    table = compared(sums, bootstrap_of=request.bootstrap, seed=request.seed)
    return Comparison(
        names=_names(plans),
        table=table,
        tokens=len(x),
        documents=len(sums["n"]),
        printed={name: tuple(formulas.KNOWN[name](x, hat, blocks) for hat in hats) for name in others},
        warnings=tuple(_warnings(plans)),
        about={
            "saes": [one.sae.card.to_dict() | {"id": one.sae.id, "reads": one.reads} for one in plans],
            "site": plans[0].writes,
            "model": request.model,
            "text": request.text,
            "positions": list(reading.window),
            "token_sha256": reading.sha256,
        },
    )


def _names(plans: Sequence[Plan]) -> tuple[str, str]:
    """Ids; where both are one, with the folders that they are in, or A and B."""
    ids = [one.sae.id for one in plans]
    if ids[0] == ids[1]:
        ids = [one.request.sae for one in plans]
    return tuple(ids) if ids[0] != ids[1] else ("A", "B")


def _warnings(plans: Sequence[Plan]) -> list[str]:
    """Of each SAE by its name, and of the text once."""
    of_each = [one.warnings() for one in plans]
    both = [line for line in of_each[0] if line in of_each[1]]
    own = [
        f"{name}: {line}" for name, lines in zip(_names(plans), of_each) for line in lines if line not in both
    ]
    if (bos := [one.sae.card.prepend_bos for one in plans])[0] != bos[1]:
        own.append("one SAE was trained with <bos> before each text and the other without: read as A asks")
    return both + own


@torch.no_grad()
def _losses(planned: Plan, hats: Sequence[np.ndarray], tell) -> dict[str, np.ndarray]:
    """Sums over each document's counted positions that a token follows: n loss, loss, loss a, loss b."""
    model, reading, site = planned.model, planned.reading, planned.writes
    stop, counts = reading.window[1], torch.from_numpy(reading.counts)
    edges = np.concatenate([[0], np.cumsum(reading.scored)])
    rows = []
    for row in range(len(reading.length)):
        if row % 32 == 0:
            tell(f"losses: document {row} of {len(reading.length)}")
        length = min(int(reading.length[row]), stop)
        tokens = torch.from_numpy(reading.tokens[row : row + 1, :length]).to(planned.request.device)
        mine = counts[row, :length].to(tokens.device)
        followed = mine[:-1]

        def lost() -> float:
            return float(token_losses(model.run(tokens, [site])[1], tokens)[0, :-1][followed].double().sum())

        found = [float(followed.sum()), lost()]
        for hat in hats:
            some = torch.from_numpy(hat[edges[row] : edges[row + 1]])
            with model.replaced(site, lambda value, some=some: _put(value, mine, some)):
                found.append(lost())
        rows.append(found)
    # In the order of the document ids, as all sums are; packed contexts have ids of their own.
    ids, at = np.unique(reading.document, return_inverse=True)
    sums = np.zeros((len(ids), 4))
    np.add.at(sums, at, np.array(rows))
    return dict(zip(("n loss", "loss", "loss a", "loss b"), sums.T))


def _put(value: torch.Tensor, mine: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """An activation [1, position, ...] with the counted positions' replaced."""
    flat = value.flatten(2).clone()
    flat[0, mine] = some.to(flat)
    return flat.view_as(value)
