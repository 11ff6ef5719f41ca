"""A probe, what ``darkmatter measure --model --sae`` runs: one SAE of one model, decomposed on a text.

Activations and reconstructions of the counted tokens are written to a working folder, a few documents at a
time, so that the model runs once and a probe that was killed goes on where it was, to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..adapters import stated
from ..adapters.hub import model_folder, sae_folder
from ..adapters.models import SITES, LanguageModel, check_device, family, load_model
from ..adapters.reading import Reading, read
from ..adapters.saes import Sae, load_any, match
from ..adapters.texts import EMBEDDED, is_dataset, texts
from ..base import cache, provenance
from ..base.errors import BadInput
from ..stats.intervals import doubts
from ..studies.recipes import Request
from .answers import Answer, answer
from .estimate import refuse
from .shards import SHARD, activations, discard, held, input_of


@dataclass(frozen=True)
class Plan:
    """What a probe reads and makes; everything but the model's run is done."""

    request: Request
    folders: tuple[str, str]
    """Where the model's and the SAE's files are."""
    model: LanguageModel = field(repr=False)
    sae: Sae = field(repr=False)
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

    @property
    def where(self) -> str:
        """The site, or the two of a transcoder."""
        first = f"{self.sae.card.earlier[0]} to " if self.sae.card.earlier else ""
        return self.reads if self.reads == self.writes else f"{first}{self.reads} → {self.writes}"

    @property
    def transcodes(self) -> bool:
        """Whether its input, too, is kept; of another width than its output it is not."""
        return self.reads != self.writes and self.sae.card.d_in == self.sae.card.d_out

    @property
    def operations(self) -> float:
        """Of the model and the SAE, without the decomposition."""
        weights = sum(w.numel() for w in self.sae.weights)
        return 2.0 * (int(self.reading.length.sum()) * self.model.parameters + self.tokens * weights)

    @cached_property
    def folder(self) -> Path:
        """Where a probe keeps what it has so far, named by everything that the activations follow from."""
        idle = ("folds", "bootstrap", "seed", "text", "documents")
        key = cache.key_of(
            asked={name: value for name, value in asdict(self.request).items() if name not in idle},
            files=[cache.stamps(Path(name).absolute()) for name in self.folders],
            tokens=self.reading.sha256,
            window=self.reading.window,
            versions=cache.versions(),
            code=provenance.key(provenance.of(activations, read, load_any, load_model)),
            threads=torch.get_num_threads(),
        )
        return cache.cache_folder() / f"probe-{key}"

    def warnings(self) -> list[str]:
        """What can be said before anything is measured."""
        card, reading = self.sae.card, self.reading
        found = list(card.warnings)
        theirs, ours = family(str(card.model or "")), self.model.family
        if theirs and theirs != ours.removesuffix("_text"):
            found.append(f"the SAE says that it is of {card.model}, but the model's type is {ours}")
        found += stated.doubts(stated.overrides(self.request.sae), self.folders[1], reading.window)
        if card.prepend_bos and not reading.bos:
            without = "but the model's tokenizer has none"
            found.append(f"the SAE was trained with <bos> before each text, {without}")
        if (share := reading.unknown) > 0.05:
            found.append(f"{share:.0%} of the tokens are unknown to the tokenizer: does it fit the text?")
        if (again := reading.repeated) > 0.05:
            leak = "a copy is fitted where the other is scored, so that R² is too high: leave copies out"
            found.append(f"{again:.0%} of the documents repeat another one; {leak}")
        if reading.short:
            what = "contexts" if self.request.packed else "documents"
            found.append(f"{reading.short} {what} end before position {reading.window[0]} and are left out")
        if (has := len(self.model.tokenizer)) < self.model.vocabulary / 2:
            whose = "is it this model's?"
            found.append(f"the tokenizer has {has:,} tokens, the model {self.model.vocabulary:,}: {whose}")
        return found + doubts(len(reading.length), self.tokens / card.d_out)


def plan(
    request: Request,
    *,
    progress: Callable[[str], None] | None = None,
    model: LanguageModel | None = None,
    sae: Sae | None = None,
) -> Plan:
    """Load model and SAE (unless given) and text, and check that they fit; BadInput for each way they do
    not."""
    check_device(request.device)
    if request.text != EMBEDDED and not is_dataset(request.text):
        texts(request.text, limit=1)  # a mistyped file is told before minutes of loading
    tell = progress or (lambda line: None)
    folders = str(model_folder(request.model, progress=tell)), str(sae_folder(request.sae, progress=tell))
    if sae is None:
        refuse(*folders, dtype=request.dtype, sae_dtype=request.sae_dtype, device=request.device)
        sae = load_any(folders[1], dtype=request.sae_dtype, device=request.device, said=request.said)
        sae = stated.honoured(sae, stated.overrides(request.sae))
    try:
        name, how = Path(request.model).name, dict(dtype=request.dtype, device=request.device)
        model = model or load_model(folders[0], name=name, **how)
    except (BadInput, ModuleNotFoundError):  # of the latter the command names the extra
        raise
    except Exception as error:  # transformers and transformer_lens raise many kinds for what they cannot load
        why = f" cannot be loaded ({' '.join(str(error).split())[:200]})"
        if "tokenizer" in str(error).lower() and not any(Path(folders[0]).glob("*token*")):
            why = " has no tokenizer that can be read: put its tokenizer files into the model's folder"
        elif "Weights only load failed" in str(error):
            why = ": its .bin holds more than tensors, and to read it would run code; save it as safetensors"
        elif "ignore_mismatched_sizes" in str(error):
            sizes = "hidden_size, vocab_size, intermediate_size, heads"
            why = f": its weights have other shapes than its config.json says ({sizes})"
        raise BadInput(f"model {request.model}{why}") from None
    sae = stated.placed(sae, model)
    reads, writes = match(sae, model, stated.site_of(request.site, model))
    how = dict(documents=request.documents, positions=request.positions, packed=request.packed)
    reading = read(request.text, model, bos=sae.card.prepend_bos is not False, **how)
    if (has := int((reading.scored > 0).sum())) < (folds := request.folds):
        few = f"{has} document(s) with tokens in the window cannot make {folds} folds"
        raise BadInput(f"{few}; give at least {folds} documents (one .txt file is one document)")
    some = torch.from_numpy(reading.tokens[:1, :2]).to(request.device)
    check_sites(model, (*sae.card.earlier, reads, writes), some)
    return Plan(request, folders, model, sae, reads, writes, reading)


