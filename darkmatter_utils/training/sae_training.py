"""Train SAEs of every kind on stored activations with SAELens' trainers, one thread an SAE, resumable."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..base.values import whole
from .batches import beside, shuffled_rows
from .sparse import SparseStep


@dataclass(frozen=True)
class SaeJob:
    """One SAE to train, with ``width`` latents."""

    id: str
    site: str
    width: int
    l0: float
    """Active latents a token, in training (mean over a batch) and, by a threshold that is set on rows which
    no metric is scored on, at inference: the L0 of scored tokens is near it, and is measured."""
    seed: int
    samples: int
    """Activations seen in training; more than are stored means further passes in another order."""
    batch: int = 1024
    lr: float = 5e-3


KINDS = ("batchtopk", "topk", "matryoshka", "jumprelu", "standard", "frozen")
SPARSE = ("batchtopk", "topk")
"""Those that `fit_sparse` trains."""
NESTED = (1 / 8, 1 / 4, 1 / 2, 1)
"""Widths of a Matryoshka SAE's levels, as shares of its own."""
BATCHES_PER_ROW = 100
"""Training batches that one row of the curve averages over."""
TAIL = 100
"""Batches at the end of a run that its L0 in training is averaged over."""
FLOOR = 0.03
"""The learning rate of the last third, as a share of the peak."""
SEARCH = {"share": 0.2, "first": 2.0, "short": 3, "full": 4, "near": 0.05}
"""The search for the L1 coefficient, on training rows alone. At most three short runs, of a fifth of the
samples, find its order of magnitude; then at most four full runs, because L0 goes on falling with training. A
run that ends within 5% of the asked L0 (in its logarithm) ends its stage. Each next coefficient is where the
line through the stage's last two runs, in log L0 against log coefficient, meets the asked L0, a factor of 4
away at most; after the stage's first run its slope is −1. The full run nearest to the asked L0 is kept."""


def learning_rate(step: int, steps: int) -> float:
    """Share of the peak: a short warm-up, flat to a quarter of the run, linear decay to two thirds, then
    ``FLOOR``, so that the curve shows whether training has converged."""
    position = step / steps
    decay = 1 - (1 - FLOOR) * min(max((position - 1 / 4) / (2 / 3 - 1 / 4), 0.0), 1.0)
    return min(1.0, (step + 1) / 50) * decay


