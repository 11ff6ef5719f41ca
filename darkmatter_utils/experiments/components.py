"""What component SAEs read, parts of x and noise of their spectrum; and their numbers, joined over seeds.

A replicate of a number resamples what it is a mean over (documents; of an accuracy, latents and documents of
the tested windows) and adds a draw of the difference between seeds: its variance is taken as one for all
targets of a kind, since three seeds say little of one target alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base.errors import BadInput
from ..base.values import Estimate
from ..claims import c07_fewer_features
from ..decomposition.passes import ERRORS
from ..measurement.measure import AFTER, Measurement, stream_parts
from ..stats.intervals import multinomial_weights, percentile
from ..stats.seeds import join
from ..studies.study import SaeEntry, Study

SUITE = AFTER
"""The suite that these SAEs belong to in a study's list."""
PARTS = ("x", *ERRORS)
"""Parts that SAEs are trained on, each a vector a token."""
PAIR = ("LinearError", "NonlinearError")
"""The two parts that claim 7 compares."""
NOISE = {f"noise like {part}": part for part in PAIR}
"""Gaussian targets, and the part whose mean and covariance each has."""
TARGETS = (*PARTS, *NOISE)
OWN, MATCHED, SHUFFLED = "its own SAE", "a dictionary of matched noise", "its own SAE, windows shuffled"
"""Whose latents read a target: `by` in the tables."""
COMPONENTS = "principal components"
"""How a reading by principal components is named, after their number."""
TRAINING_NOISE, SCORED_NOISE = 1, 2
"""Seeds of the noise that is trained on and of the noise that is scored."""
BASE_EXPANSION = 8
"""Latents a dimension of the SAE whose error is taken apart."""
REPLICATES = 2000
CHUNK = 1 << 16


def base_sae(study: Study, d_model: int) -> str:
    """The SAE whose error is taken apart: of the width suite, the first seed at 8 d_model, or the widest;
    in a study without a width suite, of all SAEs that have a width, else of all."""
    every = study.at(suite="").selected()
    pool = [e for e in every if e.main and e.seed == 0] or [e for e in every if e.width] or every
    return max(pool, key=lambda e: (e.width == BASE_EXPANSION * d_model, e.width)).id


def entries(study: Study) -> list[SaeEntry]:
    """The study's component SAEs, by target and seed; none where it has no such suite."""
    mine = [e for e in study.saes if e.suite == SUITE and e.site in (None, study.site)]
    return sorted(mine, key=lambda e: (TARGETS.index(e.target), e.seed))


@dataclass(frozen=True)
class Rows:
    """The scored tokens of a text, each with every part of x, float32."""

    parts: Mapping[str, Float[Tensor, "token d_model"]]
    """Part → vectors, `PARTS`."""
    document: Int[np.ndarray, "token"]
    context: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]
    token: Int[np.ndarray, "token"]

    def target(self, name: str, *, seed: int) -> Float[Tensor, "token d_model"]:
        """A part, or the noise that is matched to one on these very tokens; ``seed`` is that of the noise."""
        if name not in TARGETS:
            raise BadInput(f"unknown target '{name}'; valid: {', '.join(TARGETS)}")
        return matched_noise(self.parts[NOISE[name]], seed=seed) if name in NOISE else self.parts[name]


def rows(
    measurement: Measurement,
    base: str,
    *,
    text: str | None = None,
    contexts: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rows:
    """The parts under SAE ``base`` at every scored token, in ``dtype``; the model and the SAE run in float32.

    Memory: 4 × tokens × d_model numbers. Cost: one pass of the model and the SAE.
    """
    measurement = Measurement(measurement.study.at(dtype="float32"), measurement.whole().folder)
    about = ("document", "context", "position", "token")
    kept: dict[str, list] = {name: [] for name in (*PARTS, *about)}
    for batch, found in stream_parts(measurement, [base], text=text, contexts=contexts):
        part = found[base]
        for name, value in zip(PARTS, (batch.x, part.error, part.linear, part.nonlinear), strict=True):
            kept[name].append(value.to("cpu", dtype))
        for name in about:
            kept[name].append(getattr(batch, name))
    columns = {name: np.concatenate(kept[name]) for name in about}
    return Rows({name: torch.cat(kept.pop(name)) for name in PARTS}, **columns)


def matched_noise(z: Float[Tensor, "token d_model"], *, seed: int) -> Float[Tensor, "token d_model"]:
    """Gaussian vectors with the mean and covariance of ``z``, one a row, float32, that know nothing else.

    z̄ + g L', with L L' = cov(z) from its eigenvectors (directions of no variance stay without).
    """
    n, d = z.shape
    total, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for part in z.split(CHUNK):
        part = part.double()
        total += part.sum(0)
        second += part.T @ part
    mean = total / n
    values, vectors = torch.linalg.eigh(second / n - torch.outer(mean, mean))
    root = (vectors * values.clamp_min(0).sqrt()).float().T
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(len(part), d, generator=generator) for part in z.split(CHUNK))
    return torch.cat([g @ root + mean.float() for g in drawn])


