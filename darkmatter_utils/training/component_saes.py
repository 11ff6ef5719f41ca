"""Train equal SAEs on each part of x and on matched noise: a stage of ``darkmatter train tiny``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..adapters.saes import load_sae, threshold_for
from ..base.values import write_atomic
from ..experiments.components import (
    NOISE,
    PARTS,
    SCORED_NOISE,
    SUITE,
    TARGETS,
    TRAINING_NOISE,
    base_sae,
    matched_noise,
    rows,
)
from ..measurement.measure import measure
from ..studies.study import Study
from .sae_training import SaeJob, train_sae
from .shipping import shrink

WIDTH, L0, SEEDS = 384, 8.0, 3
"""Latents (3 d_model), active latents a token, and training seeds of each target."""
SAMPLES = 2_000_000
"""Vectors seen in training: about one and a half passes over the component documents."""
NAMES = dict(
    zip(TARGETS, ("x", "error", "linear", "nonlinear", "noise-linear", "noise-nonlinear"), strict=True)
)


def jobs(site: str) -> list[tuple[SaeJob, str]]:
    """Every component SAE with the target that it is trained on; the seeds of a target follow one another."""

    def job(target, seed):
        name = f"part-{NAMES[target]}" + (f"-seed{seed}" if seed else "")
        return SaeJob(id=name, site=site, width=WIDTH, l0=L0, seed=seed, samples=SAMPLES)

    return [(job(target, seed), target) for target in TARGETS for seed in range(SEEDS)]


def parts(study: Study, build: Path, *, log=print) -> Path:
    """The folder with each part's vectors [token, d_model]: component-*.npy in float16, score-*.npy in
    float32.

    Component documents under the map of all scored documents, which they are no part of; scored documents
    under the maps of the other folds. Both inside the window. Cost: a pass of the model over both texts.
    """
    folder = build / "components"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    measurement = measure(study)
    for text, dtype in (("component", torch.float16), (None, torch.float32)):
        log(f"components: the parts of x on {text or study.text} documents")
        made = rows(measurement, base_sae(study), text=text, dtype=dtype)
        for name in PARTS:
            np.save(folder / f"{text or 'score'}-{NAMES[name]}.npy", made.parts[name].numpy())
    (folder / "done").touch()
    return folder


def target_rows(folder: Path, text: str, target: str) -> np.ndarray:
    """The vectors of a target on a text [token, d_model]: a stored part, or noise drawn to match one."""
    stored = np.load(folder / f"{text}-{NAMES[NOISE.get(target, target)]}.npy")
    if target not in NOISE:
        return stored
    seed = TRAINING_NOISE if text == "component" else SCORED_NOISE
    return matched_noise(torch.from_numpy(stored).float(), seed=seed).numpy().astype(stored.dtype)


def train_all(build: Path, log=print) -> list[str]:
    """All component SAEs of the embedded study; their ids. Resumable.

    Cost: half a minute an SAE in one thread, and before the first a pass of the model over both texts.
    """
    torch.set_num_threads(1)
    study = Study.load("tiny")
    return train_suite(study, build, jobs(study.site), log=log)


def train_suite(study: Study, build: Path, wanted: Sequence[tuple[SaeJob, str]], *, log=print) -> list[str]:
    """Train each job on its target, one after the other; ids of the folders under ``build/saes``.

    A folder is finished when its card.json is there. Memory: one target's vectors, twice.
    """
    targets: dict[str, list[np.ndarray]] = {}
    for job, target in wanted:
        out = build / "saes" / job.id
        if (out / "card.json").exists():
            continue
        if target not in targets:
            folder = parts(study, build, log=log)
            targets = {target: [target_rows(folder, text, target) for text in ("component", "score")]}
        out.mkdir(parents=True, exist_ok=True)
        (out / "entry.json").write_text(json.dumps(dict(suite=SUITE, kind="jumprelu", target=target)))
        train_one(job, *targets[target], out, log=log)
    return [job.id for job, _ in wanted]


def train_one(job: SaeJob, training: np.ndarray, score: np.ndarray, folder: Path, *, log=print) -> None:
    """Train on the component rows, shrink to float16, set the threshold to the asked L0 on the score rows.

    Writes card.json last: L0, FVU and the share of latents that never fire, on the score rows.
    """
    train_sae(job, training, folder, log=log)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    shrink(folder)
    held = torch.from_numpy(score).float()
    read = lambda: load_sae(job.id, folder, d_model=held.shape[1])
    shrink(folder, threshold_for(read().sae, held, job.l0))
    sae = read()
    z_hat, l0 = sae.reconstruct(held)
    fvu = float((held - z_hat).pow(2).sum() / (held - held.mean(0)).pow(2).sum())
    card = dict(l0=float(l0.double().mean()), fvu=fvu, dead=float((sae.firing(held) == 0).double().mean()))
    write_atomic(folder / "card.json", json.dumps(card))
    log(f"sae: {job.id} held out: L0 {card['l0']:.3f}, FVU {fvu:.4f}, dead {card['dead']:.3f}")
