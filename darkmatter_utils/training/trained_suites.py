"""Are the simulated suites that rules are calibrated on like trained ones? Ten are trained, and compared.

Each suite is trained on documents of its own of one simulated world and scored on others, so that everything
an interval is over (documents, training seeds) is drawn anew. Where the interval is right, the ten changes of
FVU_nonlinear per doubling lie about their mean as far as the intervals say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ..adapters.saes import load_sae
from ..base.values import in_columns
from ..experiments.coverage import FOLDER
from ..experiments.coverage import SUITES as FILE
from ..experiments.nulls import Simulated, scored
from ..experiments.scaling import per_doubling
from ..measurement.widths import width_suite
from ..worlds.known import WorldBatch
from ..worlds.world import World, drawn_null
from .sae_training import SaeJob, fit

SUITES, SEEDS, L0 = 10, {128: 2, 256: 2, 512: 1, 1024: 1}, 6
"""Suites; training seeds by width, the widest trained once, as tiny's are; active latents a token."""
TRAIN, SCORE, SAMPLES = 400, 100, 400_000
"""Documents (of 256 tokens) that a suite is trained and scored on; activations seen in training."""
METRICS = ("fvu", "fvu_nonlinear")


def world() -> World:
    """32 dimensions, features alone: the first of the worlds that claim 4's null is calibrated on."""
    return drawn_null(0)


def documents(made: World, suite: int, part: str) -> WorldBatch:
    """The documents that a suite is trained ("train") or scored ("score") on: no two suites share any."""
    first = suite * (TRAIN + SCORE) + (TRAIN if part == "score" else 0)
    count = TRAIN if part == "train" else SCORE
    return WorldBatch.join([made.document(first + index) for index in range(count)])


def trained(suite: int, *, widths: dict[int, int] = SEEDS, samples: int = SAMPLES) -> Simulated:
    """One suite of BatchTopK SAEs, thresholds set on training rows, scored as a study's SAEs are. Cost: a
    minute on one core, most of it training."""
    made = world()
    rows, batch = documents(made, suite, "train").x, documents(made, suite, "score")
    return scored(made, batch, list(_saes(suite, rows, batch, widths, samples)), replicates=1000)


def _saes(suite: int, rows, batch: WorldBatch, widths: dict[int, int], samples: int) -> Iterator[tuple]:
    for width, seeds in widths.items():
        for number in range(seeds):
            id, seed = f"w{width}-{number}", 100 * suite + number
            sae, _ = fit(SaeJob(id, "world", width, L0, seed, samples), "batchtopk", rows.float().numpy())
            with TemporaryDirectory() as folder:
                sae.save_inference_model(folder)
                sae = load_sae(id, Path(folder), d_model=rows.shape[1])
            sae.set_l0(rows, L0)
            about = {"id": id, "width": width, "seed": number, "l0_target": L0}
            x_hat, active = sae.reconstruct(batch)
            yield about, x_hat.double(), active


def table(*, suites: int = SUITES, log=lambda line: None) -> pd.DataFrame:
    """A row a suite and metric: suite, d_model, metric, change (per doubling; change_low, change_high),
    seed_sd, the standard deviation between seeds (of a logarithm), and widest, its value at the widest."""
    found = []
    for suite in range(suites):
        log(f"trained suites: {suite + 1} of {suites}")
        made = trained(suite)
        for metric in METRICS:
            own = width_suite(made, metric)
            about = {
                "suite": suite,
                "metric": metric,
                "seed_sd": own.seed_sd,
                "widest": float(own.values[-1]),
            }
            found.append(about | in_columns(per_doubling(own), "change"))
    return pd.DataFrame(found)


def calibrate(*, log=lambda line: None) -> None:
    """Write the table that ships."""
    table(log=log).to_csv(FOLDER / FILE, index=False)
