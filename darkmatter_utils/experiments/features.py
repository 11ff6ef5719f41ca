"""What component SAEs find in each part of x: held-out FVU, and latents that an explanation finds again.

All on the scored documents, under out-of-fold maps, at the positions that the SAEs were trained at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..adapters.saes import Active, Sae, load_sae
from ..base import cache
from ..base.values import Absent
from ..measurement.measure import Measurement, files_of
from ..stats.documents import sum_by
from ..stats.fits import leave_out, moments_by_fold
from ..studies.study import SaeEntry
from .components import (
    COMPONENTS,
    MATCHED,
    NOISE,
    OWN,
    SCORED_NOISE,
    SHUFFLED,
    SUITE,
    TARGETS,
    Rows,
    base_sae,
    entries,
    joined,
    rows,
)
from .explainers import Lexical
from .interp import DECILES, Explainer, Task, Windows, accuracies, activations, cut, pulls, shuffled, tasks

PICKS = {"the best": 0.0, "at three quarters": 0.25, "in the middle": 0.5, "at one quarter": 0.75}
"""Latents that the gallery shows: by their place in the order of accuracy, best first."""
GALLERY = "reads by place latent accuracy explanation window text strength".split()
GALLERY_WINDOWS = 4
BY_DECILE = tuple(f"d{d}" for d in range(1, DECILES + 1))
"""Columns of accuracies."""
CALIBRATION = 512
"""Contexts of the component text that a dictionary of noise has its threshold set on."""
CHUNK = 1 << 14
"""Rows of which something of their size is made at a time."""


class Reading(NamedTuple):
    """An SAE and the vectors it reads."""

    entry: SaeEntry
    sae: Sae
    reads: str
    """Target whose vectors are given to it."""
    by: str
    z: Float[Tensor, "token d_model"]
    windows: Windows


def features(
    measurement: Measurement, *, latents: int | None = None, explainer: Explainer | None = None
) -> dict[str, pd.DataFrame] | Absent:
    """The tables of `parts_read` about every component SAE of a study, if it has any.

    ``explainer``: by default the lexical one, and the tables are kept by content; of another explainer they
    are made anew (its answers are kept on disk).
    """
    study = measurement.study
    if not entries(study):
        what = "is simulated" if study.model is None else "has no suite named components"
        return Absent(f"This study {what}: none of its SAEs was trained on a part of the error.")
    if explainer is not None:
        return parts_read.anew(measurement, latents=latents, explainer=explainer)
    return parts_read(measurement, latents=latents, trained=trained(measurement))


def trained(measurement: Measurement) -> str:
    """What the SAEs of parts are, for the key of what reads them: a measurement's own leaves them out."""
    study = measurement.study
    files = files_of(study.at(suite=SUITE)) if entries(study) else {}
    return cache.key_of(base=base_sae(study, measurement.card["d_model"]), files=files)


@cache.kept
def parts_read(
    measurement, *, latents: int | None = None, trained: str = "", explainer: Explainer | None = None
) -> dict[str, pd.DataFrame]:
    """What component SAEs find in each part of x.

    ``documents``: squared error of every reading in each document. ``targets``: variance, effective rank and
    L0 of each target. ``latents``: accuracy of each scored latent by decile. ``tested``: how much each
    document's windows pull an SAE's mean accuracies (`interp.pulls`). ``reach``: the share of latents whose
    mean accuracy reaches each value. ``gallery``: tokens of the windows of a few latents. And the numbers of
    `components.joined`. ``latents``: how many of each SAE are explained and scored, drawn at random; None:
    all. ``trained``: what the SAEs follow from. Cost: a pass of the model, and of every SAE; 4 parts in
    memory.
    """
    study = measurement.study
    found = rows(measurement, base_sae(study, measurement.card["d_model"]))
    windows = cut(found.context, found.document, found.token, found.position)
    if explainer is None:
        explainer = Lexical(found.token, vocabulary=int(found.token.max()) + 1, decode=measurement.decode)
    folds = measurement.folds_at(found.document)
    targets = {name: found.target(name, seed=SCORED_NOISE) for name in TARGETS}
    l0 = max(e.l0 for e in entries(study))
    counts = [round(l0), round(2 * l0)]  # as many as active latents, and as the numbers of a code
    documents = [table for name, z in targets.items() for table in principal(found, name, z, folds, counts)]
    scored, tested, shown = [], [], []
    apart = rows(
        measurement, base_sae(study, measurement.card["d_model"]), text="component", contexts=CALIBRATION
    )
    for reading in readings(measurement, targets, windows, calibration=apart.parts):
        codes = reading.sae.codes(reading.z)
        if reading.by != SHUFFLED:
            documents.append(explained(found, reading, codes))
        if reading.reads not in NOISE:  # noise read by its own SAE has no text to be found in
            wanted = chosen(reading, latents, seed=study.seed)
            made = tasks(activations(codes, reading.sae.width), reading.windows, wanted, seed=study.seed)
            table, by_document, gallery = scores(reading, wanted, made, explainer, measurement.decode)
            scored.append(table)
            tested.append(by_document)
            shown += gallery
    documents, scored, tested = (pd.concat(t, ignore_index=True) for t in (documents, scored, tested))
    own = documents[documents["by"] == OWN].groupby("reads")[["l0", "tokens"]].sum()
    about = pd.DataFrame([spectrum(name, z) for name, z in targets.items()])
    return {
        "documents": documents,
        "targets": about.assign(l0=about["reads"].map(own["l0"] / own["tokens"])),
        "latents": scored,
        "tested": tested,
        "reach": reach(scored),
        "gallery": pd.DataFrame(shown, columns=GALLERY),
    } | joined(documents, scored, tested)