def train_sae(
    job: SaeJob, activations: np.ndarray, folder: Path, *, kind: str = "batchtopk", log=print
) -> Path:
    """Train ``job`` on rows of ``activations`` [token, d]; writes ``folder`` as SAELens does and returns it.

    batchtopk is saved as the JumpReLU SAE that SAELens makes of it, and so is frozen, whose decoder rows are
    random unit vectors from the seed and stay; topk keeps the ``job.l0`` largest latents of each token;
    standard is the L1 SAE, its coefficient found on these rows by `SEARCH`. In float32, beside training.json:
    the job, the seconds spent and the curve, a row per ``BATCHES_PER_ROW`` batches with the FVU of those
    batches. A checkpoint is written each tenth of the run (standard: none); a finished SAE is left alone.
    Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}'; valid: {', '.join(KINDS)}")
    if (folder / "training.json").exists():
        return folder
    if kind == "standard":
        sae, record = search(job, activations, log=log)
        sae.fold_W_dec_norm()
    else:
        sae, record = fit(job, kind, activations, folder)
    sae.save_inference_model(str(folder))
    if kind == "topk":  # saving folded the decoder rows' norms into the encoder: they are 1, nothing to undo
        cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": False}
        (folder / "cfg.json").write_text(json.dumps(cfg))
    named = {} if kind == "batchtopk" else {"trained_as": kind}
    (folder / "training.json").write_text(json.dumps(asdict(job) | record | named))
    log(f"sae: {job.id} FVU {record['curve'][-1][1]:.4f} in training, {record['seconds']} s")
    return folder


def fit(
    job: SaeJob,
    kind: str,
    activations: np.ndarray,
    folder: Path | None = None,
    *,
    l1: float = 0.0,
    device: str = "cpu",
):
    """(the SAE that SAELens' trainer makes, the scale of x folded in; its seconds, curve and L0).

    Rows are scaled to a mean squared norm of d, and b_dec starts at their mean. Checkpoints go to ``folder``,
    if one is given, and a run that was cut off goes on from there.
    """
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(job.seed)
    sae = made(job, kind, activations.shape[1], l1, device)
    steps = job.samples // job.batch
    head = activations[:50_000].astype(np.float32)
    scale = float(np.sqrt(head.shape[1] / (head**2).sum(1).mean()))
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(head.mean(0) * scale))
    settings = dict(total_training_samples=job.samples, train_batch_size_samples=job.batch, device=device)
    settings |= dict(lr=job.lr, lr_end=job.lr, dead_feature_window=200, autocast=True)
    config = SAETrainerConfig(**settings, logger=LoggingConfig(log_to_wandb=False))
    trainer = SAETrainer(config, sae, iter(()))
    rate = lambda step: learning_rate(step, steps)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, rate)
    start, curve, spent, (residual, total) = 0, [], 0.0, (0.0, 0.0)
    if folder and (folder / "checkpoint" / "progress.json").exists():
        start, curve, spent, (residual, total) = _resume(trainer, sae, folder / "checkpoint")
    clock, active = time.perf_counter(), []
    batches = shuffled_rows(beside(activations, device), job.batch, seed=job.seed, start=start)
    for step, rows in zip(range(start, steps), batches):
        x = torch.as_tensor(rows).float() * scale
        output = trainer.step(x)
        trainer.n_training_steps += 1
        residual += float((x - output.sae_out.detach().float()).pow(2).sum())
        total += float((x - x.mean(0)).pow(2).sum())
        if step >= steps - TAIL:
            active.append(float((output.feature_acts > 0).sum(1).float().mean()))
        if (step + 1) % BATCHES_PER_ROW == 0 or step + 1 == steps:
            curve.append([(step + 1) * job.batch, round(residual / total, 5)])
            residual = total = 0.0
        if folder and (step + 1) % (steps // 10) == 0 and step + 1 < steps:
            progress = dict(curve=curve, spent=spent + time.perf_counter() - clock, sums=[residual, total])
            _checkpoint(trainer, folder / "checkpoint", progress)
    spent += time.perf_counter() - clock
    sae.fold_activation_norm_scaling_factor(scale)
    return sae, dict(seconds=round(spent), curve=curve, l0_in_training=float(np.mean(active)))


def fit_sparse(job: SaeJob, kind: str, rows, held, folder: Path, *, log=print, device: str = "cpu"):
    """As `fit` for batchtopk and topk, by `sparse.SparseStep`: (the SAE, its seconds, curve and L0).

    ``rows``: activations [row, d] to train on, an array or anything that gives rows by ascending numbers;
    ``held``: activations [row, d] of other text, on which the curve's FVU is measured, at the L0 of training.
    The state is written to ``folder`` each `CHECKPOINTS`-th of the run. bfloat16 chooses the latents on a
    CPU; all else is float32. Cost: a token takes 2 d · width products and 10 d · L0.
    """
    torch.manual_seed(job.seed)
    sae = made(job, kind, rows.shape[1], 0.0, device)
    steps, path = job.samples // job.batch, folder / "checkpoint.pt"
    head = rows[: min(50_000, len(rows))].astype(np.float32)
    scale = float(np.sqrt(head.shape[1] / (head**2).sum(1).mean()))
    held = torch.from_numpy(held.astype(np.float32)).to(device) * scale
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(head.mean(0) * scale))
    own = SparseStep(sae, lr=job.lr, kind=kind, precision=torch.bfloat16)
    start, curve, spent = 0, [], 0.0
    if path.exists():
        saved = torch.load(path, map_location=device)
        own.load(saved["state"])
        start, curve, spent = saved["step"], saved["curve"], saved["spent"]
        log(f"sae: {job.id} goes on at {start / steps:.0%}")
    clock = told = time.perf_counter()
    active, stored = [], spent
    batches = shuffled_rows(beside(rows, device), job.batch, seed=job.seed, start=start)
    for step, batch in zip(range(start, steps), batches):
        x = torch.as_tensor(batch).float() * scale
        _, l0 = own.step(x, job.lr * learning_rate(step, steps))
        active = [*active[1 - TAIL :], l0]
        if (step + 1) % max(1, steps // CHECKPOINTS) == 0 or step + 1 == steps:
            curve.append([(step + 1) * job.batch, round(_fvu(own, held), 5)])
            now = spent + time.perf_counter() - clock
            if device == "cpu" or now - stored > SOON:
                stored = now
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as part:
                    torch.save(dict(state=own.state(), step=step + 1, curve=curve, spent=now), part)
        if (now := time.perf_counter()) - told > 30:
            told, done = now, (step + 1 - start) / (now - clock)
            log(f"sae: {job.id} {(step + 1) / steps:.0%}, {(steps - step) / done / 60:.0f} min left")
    own.write(sae)
    sae.fold_activation_norm_scaling_factor(scale)
    seconds = round(spent + time.perf_counter() - clock)
    return sae, dict(seconds=seconds, curve=curve, l0_in_training=float(np.mean(active)))


CHECKPOINTS = 40
"""Times that a run is saved and its curve measured."""
SOON = 30.0
"""Seconds before which an accelerator's run is not saved again."""


def _fvu(own, held: torch.Tensor) -> float:
    """FVU on held-out activations, latents chosen as in training, a batch of them at a time."""
    cut, error = own.cut, 0.0
    for x in held.split(2048):
        error += float((x - own.decode(len(x), *own.encode(x))).pow(2).sum())
    own.cut = cut
    return error / float((held - held.mean(0)).pow(2).sum())


def made(job: SaeJob, kind: str, d: int, l1: float, device: str = "cpu"):
    """SAELens' SAE in training for a job, its weights as SAELens draws them on a CPU."""
    return _drawn(job, kind, d, l1).to(device)


def _drawn(job: SaeJob, kind: str, d: int, l1: float):
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.matryoshka_batchtopk_sae import (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    shape = dict(d_in=d, d_sae=job.width, dtype="float32", device="cpu")
    if kind == "topk":
        return TopKTrainingSAE(TopKTrainingSAEConfig(**shape, k=int(job.l0)))
    if kind == "standard":
        shape |= dict(l1_coefficient=l1, l1_warm_up_steps=job.samples // job.batch // 20)
        return StandardTrainingSAE(StandardTrainingSAEConfig(**shape))
    if kind == "jumprelu":  # (L0 / asked − 1)² is part of the loss: no search
        shape |= dict(jumprelu_sparsity_loss_mode="quadratic", target_l0=job.l0, l0_coefficient=float(d))
        shape |= dict(jumprelu_bandwidth=1.0, jumprelu_init_threshold=0.5)  # of rows of length √d
        return JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**shape))
    if kind == "matryoshka":
        shape |= dict(matryoshka_widths=[round(share * job.width) for share in NESTED])
        config = MatryoshkaBatchTopKTrainingSAEConfig(**shape, k=job.l0, topk_threshold_lr=0.05)
        return MatryoshkaBatchTopKTrainingSAE(config)
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, k=job.l0, topk_threshold_lr=0.05))
    if kind == "frozen":
        with torch.no_grad():
            sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(sae.W_dec.shape), dim=1))
            sae.W_enc.copy_(sae.W_dec.T)
        sae.W_dec.requires_grad_(False)
    return sae


