"""Train the SAEs of other kinds, by SAELens' trainers: TopK, standard L1, and BatchTopK over a frozen random decoder."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from .sae_training import BATCHES_PER_ROW, SaeJob, _checkpoint, _resume, learning_rate
from .streams import shuffled_rows

KINDS = ("topk", "standard", "frozen")
SEARCH = dict(share=0.2, first=1.0, runs=5, near=0.02)
"""The search for the L1 coefficient: runs of a fifth of the samples, the first coefficient, how many runs at most, and
the distance of log L0 at which it ends. Each next coefficient is on the line through the last two runs in log L0
against log coefficient, a factor of 4 away at most; the second is twice or half of the first."""
RETRY = 0.1
"""A full L1 run that misses log L0 by more is done once more, with the coefficient moved along the search's last line."""
TAIL = 100
"""Batches at the end of a run that its L0 in training is averaged over."""


def train_kind(job: SaeJob, kind: str, activations: np.ndarray, folder: Path, *, log=print) -> Path:
    """Train ``job`` as ``kind`` on rows of ``activations`` [token, d]; writes ``folder`` as `train_sae` does, returns it.

    topk keeps the ``job.l0`` largest latents of each token and is saved as a TopK SAE; frozen is BatchTopK whose
    decoder rows are random unit vectors from the seed and stay, saved as JumpReLU; standard is the L1 SAE, its
    coefficient found on these rows by `SEARCH`. Decoder rows have norm 1 when saved. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}'; valid: {', '.join(KINDS)}")
    if (folder / "training.json").exists():
        return folder
    if kind != "standard":
        sae, record = _run(job, kind, activations, folder)
    else:
        coefficient, slope, rows = search(job, activations, log=log)
        sae, record = _run(job, kind, activations, folder, l1=coefficient)
        miss = math.log(record["l0_in_training"] / job.l0)
        rows.append([coefficient, record["l0_in_training"], "full"])
        if abs(miss) > RETRY:
            coefficient *= math.exp(_step(miss, slope))
            sae, record = _run(job, kind, activations, folder.with_name(folder.name + ".again"), l1=coefficient)
            rows.append([coefficient, record["l0_in_training"], "full"])
        record |= dict(l1_coefficient=coefficient, search=rows)
    if kind == "standard":
        sae.fold_W_dec_norm()
    sae.save_inference_model(str(folder))
    if kind == "topk":  # saving folded the norms of the decoder's rows into the encoder: they are 1 and need no undoing
        cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": False}
        (folder / "cfg.json").write_text(json.dumps(cfg))
    (folder / "training.json").write_text(json.dumps(asdict(job) | record | {"trained_as": kind}))
    log(f"sae: {job.id} FVU {record['curve'][-1][1]:.4f} in training, {record['seconds']} s")
    return folder


def search(job: SaeJob, activations: np.ndarray, *, log=print) -> tuple[float, float, list]:
    """(L1 coefficient, slope of log L0 in its log, the runs) of `SEARCH`; on training rows only."""
    short = replace(job, samples=int(job.samples * SEARCH["share"]))
    rows, coefficient, slope = [], SEARCH["first"], -1.0
    for _ in range(SEARCH["runs"]):
        l0 = _run(short, "standard", activations, None, l1=coefficient)[1]["l0_in_training"]
        log(f"sae: {job.id} L1 coefficient {coefficient:.4g}: L0 {l0:.2f} after {short.samples} samples")
        rows.append([coefficient, l0, "short"])
        if abs(math.log(l0 / job.l0)) < SEARCH["near"]:
            break
        if len(rows) > 1:
            (a, m), (b, n) = [(math.log(row[0]), math.log(row[1])) for row in rows[-2:]]
            slope = min(-0.2, (n - m) / (b - a)) if a != b else slope
            coefficient = math.exp(b + _step(n - math.log(job.l0), slope))
        else:
            coefficient *= 2.0 if l0 > job.l0 else 0.5
    best = min(rows, key=lambda row: abs(math.log(row[1] / job.l0)))
    return best[0], slope, rows


def _step(miss: float, slope: float) -> float:
    """How far to move the log coefficient for a log L0 too high by ``miss``; by a factor of 4 at most."""
    return max(-math.log(4), min(math.log(4), -miss / slope))


def _made(job: SaeJob, kind: str, d: int, l1: float):
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    shape = dict(d_in=d, d_sae=job.width, dtype="float32", device="cpu")
    if kind == "topk":
        return TopKTrainingSAE(TopKTrainingSAEConfig(**shape, k=int(job.l0)))
    if kind == "standard":
        warm = job.samples // job.batch // 20
        return StandardTrainingSAE(StandardTrainingSAEConfig(**shape, l1_coefficient=l1, l1_warm_up_steps=warm))
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, k=job.l0, topk_threshold_lr=0.05))
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(sae.W_dec.shape), dim=1))
        sae.W_enc.copy_(sae.W_dec.T)
    sae.W_dec.requires_grad_(False)
    return sae


def _run(job: SaeJob, kind: str, activations: np.ndarray, folder: Path | None, *, l1: float = 0.0):
    """(trained SAE with the scale of x folded in, record); checkpoints in ``folder``, if one is given."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(job.seed)
    steps = job.samples // job.batch
    head = activations[:50_000].astype(np.float32)
    scale = float(np.sqrt(head.shape[1] / (head**2).sum(1).mean()))
    sae = _made(job, kind, head.shape[1], l1)
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(head.mean(0) * scale))
    logger = LoggingConfig(log_to_wandb=False)
    config = SAETrainerConfig(total_training_samples=job.samples, train_batch_size_samples=job.batch, lr=job.lr,
                              lr_end=job.lr, device="cpu", dead_feature_window=200, logger=logger, autocast=True)  # fmt: skip
    trainer = SAETrainer(config, sae, iter(()))
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda s: learning_rate(s, steps))
    start, curve, spent, (residual, total) = (0, [], 0.0, (0.0, 0.0))
    if folder is not None:
        start, curve, spent, (residual, total) = _resume(trainer, sae, folder / "checkpoint")
    clock, active = time.perf_counter(), []
    for step, rows in enumerate(shuffled_rows(activations, job.batch, seed=job.seed, start=start), start):
        if step == steps:
            break
        x = torch.from_numpy(rows).float() * scale
        output = trainer.step(x)
        trainer.n_training_steps += 1
        residual += float((x - output.sae_out.detach().float()).pow(2).sum())
        total += float((x - x.mean(0)).pow(2).sum())
        if step >= steps - TAIL:
            active.append(float((output.feature_acts > 0).sum(1).float().mean()))
        if (step + 1) % BATCHES_PER_ROW == 0 or step + 1 == steps:
            curve.append([(step + 1) * job.batch, round(residual / total, 5)])
            residual = total = 0.0
        if folder is not None and (step + 1) % (steps // 10) == 0 and step + 1 < steps:
            progress = dict(curve=curve, spent=spent + time.perf_counter() - clock, sums=[residual, total])
            _checkpoint(trainer, folder / "checkpoint", progress)
    spent += time.perf_counter() - clock
    sae.fold_activation_norm_scaling_factor(scale)
    return sae, dict(seconds=round(spent), curve=curve, l0_in_training=float(np.mean(active)))