@dataclass(frozen=True)
class Number:
    """A number of one target: the mean over its seeds."""

    value: float
    replicates: np.ndarray
    """[replicate]"""
    seeds: tuple[float, ...]
    """The number of each seed alone."""

    @property
    def estimate(self) -> Estimate:
        """The value with its 95% interval."""
        return percentile(self.value, self.replicates)

    def __sub__(self, other: Number) -> Number:
        """The difference, replicate by replicate."""
        return Number(self.value - other.value, self.replicates - other.replicates, ())


def by_target(
    values: Mapping[str, np.ndarray], replicates: Mapping[str, np.ndarray], *, seed=0
) -> dict[str, Number]:
    """Targets of a kind, each with its seeds: ``values`` [seed], ``replicates`` [replicate, seed]; joined by
    `join`, with one variance between seeds for all."""
    if not values:
        return {}
    cell = np.repeat(np.arange(len(values)), [len(v) for v in values.values()])
    drawn = np.hstack([replicates[name] for name in values])
    made = join(np.concatenate(list(values.values())), drawn, cell, seed=seed, order="F")
    return {
        name: Number(float(made.values[i]), made.replicates[:, i], tuple(map(float, v)))
        for i, (name, v) in enumerate(values.items())
    }


def fvus(documents: pd.DataFrame, by: str, targets, *, seed: int = 0) -> dict[str, Number]:
    """FVU of ``targets`` of a kind read ``by`` something, over documents (drawn once for all) and seeds."""
    values, replicates = {}, {}
    mine = documents[(documents["by"] == by) & documents["reads"].isin(targets)]
    weights = multinomial_weights(mine["document"].nunique(), REPLICATES, seed=seed) if len(mine) else None
    for target, table in mine.groupby("reads", sort=False):
        sums = [g.sort_values("document")[["residual", "total"]].to_numpy() for _, g in table.groupby("seed")]
        drawn = [weights @ s for s in sums]
        values[target] = np.array([s[:, 0].sum() / s[:, 1].sum() for s in sums])
        replicates[target] = np.stack([d[:, 0] / d[:, 1] for d in drawn], axis=1)
    return by_target(values, replicates, seed=_own_seed(seed, by, *targets))


def detection(
    latents: pd.DataFrame, tested: pd.DataFrame, by: str, *, deciles=range(1, 11)
) -> dict[str, Number]:
    """Mean accuracy over ``deciles`` of each target's scored latents read ``by`` something: a latent counts
    once, whatever its windows. Latents are resampled within each seed, and the documents of the windows that
    they are tested on, drawn once for all SAEs, by their pulls (``tested``); seeds as in `by_target`. What
    is of one latent and one document alone so counts twice: the interval is a little too long rather than
    too short (Owen 2007, "The pigeonhole bootstrap"). A seed with no scored latent is left out, and so is a
    target with no such seed."""
    values, replicates = {}, {}
    rng, columns = np.random.default_rng(_own_seed(0, by)), [f"d{d}" for d in deciles]
    pull = tested.assign(pull=tested[columns].mean(axis=1))
    pull = pull.pivot_table("pull", "document", ["by", "reads", "seed"], fill_value=0.0)
    weights = multinomial_weights(max(1, len(pull)), REPLICATES, seed=0)
    for target, table in latents[latents["by"] == by].groupby("reads", sort=False):
        each = {seed: g[columns].mean(axis=1).dropna().to_numpy() for seed, g in table.groupby("seed")}
        if not (each := {seed: e for seed, e in each.items() if len(e)}):
            continue
        values[target] = np.array([e.mean() for e in each.values()])
        drawn = [multinomial_weights(len(e), REPLICATES, seed=rng) @ e / len(e) for e in each.values()]
        of_windows = weights @ np.stack([pull[by, target, seed] for seed in each], axis=1)
        replicates[target] = np.stack(drawn, axis=1) + of_windows
    return by_target(values, replicates, seed=_own_seed(0, by, "seeds"))


