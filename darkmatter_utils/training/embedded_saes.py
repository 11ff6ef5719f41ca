"""Train the embedded study's SAEs side by side: the last stages of ``darkmatter train`` before `shipping`."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import torch

from ..adapters.saes import load_sae, threshold_for
from ..base.places import DATA
from ..studies.study import SaeEntry
from . import component_saes, embedded
from .sae_kinds import train_kind
from .sae_training import train_sae
from .shipping import ship, shrink
from .suites import SITE, WINDOW, Planned, others, planned


def _say(line: str) -> None:
    print(line, flush=True)


def train_one(plan: Planned, build: Path, *, log=_say) -> str:
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
        results = [pool.apply_async(train_one, (plan, build)) for plan in todo]
        for i, result in enumerate(results):
            result.get()
            log(f"saes: {i + 1} of {len(todo)} done")
    ship(build, out or DATA / "tiny")
    component_saes.train_all(build, log)  # on parts of the shipped suite's error, so they come last
    return ship(build, out or DATA / "tiny")
