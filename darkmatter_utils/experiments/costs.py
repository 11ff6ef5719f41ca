"""What a model loses when an activation is replaced by parts of itself; and controls, errors of equal norm.

An error of the same size in any direction costs the model something. The directions are those that have been
asked for: Gurnee (2024) compared with isotropic ones; Heimersheim and Lee (2410.12555) show that real
activations' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.interventions import cross_entropy
from ..base.cache import kept
from ..base.errors import BadInput, nearest
from ..base.values import Absent
from ..claims.c08_proportional import NO_MODEL
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement
from ..stats.fits import CrossFit
from ..studies.activations import MICRO
from ..studies.saes import load_saes
from .cost_contexts import Taken, model_after, split, take

KINDS = {
    "isotropic": "a random direction, all equally likely",
    "covariance": "a random direction with the covariance of x",
    "difference": "towards the activation of another token, of another document",
    "permuted": "the same part of the error at another token, of another document",
}
"""Kinds of control and the direction that each takes."""


def donors(document: Int[np.ndarray, "token"], *, seed: int) -> Int[np.ndarray, "token"]:
    """For each token another one, drawn from all tokens of other documents. Raises BadInput for a single
    document."""
    if len(np.unique(document)) < 2:
        raise BadInput("a token of another document needs at least two documents")
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(document), size=len(document))
    while len(same := np.flatnonzero(document[chosen] == document)):
        chosen[same] = rng.integers(len(document), size=len(same))
    return chosen


def unit(vectors: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_model"]:
    """Each row divided by its norm; a row of zeros stays."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)


class Controls:
    """Directions of every kind for the tokens at hand, drawn once for all SAEs, so that these are paired.

    One direction a token for all parts, so that what differs between their costs is the norm; only a permuted
    part has its own for each. Raises BadInput for an unknown kind.
    """

    def __init__(
        self,
        x: Float[Tensor, "token d_model"],
        document: Int[np.ndarray, "token"],
        kinds: Sequence[str],
        *,
        seed: int,
    ):
        for kind in kinds:
            if kind not in KINDS:
                raise BadInput(f"unknown kind of control '{kind}'; {nearest(kind, KINDS)}")
        self.kinds, self.x = tuple(kinds), x.float()
        self.other = (
            torch.from_numpy(donors(document, seed=seed)) if {"difference", "permuted"} & set(kinds) else None
        )
        self.shared = {
            kind: unit(self._draw(kind, x.double(), seed)).float() for kind in kinds if kind != "permuted"
        }

    def direction(
        self, kind: str, part: Float[Tensor, "token d_model"], tokens: Int[Tensor, "some"]
    ) -> Float[Tensor, "some d_model"]:
        """Unit vectors at ``tokens``; x plus the part's norm times them is the control for x minus the
        part."""
        return unit(-part[self.other[tokens]]) if kind == "permuted" else self.shared[kind][tokens]

    def _draw(self, kind: str, x: Tensor, seed: int) -> Tensor:
        if kind == "difference":
            return x[self.other] - x
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
        if kind == "isotropic":
            return drawn
        values, vectors = torch.linalg.eigh(torch.cov(x.T))
        return (drawn * values.clamp(min=0).sqrt()) @ vectors.T


CLEAN, MEAN, SAE, BOTH = "x", "mean of x", "Sae", "Sae + both"
"""What is put in the place of x: itself, its mean, the reconstruction, the reconstruction with all of its
error."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [context, kept, vocabulary], next tokens [context, kept]) -> what the model pays [context,
kept]."""
WITHOUT_MODEL = Absent(NO_MODEL)
CONTEXTS = 40
"""Contexts that a replacement is run on, unless said otherwise."""


def with_part(part: str) -> str:
    """The name of the replacement Sae(x) + part."""
    return f"{SAE} + {part}"


def control(kind: str, part: str) -> str:
    """The name of the replacement x + a control with the norm of the part."""
    return f"{kind} / {part}"