def _own_seed(seed: int, *names: str) -> list[int]:
    """A seed of its own for what is named: draws of different kinds are independent."""
    return [seed, *hashlib.sha256("|".join(names).encode()).digest()[:8]]


def joined(documents: pd.DataFrame, latents: pd.DataFrame, tested: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every number of the readings, joined over seeds.

    ``numbers``: quantity ("FVU", "accuracy", and of one decile "accuracy 1"...), by, reads, value, low, high.
    ``seeds``: quantity, by, reads and the value of each seed. ``gaps``: gap, value, low, high, of
    NonlinearError's FVU minus LinearError's and of LinearError's accuracy minus NonlinearError's ("FVU",
    "accuracy"), the same of their noises or dictionaries taken off ("... excess"), and of a part's noise
    minus the part ("FVU below noise, ..."); an accuracy that a part lacks is left out.
    """
    own, noise = (fvus(documents, OWN, kind) for kind in (PARTS, NOISE))
    found = {("FVU", OWN): own | noise, ("FVU", MATCHED): fvus(documents, MATCHED, PARTS)}
    for by in documents["by"].unique():
        if by.endswith(COMPONENTS):
            found["FVU", by] = fvus(documents, by, TARGETS)
    for by in (OWN, MATCHED, SHUFFLED):
        found["accuracy", by] = detection(latents, tested, by)
        found |= {(f"accuracy {d}", by): detection(latents, tested, by, deciles=[d]) for d in range(1, 11)}
    name = lambda key, reads: {"quantity": key[0], "by": key[1], "reads": reads}
    all_of = [(name(key, reads), number) for key, some in found.items() for reads, number in some.items()]
    gaps = {f"FVU below noise, {part}": noise[like] - own[part] for like, part in NOISE.items()}
    linear, nonlinear = PAIR
    gaps["FVU"] = own[nonlinear] - own[linear]
    gaps["FVU excess"] = gaps["FVU"] - (noise[f"noise like {nonlinear}"] - noise[f"noise like {linear}"])
    accuracy, control = (found["accuracy", by] for by in (OWN, MATCHED))
    if all(part in some for part in PAIR for some in (accuracy, control)):
        gaps["accuracy"] = accuracy[linear] - accuracy[nonlinear]
        gaps["accuracy excess"] = gaps["accuracy"] - (control[linear] - control[nonlinear])
    return {
        "numbers": pd.DataFrame([about | number.estimate.to_dict() for about, number in all_of]),
        "seeds": pd.DataFrame([about | {"value": v} for about, number in all_of for v in number.seeds]),
        "gaps": pd.DataFrame([{"gap": gap} | number.estimate.to_dict() for gap, number in gaps.items()]),
    }


def evidence(found) -> c07_fewer_features.Evidence:
    """The numbers that the rule of claim 7 takes; ``seeds`` alone, 0, where there are no component SAEs."""
    if not found:
        return c07_fewer_features.Evidence(seeds=0)
    own = found["numbers"].query("quantity == 'FVU' and by == @OWN").set_index("reads")["value"]
    seeds = found["seeds"].query("quantity == 'FVU' and by == @OWN and reads in @PARTS")
    gaps = found["gaps"].set_index("gap")
    named = {"FVU": "fvu_gap", "FVU excess": "fvu_excess"}
    named |= {"accuracy": "accuracy_gap", "accuracy excess": "accuracy_excess"}
    numbers = {key: Estimate(*map(float, gaps.loc[gap])) for gap, key in named.items() if gap in gaps.index}
    fvu = {part: float(own[part]) for part in PAIR}
    return c07_fewer_features.Evidence(**numbers, fvu=fvu, seeds=int(seeds.groupby("reads").size().min()))
