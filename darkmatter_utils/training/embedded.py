"""Make the embedded study from seed: ``darkmatter train tiny``.

Stages, each resumable: text → tokenizer and token files → language model → activations → SAEs → the shipped
folder → equal SAEs on each part of x and on matched noise → the shipped folder again. A stage that is done is
not done again; one that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from ..adapters.dictionary import threshold_for
from ..adapters.models import load_model, token_losses
from ..adapters.saes import load_sae
from ..base.config import DATA
from ..base.values import write_atomic
from ..experiments import components
from ..experiments.components import NOISE, PARTS, TARGETS
from ..measurement.measure import measure
from ..studies.activations import MICRO
from ..studies.study import Study
from . import corpus, language_model
from .sae_training import SaeJob, train_sae
from .shipping import L0, SITE, TWIN_SEED, WINDOW, Planned, others, planned, ship, shrink

STEPS = 3000
"""Optimiser steps of the language model, of 32 contexts."""
ACTIVATIONS, OTHER_ROWS = 4_000_000, 2_500_000
"""Training activations that are stored, about; and at each other site."""
OTHER_COMPONENTS = 4
"""There, latents are counted as dead on every so many-th component context (and the whole score set)."""
PART_WIDTH, PART_SEEDS, PART_SAMPLES = 384, 3, 2_000_000
"""Of the SAEs of parts: latents (3 d_model), training seeds of each target, vectors seen in training."""
NAMES = dict(zip(TARGETS, ("x", "error", "linear", "nonlinear", "noise-linear", "noise-nonlinear")))

say = partial(print, flush=True)


def _batches(tokens: np.ndarray) -> Sequence[torch.Tensor]:
    return torch.from_numpy(tokens.astype(np.int64)).split(MICRO)


def finish_model(build: Path, *, log=say) -> None:
    """The trained model as a transformers folder in float16, and its held-out loss beside n-gram models."""
    folder = build / "model"
    if (folder / "held_out.json").exists():
        return
    contexts, held = np.load(build / "training.npy", mmap_mode="r"), np.load(build / "held_out.npz")
    probe, tokens = held["component_tokens"][::64], held["score_tokens"]
    evaluate = lambda model: float(language_model.token_losses(model, probe).mean())
    model, curve = language_model.train(contexts, folder, steps=STEPS, evaluate=evaluate, log=log)
    language_model.save(model, AutoTokenizer.from_pretrained(build / "tokenizer"), folder / "saved")
    loaded = load_model(folder / "saved")
    losses = [token_losses(loaded.run(part, [])[1], part)[:, 1:-1] for part in _batches(tokens)]
    nats = float(torch.cat(losses).double().mean())  # of predicting positions 2 and on
    words = loaded.tokenizer.convert_ids_to_tokens(range(language_model.VOCABULARY))
    length = np.array([len(word) for word in words])[tokens[:, 2:]].mean()
    log("model: counting n-grams")
    nats_per = dict(nats_per_token=nats, nats_per_byte=nats / float(length))
    nats_per |= language_model.ngram_losses(contexts, tokens)
    log("model: held-out nats a token " + ", ".join(f"{k} {v:.3f}" for k, v in nats_per.items()))
    held_out = nats_per | {"tokens": int(tokens[:, 2:].size)}
    about = dict(held_out=held_out, curve=curve, parameters=sum(p.numel() for p in model.parameters()))
    (folder / "held_out.json").write_text(json.dumps(about))


def activations_folder(build: Path, site: str, random_weights: int | None = None) -> Path:
    """Where a site's activations are: those of the study's own site are in the folder of all."""
    if site == SITE and random_weights is None:
        return build / "activations"
    return build / "activations" / (site if random_weights is None else f"{site}-random{random_weights}")


def activations(
    build: Path, sites: Sequence[str], *, rows: int, every: int = 1, random_weights=None, log=say
) -> None:
    """Activations [token, d_model] at ``sites`` in one pass of the model, or of its twin of random weights.

    score.npy (inside the window, float32), component.npy (of each ``every``-th context) and training.npy
    (about ``rows``, from contexts spread over all of the text; both float16), without <bos>. Rows are written
    as they come, so that memory is one batch's; a set that was cut off is made anew, a finished one is left
    alone. Cost: a pass over the contexts, whatever the number of sites.
    """
    held, training = np.load(build / "held_out.npz"), np.load(build / "training.npy", mmap_mode="r")
    stride = max(1, len(training) * (language_model.CONTEXT - 1) // rows)
    whole = (1, language_model.CONTEXT)
    sets = {
        "score": (held["score_tokens"], WINDOW, np.float32),
        "component": (held["component_tokens"][::every], whole, np.float16),
        "training": (training[::stride], whole, np.float16),
    }
    folders = {site: activations_folder(build, site, random_weights) for site in sites}
    model = None
    for name, (tokens, (start, stop), dtype) in sets.items():
        missing = {site: folder / f"{name}.npy" for site, folder in folders.items()}
        missing = {site: path for site, path in missing.items() if not path.exists()}
        if not missing:
            continue
        model = model or load_model(build / "model" / "saved", random_weights=random_weights)
        log(f"activations: {name}, {len(tokens)} contexts, {len(missing)} sites")
        shape, files, row = (len(tokens) * (stop - start), model.d_model), {}, 0
        for site, path in missing.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files[site] = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", dtype, shape)
        for part in _batches(tokens):
            for site, value in model.read(part, list(missing)).items():
                found = value[:, start:stop].flatten(0, 1).numpy()
                files[site][row : row + len(found)] = found
            row += len(found)
        for site, path in missing.items():
            files[site].flush()
            path.with_suffix(".part").replace(path)


def train_one(
    job: SaeJob,
    training,
    score,
    folder: Path,
    *,
    calibration,
    kind="batchtopk",
    component=None,
    entry=None,
    log=say,
) -> None:
    """Train, shrink to float16, set the threshold, where there is one, to the asked L0 on ``calibration``:
    rows of component documents inside the window. Nothing is set on the score rows, which are only read.

    Writes entry.json (``entry``: what the manifest says of it beyond its job) and, last, card.json: realised
    L0 and FVU on the score rows, and the share of latents that fire neither there nor on the component rows.
    """
    train_sae(job, training, folder, kind=kind, log=log)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    shrink(folder)
    score = torch.from_numpy(score).float()
    sae = load_sae(job.id, folder, d_model=score.shape[1])
    if sae.kind == "jumprelu":
        shrink(folder, threshold_for(sae.sae, torch.from_numpy(calibration), job.l0))
        sae = load_sae(job.id, folder, d_model=score.shape[1])
    fires = sae.firing(score)
    if component is not None:
        fires = fires + sae.firing(torch.from_numpy(component))
    x_hat, l0 = sae.reconstruct(score)
    fvu = float((score - x_hat).pow(2).sum() / (score - score.mean(0)).pow(2).sum())
    card = dict(l0=float(l0.double().mean()), fvu=fvu, dead=float((fires == 0).double().mean()))
    if entry:
        (folder / "entry.json").write_text(json.dumps(entry | {"kind": sae.kind}))
    write_atomic(folder / "card.json", json.dumps(card))
    log(f"sae: {job.id} held out: L0 {card['l0']:.3f}, FVU {fvu:.4f}, dead {card['dead']:.3f}")


def train_planned(plan: Planned, build: Path) -> None:
    """Train an SAE on its site's activations, in one thread; a finished one is left alone."""
    torch.set_num_threads(1)
    folder = build / "saes" / plan.job.id
    if (folder / "card.json").exists():
        return
    rows = activations_folder(build, plan.job.site, plan.random_weights)
    training = np.load(rows / "training.npy", mmap_mode="r")
    score, component = np.load(rows / "score.npy"), np.load(rows / "component.npy")
    how = dict(kind=plan.kind, calibration=in_window(component), component=component)
    train_one(plan.job, training, score, folder, entry={"suite": plan.suite} if plan.suite else None, **how)


