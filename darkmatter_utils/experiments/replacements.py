"""What a model loses when an activation is replaced by parts of itself, and by controls of equal norm.

Replacements are paid for on contexts of the study's own, found by index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..adapters.interventions import Intervention, cross_entropy
from ..adapters.models import LanguageModel
from ..base import ideas
from ..base.cache import kept, tell
from ..base.errors import BadInput
from ..base.values import Absent
from ..claims.c08_proportional import NO_MODEL
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement
from ..stats.fits import CrossFit, cross_fit, moments_by_fold
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..studies.stored import LARGE
from ..studies.study import Study
from .cost_controls import KINDS, Controls

CLEAN, MEAN, SAE, BOTH = "x", "mean of x", "Sae", "Sae + both"
"""What is put in the place of x: itself, its mean, the reconstruction, and that with all of its error."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [context, kept, vocabulary], next tokens [context, kept]) -> the price of each [context, kept]."""
WITHOUT_MODEL = Absent(NO_MODEL)
CONTEXTS = 40
"""Contexts that a replacement is run on, unless said otherwise."""
PIECE = 8
"""Contexts whose losses are kept together while those of a large model are made."""
LOSSES = ["sae", "replacement", "document", "tokens", "ce", "kl"]
"""Columns of a table of losses."""


def with_part(part: str) -> str:
    """The name of the replacement Sae(x) + part."""
    return f"{SAE} + {part}"


def control(kind: str, part: str) -> str:
    """The name of the replacement x + a control with the norm of the part."""
    return f"{kind} / {part}"


@dataclass(frozen=True)
class Taken:
    """Some contexts of a study, whole, and the positions at which x is replaced and the loss is counted."""

    rows: Int[np.ndarray, "context"]
    """Index of each context in the study's text."""
    tokens: Int[Tensor, "context position"]
    document: Int[np.ndarray, "context"]
    x: Float[Tensor, "context position d_model"]
    """Activations at the study's site, in the study's dtype."""
    positions: Int[Tensor, "kept"]
    """Positions inside the study's window that have a next token."""
    site: str

    @property
    def flat(self) -> Float[Tensor, "token d_model"]:
        """x at the positions, token after token, float64."""
        return self.x[:, self.positions].flatten(0, 1).double()

    @property
    def token_document(self) -> Int[np.ndarray, "token"]:
        """The document of each row of `flat`."""
        return np.repeat(self.document, len(self.positions))

    def run(self, model: LanguageModel, chunk: Int[Tensor, "context"], loss) -> Intervention:
        """Some of the contexts, ready for their activations to be replaced."""
        x = self.x[chunk].float()
        return Intervention(model, self.site, self.tokens[chunk], x, self.positions, loss=loss)

    def among(self, tokens: pd.DataFrame) -> Bool[np.ndarray, "row"]:
        """Which rows of a measurement's table of tokens `flat` has, in the same order."""
        here = tokens["context"].isin(self.rows) & tokens["position"].isin(self.positions.tolist())
        return np.array(here)


def take(measurement: Measurement, contexts: int) -> Taken:
    """``contexts`` contexts of the text that was measured, at equal distances, checked token by token.

    Raises BadInput for a simulated study, and where the text is not the one that was measured. Cost: one pass
    of the model up to the site.
    """
    study = measurement.study
    if study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no language model to run on")
    source = Activations(study)
    rows = source.rows(contexts)
    table = pd.read_parquet(measurement.tokens_path, columns=["context", "token"])
    encoded = table.loc[table["context"].isin(rows), "token"].to_numpy()
    if not np.array_equal(encoded, source.contexts.tokens[rows, 1:].ravel()):
        raise BadInput(f"study {study.name}: the text is not the one that was measured; measure it again")
    return read(source, rows)


def read(source: Activations, rows: np.ndarray) -> Taken:
    """The contexts with their activations, those left out that hold a token inside the window which is not to
    be scored. Cost: one pass of the model up to the site."""
    study, length = source.study, source.contexts.tokens.shape[1]
    start, stop = max(study.window[0], 1), min(study.window[1], length - 1)
    if start >= stop:
        raise BadInput(
            f"study {study.name}: no position of its window has a next token whose loss could be counted"
        )
    tokens, x = source.whole(rows)
    positions = torch.arange(start, stop, device=study.device)
    each = zip(x[:, positions], tokens[:, positions].numpy(force=True))
    whole = np.array([source.counts(*pair, positions.numpy(force=True)).all() for pair in each])
    if not whole.any():
        raise BadInput(f"study {study.name}: every context holds a loud or special token inside the window")
    rows, keep = rows[whole], torch.from_numpy(whole).to(x.device)
    return Taken(rows, tokens[keep], source.contexts.document[rows], x[keep], positions, study.site)


def model_after(study: Study) -> LanguageModel:
    """The study's model in float32, in which everything after the site is run, the clean model too."""
    return Activations(study.at(dtype="float32", model_dtype=None)).model


