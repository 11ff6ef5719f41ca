"""Make the embedded study's text and language model from seed: the first stages of ``darkmatter train tiny``.

Stages, each resumable: text → tokenizer and token files → language model → activations; `embedded_saes` goes
on with the SAEs and the shipped folder. A stage that is done is not done again; one that was cut off goes on
from its last checkpoint.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from ..adapters.models import load_model, token_losses
from ..studies.activations import MICRO
from . import corpus, language_model

SEED = 0
TOKENIZER_CHARACTERS = 30_000_000
"""Training text that the tokenizer is fitted on."""
SCORE_TOKENS, COMPONENT_TOKENS = 250_000, 1_600_000
"""Tokens of the two disjoint sets of held-out documents, at least."""
SCORE_CONTEXTS, COMPONENT_CONTEXTS = 4, 16
"""Contexts taken from one document at most, so that long files do not speak for the rest."""
ACTIVATIONS = 4_000_000
"""Training activations that are stored, about."""
STEPS = 3000
"""Optimiser steps of the language model, of 32 contexts."""


def prepare(build: Path, *, log=print) -> None:
    """Text to token files: tokenizer/, training.npy, held_out.npz, text.json."""
    if (build / "text.json").exists():
        return
    build.mkdir(parents=True, exist_ok=True)
    log("text: reading the installed packages and removing near-duplicates")
    training, held_out = corpus.split()
    tokenizer = language_model.train_tokenizer(_sample(training), build / "tokenizer")
    log("text: encoding")
    documents = language_model.encode(tokenizer, [s.text for s in training])
    contexts = language_model.pack(documents, seed=SEED)
    np.save(build / "training.npy", contexts)
    held = hold_out(held_out, language_model.encode(tokenizer, [s.text for s in held_out]))
    np.savez_compressed(build / "held_out.npz", **held)
    bytes_ = sum(len(s.text.encode()) for s in training)
    about = dict(
        training=[asdict(o) for o in corpus.origins(training)],
        held_out=[asdict(o) for o in corpus.origins(held_out)],
        training_tokens=int(sum(map(len, documents))),
        training_bytes=bytes_,
        held_out_licences={name: corpus.licence_texts(name) for name in corpus.HELD_OUT},
    )
    (build / "text.json").write_text(json.dumps(about, indent=1))


def _sample(files: list[corpus.Source]) -> list[str]:
    order = random.Random(SEED).sample(files, len(files))
    taken, total = [], 0
    for source in order:
        if total < TOKENIZER_CHARACTERS:
            taken.append(source.text)
            total += len(source.text)
    return taken


def hold_out(files: list[corpus.Source], ids: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The *score* and *component* sets: whole contexts of disjoint documents, a run of contexts from each.

    Returns tokens [n, 256] uint16 and document [n] int32 for each set, names and UTF-8 bytes per context. A
    context is <bos> and 255 tokens of one file, from a random place in it; files with fewer tokens are left
    out.
    """
    rng = random.Random(SEED)
    body = language_model.CONTEXT - 1
    order = [i for i in rng.sample(range(len(files)), len(files)) if len(ids[i]) >= body]
    sets = {"score": (SCORE_TOKENS, SCORE_CONTEXTS), "component": (COMPONENT_TOKENS, COMPONENT_CONTEXTS)}
    held: dict[str, np.ndarray] = {}
    for name, (wanted, most) in sets.items():
        tokens, document, names = [], [], []
        while order and len(tokens) * language_model.CONTEXT < wanted:
            i = order.pop()
            count = min(most, len(ids[i]) // body)
            start = rng.randrange(len(ids[i]) - count * body + 1)
            for k in range(count):
                piece = ids[i][start + k * body : start + (k + 1) * body]
                tokens.append(np.concatenate([[language_model.BOS], piece]))
                document.append(len(names))
            names.append(f"{files[i].distribution}/{files[i].path}")
        held |= {
            f"{name}_tokens": np.array(tokens, dtype=np.uint16),
            f"{name}_document": np.array(document, dtype=np.int32),
            f"{name}_names": np.array(names),
        }
    return held


def train_model(build: Path, *, steps: int = STEPS, log=print):
    """The language model, from ``build/model/checkpoint.pt`` where there is one."""
    contexts = np.load(build / "training.npy", mmap_mode="r")
    probe = np.load(build / "held_out.npz")["component_tokens"][::64]
    evaluate = lambda model: float(language_model.token_losses(model, probe).mean())
    return language_model.train(
        contexts,
        build / "model",
        steps=steps,
        muon_lr=1e-2,
        adam_lr=4e-3,
        seed=SEED,
        evaluate=evaluate,
        log=log,
    )


def finish_model(build: Path, *, log=print) -> None:
    """The trained model as a transformers folder in float16, and its held-out loss beside n-gram models."""
    folder = build / "model" / "saved"
    if (build / "model" / "held_out.json").exists():
        return
    model, curve = train_model(build, log=log)
    language_model.save(model, AutoTokenizer.from_pretrained(build / "tokenizer"), folder)
    loaded = load_model(folder)
    tokens = np.load(build / "held_out.npz")["score_tokens"]
    losses = []
    for part in torch.from_numpy(tokens.astype(np.int64)).split(MICRO):
        losses.append(
            token_losses(loaded.run(part, [])[1], part)[:, 1:-1]
        )  # predictions of positions 2 and on
    nats = float(torch.cat(losses).double().mean())
    length = np.array(
        [len(t) for t in loaded.tokenizer.convert_ids_to_tokens(range(language_model.VOCABULARY))]
    )
    log("model: counting n-grams")
    grams = language_model.NGrams(np.load(build / "training.npy")).losses(tokens)
    held_out = dict(
        nats_per_token=nats,
        nats_per_byte=nats / float(length[tokens[:, 2:]].mean()),
        **grams,
        tokens=int(tokens[:, 2:].size),
    )
    log(
        "model: held-out nats a token "
        + ", ".join(f"{k} {v:.3f}" for k, v in held_out.items() if k != "tokens")
    )
    about = dict(held_out=held_out, curve=curve, parameters=sum(p.numel() for p in model.parameters()))
    (build / "model" / "held_out.json").write_text(json.dumps(about))


def activations(build: Path, site: str, window: tuple[int, int], *, log=print) -> None:
    """Activations at ``site`` [token, d_model]: training.npy, score.npy (inside ``window``), component.npy;
    no <bos>.

    Training rows come from every ``stride``-th training context, so that all of the text is seen.
    """
    folder = build / "activations"
    model = load_model(build / "model" / "saved")
    held = np.load(build / "held_out.npz")
    training = np.load(build / "training.npy", mmap_mode="r")
    stride = max(1, len(training) * (language_model.CONTEXT - 1) // ACTIVATIONS)
    whole = (1, language_model.CONTEXT)
    sets = {
        "score": (held["score_tokens"], window, np.float32),
        "component": (held["component_tokens"], whole, np.float16),
        "training": (training[::stride], whole, np.float16),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (tokens, (start, stop), dtype) in sets.items():
        path = folder / f"{name}.npy"
        if path.exists():
            continue
        log(f"activations: {name}, {len(tokens)} contexts")
        rows = [
            model.activations(part, site)[:, start:stop].flatten(0, 1).numpy().astype(dtype)
            for part in torch.from_numpy(tokens.astype(np.int64)).split(MICRO)
        ]
        with whole(path) as part, part.open("wb") as file:
            np.save(file, np.concatenate(rows))


OTHER_ROWS = 2_500_000
"""Training activations stored at each site beside the target, about."""
OTHER_COMPONENTS = 4
"""At those sites, latents are counted as dead on every so many-th component context (and the whole score
set)."""


def activations_folder(build: Path, site: str, target: str, random_weights: int | None = None) -> Path:
    """Where a site's activations are: the target's own folder, or a folder beside them named after the
    site."""
    if site == target and random_weights is None:
        return build / "activations"
    return build / "activations" / (site if random_weights is None else f"{site}-random{random_weights}")


def other_activations(
    build: Path,
    sites: list[str],
    target: str,
    window: tuple[int, int],
    *,
    random_weights: int | None = None,
    log=print,
) -> None:
    """As `activations`, for several sites in one pass of the model, or of its twin of random weights.

    Rows are written as they come (float16; the score set in float32), so that memory is one batch's. A set of
    contexts that was cut off is made anew, a finished one is left alone. Cost: a pass over the contexts,
    whatever the number of sites.
    """
    folders = {site: activations_folder(build, site, target, random_weights) for site in sites}
    held = np.load(build / "held_out.npz")
    training = np.load(build / "training.npy", mmap_mode="r")
    stride = max(1, len(training) * (language_model.CONTEXT - 1) // OTHER_ROWS)
    whole = (1, language_model.CONTEXT)
    sets = {
        "score": (held["score_tokens"], window, np.float32),
        "training": (training[::stride], whole, np.float16),
        "component": (held["component_tokens"][::OTHER_COMPONENTS], whole, np.float16),
    }
    model = None
    for name, (tokens, (start, stop), dtype) in sets.items():
        missing = {
            site: folder / f"{name}.npy"
            for site, folder in folders.items()
            if not (folder / f"{name}.npy").exists()
        }
        if not missing:
            continue
        model = model or load_model(build / "model" / "saved", random_weights=random_weights)
        log(f"activations: {name}, {len(tokens)} contexts, {len(missing)} sites")
        for path in missing.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(tokens) * (stop - start), model.d_model)
        files = {
            site: np.lib.format.open_memmap(path.with_suffix(".part"), "w+", dtype, shape)
            for site, path in missing.items()
        }
        row = 0
        for part in torch.from_numpy(tokens.astype(np.int64)).split(MICRO):
            found, _ = model.run(part, list(missing))
            for site, file in files.items():
                rows = found[site][:, start:stop].flatten(0, 1).numpy()
                file[row : row + len(rows)] = rows
            row += len(rows)
        for site, path in missing.items():
            files[site].flush()
            path.with_suffix(".part").replace(path)