def reach(latents: pd.DataFrame) -> pd.DataFrame:
    """How the accuracy of latents is distributed: reads, by, accuracy, and the share that reach it."""
    mean = latents[list(BY_DECILE)].mean(axis=1)
    rows = [
        {"reads": reads, "by": by, "accuracy": a, "share": float((some >= a).mean())}
        for (by, reads), some in mean.dropna().groupby([latents["by"], latents["reads"]], sort=False)
        for a in np.linspace(0.4, 1, 61).round(2)
    ]
    return pd.DataFrame(rows)


def load(measurement: Measurement, target: str | None = None) -> list[Sae]:
    """The SAEs that a study has of a target, by seed, or of all; none where it has no component SAEs."""
    mine = [e for e in entries(measurement.study) if target in (None, e.target)]
    folder = measurement.study.data_folder() if mine else None
    return [load_sae(e.id, folder / e.path, d_model=measurement.card["d_model"]) for e in mine]


def part_and_readers(
    measurement: Measurement, *, contexts: int, trained: str = ""
) -> tuple[Tensor, dict[str, list[Sae]]]:
    """(NonlinearError [token, d_model] of a few contexts, the SAEs of it and of its noise, by target);
    ``trained``: for the key of what is kept."""
    part = "NonlinearError"
    found = rows(measurement, base_sae(measurement.study, measurement.card["d_model"]), contexts=contexts)
    targets = [part, *(name for name, of in NOISE.items() if of == part)]
    return found.parts[part], {target: load(measurement, target) for target in targets}


def readings(
    measurement: Measurement, targets: dict[str, Tensor], windows: Windows, *, calibration
) -> Iterator[Reading]:
    """Every SAE on its own target; those of noise on the part that the noise is matched to, at the same L0,
    their threshold set on ``calibration``, the parts of other documents, as every SAE's own is; and, as a
    pole, those of x with every window's text exchanged for another's."""
    study = measurement.study
    for entry, sae in zip(entries(study), load(measurement), strict=True):
        yield Reading(entry, sae, entry.target, OWN, targets[entry.target], windows)
        if entry.target == "x":
            yield Reading(entry, sae, "x", SHUFFLED, targets["x"], shuffled(windows, seed=study.seed))
        if entry.target in NOISE:
            part = NOISE[entry.target]
            sae.set_l0(calibration[part], entry.l0)
            yield Reading(entry, sae, part, MATCHED, targets[part], windows)


def chosen(reading: Reading, latents: int | None, *, seed: int) -> np.ndarray:
    """Latents to score: all, or some at random."""
    width = reading.sae.width
    if latents is None or latents >= width:
        return np.arange(width)
    return np.sort(np.random.default_rng([seed, reading.entry.seed]).permutation(width)[:latents])


def explained(found: Rows, reading: Reading, codes: Active) -> pd.DataFrame:
    """Squared error and variance of each document under a reading, and its active latents."""
    z_hat = reading.sae.decode(codes)
    residual = np.concatenate([_squares(a - b) for a, b in zip(reading.z.split(CHUNK), z_hat.split(CHUNK))])
    table = by_document(found, reading.z, residual).assign(l0=sum_by(found.document, codes.l0))
    return table.assign(reads=reading.reads, by=reading.by, seed=reading.entry.seed, id=reading.entry.id)


