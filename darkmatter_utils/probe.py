"""A probe: one SAE of one model, both folders, decomposed on a text. What ``darkmatter measure --model --sae`` runs.

    asked = Request(model="my-model", sae="my-sae")
    plan(asked)        what it would read, compute and store, without running the model
    probe(asked)       the decomposition, nulls beside it, warnings

Activations and reconstructions of the counted tokens are written to a working folder, a few documents at a time, so
that the model runs once and a probe that was killed goes on where it was, to the same numbers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from .decomposition import Decomposition, decompose
from .errors import BadInput
from .formats import PublishedSae, load_any, match
from .models import LanguageModel, load_model
from .null_saes import DeadSae, RandomSae
from .probe_arrays import SHARD, activations, folder_of
from .reading import EMBEDDED, Reading, read


@dataclass(frozen=True)
class Request:
    """What is asked for. Raises BadInput for a number that cannot be."""

    model: str
    """Folder of a transformers model, or its name on the hub."""
    sae: str
    """Folder of an SAE in any of `formats.FORMATS`."""
    site: str | None = None
    """Where the SAE reads; what the SAE says, if not given."""
    text: str = EMBEDDED
    documents: int = 300
    positions: tuple[int, int] | None = None
    """First position that counts and the one after the last."""
    dtype: str = "float32"
    """Of the model."""
    sae_dtype: str = "float32"
    device: str = "cpu"
    folds: int = 5
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("documents", 2), ("folds", 2), ("bootstrap", 100)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}; give at least {least}")


@dataclass(frozen=True)
class Plan:
    """What a probe reads and makes; everything but the model's run is done."""

    request: Request
    model: LanguageModel = field(repr=False)
    sae: PublishedSae = field(repr=False)
    reads: str
    writes: str
    reading: Reading = field(repr=False)

    @property
    def tokens(self) -> int:
        """Tokens that count."""
        return int(self.reading.scored.sum())

    @property
    def shards(self) -> int:
        """Points that a killed probe can go on from."""
        return -(-len(self.reading.length) // SHARD)

    def facts(self) -> dict:
        """For ``--dry-run``: what is read, computed and stored."""
        passed = int(self.reading.length.sum())
        parameters = sum(p.numel() for p in self.model.bridge.parameters())
        weights = sum(w.numel() for w in self.sae.sae.parameters())
        return {
            "model": self.request.model, "sae": self.request.sae, "format": self.sae.card.format, "reads": self.reads,
            "writes": self.writes, "documents": len(self.reading.length), "tokens": self.tokens,
            "positions": list(self.reading.window), "download": "nothing", "parameters": parameters,
            "operations": 2.0 * (passed * parameters + self.tokens * weights),
            "stored while it runs, bytes": self.tokens * (8 * self.sae.card.d_out + 4), "stored at the end": "nothing",
            "folder": str(folder_of(self)), "warnings": self.warnings(),
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """What can be said before anything is measured."""
        card, reading = self.sae.card, self.reading
        found = list(card.warnings)
        if card.prepend_bos and not reading.bos:
            found.append("the SAE was trained with <bos> before each text, but the model's tokenizer has none")
        if reading.unknown > 0.05:
            found.append(f"{reading.unknown:.0%} of the tokens are unknown to the tokenizer: does it fit the text?")
        if reading.short:
            found.append(f"{reading.short} documents end before position {reading.window[0]} and are left out")
        if (each := self.tokens * (self.request.folds - 1) / self.request.folds) < 3 * card.d_out:
            found.append(f"{each:.0f} tokens fit a map of {card.d_out} dimensions: too few for a good one; give more documents")
        return found


@dataclass(frozen=True)
class Probe:
    """The answer: a decomposition, the same for null SAEs, and what to be wary of."""

    plan: Plan = field(repr=False)
    result: Decomposition
    paper: Decomposition
    """Under protocol="paper"."""
    nulls: dict[str, Decomposition]
    """dead: the mean for every token; random: a dictionary that was never trained, of the SAE's width and L0."""
    l0: float
    """Active latents a token."""
    gain: float
    """The factor on Sae(x) − its mean that fits x best; about 1 if the weights suit the activations."""
    warnings: tuple[str, ...]


def plan(request: Request) -> Plan:
    """Load the model, the SAE and the text, and check that they fit. Raises BadInput for each way they do not."""
    sae = load_any(request.sae, dtype=request.sae_dtype, device=request.device)
    try:
        model = load_model(request.model, dtype=request.dtype, device=request.device)
    except BadInput:
        raise
    except Exception as error:  # transformers and transformer_lens raise many kinds for what they cannot load
        raise BadInput(f"model {request.model} cannot be loaded ({' '.join(str(error).split())[:200]})") from None
    reads, writes = match(sae, model, request.site)
    reading = read(request.text, model, documents=request.documents, positions=request.positions,
                   bos=sae.card.prepend_bos is not False)  # fmt: skip
    if len(reading.length) < request.folds:
        raise BadInput(f"{len(reading.length)} document(s) with tokens in the window cannot make {request.folds} folds; "
                       f"give at least {request.folds} documents (one .txt file is one document)")  # fmt: skip
    return Plan(request, model, sae, reads, writes, reading)


def probe(request: Request | Plan, *, strict: bool = False, progress: Callable[[str], None] | None = None) -> Probe:
    """Decompose an SAE's error on a text, beside null SAEs.

    ``strict`` raises BadInput where there is a warning. Cost: one run of the model up to the site, the SAE once,
    and disk of 8 bytes a counted token and dimension, freed at the end.
    """
    planned = plan(request) if isinstance(request, Request) else request
    request, tell = planned.request, progress or (lambda line: None)
    folder = folder_of(planned)
    x, x_hat, l0 = activations(planned, folder, tell)
    document = np.repeat(planned.reading.document, planned.reading.scored)
    settings = dict(document=document, bootstrap=request.bootstrap, seed=request.seed)
    tell("the decomposition")
    result = decompose(x, x_hat, folds=request.folds, **settings)
    paper = decompose(x, x_hat, protocol="paper", **settings)
    mean = torch.from_numpy(x.mean(axis=0, dtype=np.float64))
    active = float(l0.mean())
    saes = (DeadSae("dead", mean), RandomSae("random", mean, planned.sae.width, max(1, round(active)), request.seed))
    nulls = {}
    for sae in saes:
        tell(f"the null: {sae.kind}")
        nulls[sae.kind] = decompose(x, _Made(sae, x), folds=request.folds, **settings)
    gain = _gain(x, x_hat)
    warnings = tuple(planned.warnings() + _statistical(planned, result, active, gain))
    del x, x_hat  # the memory maps, before their files
    shutil.rmtree(folder, ignore_errors=True)
    if strict and warnings:
        raise BadInput(f"strict: {'; '.join(warnings)}")
    return Probe(planned, result, paper, nulls, active, gain, warnings)


@dataclass(frozen=True)
class _Made:
    """A null SAE's reconstruction as an array [token, d_model] that is made where it is read."""

    sae: object
    x: np.ndarray

    @property
    def shape(self):
        return self.x.shape

    def __getitem__(self, rows):
        return self.sae.reconstruct(torch.from_numpy(np.array(self.x[rows])).double())[0]


def _gain(x: np.ndarray, x_hat: np.ndarray) -> float:
    """argmin_g Σ‖x − x̄ − g (Sae(x) − its mean)‖²."""
    means = [a.mean(axis=0, dtype=np.float64) for a in (x, x_hat)]
    top = bottom = 0.0
    for at in range(0, len(x), 4096):
        mine, theirs = x[at : at + 4096] - means[0], x_hat[at : at + 4096] - means[1]
        top, bottom = top + float((mine * theirs).sum()), bottom + float((theirs**2).sum())
    return top / bottom if bottom > 0 else float("nan")


def _statistical(planned: Plan, result: Decomposition, l0: float, gain: float) -> list[str]:
    found, published = [], planned.sae.card.l0
    if result.fvu.value >= 1:
        found.append(f"the SAE is no better than the mean (FVU {result.fvu.value:.3g}): is it this model's, this site's?")
    if published and l0 > 0 and abs(math.log(l0 / published)) > math.log(1.5):
        found.append(f"L0 is {l0:.3g}, but {published:.3g} was published: another text, <bos>, or another scale of activations?")
    if l0 == 0:
        found.append("no latent fires on any token")
    elif not 0.67 < gain < 1.5:
        found.append(f"Sae(x) would fit best times {gain:.3g}: are the model's norms folded, or the activations scaled?")
    return found
