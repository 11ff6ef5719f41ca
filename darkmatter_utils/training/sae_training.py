"""Train SAEs on stored activations with SAELens' trainers, one thread an SAE, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..base.values import whole


@dataclass(frozen=True)
class SaeJob:
    """One SAE to train."""

    id: str
    site: str
    width: int
    """Latents, d_sae."""
    l0: float
    """Active latents a token, in training (mean over a batch) and, by the threshold, at inference."""
    seed: int
    samples: int
    """Activations seen in training; more than are stored means further passes in another order."""
    batch: int = 1024
    lr: float = 5e-3


BATCHES_PER_ROW = 100
"""Training batches that one row of the curve averages over."""
TAIL = 100
"""Batches at the end of a run that its L0 in training is averaged over."""
FLOOR = 0.03
"""The learning rate of the last third, as a share of the peak."""


def learning_rate(step: int, steps: int, *, warm: int = 50) -> float:
    """Share of the peak: a short warm-up, flat to a quarter of the run, linear decay to two thirds, then
    ``FLOOR``.

    The last third runs at the floor, so that the curve shows whether training has converged.
    """
    position = step / steps
    decay = 1 - (1 - FLOOR) * min(max((position - 1 / 4) / (2 / 3 - 1 / 4), 0.0), 1.0)
    return min(1.0, (step + 1) / warm) * decay


def train_sae(job: SaeJob, activations: np.ndarray, folder: Path, *, log=print) -> Path:
    """Train ``job`` on rows of ``activations`` [token, d]; writes ``folder`` as SAELens does and returns it.

    BatchTopK by SAELens' own trainer step; saved as the JumpReLU SAE that SAELens makes of it, in float32,
    beside training.json: the job, the seconds spent and the curve, a row per ``BATCHES_PER_ROW`` batches with
    the FVU of those batches. A checkpoint is written each tenth of the run. Raises nothing of its own.
    """
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    if (folder / "training.json").exists():
        return folder
    torch.manual_seed(job.seed)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=activations.shape[1],
            d_sae=job.width,
            k=job.l0,
            dtype="float32",
            device="cpu",
            topk_threshold_lr=0.05,
        )
    )
    record = fit(job, sae, activations, folder)
    sae.save_inference_model(str(folder))
    (folder / "training.json").write_text(
        json.dumps(asdict(job) | {k: record[k] for k in ("seconds", "curve")})
    )
    log(f"sae: {job.id} FVU {record['curve'][-1][1]:.4f} in training, {record['seconds']} s")
    return folder


def fit(job: SaeJob, sae, activations: np.ndarray, folder: Path | None) -> dict:
    """Run SAELens' trainer on a fresh training SAE, in place, and fold the scale of x into it: seconds,
    curve, L0.

    Rows are scaled to a mean squared norm of d, and b_dec starts at their mean. Checkpoints go to ``folder``,
    if one is given, and a run that was cut off goes on from there.
    """
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    steps = job.samples // job.batch
    head = activations[:50_000].astype(np.float32)
    scale = float(np.sqrt(head.shape[1] / (head**2).sum(1).mean()))
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(head.mean(0) * scale))
    logger = LoggingConfig(log_to_wandb=False)
    config = SAETrainerConfig(
        total_training_samples=job.samples,
        train_batch_size_samples=job.batch,
        lr=job.lr,
        lr_end=job.lr,
        device="cpu",
        dead_feature_window=200,
        logger=logger,
        autocast=True,
    )
    trainer = SAETrainer(config, sae, iter(()))
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda s: learning_rate(s, steps)
    )
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
    return dict(seconds=round(spent), curve=curve, l0_in_training=float(np.mean(active)))


def _checkpoint(trainer, folder: Path, progress: dict) -> None:
    with whole(folder) as part:
        trainer.save_checkpoint(part.name, base_path=part.parent)
        (part / "progress.json").write_text(json.dumps(progress))
        torch.save(torch.get_rng_state(), part / "rng.pt")


def _resume(trainer, sae, folder: Path):
    if not (folder / "progress.json").exists():
        return 0, [], 0.0, (0.0, 0.0)
    from safetensors.torch import load_file

    sae.load_state_dict(load_file(folder / "sae_weights.safetensors"))
    trainer.load_trainer_state(folder)
    torch.set_rng_state(torch.load(folder / "rng.pt"))
    progress = json.loads((folder / "progress.json").read_text())
    return trainer.n_training_steps, progress["curve"], progress["spent"], progress["sums"]


def shuffled_rows(rows: np.ndarray, batch: int, *, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Endless batches [batch, d] of ``rows`` in random order, a new order each pass; ``start`` skips
    batches."""
    per_pass = len(rows) // batch
    step = start
    while True:
        order = np.random.default_rng([seed, step // per_pass]).permutation(len(rows))
        for i in range(step % per_pass, per_pass):
            yield rows[np.sort(order[i * batch : (i + 1) * batch])]
            step += 1
