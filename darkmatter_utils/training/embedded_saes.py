"""Train the embedded study's SAEs, and equal ones on each part of x and on matched noise: the last stages."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..adapters.saes import load_sae, threshold_for
from ..base.config import DATA
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
from ..studies.study import SaeEntry, Study
from . import embedded
from .sae_training import SaeJob, train_kind, train_sae
from .shipping import SITE, WINDOW, Planned, others, planned, ship, shrink

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


def _say(line: str) -> None:
    print(line, flush=True)


def train_planned(plan: Planned, build: Path, *, log=_say) -> str:
    """Train, shrink to float16, set the threshold to the asked L0 on the score set, count dead latents.

    Kinds without a threshold stay as trained. A finished SAE is left alone. Writes card.json (L0, FVU and
    dead latents on held-out text) and entry.json (what the manifest says of it beyond its job).
    """
    torch.set_num_threads(1)
    job, folder = plan.job, build / "saes" / plan.job.id
    if (folder / "card.json").exists():
        return job.id
    rows = embedded.activations_folder(build, job.site, SITE, plan.random_weights)
    training = np.load(rows / "training.npy", mmap_mode="r")
    if plan.kind == "batchtopk":
        train_sae(job, training, folder, log=log)
    else:
        train_kind(job, plan.kind, training, folder, log=log)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    shrink(folder)
    score = torch.from_numpy(np.load(rows / "score.npy"))
    entry = SaeEntry(id=job.id)
    sae = load_sae(entry.id, folder, d_model=score.shape[1])
    if sae.kind == "jumprelu":
        shrink(folder, threshold_for(sae.sae, score, job.l0))
        sae = load_sae(entry.id, folder, d_model=score.shape[1])
    component = torch.from_numpy(np.load(rows / "component.npy"))
    fires = sae.firing(score) + sae.firing(component)
    x_hat, l0 = sae.reconstruct(score)
    fvu = float((score - x_hat).pow(2).sum() / (score - score.mean(0)).pow(2).sum())
    card = dict(l0=float(l0.double().mean()), fvu=fvu, dead=float((fires == 0).double().mean()))
    if plan.suite:
        (folder / "entry.json").write_text(json.dumps(dict(suite=plan.suite, kind=sae.kind)))
    (folder / "card.json").write_text(json.dumps(card))
    log(f"sae: {job.id} held out: L0 {card['l0']:.3f}, FVU {fvu:.4f}, dead {card['dead']:.3f}")
    return job.id


def prepare(build: Path, *, log=_say) -> None:
    """Text, language model and the activations of every site that is trained on, as far as they are not
    there."""
    embedded.prepare(build, log=log)
    embedded.finish_model(build, log=log)
    embedded.activations(build, SITE, WINDOW, log=log)
    for random_weights in (
        None,
        *sorted({p.random_weights for p in others() if p.random_weights is not None}),
    ):
        sites = {p.job.site for p in others() if p.random_weights == random_weights}
        wanted = sorted(sites - ({SITE} if random_weights is None else set()))
        embedded.other_activations(build, wanted, SITE, WINDOW, random_weights=random_weights, log=log)


def train(*, workers: int = 2, build: Path = Path("build/tiny"), out: Path | None = None, log=_say) -> Path:
    """All stages, from the installed sources to the shipped folder; returns that folder.

    Goes on from what ``build`` holds. Cost: see the manifest's ``seconds``; single-threaded processes side by
    side.
    """
    torch.set_num_threads(workers)
    prepare(build, log=log)
    todo = planned()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        results = [pool.apply_async(train_planned, (plan, build)) for plan in todo]
        for i, result in enumerate(results):
            result.get()
            log(f"saes: {i + 1} of {len(todo)} done")
    ship(build, out or DATA / "tiny")
    train_all(build, log)  # on parts of the shipped suite's error, so they come last
    return ship(build, out or DATA / "tiny")
