"""A probe: one SAE of one model, both folders, decomposed on a text. What ``darkmatter measure --model
--sae`` runs.

    asked = Request(model="my-model", sae="my-sae")
    plan(asked)        what it would read, compute and store, without running the model
    probe(asked)       the decomposition, nulls beside it, warnings

Activations and reconstructions of the counted tokens are written to a working folder, a few documents at a
time, so that the model runs once and a probe that was killed goes on where it was, to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..adapters.contexts import Reading, read
from ..adapters.hub import model_folder, sae_folder
from ..adapters.models import LanguageModel, check_device, load_model
from ..adapters.saes import Sae, load_any
from ..adapters.texts import EMBEDDED, is_dataset, texts
from ..adapters.formats import canonical, layer_of
from ..base.errors import BadInput
from ..studies.recipes import Request
from .answers import Answer, answer
from .shards import SHARD, activations, discard, folder_of, held

FAMILIES = {
    "gpt2": "gpt2",
    "gemma-2": "gemma2",
    "gemma-3": "gemma3",
    "llama": "llama",
    "pythia": "gpt_neox",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
"""Parts of models' names, and transformers' types."""


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
        return self.reads if self.reads == self.writes else f"{self.reads} → {self.writes}"

    @property
    def operations(self) -> float:
        """Of the model and the SAE, without the decomposition."""
        weights = sum(w.numel() for w in self.sae.weights)
        return 2.0 * (int(self.reading.length.sum()) * self.model.parameters + self.tokens * weights)

    def warnings(self) -> list[str]:
        """What can be said before anything is measured."""
        card, reading = self.sae.card, self.reading
        found = list(card.warnings)
        theirs, ours = family(card.model or ""), self.model.family
        if theirs and theirs != ours:
            found.append(f"the SAE says that it is of {card.model}, but the model's type is {ours}")
        if card.prepend_bos and not reading.bos:
            found.append(
                "the SAE was trained with <bos> before each text, but the model's tokenizer has none"
            )
        if (share := reading.unknown) > 0.05:
            found.append(f"{share:.0%} of the tokens are unknown to the tokenizer: does it fit the text?")
        if reading.short:
            what = "contexts" if self.request.packed else "documents"
            found.append(f"{reading.short} {what} end before position {reading.window[0]} and are left out")
        if (has := len(self.model.tokenizer)) < self.model.vocabulary / 2:
            whose = "is it this model's?"
            found.append(f"the tokenizer has {has:,} tokens, the model {self.model.vocabulary:,}: {whose}")
        if (each := self.tokens * (self.request.folds - 1) / self.request.folds) < 3 * card.d_out:
            few = "too few for a good one; give more documents"
            found.append(f"{each:.0f} tokens fit a map of {card.d_out} dimensions: {few}")
        return found


def plan(
    request: Request, *, progress: Callable[[str], None] | None = None, model: LanguageModel | None = None
) -> Plan:
    """Load model (unless given), SAE and text, and check that they fit; BadInput for each way they do not."""
    check_device(request.device)
    if request.text != EMBEDDED and not is_dataset(request.text):
        texts(request.text, limit=1)  # a mistyped file is told before minutes of loading
    tell = progress or (lambda line: None)
    folders = str(model_folder(request.model, progress=tell)), str(sae_folder(request.sae, progress=tell))
    sae = load_any(folders[1], dtype=request.sae_dtype, device=request.device)
    try:
        model = model or load_model(
            folders[0], name=Path(request.model).name, dtype=request.dtype, device=request.device
        )
    except BadInput:
        raise
    except Exception as error:  # transformers and transformer_lens raise many kinds for what they cannot load
        why = f" cannot be loaded ({' '.join(str(error).split())[:200]})"
        if "tokenizer" in str(error).lower() and not any(Path(folders[0]).glob("*token*")):
            why = " has no tokenizer that can be read: put its tokenizer files into the model's folder"
        elif "ignore_mismatched_sizes" in str(error):
            sizes = "hidden_size, vocab_size, intermediate_size, heads"
            why = f": its weights have other shapes than its config.json says ({sizes})"
        raise BadInput(f"model {request.model}{why}") from None
    reads, writes = match(sae, model, request.site)
    reading = read(
        request.text,
        model,
        documents=request.documents,
        positions=request.positions,
        bos=sae.card.prepend_bos is not False,
        packed=request.packed,
    )
    if len(reading.length) < request.folds:
        raise BadInput(
            f"{len(reading.length)} document(s) with tokens in the window cannot make {request.folds} folds; "
            f"give at least {request.folds} documents (one .txt file is one document)"
        )
    return Plan(request, folders, model, sae, reads, writes, reading)


def match(sae: Sae, model: LanguageModel, site: str | None = None) -> tuple[str, str]:
    """(site that the SAE reads, that it writes) in ``model``; ``site``: where the folder names none. Raises
    BadInput for another site than the SAE's own, a layer or site that the model lacks, and widths that
    differ."""
    card = sae.card
    asked = canonical(site) if site else None
    if asked and card.site and asked != card.site:
        raise BadInput(
            f"SAE {sae.id} was trained at {card.site}, not at {asked}; leave the site out, or give its own"
        )
    if (reads := asked or card.site) is None:
        raise BadInput(
            f"SAE {sae.id} does not say where it reads; give a site, e.g. blocks.0.hook_resid_post"
        )
    if "transcoder" in card.architecture and card.target is None:
        raise BadInput(
            f"SAE {sae.id} is a transcoder that does not say where it writes (hook_name_out in its metadata)"
        )
    writes = card.target or reads
    for place, width, verb in ((reads, card.d_in, "reads"), (writes, card.d_out, "writes")):
        layer = layer_of(place)
        if layer is not None and layer >= model.layers:
            last = model.layers - 1
            raise BadInput(f"SAE {sae.id} {verb} at {place}, but {model.name} has layers 0 to {last}")
        model.check_site(place)
        if (has := model.width(place)) != width:
            raise BadInput(
                f"SAE {sae.id} {verb} {width} dimensions, but {place} of {model.name} has {has}; "
                "it belongs to another model or site"
            )
    return reads, writes


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
    folder = folder_of(planned)
    with held(folder):
        try:
            answer = _answer(planned, folder, tell)
        except BadInput:  # what it has will be of no use to another try
            discard(folder)
            raise
        if deliver:
            deliver(answer)
        discard(folder)
    if strict and answer.warnings:
        raise BadInput(f"strict: {'; '.join(answer.warnings)}")
    return answer


def _answer(planned: Plan, folder: Path, tell) -> Answer:
    request, sae, read, card = planned.request, planned.sae, planned.reading, planned.sae.card
    x, x_hat, l0 = activations(planned, folder, tell)
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
    return answer(
        x,
        x_hat,
        np.repeat(read.document, read.scored),
        title=f"{made} · {planned.model.name} · {planned.where}",
        folds=request.folds,
        bootstrap=request.bootstrap,
        seed=request.seed,
        width=sae.width,
        l0=float(l0.mean()),
        published=card.l0,
        warnings=tuple(planned.warnings()),
        about=about,
        facts=facts,
        plan=planned,
        tell=tell,
    )


def family(model: str) -> str | None:
    return next((kind for part, kind in FAMILIES.items() if part in model.lower()), None)