def cost_tables(
    measurement: Measurement,
    ids: Sequence[str] = (),
    *,
    loss: Loss = cross_entropy,
    contexts: int = CONTEXTS,
    controlled: Sequence[str] = (),
    kinds: Sequence[str] = tuple(KINDS),
    extra: Mapping[str, tuple[object, CrossFit | None]] | None = None,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Loss and divergence of every replacement, and the size of every part, summed for each document.

    ids: SAEs of the measurement's study. ``extra``: {id: (reconstructor, its maps)} for others that read the
    same x, such as null SAEs; maps None: they are fitted out of fold on the contexts at hand. ``controlled``:
    which of them are also run with controls of equal norm, of these ``kinds``. Two tables:

    losses: sae, replacement, document, tokens, ce (the ``loss``), kl (sums over tokens, nats); sizes: sae,
    document, part, square, norm (Σ‖z‖², Σ‖z‖). The clean model and mean ablation have no SAE (""). Raises
    BadInput for a simulated study. Cost: (3 + 3 kinds if controlled) × SAEs runs of what follows the site, on
    ``contexts`` contexts.
    """
    taken = take(measurement, contexts)
    parts = parts_of(measurement, ids, taken, extra or {})
    controls = Controls(taken.flat, taken.token_document, kinds if controlled else (), seed=seed)
    mean = torch.from_numpy(measurement.extra["mean"]).float()
    model, rows = model_after(measurement.study), []
    for chunk in torch.arange(len(taken.rows)).split(MICRO):
        run = taken.run(model, chunk, loss)
        tokens = (chunk[:, None] * len(taken.positions) + torch.arange(len(taken.positions))).flatten()
        where, shape = taken.document[chunk.numpy()], (len(chunk), len(taken.positions), -1)
        rows += cost_rows("", CLEAN, where, run.of_clean, torch.zeros(run.target.shape[:2]))
        rows += cost_rows("", MEAN, where, *run.of(mean.expand(*shape)))
        for id, of_sae in parts.items():
            drawn = controls if id in controlled else None
            for name, patch in _patches(controls.x[tokens], of_sae, tokens, drawn):
                rows += cost_rows(id, name, where, *run.of(patch.view(shape)))
    return {"losses": loss_frame(rows), "sizes": _sizes(parts, taken.token_document)}


@kept
def costs_of(
    measurement: Measurement, *, loss: Loss, ids: list[str], contexts: int, controlled: list[str]
) -> dict[str, pd.DataFrame]:
    """`cost_tables` of a measurement's SAEs, kept by content."""
    return cost_tables(measurement, ids, loss=loss, contexts=contexts, controlled=controlled)


def few_logits(measurement: Measurement, id: str, *, contexts: int = 4) -> dict | Absent:
    """{replacement: (logits [context, kept, vocabulary], next tokens [context, kept])} of one SAE on a few
    contexts."""
    if measurement.study.model is None:
        return WITHOUT_MODEL
    taken = take(measurement, contexts)
    parts = parts_of(measurement, [id], taken, {})[id]
    tokens, shape = torch.arange(len(taken.flat)), (len(taken.rows), len(taken.positions), -1)
    run = taken.run(model_after(measurement.study), torch.arange(len(taken.rows)), cross_entropy)
    x = taken.flat.float()
    patches = {CLEAN: x, **dict(_patches(x, parts, tokens, None))}
    return {name: (run.logits(patch.view(shape)), run.target) for name, patch in patches.items()}


def parts_of(
    measurement: Measurement, ids: Sequence[str], taken: Taken, extra: Mapping
) -> dict[str, dict[str, Tensor]]:
    """{SAE: the parts of its error [token, d_model]} at the positions of the contexts; split in float64, kept
    in float32."""
    study, x = measurement.study, taken.flat
    fold = measurement.folds_at(taken.token_document)
    chosen = replace(study, saes=tuple(study.sae(id) for id in ids))
    found = [(sae.id, sae, measurement.maps(sae.id)) for sae in (load_saes(chosen) if ids else ())]
    parts = {}
    for id, sae, maps in [*found, *((id, *pair) for id, pair in extra.items())]:
        x_hat = sae.reconstruct(x)[0].double()
        whole = split(x, x_hat, maps, fold)
        parts[id] = {name: part.float() for name, part in whole.items()}
    return parts


def _patches(
    x: Tensor, parts: Mapping[str, Tensor], tokens: Tensor, controls: Controls | None
) -> Iterator[tuple[str, Tensor]]:
    """(name of the replacement, what is put in the place of x [token, d_model])."""
    error, linear, nonlinear = (parts[name][tokens] for name in ERRORS)
    yield SAE, x - error
    yield with_part("LinearError"), x - nonlinear
    yield with_part("NonlinearError"), x - linear
    if controls is None:
        return
    yield BOTH, (x - error) + linear + nonlinear
    for kind in controls.kinds:
        for name in ERRORS:
            norm = parts[name][tokens].norm(dim=1, keepdim=True)
            yield control(kind, name), x + norm * controls.direction(kind, parts[name], tokens)


def cost_rows(sae: str, name: str, document: np.ndarray, ce: Tensor, kl: Tensor) -> list[tuple]:
    """A row of the table of losses for each context: ce and kl [context, kept], summed over positions."""
    sums = zip(document.tolist(), ce.double().sum(dim=1).tolist(), kl.double().sum(dim=1).tolist())
    return [(sae, name, where, ce.shape[1], a, b) for where, a, b in sums]


def loss_frame(rows: list[tuple]) -> pd.DataFrame:
    """The table of losses: those rows, summed over the contexts of each document."""
    losses = pd.DataFrame(rows, columns=["sae", "replacement", "document", "tokens", "ce", "kl"])
    return losses.groupby(["sae", "replacement", "document"], as_index=False, sort=True).sum()


def _sizes(parts: Mapping[str, Mapping[str, Tensor]], document: np.ndarray) -> pd.DataFrame:
    frames = []
    for id, of_sae in parts.items():
        for name, part in of_sae.items():
            square = (part.double() ** 2).sum(dim=1).numpy()
            frame = pd.DataFrame({"document": document, "square": square, "norm": np.sqrt(square)})
            frames.append(frame.groupby("document", as_index=False).sum().assign(sae=id, part=name))
    return pd.concat(frames, ignore_index=True)[["sae", "document", "part", "square", "norm"]]
