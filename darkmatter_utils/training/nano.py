"""The ``nano`` study: a two-layer model and SAEs of every role, for tests of formats, faults and devices."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ..adapters.dictionary import threshold_for
from ..adapters.models import load_model
from ..adapters.saes import load_sae
from ..base.cache import listed
from ..experiments.components import SUITE, TARGETS, TRAINING_NOISE, base_sae, rows
from ..measurement.measure import measure
from ..studies.study import SaeEntry, Study
from .language_model import build, save
from .sae_training import SaeJob, train_sae
from .shipping import shrink

VOCABULARY, CONTEXT, WIDTHS, L0 = 64, 32, (16, 32, 64, 128), 4.0
SITE, WINDOW = "blocks.0.hook_resid_post", (4, 31)
DOCUMENTS, COMPONENTS, CONTEXTS = 60, 40, 2
"""Documents that are scored, documents of the component text, contexts of each."""
TWIN = 0
"""Seed of the random weights that the twin's model has."""
TRAINED = {"seed": 0, "samples": 200 * 128, "batch": 128, "lr": 1e-2}


def entries() -> list[SaeEntry]:
    """The SAEs of x, each once for every role that a study's SAEs can have."""

    def entry(id, width, l0=L0, **more):
        return SaeEntry(id=id, width=width, l0=l0, path=f"saes/{id}", **{"site": SITE} | more)

    return [
        *(entry(f"w{width}", width, main=True) for width in WIDTHS),
        entry("w32-seed1", 32, main=True, seed=1),
        *(entry(f"w32-l0-{l0:g}", 32, l0) for l0 in (2.0, 6.0)),
        *(entry(f"depth-w{w}", w, site="blocks.1.hook_resid_post", suite="depth") for w in (16, 64)),
        entry("site-mlp", 64, site="blocks.0.hook_mlp_out", suite="sites"),
        entry("site-z", 64, site="blocks.0.attn.hook_z", suite="sites"),
        entry("kind-topk", 64, kind="topk", suite="kinds"),
        entry("kind-frozen", 64, suite="kinds"),
        entry("twin", 64, suite="twin"),
    ]


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


def make(folder: Path = Path("build/nano"), *, log=print) -> Path:
    """Write model/, saes/, tokens.npz and manifest.json into ``folder``, and return it.

    Its weights are those of data/nano on the kind of processor that made these; elsewhere training rounds
    otherwise. Cost: half a minute.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<bos>": 0} | {f"w{i}": i for i in range(1, VOCABULARY)}
    words = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = build(vocabulary=VOCABULARY, seed=0, **shape)
    with (
        torch.no_grad()
    ):  # weights of the initial size pass the embedding through; these make the blocks speak
        for name, weight in model.named_parameters():
            if "layers" in name and weight.ndim == 2:
                weight.mul_(8)
    save(model, tokenizer, folder / "model")
    tokens, document = sentences(DOCUMENTS + COMPONENTS, CONTEXTS, seed=0)
    score, component = np.split(tokens, [DOCUMENTS * CONTEXTS])
    ids = dict(zip(("score_document", "component_document"), np.split(document, [len(score)])))
    np.savez_compressed(folder / "tokens.npz", score_tokens=score, component_tokens=component, **ids)
    made, curves, cards = [], {}, {}
    for entry in entries():
        log(f"saes: {entry.id}")
        run = load_model(folder / "model", random_weights=TWIN if entry.suite == "twin" else None)
        x = run.activations(torch.from_numpy(component.astype(np.int64)), entry.site)
        _train(folder, entry, x[:, slice(*WINDOW)].flatten(0, 1), made, curves, cards)
    _manifest(folder, made, curves, cards)
    study = replace(Study.load("nano"), data=str(folder.resolve()), saes=tuple(made))
    measurement = measure(study)
    base = base_sae(study, measurement.card["d_model"])
    parts = rows(measurement, base, text="component")
    for target in TARGETS:
        log(f"saes: of {target}")
        z = parts.target(target, seed=TRAINING_NOISE)
        for seed in (0, 1):
            id = f"part-{target.replace(' ', '-')}" + (f"-seed{seed}" if seed else "")
            more = {"target": target, "suite": SUITE, "path": f"saes/{id}", "site": SITE}
            _train(folder, SaeEntry(id=id, width=24, l0=L0, seed=seed, **more), z, made, curves, cards)
    _manifest(folder, made, curves, cards)
    return folder


def _train(folder: Path, entry: SaeEntry, x, made: list, curves: dict, cards: dict) -> None:
    """Train an SAE on ``x``, vectors of the component text, and set its threshold there; note it in the
    lists."""
    job = SaeJob(
        id=entry.id, site=entry.site, width=entry.width, l0=entry.l0, **TRAINED | {"seed": entry.seed}
    )
    out, rows, quiet = folder / entry.path, x.half().numpy(), lambda line: None
    kind = entry.id.removeprefix("kind-") if entry.suite == "kinds" else "batchtopk"
    train_sae(job, rows, out, kind=kind, log=quiet)
    about = json.loads((out / "training.json").read_text())
    (out / "training.json").unlink()
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    shrink(out)
    sae = load_sae(entry.id, out, d_model=x.shape[1])
    if sae.kind == "jumprelu":
        shrink(out, threshold_for(sae.sae, x, entry.l0))
    made.append(entry)
    curves[entry.id], cards[entry.id] = about["curve"], {"samples": job.samples}


def _manifest(folder: Path, made: list[SaeEntry], curves: dict, cards: dict) -> None:
    files = {name: file for name, file in listed(folder).items() if name != "manifest.json"}
    saes = [{k: v for k, v in asdict(entry).items() if v not in ("", None, {})} for entry in made]
    about = {"saes": saes, "sae_cards": cards, "sae_curves": curves, "files": files}
    (folder / "manifest.json").write_text(json.dumps(about, indent=1))