@kept
def cost_tables(
    measurement: Measurement,
    *,
    ids: Sequence[str],
    loss: Loss = cross_entropy,
    contexts: int = CONTEXTS,
    controlled: Sequence[str] = (),
    extra: Mapping[str, tuple[object, CrossFit | None]] | None = None,
) -> dict[str, pd.DataFrame]:
    """Loss and divergence of every replacement, and the size of every part, summed for each document.

    ids: SAEs of the measurement's study. ``extra``: {id: (reconstructor, its maps)} for others that read the
    same x, such as null SAEs; maps None: they are fitted out of fold on the contexts at hand. ``controlled``:
    which of them are also run with controls of equal norm. Two tables:

    losses: sae, replacement, document, tokens, ce (the ``loss``), kl (sums over tokens, nats); sizes: sae,
    document, part, square, norm (Σ‖z‖², Σ‖z‖). The clean model and mean ablation have no SAE (""). Raises
    BadInput for a simulated study. Cost: (3 + 3 kinds if controlled) × SAEs runs of what follows the site.
    """
    taken = take(measurement, contexts)
    parts = parts_of(measurement, ids, taken, extra or {})
    paid = _Replacements(measurement, taken, parts, tuple(controlled), loss)
    large = paid.model.parameters >= LARGE and not extra
    firsts = range(0, len(taken.rows), PIECE)
    found = [_piece(paid, first=first)["rows"] if large else paid.frame(first) for first in firsts]
    return {"losses": summed(pd.concat(found)), "sizes": _sizes(parts, taken.token_document)}


@dataclass(frozen=True)
class _Replacements:
    """Some contexts and all that is put in the place of their x."""

    measurement: Measurement
    taken: Taken
    parts: Mapping[str, Mapping[str, Tensor]]
    controlled: tuple[str, ...]
    loss: Loss

    @property
    def name(self) -> str:
        """That of the measurement, as `kept` asks for it."""
        return self.measurement.name

    def key(self) -> dict:
        """All that the losses follow from."""
        about = {"ids": [*self.parts], "controlled": self.controlled, "rows": self.taken.rows.tolist()}
        return {"measurement": self.measurement.key(), "loss": ideas.digest(self.loss), **about}

    @cached_property
    def model(self) -> LanguageModel:
        """The model that is run on from the site."""
        return model_after(self.measurement.study)

    @cached_property
    def controls(self) -> Controls:
        """Directions of the controls at all tokens."""
        kinds = tuple(KINDS) if self.controlled else ()
        return Controls(self.taken.flat, self.taken.token_document, kinds, seed=0)

    def frame(self, first: int) -> pd.DataFrame:
        """The losses of every replacement in the `PIECE` contexts from the ``first`` on."""
        rows, kept = [], len(self.taken.positions)
        some = torch.arange(first, min(first + PIECE, len(self.taken.rows)))
        for chunk in some.split(1 if self.model.parameters >= LARGE else MICRO):
            of, last = f"{self.name}: replacements, context", f"of {len(self.taken.rows)}"
            tell(f"{of} {int(chunk[-1]) + 1} {last}")
            run = self.taken.run(self.model, chunk, self.loss)
            tokens = (chunk[:, None] * kept + torch.arange(kept)).flatten()
            where, shape = self.taken.document[chunk.numpy()], (len(chunk), kept, -1)
            mean = torch.from_numpy(self.measurement.extra["mean"]).float()
            rows += cost_rows("", CLEAN, where, run.of_clean, torch.zeros(run.target.shape[:2]))
            rows += cost_rows("", MEAN, where, *run.of(mean.expand(*shape)))
            for id, parts in self.parts.items():
                drawn = self.controls if id in self.controlled else None
                for name, patch in _patches(self.controls.x[tokens], parts, tokens, drawn):
                    rows += cost_rows(id, name, where, *run.of(patch.view(shape)))
        return pd.DataFrame(rows, columns=LOSSES)


@kept
def _piece(paid: _Replacements, *, first: int) -> dict[str, pd.DataFrame]:
    """A piece of the losses of a large model, kept on its own: a run that was broken off goes on from it."""
    return {"rows": paid.frame(first)}


def few_logits(measurement: Measurement, id: str, *, contexts: int = 4) -> dict | Absent:
    """{replacement: (logits [context, kept, vocabulary], next tokens [context, kept])} of one SAE."""
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
) -> dict[str, dict[str, Float[Tensor, "token d_model"]]]:
    """{SAE: `ERRORS` at the positions, float32}; each document is split by the map of the other folds."""
    study, x, fold = measurement.study, taken.flat, measurement.folds_at(taken.token_document)
    chosen = replace(study, saes=tuple(study.sae(id) for id in ids))
    found = [(sae.id, sae, measurement.maps(sae.id)) for sae in (load_saes(chosen) if ids else ())]
    parts = {}
    for id, sae, maps in [*found, *((id, *pair) for id, pair in extra.items())]:
        error = x - sae.reconstruct(x)[0].double()
        linear = (maps or cross_fit(moments_by_fold(x, error, fold))).predict(x, fold)
        split = zip(ERRORS, (error, linear, error - linear), strict=True)
        parts[id] = {name: part.float() for name, part in split}
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
    return summed(pd.DataFrame(rows, columns=LOSSES))


def summed(losses: pd.DataFrame) -> pd.DataFrame:
    """Rows of losses, summed over the contexts of each document."""
    return losses.groupby(["sae", "replacement", "document"], as_index=False, sort=True).sum()


def _sizes(parts: Mapping[str, Mapping[str, Tensor]], document: np.ndarray) -> pd.DataFrame:
    frames = []
    for id, of_sae in parts.items():
        for name, part in of_sae.items():
            square = (part.double() ** 2).sum(dim=1).numpy(force=True)
            frame = pd.DataFrame({"document": document, "square": square, "norm": np.sqrt(square)})
            frames.append(frame.groupby("document", as_index=False).sum().assign(sae=id, part=name))
    return pd.concat(frames, ignore_index=True)[["sae", "document", "part", "square", "norm"]]
