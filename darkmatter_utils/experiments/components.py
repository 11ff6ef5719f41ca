"""Parts of x as arrays in their own right, and the noise that has only their spectrum: what component SAEs
read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base.errors import BadInput
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement, stream_parts
from ..studies.study import SaeEntry, Study

SUITE = "components"
"""The suite that these SAEs belong to in a study's list."""
PARTS = ("x", *ERRORS)
"""Parts that SAEs are trained on, each a vector a token."""
NOISE = {f"noise like {part}": part for part in ("LinearError", "NonlinearError")}
"""Gaussian targets, and the part whose mean and covariance each has."""
TARGETS = (*PARTS, *NOISE)
OWN, MATCHED, SHUFFLED = "its own SAE", "a dictionary of matched noise", "its own SAE, windows shuffled"
"""Whose latents read a target: `by` in the tables."""
TRAINING_NOISE, SCORED_NOISE = 1, 2
"""Seeds of the noise that is trained on and of the noise that is scored."""


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
    measurement = Measurement(measurement.study.at(dtype="float32"), measurement.folder)
    kept: dict[str, list] = {name: [] for name in (*PARTS, "document", "context", "position", "token")}
    for batch, found in stream_parts(measurement, [base], text=text, contexts=contexts):
        part = found[base]
        for name, value in zip(PARTS, (batch.x, part.error, part.linear, part.nonlinear), strict=True):
            kept[name].append(value.to(dtype))
        for name in ("document", "context", "position", "token"):
            kept[name].append(getattr(batch, name))
    about = {name: np.concatenate(kept[name]) for name in ("document", "context", "position", "token")}
    return Rows({name: torch.cat(kept.pop(name)) for name in PARTS}, **about)


def matched_noise(
    z: Float[Tensor, "token d_model"], *, seed: int, chunk: int = 1 << 16
) -> Float[Tensor, "token d_model"]:
    """Gaussian vectors with the mean and covariance of ``z``, one a row, float32: its spectrum and nothing
    else of it.

    z̄ + g L', with L L' = cov(z) from its eigenvectors (directions of no variance stay without). No row knows
    of another or of the text.
    """
    n, d = z.shape
    total, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for part in z.split(chunk):
        part = part.double()
        total += part.sum(0)
        second += part.T @ part
    mean = total / n
    values, vectors = torch.linalg.eigh(second / n - torch.outer(mean, mean))
    root = (vectors * values.clamp_min(0).sqrt()).float().T
    generator = torch.Generator().manual_seed(seed)
    return torch.cat(
        [torch.randn(len(part), d, generator=generator) @ root + mean.float() for part in z.split(chunk)]
    )


BASE_WIDTH = 1024
"""Width of the SAE whose error is taken apart, 8 d_model on the embedded study."""


def base_sae(study: Study) -> str:
    """The SAE whose error is taken apart: of the width suite, the first seed at `BASE_WIDTH`, else the
    widest.

    In a study without a width suite, of all SAEs that have a width, else of all.
    """
    every = study.at(suite="").selected()
    pool = [e for e in every if e.main and e.seed == 0] or [e for e in every if e.width] or every
    return max(pool, key=lambda e: (e.width == BASE_WIDTH, e.width)).id


def entries(study: Study) -> list[SaeEntry]:
    """The study's component SAEs, by target and seed; none where it has no such suite."""
    mine = [e for e in study.saes if e.suite == SUITE and e.site in (None, study.site)]
    return sorted(mine, key=lambda e: (TARGETS.index(e.target), e.seed))
