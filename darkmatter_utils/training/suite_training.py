"""Train a suite of SAEs: text → activations, a site at a time → SAEs → a study. Each stage can be cut off."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from ..adapters import saes
from ..adapters.dictionary import threshold_for
from ..adapters.models import load_model
from ..adapters.saes import load_sae
from ..base.errors import BadInput, nearest
from ..base.values import write_atomic
from ..base.words import readable
from ..experiments.components import SUITE
from ..studies.study import Study
from . import rows, splitting
from .embedded import parts, target_rows
from .sae_training import SPARSE, fit, fit_sparse, made, search
from .shipping import shrink
from .sparse import SparseStep
from .suite import EPOCHS, Planned, Suite
from .suite_study import make_study

say = partial(print, flush=True)


def prepare(suite: Suite, build: Path, width_of, tokenizer, *, log=say) -> None:
    """Contexts of the text: train.npy, component.npy, held.npz (score and component, with their documents),
    and text.json, with tokens by source and set."""
    if (build / "text.json").exists():
        return
    build.mkdir(parents=True, exist_ok=True)
    log(f"text: {suite.text}")
    most = suite.contexts(max(one.job.samples for one in suite.planned(width_of) if one.suite != SUITE))
    sizes = dict(context=suite.context, score=suite.score, component=suite.component, train=most)
    documents = splitting.read(suite.text)
    held, about = splitting.split(documents, tokenizer, **sizes, held_out=suite.held_out)
    for row in about["sources"]:
        log("text: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()))
    if len(found := held.pop("train_tokens")) < 0.99 * most:
        most_samples = int(EPOCHS * len(found) * (suite.window[1] - suite.window[0]) / 1.01)
        few = f"the text gives {len(found)} contexts to train on, {most} are needed"
        raise BadInput(f"suite {suite.name}: {few}; give more text, or samples: {most_samples} at most")
    np.save(build / "train.npy", found)
    np.save(build / "component.npy", held["component_tokens"])
    kept = {k: v for k, v in held.items() if not k.startswith("train")}
    np.savez_compressed(build / "held.npz", **kept)
    write_atomic(build / "text.json", json.dumps(about, indent=1))


def wanted(suite: Suite, width_of, random_weights: int | None = None) -> dict[str, int]:
    """How many training contexts each site's SAEs need, of the model or of a twin of random weights."""
    found: dict[str, int] = {}
    for one in suite.planned(width_of):
        if one.random_weights == random_weights and one.suite != SUITE:
            site = one.job.site
            found[site] = max(found.get(site, 0), suite.contexts(one.job.samples))
    return found


