"""The decomposition of x under each inference on each SAE of the width suite, on the same tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ..decomposition.decompose import score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..measurement.results import Tables, kept
from ..measurement.widths import suite_rows
from ..stats.pursuit import ROOM, Codes
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from .inference import ENCODER, Dictionary, dictionary_of, other_codes, over_complete

SCORES = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")


def inference_scores(measurement, *, contexts: int, precision: str = "float32") -> Tables:
    """Every inference on every SAE of the width suite that has a dictionary, on ``contexts`` contexts (kept
    by content).

    ``scores``: id, width, seed, inference, l0 (realised), short (share of tokens with fewer active latents
    than the encoder's), over, shared (share of its active latents that are the encoder's, too), and each of
    `SCORES`: as measured, and as "<score>_population" with the maps' estimation error taken out, which on few
    tokens is not small. ``replicates``: columns "id | inference | score", a row one resample of documents,
    the same for all, of the latter. ``about``: tokens, documents, contexts. Codes are made in ``precision``,
    sums in float64.
    """
    return kept(
        "inference",
        measurement.study,
        ["inference_scores"],
        lambda: _compute(measurement, contexts, getattr(torch, precision)),
        contexts=contexts,
        precision=precision,
    )


def _compute(measurement, contexts: int, precision: torch.dtype) -> Tables:
    study = measurement.study
    rows = suite_rows(measurement)
    suite = replace(study, saes=tuple(study.sae(id) for id in rows["id"]))
    source = Activations(study, contexts_a_batch=MICRO)
    found = {sae.id: made for sae in load_saes(suite, source) if (made := dictionary_of(sae)) is not None}
    batches = list(source.batches(contexts=contexts))
    keep = [torch.from_numpy(batch.scored) for batch in batches]
    x = torch.cat([batch.x[mask] for batch, mask in zip(batches, keep)]).double()
    document = np.concatenate([batch.document[batch.scored] for batch in batches])
    fold = {d: f for d, f in measurement.fold_of().items() if d in set(document.tolist())}
    scores, replicates = [], {}
    for id, dictionary in found.items():
        own = joined([_only(dictionary.encode(batch.source), mask) for batch, mask in zip(batches, keep)])
        if over_complete(own, x.shape[1]):
            continue
        reconstructions, l0, shared = reconstruct(dictionary, x, own, precision)
        passes = ThirdPass(_second(x, reconstructions, document, fold, study.ridge)).update(
            x, reconstructions, document
        )
        entry = rows.set_index("id").loc[id]
        for name in reconstructions:
            made = score(passes, name, replicates=study.bootstrap, seed=study.seed)
            row = {
                "id": id,
                "width": int(entry["width"]),
                "seed": int(entry["seed"]),
                "inference": name,
                "l0": float(l0[name].double().mean()),
                "short": float((l0[name] < l0[ENCODER]).double().mean()),
                "over": float((l0[name] > l0[ENCODER]).double().mean()),
                "shared": shared[name],
            }
            for metric in SCORES:
                row |= {metric: getattr(made, metric).value, f"{metric}_population": made.population[metric]}
                replicates[f"{id} | {name} | {metric}"] = made.replicates[metric]
            scores.append(row)
    about = {
        "tokens": len(x),
        "documents": len(fold),
        "contexts": len(np.unique(np.concatenate([b.context for b in batches]))),
    }
    columns = [
        "id",
        "width",
        "seed",
        "inference",
        "l0",
        "short",
        "over",
        "shared",
        *(f"{metric}{of}" for metric in SCORES for of in ("", "_population")),
    ]
    return {
        "scores": pd.DataFrame(scores, columns=columns),
        "replicates": pd.DataFrame(replicates),
        "about": pd.DataFrame([about]),
    }


def reconstruct(dictionary: Dictionary, x, own: Codes, precision: torch.dtype):
    """By inference on one dictionary: the reconstruction [token, d_model], the realised L0 [token], and the
    share of its active latents that are the encoder's, too."""
    atoms, bias = dictionary.atoms.to(precision), dictionary.bias.double()
    codes = {ENCODER: Codes(own.indices, own.values.to(precision))}
    codes |= other_codes((x - bias).to(precision), atoms, codes[ENCODER])
    return (
        {name: made.decode(atoms).double() + bias for name, made in codes.items()},
        {name: made.l0 for name, made in codes.items()},
        {name: overlap(made, codes[ENCODER]) for name, made in codes.items()},
    )


def overlap(codes: Codes, other: Codes) -> float:
    """The share of the active latents of ``codes`` that are active in ``other`` on the same token."""
    theirs = torch.where(other.values != 0, other.indices, -2)
    rows = max(1, min(4096, ROOM // max(1, codes.indices.shape[1] * theirs.shape[1])))
    both = sum(
        int((a[:, :, None] == b[:, None]).sum())
        for a, b in zip(codes.support.split(rows), theirs.split(rows))
    )
    return both / max(1, int(codes.l0.sum()))


def _second(x, reconstructions, document, fold, ridge) -> SecondPass:
    first = FirstPass(x.shape[1], list(reconstructions), fold, self_norms=False).update(
        x, reconstructions, document
    )
    return SecondPass(first, ridge=ridge).update(x, reconstructions, document)


def _only(codes: Codes, keep) -> Codes:
    return Codes(codes.indices[keep], codes.values[keep])


def joined(parts: list[Codes]) -> Codes:
    """Codes of several batches as one, padded to the longest."""
    width = max(part.indices.shape[1] for part in parts)
    pad = lambda array: torch.nn.functional.pad(array, (0, width - array.shape[1]))
    return Codes(*(torch.cat([pad(getattr(part, name)) for part in parts]) for name in ("indices", "values")))