def in_window(rows: np.ndarray) -> np.ndarray:
    """Of rows of whole contexts without <bos> [token, d], those at scored positions: L0 depends on them."""
    start, stop = WINDOW
    whole = rows.reshape(-1, language_model.CONTEXT - 1, rows.shape[1])
    return whole[:, start - 1 : stop - 1].reshape(-1, rows.shape[1])


def part_jobs(site: str) -> list[tuple[SaeJob, str]]:
    """Every component SAE with the target that it is trained on; the seeds of a target follow one another."""
    name = lambda target, seed: f"part-{NAMES[target]}" + (f"-seed{seed}" if seed else "")
    job = lambda *which: SaeJob(name(*which), site, PART_WIDTH, L0, which[1], PART_SAMPLES)
    return [(job(target, seed), target) for target in TARGETS for seed in range(PART_SEEDS)]


def parts(study: Study, build: Path, *, log=say) -> Path:
    """The folder with each part's vectors [token, d_model]: component-*.npy (float16), score-*.npy (float32).

    Component documents under the map of all scored documents, which they are no part of; scored documents
    under the maps of the other folds. Both inside the window. Cost: a pass of the model over both texts.
    """
    folder = build / "components"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    measurement = measure(study)
    base = components.base_sae(study, measurement.card["d_model"])
    for text, dtype in (("component", torch.float16), (None, torch.float32)):
        log(f"components: the parts of x on {text or study.text} documents")
        made = components.rows(measurement, base, text=text, dtype=dtype)
        for name in PARTS:
            np.save(folder / f"{text or 'score'}-{NAMES[name]}.npy", made.parts[name].numpy())
    (folder / "done").touch()
    return folder


