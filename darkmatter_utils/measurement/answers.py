"""An answer about one SAE: its decomposition, the released code's way, null SAEs, what to be wary of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch

from ..base import words
from ..base.errors import BadInput
from ..base.values import Estimate
from ..decomposition.decompose import Decomposition, decompose
from ..stats.intervals import percentile
from ..stats.loud import told
from ..worlds.saes import DeadSae, RandomSae, ShrunkSae
from ..worlds.world import LATENTS
from .about import statistical
from .estimate import NULL_WORK, ROOM, ROWS

NOTHING = 1e-12
"""A part with a smaller share of the variance of x is rounding."""


@dataclass(frozen=True)
class Answer:
    """What ``darkmatter measure`` shows, writes and says."""

    title: str
    result: Decomposition
    paper: Decomposition
    nulls: dict[str, Decomposition]
    """dead: the mean for every token; random: an untrained dictionary of the SAE's width and L0, or, where
    these are not known, shrunk: x drawn to its mean until the FVU is the same."""
    l0: float | None
    gain: float
    """The factor on Sae(x) − its mean that fits x best; about 1 if the weights suit the activations."""
    warnings: tuple[str, ...]
    about: dict
    """For the JSON: the SAE, what was asked."""
    facts: dict
    plan: object = field(default=None, repr=False)
    given: dict[str, Estimate] | None = None
    """Of a transcoder: the same estimates, of its error predicted from what it read."""

    def columns(self) -> dict[str, dict[str, Estimate]]:
        """Estimates by name: this SAE's, and held out; as the released code computes them; the nulls'."""
        this = "this SAE" if "sae" in self.about else "this reconstruction"
        found = {this: self.result, "as the paper's code": self.paper}
        found |= {f"null: {name}": null for name, null in self.nulls.items()}
        mine, *others = [(name, _told(decomposition)) for name, decomposition in found.items()]
        if self.given:
            missing = {name: Estimate(math.nan) for name in mine[1]}
            others.insert(0, ("from its input", missing | self.given))
        there = {
            name: value for name, value in self.result.held_out.items() if not math.isnan(mine[1][name].value)
        }
        held_out = {name: Estimate(there.get(name, math.nan)) for name in mine[1]}
        return dict([mine, ("held out", held_out), *others])

    def reading(self) -> list[str]:
        """What the numbers say, in sentences chosen by the numbers."""
        d, each = self.result, "documents" if self.about.get("documents given", True) else "blocks of rows"
        percent = partial(words.interval, style=words.share)
        uses = "the reconstruction" if self.l0 is None else f"the SAE uses {self.l0:.3g} latents a token and"
        said = [
            f"On {d.tokens:,} tokens of {d.documents:,} {each} ({d.tokens_per_dimension:,.3g} tokens per "
            f"dimension) {uses} leaves {percent(d.fvu)} of the variance unexplained."
        ]
        if d.fvu.value > 0 and math.isfinite(d.r2_total.value):
            said.append(
                f"Of that error {percent(d.r2_total)} is linearly predictable from the activation; the "
                f"residual is {percent(d.fvu_nonlinear)} of the variance."
            )
        if self.given:
            said.append(
                f"From what the transcoder read, a linear map predicts {percent(self.given['r2_total'])} of "
                f"the error, and leaves {percent(self.given['fvu_nonlinear'])} of the variance: what a skip "
                "could still take over, and what it could not."
            )
        if "random" in self.nulls:
            random = self.nulls["random"]
            on = f" (on the first {random.documents:,} documents)" if random.documents < d.documents else ""
            said.append(
                f"An untrained dictionary of the same width and L0 leaves {percent(random.fvu)}{on}, and "
                f"{percent(random.r2_total)} of its error is linearly predictable: a high share alone says "
                "nothing about what the SAE learned. (The mean in the place of x leaves all of the variance, "
                "and its error is wholly linear.)"
            )
        else:
            said.append(
                "The mean alone leaves all of the variance, and an activation drawn to its mean leaves as "
                "much as this reconstruction; both errors are wholly linear: a high share alone says nothing "
                "about what was learned."
            )
        norm = _told(d)["norm_r2 SaeError"]
        if not math.isnan(norm.value):
            three = words.interval(norm, partial(words.plain, digits=3))
            said.append(f"The norm of the error is predictable from the activation with an R² of {three}.")
        return said


def answer(
    x, x_hat, document, *, folds, draws, tell, named, width=0, l0=None, published=None, given=None, **said
) -> Answer:
    """Decompose arrays [token, d_model] with documents [token], beside nulls of ``width`` and ``l0``.

    given: what a transcoder read [token, d_model]; draws: bootstrap and seed; named: what a row is,
    {"document": ..., ...}, if it is loud; said: title, warnings, about, facts and plan of the `Answer`.
    Raises BadInput for an x that does not vary.
    """
    first = np.asarray(x[0], dtype=np.float64)
    if not any((np.asarray(x[at : at + 4096]) != first).any() for at in range(0, len(x), 4096)):
        raise BadInput("x is the same in every row: it has no variance that could be explained")
    tell("the decomposition")
    result = decompose(x, x_hat, document=document, folds=folds, **draws)
    tell("the same as the paper's code computes it")
    paper = decompose(x, x_hat, document=document, protocol="paper", **draws)
    mean = torch.from_numpy(np.asarray(x.mean(axis=0, dtype=np.float64)))
    saes = [DeadSae("dead", mean)]
    if width and l0 is not None:
        saes.append(_Untrained("random", mean, width, max(1, round(l0)), draws["seed"]))
    else:
        saes.append(ShrunkSae("shrunk", mean, 1 - math.sqrt(max(result.fvu.value, 0))))
    nulls = {}
    for sae in saes:
        rows = _rows(document, len(mean) * width, folds) if sae.kind == "random" else len(document)
        some = f", on {rows:,} of {len(document):,} tokens" if rows < len(document) else ""
        tell(f"the null: {sae.kind}{some}")
        made = _Made(sae, x, rows)
        if sae.kind == "random":  # the decomposition reads three times what costs most to make
            made = made[:]
        nulls[sae.kind] = decompose(x[:rows], made, document=document[:rows], folds=folds, **draws)
    gain = _gain(x, x_hat)
    signs = statistical(fvu=result.fvu.value, l0=l0, published=published, gain=gain)
    for facts in result.loud_facts(named):
        said["about"], signs = said["about"] | {"loud": facts}, [told(facts), *signs]
    said["warnings"] = (*said["warnings"], *_beside(result, nulls), *signs)
    if given is not None:
        tell("the error, predicted from what the transcoder read")
        said["given"] = from_input(result, given, x, x_hat, document, folds=folds, draws=draws)
    return Answer(result=result, paper=paper, nulls=nulls, l0=l0, gain=gain, **said)


def from_input(result: Decomposition, z, y, y_hat, document, *, folds, draws) -> dict[str, Estimate]:
    """Of a transcoder's error e = y − ŷ, what a linear map of its input z predicts: R² of e, of ‖e‖² and of
    what the map leaves, and the shares of y's variance that it predicts and leaves.

    ``result``: the decomposition of y, of the same documents and draws. z, y, y_hat: [token, d_model].
    """
    made = decompose(z, _Less(z, y, y_hat), document=document, folds=folds, **draws)
    kept = ("r2_total", "r2_per_dim", "norm_r2 SaeError", "norm_r2 NonlinearError")
    found = {name: value for name, value in _told(made).items() if name in kept}
    ratio = lambda name: made.replicates[name] * result.replicates["fvu"] / made.replicates["fvu"]
    scale = result.fvu.value / made.fvu.value if made.fvu.value > 0 else math.nan
    for name in ("fvu_linear", "fvu_nonlinear"):
        found[name] = percentile(getattr(made, name).value * scale, ratio(name))
    return {"fvu": result.fvu} | found


def _told(decomposition: Decomposition) -> dict[str, Estimate]:
    """Its estimates; NaN for the R² of a part that is nothing but rounding."""
    found = decomposition.estimates()
    for part, share in (("SaeError", found["fvu"]), ("NonlinearError", found["fvu_nonlinear"])):
        if share.value < NOTHING:
            found |= {name: Estimate(float("nan")) for name in found if name.endswith(f" {part}")}
    return found


class _Untrained(RandomSae):
    """The same dictionary in float32, drawn a block at a time: one of a million latents fits."""

    @cached_property
    def dictionary(self):
        """Unit rows [d_sae, d_model], drawn from the seed."""
        rng, rows = np.random.default_rng([self.seed, LATENTS]), torch.empty(self.width, len(self.mean))
        for block in rows.split(1 << 14):
            drawn = rng.standard_normal(tuple(block.shape))
            block.copy_(torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))
        return rows


@dataclass(frozen=True)
class _Less:
    """z − (y − ŷ) [token, d_model], made where it is read: what would leave the same error of z."""

    z: np.ndarray
    y: np.ndarray
    y_hat: np.ndarray

    @property
    def shape(self):
        return self.z.shape

    def __getitem__(self, rows):
        return np.float64(self.z[rows]) - (np.float64(self.y[rows]) - np.float64(self.y_hat[rows]))


@dataclass(frozen=True)
class _Made:
    """A null SAE's reconstruction as an array [token, d_model] that is made where it is read."""

    sae: object
    x: np.ndarray
    rows: int

    @property
    def shape(self):
        return self.rows, self.x.shape[1]

    def __getitem__(self, rows):
        x = torch.from_numpy(np.array(self.x[: self.rows][rows]))
        x = x.float() if self.sae.kind == "random" else x.double()
        parts = x.split(max(ROWS, ROOM // max(self.sae.width, 1)))
        return torch.cat([self.sae.reconstruct(part)[0] for part in parts])


def _beside(result: Decomposition, nulls: dict[str, Decomposition]) -> list[str]:
    """Signs that only show beside the nulls, or in an interval."""
    found, mine, rest = [], result.fvu.value, result.fvu_nonlinear
    if "random" in nulls and 1 > mine >= (random := nulls["random"].fvu.value):
        found.append(
            f"the SAE leaves {mine:.3g} of the variance, an untrained dictionary of its width and L0 "
            f"{random:.3g}: is it this model's, are its weights transposed?"
        )
    if (held_out := result.held_out["fvu_nonlinear"]) > 1.1 * rest.value > NOTHING:
        found.append(
            f"FVU_nonlinear is {held_out:.3g} held out and {rest.value:.3g} of the best linear map: with so "
            "few or such unequal tokens the fitted map is not near it; give more documents"
        )
    return found


def _rows(document: np.ndarray, each: int, folds: int) -> int:
    """Rows of the first documents that cost at most `NULL_WORK`, of two documents a fold at least."""
    ends = np.append(np.flatnonzero(np.diff(document)) + 1, len(document))
    affordable = int(np.searchsorted(ends, NULL_WORK / max(each, 1), side="right"))
    return int(ends[min(len(ends), max(affordable, 2 * folds)) - 1])


def _gain(x: np.ndarray, x_hat: np.ndarray) -> float:
    """argmin_g Σ‖x − x̄ − g (Sae(x) − its mean)‖²."""
    means = [np.asarray(a.mean(axis=0, dtype=np.float64)) for a in (x, x_hat)]
    top = bottom = 0.0
    for at in range(0, len(x), 4096):
        mine, theirs = x[at : at + 4096] - means[0], x_hat[at : at + 4096] - means[1]
        top, bottom = top + float((mine * theirs).sum()), bottom + float((theirs**2).sum())
    return top / bottom if bottom > 0 else float("nan")