def principal(found: Rows, name: str, z: Tensor, folds: np.ndarray, counts: list[int]) -> list[pd.DataFrame]:
    """The same for the first k principal components of the other folds, for each k of ``counts``.

    A row's squared error is ‖z − z̄‖² − ‖V'(z − z̄)‖², V the components and z̄ the mean.
    """
    residual = {k: np.empty(len(z)) for k in counts}
    for fold, rest in enumerate(leave_out(moments_by_fold(z, z[:, :0], folds))):
        mine = torch.from_numpy(folds == fold)
        along = (z[mine].double() - rest.x_mean) @ torch.linalg.eigh(rest.xx)[1]  # the last are the largest
        for k in counts:
            residual[k][mine.numpy()] = _squares(along[:, :-k])
    about = lambda k: dict(l0=np.nan, reads=name, by=f"{k} {COMPONENTS}", seed=0, id=f"pca-{k}")
    return [by_document(found, z, one).assign(**about(k)) for k, one in residual.items()]


def by_document(found: Rows, z: Tensor, residual: np.ndarray) -> pd.DataFrame:
    """Columns document, tokens, residual (summed over its tokens) and total Σ‖z − z̄‖², z̄ the mean of all."""
    mean, (ids, tokens) = z.double().mean(0), np.unique(found.document, return_counts=True)
    total = np.concatenate([_squares(part.double() - mean) for part in z.split(CHUNK)])
    sums = {name: sum_by(found.document, v) for name, v in (("residual", residual), ("total", total))}
    return pd.DataFrame({"document": ids, "tokens": tokens} | sums)


def _squares(rows: Tensor) -> np.ndarray:
    return rows.double().pow(2).sum(1).numpy(force=True)


def spectrum(name: str, z: Tensor) -> dict:
    """A target's variance and effective rank, (Σλ)² / Σλ² over the eigenvalues λ of its covariance."""
    values = torch.linalg.eigvalsh(torch.cov(z.double().T)).clamp_min(0)
    return dict(reads=name, variance=float(values.sum()), rank=float(values.sum() ** 2 / values.pow(2).sum()))


def scores(
    reading: Reading, latents: np.ndarray, made: list[Task | None], explainer: Explainer, decode
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    """(a row a latent, accuracy by decile, NaN where it cannot be scored; a row a document of the tested
    windows, how much it pulls the mean accuracy of the scored latents; rows of the gallery)."""
    usable = [i for i, one in enumerate(made) if one is not None]
    values, coins = np.full((len(made), DECILES), np.nan), np.full(len(made), np.nan)
    words = np.full(len(made), "", dtype=object)
    pulled = []
    for i, judged in zip(usable, explainer([made[i] for i in usable]), strict=True):
        values[i], coins[i] = accuracies(made[i], judged.said), (judged.said == 0.5).mean()
        words[i] = judged.explanation
        documents, pull = pulls(made[i], judged.said)
        pulled.append(pd.DataFrame(pull / len(usable), index=documents, columns=BY_DECILE))
    table = pd.DataFrame({"latent": latents, "explanation": words})
    table[list(BY_DECILE)] = values
    about = dict(reads=reading.reads, by=reading.by)
    table = table.assign(coins=coins, **about, seed=reading.entry.seed)
    tested = pd.concat([*pulled, pd.DataFrame(columns=BY_DECILE, dtype=float)]).groupby(level=0).sum()
    tested = tested.rename_axis("document").reset_index().assign(**about, seed=reading.entry.seed)
    if not usable or reading.entry.seed or reading.by == SHUFFLED:
        return table, tested, []
    order = np.array(usable)[np.argsort(-values[usable].mean(1), kind="stable")]
    gallery = []
    for place, share in PICKS.items():
        i = order[min(int(share * len(order)), len(order) - 1)]
        about |= dict(
            place=place, latent=int(latents[i]), accuracy=float(np.mean(values[i])), explanation=words[i]
        )
        for w, (window, strength) in enumerate(zip(made[i].shown[:GALLERY_WINDOWS], made[i].strength)):
            tokens = zip(decode(window.tolist()), strength, strict=True)
            gallery += [about | dict(window=w, text=t, strength=round(float(s), 3)) for t, s in tokens]
    return table, tested, gallery