def probe(
    request: Request | Plan,
    *,
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
    deliver: Callable[[Answer], None] | None = None,
) -> Answer:
    """Decompose an SAE's error on a text, beside null SAEs.

    ``strict`` raises BadInput where there is a warning, as soon as there is one. ``deliver`` is given the
    answer before the working folder goes: a kill until then costs no shard. Cost: one run of the model up to
    the site, the SAE once, and disk of 8 bytes a counted token and dimension, freed at the end.
    """
    planned = plan(request, progress=progress) if isinstance(request, Request) else request
    if strict and (warnings := planned.warnings()):
        raise BadInput(f"strict: {'; '.join(warnings)}")
    tell = progress or (lambda line: None)
    with held(planned.folder):
        try:
            answer = _answer(planned, tell)
        except BadInput:  # what it has will be of no use to another try
            discard(planned.folder)
            raise
        if deliver:
            deliver(answer)
        discard(planned.folder)
    if strict and answer.warnings:
        raise BadInput(f"strict: {'; '.join(answer.warnings)}")
    return answer


def _answer(planned: Plan, tell) -> Answer:
    request, sae, read, card = planned.request, planned.sae, planned.reading, planned.sae.card
    x, x_hat, l0 = activations(planned, tell)
    given = input_of(planned) if planned.transcodes else None
    about = {
        "sae": card.to_dict() | {"id": sae.id, "reads": planned.reads, "writes": planned.writes},
        "request": asdict(request),
        "positions": list(read.window),
        "token_sha256": read.sha256,
    }
    named = {"model": "the SAE says it is of", "l0": "L0 as published"}
    facts = {
        "model": request.model,
        "SAE": request.sae,
        **{named.get(name, name): value for name, value in card.to_dict().items()},
        "text": request.text + " (packed: a context stands for a document)" * request.packed,
        "positions": "{}:{}".format(*read.window),
        "sha256 of the token ids": read.sha256,
    }
    made = f"{sae.id} ({card.format}, {card.architecture}, {card.d_sae:,} latents)"
    title, warnings = f"{made} · {planned.model.title} · {planned.where}", planned.warnings()
    draws = dict(bootstrap=request.bootstrap, seed=request.seed)
    how = dict(width=sae.width, l0=float(l0.mean()), published=card.l0)
    how |= dict(title=title, warnings=warnings, about=about, facts=facts, plan=planned, tell=tell)
    document, position = np.repeat(read.document, read.scored), np.nonzero(read.counts)[1]
    text = lambda row: planned.model.tokenizer.decode([int(read.tokens[read.counts][row])])
    how["named"] = lambda row: {
        "document": int(document[row]),
        "position": int(position[row]),
        "text": text(row),
    }
    return answer(x, x_hat, document, folds=request.folds, draws=draws, given=given, **how)


NORMED = "ln2.hook_normalized"
ANGLE = 0.05
"""Radians between an activation and what it is the norm of, at most."""


def check_sites(model: LanguageModel, sites: tuple[str, ...], tokens: torch.Tensor) -> None:
    """BadInput, naming those of its block, for a site that this family of models does not have, or has
    another activation under the name of. Cost: two tokens through the model, up to the site."""
    for site in sites:
        block, place = site.split(".", 2)[:2], site.split(".", 2)[2]
        named = lambda other, block=block: ".".join([*block, other])
        if _there(model, named(place), tokens) is None:
            has = ", ".join(
                named(other) for other in SITES if _there(model, named(other), tokens) is not None
            )
            raise BadInput(f"{model.name} ({model.family}) has no site {site}; it has {has}")


def _there(model: LanguageModel, site: str, tokens: torch.Tensor) -> torch.Tensor | None:
    """The activation at a site; None where there is none, none of a token each, or not what its name says."""
    try:
        found = model.activations(tokens, site)
    except (KeyError, IndexError):  # no such hook; one whose tokens are not by context
        return None
    if not site.endswith(NORMED):
        return found
    stem = site.removesuffix(NORMED)
    before = [_there(model, stem + place, tokens) for place in ("hook_resid_mid", "hook_resid_pre")]
    return found if any(_normed(found, x) for x in before if x is not None) else None


def _normed(found: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether ``found`` is x, or x without its mean over dimensions, times a number a token."""
    if found.shape != x.shape:
        return False
    length = lambda y: y.norm(dim=-1, keepdim=True)
    off = lambda y: length(found * length(y) - y * length(found)) <= ANGLE * length(found) * length(y)
    return any(bool(off(y).all()) for y in (x, x - x.mean(-1, keepdim=True)))
