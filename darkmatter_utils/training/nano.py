"""The ``nano`` study: a two-layer model and three SAEs, for tests of formats and faults."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from ..adapters.models import load_model
from ..adapters.saes import load_sae, threshold_for
from .language_model import build, save
from .sae_training import SaeJob, train_sae
from .shipping import shrink

VOCABULARY, CONTEXT, WIDTHS, L0 = 64, 32, (16, 32, 64), 4
SITE = "blocks.0.hook_resid_post"
DOCUMENTS, CONTEXTS = 60, 2


def sentences(documents: int, contexts: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Token contexts [n, CONTEXT] and their documents [n]: a Markov chain in which each document has its
    favourites."""
    rng = np.random.default_rng(seed)
    chain = rng.dirichlet(np.full(VOCABULARY - 1, 0.05), size=VOCABULARY)
    tokens = np.zeros((documents * contexts, CONTEXT), dtype=np.uint16)
    for document in range(documents):
        taste = rng.dirichlet(np.full(VOCABULARY - 1, 0.5))
        for row in range(document * contexts, (document + 1) * contexts):
            for position in range(1, CONTEXT):
                law = 0.7 * chain[tokens[row, position - 1]] + 0.3 * taste
                tokens[row, position] = 1 + rng.choice(VOCABULARY - 1, p=law / law.sum())
    return tokens, np.repeat(np.arange(documents, dtype=np.int32), contexts)


def make(folder: Path) -> None:
    """Write model/, saes/, tokens.npz and manifest.json."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<bos>": 0} | {f"w{i}": i for i in range(1, VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<bos>")), bos_token="<bos>"
    )
    model = build(
        vocabulary=VOCABULARY,
        seed=0,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    with (
        torch.no_grad()
    ):  # weights of the initial size pass the embedding through; these make the blocks speak
        for name, weight in model.named_parameters():
            if "layers" in name and weight.ndim == 2:
                weight.mul_(8)
    save(model, tokenizer, folder / "model")
    tokens, document = sentences(DOCUMENTS, CONTEXTS, seed=0)
    np.savez_compressed(folder / "tokens.npz", score_tokens=tokens, score_document=document)
    language_model = load_model(folder / "model")
    x = language_model.activations(torch.from_numpy(tokens.astype(np.int64)), SITE)[:, 1:].flatten(0, 1)
    entries = []
    for width in WIDTHS:
        job = SaeJob(
            id=f"w{width}", site=SITE, width=width, l0=L0, seed=0, samples=200 * 128, batch=128, lr=1e-2
        )
        out = train_sae(job, x.half().numpy(), folder / "saes" / job.id, log=lambda line: None)
        (out / "training.json").unlink()
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
        shrink(out)
        shrink(out, threshold_for(load_sae(job.id, out, d_model=16).sae, x, L0))
        entries.append(
            dict(
                id=job.id,
                kind="jumprelu",
                width=width,
                l0=float(L0),
                site=SITE,
                seed=0,
                main=True,
                path=f"saes/{job.id}",
            )
        )
    files = {
        p.relative_to(folder).as_posix(): dict(
            bytes=p.stat().st_size, sha256=hashlib.sha256(p.read_bytes()).hexdigest()
        )
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    (folder / "manifest.json").write_text(json.dumps(dict(saes=entries, files=files), indent=1))