def _checkpoint(trainer, folder: Path, progress: dict) -> None:
    with whole(folder) as part:
        trainer.save_checkpoint(part.name, base_path=part.parent)
        (part / "progress.json").write_text(json.dumps(progress))
        torch.save(torch.get_rng_state(), part / "rng.pt")


def _resume(trainer, sae, folder: Path):
    from safetensors.torch import load_file

    sae.load_state_dict(load_file(folder / "sae_weights.safetensors"))
    trainer.load_trainer_state(folder)
    torch.set_rng_state(torch.load(folder / "rng.pt"))
    progress = json.loads((folder / "progress.json").read_text())
    return trainer.n_training_steps, progress["curve"], progress["spent"], progress["sums"]


def search(job: SaeJob, activations: np.ndarray, *, log=print, device: str = "cpu"):
    """(the L1 SAE of the full run nearest to the asked L0, its record with every run of the `SEARCH`)."""
    coefficient, tried, best = SEARCH["first"], [], None
    for stage in ("short", "full"):
        samples = int(job.samples * (SEARCH["share"] if stage == "short" else 1))
        runs: list[tuple[float, float]] = []
        for _ in range(SEARCH[stage]):
            short = replace(job, samples=samples)
            sae, record = fit(short, "standard", activations, l1=coefficient, device=device)
            l0 = max(record["l0_in_training"], 1e-3)
            log(f"sae: {job.id} L1 coefficient {coefficient:.4g}: L0 {l0:.2f} after {samples} samples")
            tried.append([coefficient, l0, stage])
            runs.append((math.log(coefficient), math.log(l0 / job.l0)))
            miss = abs(runs[-1][1])
            if stage == "full" and (best is None or miss < best[0]):
                best = miss, sae, record | {"l1_coefficient": coefficient}
            if miss < SEARCH["near"]:
                break
            coefficient = math.exp(_next(runs))
    return best[1], best[2] | {"search": tried}


def _next(runs: list[tuple[float, float]]) -> float:
    """The next run's log coefficient, from (log coefficient, log L0 over the asked one) of those before."""
    (b, n), slope = runs[-1], -1.0
    if len(runs) > 1 and runs[-2][0] != b:
        slope = min(-0.3, (n - runs[-2][1]) / (b - runs[-2][0]))
    return b + max(-math.log(4), min(math.log(4), -n / slope))
