"""The decomposition of x under several inferences on each SAE of the width suite, on the same tokens: scores,
their change over width, and the gaps that are the encoder's and the dictionary's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.values import Absent, estimates, in_columns
from ..claims.c09_inference import Evidence
from ..decomposition.decompose import score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..measurement.widths import suite_rows, width_suite
from ..stats.intervals import percentile
from ..stats.metrics import fvu
from ..stats.pursuit import ROOM, Codes
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from .inference import ENCODER, Dictionary, dictionary_of, over_complete

Inferences = Callable[[Tensor, Tensor, Codes], dict[str, Codes]]
"""(x − bias [token, d_model], dictionary [d_sae, d_model], the encoder's codes) -> codes by name; none may
have more active latents on a token than the encoder."""
SCORES = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")
NONE = Absent(
    "No SAE of this study has a dictionary that another inference could use, and fewer active latents than x "
    "has dimensions."
)


@kept
def inference(
    measurement, *, codes: Inferences, contexts: int, precision: str = "float32"
) -> dict[str, pd.DataFrame] | Absent:
    """Every inference of ``codes``, and the encoder, on every SAE of the width suite that has a dictionary,
    on ``contexts`` contexts.

    Tables. ``scores``: id, width, seed, inference, l0 (realised), short (share of tokens with fewer active
    latents than the encoder's), over, shared (share of its active latents that are the encoder's, too),
    signed (whether a coefficient is below 0), and each of `SCORES`: as measured, and as "<score>_population"
    with the maps' estimation error taken out, which on few tokens is not small. Of the latter, with
    intervals: ``by_sae`` (id, inference, metric, value, low, high) and ``by_width`` (`widths_of`). ``best``:
    at each width, the inference without a sign that leaves the least FVU_nonlinear; ``compared``: see
    `compared`; ``gaps``: see `gaps`; ``about``: tokens, documents, contexts. Codes are made in ``precision``,
    sums in float64.
    """
    made = score_all(measurement, codes=codes, contexts=contexts, precision=getattr(torch, precision))
    if made["scores"].empty:
        return NONE
    scores, replicates = made["scores"], made["replicates"]
    rows = [
        {"id": row["id"], "inference": row["inference"], "metric": metric}
        | in_columns(
            percentile(row[f"{metric}_population"], replicates[_name(row["id"], row["inference"], metric)])
        )
        for _, row in scores.iterrows()
        for metric in SCORES
    ]
    over = widths_of(scores, replicates)
    best = best_of(scores, over)
    pairs = compared(over, best)
    return {
        "scores": scores,
        "about": made["about"],
        "by_sae": pd.DataFrame(rows),
        "by_width": over,
        "best": best,
        "compared": pairs,
        "gaps": gaps(pairs),
    }


def score_all(
    measurement, *, codes: Inferences, contexts: int, precision: torch.dtype
) -> dict[str, pd.DataFrame]:
    """``scores`` and ``about`` of `inference`, and ``replicates``: columns "id | inference | score", a row
    one resample of documents, the same for all."""
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
        made = all_codes(dictionary, x, own, codes, precision)
        reconstructions = {name: dictionary.decode(one) for name, one in made.items()}
        passes = ThirdPass(_second(x, reconstructions, document, fold, study.ridge)).update(
            x, reconstructions, document
        )
        entry, l0 = rows.set_index("id").loc[id], made[ENCODER].l0
        for name, one in made.items():
            scored = score(passes, name, replicates=study.bootstrap, seed=study.seed)
            row = {
                "id": id,
                "width": int(entry["width"]),
                "seed": int(entry["seed"]),
                "inference": name,
                "l0": float(one.l0.double().mean()),
                "short": float((one.l0 < l0).double().mean()),
                "over": float((one.l0 > l0).double().mean()),
                "shared": overlap(one, made[ENCODER]),
                "signed": bool((one.values < 0).any()),
            }
            for metric in SCORES:
                row |= {
                    metric: getattr(scored, metric).value,
                    f"{metric}_population": scored.population[metric],
                }
                replicates[_name(id, name, metric)] = scored.replicates[metric]
            scores.append(row)
    about = {
        "tokens": len(x),
        "documents": len(fold),
        "contexts": len(np.unique(np.concatenate([b.context for b in batches]))),
    }
    return {
        "scores": pd.DataFrame(scores),
        "replicates": pd.DataFrame(replicates),
        "about": pd.DataFrame([about]),
    }


def _name(id: str, inference: str, metric: str) -> str:
    return f"{id} | {inference} | {metric}"


def all_codes(
    dictionary: Dictionary, x: Tensor, own: Codes, codes: Inferences, precision: torch.dtype
) -> dict[str, Codes]:
    """The encoder's codes and those of ``codes``, by name, made in ``precision``."""
    first = Codes(own.indices, own.values.to(precision))
    signal = (x - dictionary.bias.double()).to(precision)
    return {ENCODER: first} | codes(signal, dictionary.atoms.to(precision), first)


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


def widths_of(scores: pd.DataFrame, replicates: pd.DataFrame) -> pd.DataFrame:
    """FVU and FVU_nonlinear at each width of the suite, over its seeds, with intervals that carry documents
    and seeds: inference, metric, of, width, value, low, high.

    of: "score", or "change", its change from the encoder's as a share (paired: the same documents and the
    same SAE). The maps' estimation error is taken out.
    """
    encoder = scores[scores["inference"] == ENCODER].set_index("id")
    frames = []
    for name in dict.fromkeys(scores["inference"]):
        mine = scores[scores["inference"] == name].reset_index(drop=True)
        draws = lambda which, metric: np.stack(
            [replicates[_name(id, which, metric)] for id in mine["id"]], axis=1
        )
        for metric in ("fvu", "fvu_nonlinear"):
            values, drawn = mine[f"{metric}_population"].to_numpy(), draws(name, metric)
            base = encoder.loc[mine["id"], f"{metric}_population"].to_numpy()
            change = values / base - 1, drawn / draws(ENCODER, metric) - 1
            for of, key, (value, replicate) in (
                ("score", metric, (values, drawn)),
                ("change", "change", change),
            ):
                table = mine[["id", "width", "seed"]].assign(main=True, **{key: value})
                suite = width_suite(SimpleNamespace(saes=table, replicates={key: replicate}), key)
                frames.append(suite.frame().assign(inference=name, metric=metric, of=of))
    return pd.concat(frames, ignore_index=True)


def best_of(scores: pd.DataFrame, over: pd.DataFrame) -> pd.DataFrame:
    """At each width, the inference with the lowest FVU_nonlinear of those that subtract nothing, as no SAE
    does: width, inference."""
    signed = set(scores.loc[scores["signed"], "inference"]) | {ENCODER}
    rows = over[
        (over["metric"] == "fvu_nonlinear") & (over["of"] == "score") & ~over["inference"].isin(signed)
    ]
    return rows.loc[rows.groupby("width")["value"].idxmin(), ["width", "inference"]].reset_index(drop=True)


def compared(over: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """FVU and FVU_nonlinear at each width: width, inference (the best), metric, what, value, low, high.

    what: "encoder", "best", or "change", the best one's from the encoder's.
    """
    rows = over.merge(best, on="width", suffixes=("", "_best"))
    mine, score = rows["inference"] == rows["inference_best"], rows["of"] == "score"
    rows = rows.assign(what=np.where(~mine, "encoder", np.where(score, "best", "change")))
    rows = rows[mine | (score & (rows["inference"] == ENCODER))]
    rows = rows.assign(
        inference=rows["inference_best"], order=rows["what"].map({"best": 1, "change": 2}).fillna(0)
    )
    rows = rows.sort_values(["width", "metric", "order"], kind="stable")
    return rows[["width", "inference", "metric", "what", "value", "low", "high"]].reset_index(drop=True)


def gaps(pairs: pd.DataFrame) -> pd.DataFrame:
    """At each width: width, part, share of the variance of x. The encoder gap is what the best inference
    saves; the rest, split by a linear map of x, is the dictionary gap."""
    rows = []
    for width, here in pairs.groupby("width"):
        value = here.set_index(["metric", "what"])["value"]
        rest, least = value["fvu_nonlinear", "best"], value["fvu", "best"]
        parts = {
            "NonlinearError": rest,
            "LinearError": least - rest,
            "encoder gap": value["fvu", "encoder"] - least,
        }
        rows += [{"width": width, "part": part, "share": share} for part, share in parts.items()]
    return pd.DataFrame(rows, columns=["width", "part", "share"])


def changes(found, null: dict | Absent | None, control: str) -> pd.DataFrame | Absent:
    """The change of FVU_nonlinear in percent under each inference of `inference`, and under one of them,
    ``control``, where ``null`` says what a world's true codes become: width, inference, value, low, high."""
    if isinstance(found, Absent):
        return found
    pick = lambda rows: rows[(rows["of"] == "change") & (rows["metric"] == "fvu_nonlinear")]
    mine = pick(found["by_width"])
    if null:
        true = pick(null["by_width"])
        true = true[true["inference"] == control].assign(inference=f"true codes: {control}")
        mine = pd.concat([mine, true], ignore_index=True)
    return mine.assign(**{column: 100 * mine[column] for column in ("value", "low", "high")})


def evidence(found) -> Evidence | Absent:
    """What the rule of claim 9 takes, from `inference`."""
    if isinstance(found, Absent):
        return found
    rows = found["compared"][found["compared"]["what"] == "change"]
    change, total = (
        dict(zip(here["width"], estimates(here)))
        for here in (rows[rows["metric"] == metric] for metric in ("fvu_nonlinear", "fvu"))
    )
    return Evidence(change, total, dict(found["best"].itertuples(index=False)))


def few(measurement, sae: str, *, contexts: int = 16) -> tuple[Tensor, Tensor, Codes] | Absent:
    """(x − bias, dictionary, the encoder's codes) of one SAE on scored tokens of a few contexts, float64."""
    source = Activations(measurement.study, contexts_a_batch=MICRO)
    loaded = next(one for one in load_saes(measurement.study, source) if one.id == sae)
    dictionary = dictionary_of(loaded)
    if dictionary is None:
        return NONE
    batches = list(source.batches(contexts=contexts, scored=True))
    x = torch.cat([batch.x for batch in batches]).double()
    own = joined([dictionary.encode(batch.source) for batch in batches])
    if over_complete(own, x.shape[1]):
        return NONE
    return x - dictionary.bias, dictionary.atoms.double(), Codes(own.indices, own.values.double())


def tried(sample, codes: Inferences) -> pd.DataFrame | Absent:
    """FVU and realised L0 of the encoder's codes and of those of ``codes`` on a sample from `few`."""
    if isinstance(sample, Absent):
        return sample
    x, dictionary, own = sample
    rows = [
        {"inference": name, "FVU": fvu(x, made.decode(dictionary)), "L0": float(made.l0.double().mean())}
        for name, made in ({ENCODER: own} | codes(x, dictionary, own)).items()
    ]
    return pd.DataFrame(rows)
