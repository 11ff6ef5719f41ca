"""Train the SAEs of other kinds, by SAELens' trainers: TopK, standard L1, and BatchTopK over a frozen random
decoder."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from .sae_training import SaeJob, fit

KINDS = ("topk", "standard", "frozen")
SEARCH = {"share": 0.2, "first": 2.0, "short": 3, "full": 4, "near": 0.05}
"""The search for the L1 coefficient, on training rows alone. At most three short runs, of a fifth of the
samples, find its order of magnitude; then at most four full runs, because L0 goes on falling with training. A
run that ends within 5% of the asked L0 (in its logarithm) ends its stage. Each next coefficient is where the
line through the stage's last two runs, in log L0 against log coefficient, meets the asked L0, a factor of 4
away at most; after the stage's first run the line has the slope −1. The full run nearest to the asked L0 is
kept."""


def train_kind(job: SaeJob, kind: str, activations: np.ndarray, folder: Path, *, log=print) -> Path:
    """Train ``job`` as ``kind`` on rows of ``activations`` [token, d]; writes ``folder`` as `train_sae` does,
    returns it.

    topk keeps the ``job.l0`` largest latents of each token and is saved as a TopK SAE; frozen is BatchTopK
    whose decoder rows are random unit vectors from the seed and stay, saved as JumpReLU; standard is the L1
    SAE, its coefficient found on these rows by `SEARCH`. Decoder rows have norm 1 when saved. Raises
    ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}'; valid: {', '.join(KINDS)}")
    if (folder / "training.json").exists():
        return folder
    sae, record = (
        search(job, activations, log=log) if kind == "standard" else _run(job, kind, activations, folder)
    )
    if kind == "standard":
        sae.fold_W_dec_norm()
    sae.save_inference_model(str(folder))
    if (
        kind == "topk"
    ):  # saving folded the norms of the decoder's rows into the encoder: they are 1 and need no undoing
        cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": False}
        (folder / "cfg.json").write_text(json.dumps(cfg))
    (folder / "training.json").write_text(json.dumps(asdict(job) | record | {"trained_as": kind}))
    log(f"sae: {job.id} FVU {record['curve'][-1][1]:.4f} in training, {record['seconds']} s")
    return folder


def search(job: SaeJob, activations: np.ndarray, *, log=print):
    """(the L1 SAE of the full run nearest to the asked L0, its record with every run of the `SEARCH`)."""
    coefficient, tried, best = SEARCH["first"], [], None
    for stage in ("short", "full"):
        samples = int(job.samples * (SEARCH["share"] if stage == "short" else 1))
        runs: list[tuple[float, float]] = []
        for _ in range(SEARCH[stage]):
            sae, record = _run(replace(job, samples=samples), "standard", activations, None, l1=coefficient)
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
    """The log coefficient of the next run, from (log coefficient, log L0 over the asked one) of those
    before."""
    (b, n), slope = runs[-1], -1.0
    if len(runs) > 1 and runs[-2][0] != b:
        slope = min(-0.3, (n - runs[-2][1]) / (b - runs[-2][0]))
    return b + max(-math.log(4), min(math.log(4), -n / slope))


def _made(job: SaeJob, kind: str, d: int, l1: float):
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    shape = dict(d_in=d, d_sae=job.width, dtype="float32", device="cpu")
    if kind == "topk":
        return TopKTrainingSAE(TopKTrainingSAEConfig(**shape, k=int(job.l0)))
    if kind == "standard":
        warm = job.samples // job.batch // 20
        return StandardTrainingSAE(
            StandardTrainingSAEConfig(**shape, l1_coefficient=l1, l1_warm_up_steps=warm)
        )
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, k=job.l0, topk_threshold_lr=0.05))
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(sae.W_dec.shape), dim=1))
        sae.W_enc.copy_(sae.W_dec.T)
    sae.W_dec.requires_grad_(False)
    return sae


def _run(job: SaeJob, kind: str, activations: np.ndarray, folder: Path | None, *, l1: float = 0.0):
    """(trained SAE with the scale of x folded in, record); checkpoints in ``folder``, if one is given."""
    torch.manual_seed(job.seed)
    sae = _made(job, kind, activations.shape[1], l1)
    return sae, fit(job, sae, activations, folder)
