"""The study of a suite's finished SAEs: its folder, manifest and YAML file."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml

from ..adapters import gguf
from ..adapters.models import load_model, token_losses
from ..base import cache
from ..base.values import write_atomic
from ..studies.activations import MICRO
from .language_model import ngram_losses
from .suite import Suite

say = partial(print, flush=True)


def loss(suite: Suite, build: Path, *, log=say) -> dict:
    """The model's nats a token and a byte on the scored text beside n-gram models of the training contexts,
    in float32. Cost: a pass of the whole model over the scored text."""
    path = build / "held_out.json"
    if path.exists():
        return json.loads(path.read_text())
    log("model: loss on the scored text")
    model = load_model(suite.model, name=suite.name, device=suite.device)
    tokens = np.load(build / "held.npz")["score_tokens"].astype(np.int64)
    losses = [
        token_losses(model.run(some.to(suite.device), [])[1], some.to(suite.device))[:, 1:-1].cpu()
        for some in torch.from_numpy(tokens).split(MICRO)
    ]
    nats = float(torch.cat(losses).double().mean())  # of predicting positions 2 and on
    texts = model.tokenizer.batch_decode(tokens[:, 2:].tolist())
    length = sum(len(text.encode()) for text in texts) / tokens[:, 2:].size
    found = dict(nats_per_token=nats, nats_per_byte=nats / length, tokens=int(tokens[:, 2:].size))
    found |= ngram_losses(np.load(build / "train.npy"), tokens, vocabulary=model.vocabulary)
    found |= dict(parameters=model.parameters, quantised=model.quantised)
    write_atomic(path, json.dumps(found))
    return found


def make_study(suite: Suite, build: Path, out: Path, width_of, *, log=say) -> Path:
    """The study of all SAEs that are finished: tokens.npz, saes/, manifest.json, and its YAML file, which is
    returned. What is there and has not changed is left alone."""
    held_out = loss(suite, build, log=log)
    packed = gguf.find(suite.model)
    model = {"source": gguf.version(suite.model), "sha256": cache.sha256(packed)} if packed else {}
    model |= {key: held_out.pop(key) for key in ("parameters", "quantised")}
    (out / "saes").mkdir(parents=True, exist_ok=True)
    if not (out / "tokens.npz").exists():
        shutil.copy(build / "held.npz", out / "tokens.npz")
    entries, cards, curves, text = [], {}, {}, json.loads((build / "text.json").read_text())
    if (about := Path(suite.text).with_name("about.json")).is_file():  # what `prose` says of its packages
        text["packages"] = json.loads(about.read_text())
        notices = {one["name"]: one.pop("notice") for one in text["packages"]}
        said = [
            f"{'=' * 80}\n{name}: token ids of its text are in tokens.npz\n{'=' * 80}\n{notice}"
            for name, notice in notices.items()
        ]
        write_atomic(out / "NOTICES.txt", "\n\n".join(said) + "\n")
    for one in suite.planned(width_of):
        folder, job = build / "saes" / one.job.id, one.job
        if not (folder / "card.json").exists():
            continue
        card, entry, run = (
            json.loads((folder / f"{n}.json").read_text()) for n in ("card", "entry", "training")
        )
        (out / "saes" / job.id).mkdir(exist_ok=True)
        for name in ("cfg.json", "sae_weights.safetensors"):
            if not (out / "saes" / job.id / name).exists():
                shutil.copy(folder / name, out / "saes" / job.id / name)
        same = {name: run[name] for name in ("id", "width", "l0", "site", "seed")}
        entries.append(same | {"path": f"saes/{job.id}", "dead": card["dead"]} | entry)
        keys = ("seconds", "samples", "batch", "lr", "trained_as", "passes", "fall_in_last_third")
        cards[job.id] = card | {name: run[name] for name in (*keys, "device") if name in run}
        curves[job.id] = run["curve"]
    files = {name: one for name, one in cache.listed(out).items() if name.startswith(("saes/", "tokens"))}
    manifest = dict(
        made_by=f"darkmatter train {suite.name}",
        python=sys.version.split()[0],
        versions=cache.versions(),
        model=model,
        held_out=held_out,
        text=text,
        suite={name: value for name, value in asdict(suite).items() if name not in ("text", "data")},
        saes=entries,
        sae_cards=cards,
        sae_curves=curves,
        files=files,
    )
    write_atomic(out / "manifest.json", json.dumps(manifest, separators=(",", ":")) + "\n")
    same = ("name", "title", "model", "site", "window", "dtype", "device", "loud")
    study = {name: getattr(suite, name) for name in same} | {"data": ".", "text": "score", "saes": "manifest"}
    made = out / f"{suite.name}.yaml"
    write_atomic(made, yaml.safe_dump(study | {"window": list(suite.window)}, sort_keys=False))
    return made
