"""Make the embedded study from seed: ``darkmatter train tiny``.

Stages, each resumable: text → tokenizer and token files → language model → activations → SAEs → the shipped folder
with its manifest. A stage that is done is not done again; a stage that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import corpus, language_model

SEED = 0
TOKENIZER_CHARACTERS = 30_000_000
"""Training text that the tokenizer is fitted on."""
SCORE_TOKENS, COMPONENT_TOKENS = 250_000, 1_600_000
"""Tokens of the two disjoint sets of held-out documents, at least."""
SCORE_CONTEXTS, COMPONENT_CONTEXTS = 4, 16
"""Contexts taken from one document at most, so that long files do not speak for the rest."""
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
        training_tokens=int(sum(map(len, documents))), training_bytes=bytes_,
        held_out_licences={name: corpus.licence_texts(name) for name in corpus.HELD_OUT},
    )  # fmt: skip
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

    Returns tokens [n, 256] uint16 and document [n] int32 for each set, names and UTF-8 bytes per context. A context is <bos>
    and 255 tokens of one file, from a random place in it; files with fewer tokens are left out.
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
    evaluate = lambda model: float(language_model.token_losses(model, probe).mean())  # noqa: E731
    return language_model.train(
        contexts, build / "model", steps=steps, muon_lr=1e-2, adam_lr=4e-3, seed=SEED, evaluate=evaluate, log=log
    )