def target_rows(folder: Path, text: str, target: str) -> np.ndarray:
    """The vectors of a target on a text [token, d_model]: a stored part, or noise drawn to match one."""
    stored = np.load(folder / f"{text}-{NAMES[NOISE.get(target, target)]}.npy")
    if target not in NOISE:
        return stored
    seed = components.TRAINING_NOISE if text == "component" else components.SCORED_NOISE
    return components.matched_noise(torch.from_numpy(stored).float(), seed=seed).numpy().astype(stored.dtype)


def train_parts(study: Study, build: Path, wanted: Sequence[tuple[SaeJob, str]], *, log=say) -> None:
    """Train each job on its target, one after the other; a finished SAE is left alone. Training and threshold
    are of the component documents, whose parts come from maps of the scored ones.

    Memory: one target's vectors, twice. Cost: half a minute an SAE in one thread, and before the first a pass
    of the model over both texts.
    """
    targets: dict[str, list[np.ndarray]] = {}
    for job, target in wanted:
        out = build / "saes" / job.id
        if (out / "card.json").exists():
            continue
        if target not in targets:
            folder = parts(study, build, log=log)
            targets = {target: [target_rows(folder, text, target) for text in ("component", "score")]}
        training, score = targets[target]
        about = dict(entry={"suite": components.SUITE, "target": target}, log=log)
        train_one(job, training, score, out, calibration=training, **about)


def train(build: Path = Path("build/tiny"), *, workers: int = 2, log=say) -> Path:
    """All stages, from the installed sources to the shipped folder; returns that folder.

    Goes on from what ``build`` holds. Cost: the manifest's ``seconds``, in ``workers`` threads.
    """
    torch.set_num_threads(workers)
    corpus.prepare(build, log=log)
    finish_model(build, log=log)
    elsewhere = dict(rows=OTHER_ROWS, every=OTHER_COMPONENTS, log=log)
    activations(build, [SITE], rows=ACTIVATIONS, log=log)
    activations(build, sorted({p.job.site for p in others()} - {SITE}), **elsewhere)
    activations(build, [SITE], random_weights=TWIN_SEED, **elsewhere)
    todo = planned()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap(partial(train_planned, build=build), todo), start=1):
            log(f"saes: {done} of {len(todo)} done")
    ship(build, DATA / "tiny")
    torch.set_num_threads(1)
    study = Study.load("tiny")
    train_parts(study, build, part_jobs(study.site), log=log)  # on parts of the shipped suite's error
    return ship(build, DATA / "tiny")