def train_planned(plan: Planned, suite: Suite, build: Path, *, texts=None, log=say) -> None:
    """Train an SAE on its site's activations and set its threshold, where it has one, to its L0 on the
    component text; a finished one is left alone, one that was cut off goes on.

    Writes, as SAELens does, cfg.json and sae_weights.safetensors in float16, training.json (the job,
    seconds, the curve of the FVU on component text, its fall over the last third), entry.json and, last,
    card.json: L0, FVU and the share of latents that never fire, on component text.
    ``texts``: what is trained on and what is only read [token, d], in place of the stored activations.
    """
    job, folder = plan.job, build / "saes" / plan.job.id
    if (folder / "card.json").exists():
        return
    if texts is None:
        at = rows.folder_of(build, job.site, plan.random_weights)
        stored, component = rows.training(build, job.site, plan.random_weights), np.load(at / "component.npy")
    else:
        stored, component = texts
    passes = job.samples / len(stored)
    log(f"sae: {job.id}, {job.samples:,} activations, {passes:.2f} times each of {len(stored):,} stored")
    held = component[:: max(1, len(component) // HELD)][:HELD]
    if plan.kind in SPARSE:
        sae, record = fit_sparse(job, plan.kind, stored, held, folder, log=log, device=suite.device)
    elif plan.kind == "standard":
        sae, record = search(job, stored, log=log, device=suite.device)
        sae.fold_W_dec_norm()
    else:
        sae, record = fit(job, plan.kind, stored, folder, device=suite.device)
    sae.to("cpu").save_inference_model(str(folder))
    if plan.kind == "topk":  # as in train_sae
        cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": False}
        (folder / "cfg.json").write_text(json.dumps(cfg))
    shrink(folder)
    x = torch.from_numpy(component)
    load = partial(load_sae, job.id, folder, d_model=x.shape[1], device=suite.device)
    loaded = load()
    if loaded.kind == "jumprelu" and plan.kind != "jumprelu":  # one of its own training needs none
        shrink(folder, threshold_for(loaded.sae, x if texts is None else torch.from_numpy(stored), job.l0))
        loaded = load()
    card = component_card(loaded, x)
    early, late = (at_share(record["curve"], share) for share in (2 / 3, 1))
    if suite.device != "cpu":
        record["device"] = torch.cuda.get_device_name() if "cuda" in suite.device else suite.device
    record |= {"fall_in_last_third": round(1 - late / early, 5), "passes": round(passes, 3)}
    (folder / "training.json").write_text(json.dumps(asdict(job) | record | {"trained_as": plan.kind}))
    entry = {"suite": plan.suite, "kind": loaded.kind, "main": plan.main, "target": plan.target}
    (folder / "entry.json").write_text(json.dumps(entry))
    write_atomic(folder / "card.json", json.dumps(card))
    for left in folder.glob("*checkpoint.pt*"):  # a kill while one is written leaves a part of it
        left.unlink()
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    said = f"L0 {card['l0']:.2f}, FVU {card['fvu']:.4f}, dead {card['dead']:.3f}"
    fall = f"the FVU fell by {record['fall_in_last_third']:.1%} over the last third"
    log(f"sae: {job.id} on component text: {said}; {fall}; {record['seconds']} s")


HELD = 16_384
"""Activations of component text that a curve is measured on."""


def at_share(curve: list, share: float) -> float:
    """The curve's value after a share of the run."""
    samples, values = zip(*curve)
    return float(np.interp(share * samples[-1], samples, values))


def component_card(sae, x: torch.Tensor) -> dict:
    """L0, FVU and the share of latents that never fire, on component text. Memory: a batch."""
    mean = torch.stack([part.double().sum(0) for part in x.split(65_536)]).sum(0) / len(x)
    fires, active, error, total = 0, 0.0, 0.0, 0.0
    mean = mean.to(sae.bias.device)
    for part in x.split(16_384):
        part = part.to(sae.bias)
        codes = sae.codes(part)
        fires = fires + torch.bincount(codes.latent.long(), minlength=sae.width)
        active += float(codes.l0.sum())
        error += float((part - sae.decode(codes)).double().pow(2).sum())
        total += float((part - mean).double().pow(2).sum())
    return dict(l0=active / len(x), fvu=error / total, dead=float((fires == 0).double().mean()))


def train(
    suite: Suite, build: Path, out: Path, *, workers: int = 2, only: Sequence[str] = (), keep=False, log=say
) -> Path:
    """All stages, each resumable; the study's file. ``only``: SAEs by id, of whose sites alone activations
    are stored. Unless ``keep``, a site whose SAEs are finished loses its activations: one is on disk."""
    known = _Known(suite)
    plans = suite.planned(known.width)
    if wrong := set(only) - {one.job.id for one in plans}:
        raise BadInput(f"no SAE '{sorted(wrong)[0]}'; {nearest(sorted(wrong)[0], [p.job.id for p in plans])}")
    prepare(suite, build, known.width, known.model.tokenizer, log=log)
    todo = [one for one in plans if not only or one.job.id in only]
    todo = [one for one in todo if not (build / "saes" / one.job.id / "card.json").exists()]
    known.__dict__.pop("model", None)
    for places in _passes(todo, keep):
        mine = [one for one in todo if _place(one) in places]
        for twin in dict.fromkeys(twin for _, twin in places):
            sizes = {
                site: suite.contexts(max(one.job.samples for one in mine if _place(one) == (site, twin)))
                for site, random in places
                if random == twin
            }
            numbers = sum(size * known.width(site) for site, size in sizes.items())
            gigabytes = numbers * (suite.window[1] - suite.window[0]) * 2 / 1e9
            log(f"{', '.join(sizes)}: activations take {gigabytes:.1f} GB in {build}")
            rows.store(suite, build, sizes, random_weights=twin, log=log)
        _train_all(mine, suite, build, workers, log)
        if not (only or keep):
            for place in places:
                shutil.rmtree(rows.folder_of(build, *place))
    path = make_study(suite, build, out, known.width, log=log)
    if of_parts := [one for one in todo if one.suite == SUITE]:
        parts(Study.load(path), build, log=log)
        _train_all(of_parts, suite, build, workers, log)
        path = make_study(suite, build, out, known.width, log=log)
    return path


def _place(plan: Planned) -> tuple[str, int | None] | None:
    """The activations that an SAE is trained on; None: parts of them."""
    return None if plan.suite == SUITE else (plan.job.site, plan.random_weights)


def _places(plans: Sequence[Planned]) -> list[tuple[str, int | None]]:
    return [place for place in dict.fromkeys(map(_place, plans)) if place]


def _passes(plans: Sequence[Planned], keep: bool) -> list[list[tuple[str, int | None]]]:
    """Sites whose activations are on disk together: one, or all if they are kept, in a pass of the model."""
    places = _places(plans)
    return ([places] if places else []) if keep else [[place] for place in places]


def cost(suite: Suite, build: Path) -> list[str]:
    """What training would take, as lines: by a forward pass of one context and a step of each width, timed
    here in one thread. Raises BadInput for a model, site or text that cannot be used."""
    known, said, total, threads = _Known(suite), [], 0.0, torch.get_num_threads()
    torch.set_num_threads(1)
    plans = suite.planned(known.width)
    splitting.read(suite.text)
    model = load_model(suite.model, name=suite.name, dtype=suite.model_dtype, device=suite.device)
    tokens = torch.ones((1, suite.context), dtype=torch.int64, device=suite.device)
    for site, twin in _places(plans):
        mine = [one for one in plans if _place(one) == (site, twin)]
        contexts, d = suite.contexts(max(one.job.samples for one in mine)), known.width(site)
        seconds = (contexts + suite.component) * _seconds(lambda: model.read(tokens, [site]))
        for width in {one.job.width for one in mine}:
            job = next(one.job for one in mine if one.job.width == width)
            own = SparseStep(
                made(job, "batchtopk", d, 0.0, suite.device),
                lr=job.lr,
                kind="batchtopk",
                precision=torch.bfloat16,
            )
            x = torch.randn(suite.batch, d, device=suite.device)
            step = _seconds(lambda: own.step(x, job.lr))
            seconds += step * sum(one.job.samples for one in mine if one.job.width == width) / suite.batch
        left = sum(not (build / "saes" / one.job.id / "card.json").exists() for one in mine)
        bytes = contexts * (suite.window[1] - suite.window[0]) * d * 2
        where = site if twin is None else f"{site} of random weights"
        took = f"{seconds / 3600:.1f} h, {readable(bytes)} of activations"
        said.append(f"{where}: {len(mine)} SAEs ({left} to train), {took}")
        total += seconds
    torch.set_num_threads(threads)
    return [
        *said,
        f"all: {total / 3600:.1f} h of one core, or half of it with two; one site is on disk at a time",
    ]


def _seconds(function) -> float:
    function()
    clock = time.perf_counter()
    function()
    return time.perf_counter() - clock


def _train_all(plans: Sequence[Planned], suite: Suite, build: Path, workers: int, log) -> None:
    """Each in a process and thread of its own, ``workers`` at a time."""
    with multiprocessing.get_context("spawn").Pool(min(workers, len(plans))) as pool:
        job = partial(_train_in_one_thread, suite=suite, build=build)
        for done, _ in enumerate(pool.imap(job, plans), start=1):
            log(f"saes: {done} of {len(plans)}")


def _train_in_one_thread(plan: Planned, suite: Suite, build: Path) -> None:
    torch.set_num_threads(1)
    texts = None
    if plan.suite == SUITE:
        stored = partial(target_rows, build / "components", target=plan.target)
        texts = [stored("component"), stored("score")]
    if suite.device != "cpu":  # there is no cache to stay in, and each chunk is waited for
        saes.CHUNK = 1 << 27
    train_planned(plan, suite, build, texts=texts)


class _Known:
    """What is asked of a suite's model before and after its SAEs are trained, loaded when it is asked."""

    def __init__(self, suite: Suite):
        self.suite, self.widths = suite, {}

    @cached_property
    def model(self):
        return load_model(self.suite.model, name=self.suite.name)

    def width(self, site: str) -> int:
        if site not in self.widths:
            self.model.check_site(site)
            self.widths[site] = self.model.width(site)
        return self.widths[site]
