"""The decomposition of x under several inferences on each SAE of the width suite, on the same tokens: scores,
their change over width, and the gaps that are the encoder's and the dictionary's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.values import Absent, estimates, in_columns
from ..claims.c09_inference import Evidence
from ..decomposition.decompose import score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..measurement.widths import first_seeds, over_widths, suite_rows
from ..stats.intervals import percentile
from ..stats.metrics import fvu
from ..stats.pursuit import ROOM, Codes
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..studies.stored import LARGE
from .inference import ENCODER, Dictionary, dictionary_of, over_complete

Inferences = Callable[[Tensor, Tensor, Codes], dict[str, Codes]]
"""(x − bias [token, d_model], dictionary [d_sae, d_model], the encoder's codes) -> codes by name; none may
have more active latents on a token than the encoder."""
Drawn = dict[tuple[str, str, str], np.ndarray]
"""{(id, inference, score): replicates}."""
SCORES = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")
NONE = Absent(
    "No SAE of this study has a dictionary that another inference could use, and fewer active latents than x "
    "has dimensions."
)


@kept
def inference(
    measurement, *, codes: Inferences, contexts: int, precision: str = "float32"
) -> dict[str, pd.DataFrame] | Absent:
    """Every inference of ``codes``, and the encoder, on every SAE of the width suite that has a dictionary.

    Of a model of `LARGE` parameters, on one a width: its widest takes as long as all those of a small one.
    Tables. ``scores``: id, width, seed, inference, l0 (realised), short (share of tokens with fewer active
    latents than the encoder's), over, shared (share of its active latents that are the encoder's, too),
    signed (whether a coefficient is below 0), and each of `SCORES`: the maps' estimation error, which on few
    tokens is not small, taken out, and as "<score>_held_out" left in. Of the former, with intervals:
    ``by_sae`` (id, inference, metric, value, low, high) and ``by_width`` (`widths_of`). ``best``:
    at each width, the inference without a sign that leaves the least FVU_nonlinear; ``compared``: see
    `compared`; ``gaps``: see `gaps`; ``about``: tokens, documents, contexts. Codes are made in ``precision``,
    sums in float64.
    """
    scores, drawn, about = score_all(measurement, codes, contexts, getattr(torch, precision))
    if scores.empty:
        return NONE
    rows = []
    for row in scores.to_dict("records"):
        for metric in SCORES:
            key = (row["id"], row["inference"], metric)
            rows.append([*key, *in_columns(percentile(row[metric], drawn[key])).values()])
    over = widths_of(scores, drawn)
    best = best_of(scores, over)
    pairs = compared(over, best)
    return {
        "scores": scores,
        "about": about,
        "by_sae": pd.DataFrame(rows, columns=["id", "inference", "metric", "value", "low", "high"]),
        "by_width": over,
        "best": best,
        "compared": pairs,
        "gaps": gaps(pairs),
    }


def score_all(
    measurement, codes: Inferences, contexts: int, precision: torch.dtype
) -> tuple[pd.DataFrame, Drawn, pd.DataFrame]:
    """(``scores`` of `inference`, their replicates over the same resampled documents, ``about``)."""
    study = measurement.study
    source = Activations(study, contexts_a_batch=MICRO)
    large = source.model is not None and source.model.parameters >= LARGE
    suite = first_seeds(measurement) if large else suite_rows(measurement)
    study_of_suite = replace(study, saes=tuple(study.sae(id) for id in suite["id"]))
    loaded = [(sae.id, dictionary_of(sae)) for sae in load_saes(study_of_suite, source)]
    batches = list(source.batches(contexts=contexts))
    keep = [torch.from_numpy(batch.scored) for batch in batches]
    x = torch.cat([batch.x[mask] for batch, mask in zip(batches, keep)]).double()
    document = np.concatenate([batch.document[batch.scored] for batch in batches])
    fold = {d: f for d, f in measurement.fold_of().items() if d in set(document.tolist())}
    scores, drawn = [], {}
    for id, dictionary in loaded:
        if dictionary is None:
            continue
        given = [(dictionary.encode(batch.source), mask) for batch, mask in zip(batches, keep)]
        own = joined([trimmed(Codes(one.indices[mask], one.values[mask])) for one, mask in given])
        if over_complete(own, x.shape[1]):
            continue
        made = all_codes(dictionary, x, own, codes, precision)
        hats = {name: dictionary.decode(one) for name, one in made.items()}
        first = FirstPass(x.shape[1], list(hats), fold, self_norms=False).update(x, hats, document)
        second = SecondPass(first, ridge=study.ridge).update(x, hats, document)
        third = ThirdPass(second).update(x, hats, document)
        entry, l0 = suite.set_index("id").loc[id], made[ENCODER].l0
        for name, one in made.items():
            scored = score(third, name, replicates=study.bootstrap, seed=study.seed)
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
                row[metric] = getattr(scored, metric).value
                row[f"{metric}_held_out"] = scored.held_out[metric]
                drawn[id, name, metric] = scored.replicates[metric]
            scores.append(row)
    ran = len(np.unique(np.concatenate([b.context for b in batches])))
    about = pd.DataFrame([{"tokens": len(x), "documents": len(fold), "contexts": ran, "saes": len(loaded)}])
    return pd.DataFrame(scores), drawn, about


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
    pairs = zip(codes.support.split(rows), theirs.split(rows))
    both = sum(int((a[:, :, None] == b[:, None]).sum()) for a, b in pairs)
    return both / max(1, int(codes.l0.sum()))


def trimmed(codes: Codes) -> Codes:
    """Without slots that no token uses, as those of a first token with thousands of latents."""
    used = (codes.values != 0).any(0)
    return Codes(codes.indices[:, used], codes.values[:, used])


def joined(parts: list[Codes]) -> Codes:
    """Codes of several batches as one, padded to the longest."""
    width = max(part.indices.shape[1] for part in parts)
    pad = lambda array: torch.nn.functional.pad(array, (0, width - array.shape[1]))
    return Codes(*(torch.cat([pad(getattr(part, name)) for part in parts]) for name in ("indices", "values")))


def widths_of(scores: pd.DataFrame, drawn: Drawn) -> pd.DataFrame:
    """FVU and FVU_nonlinear at each width of the suite, over its seeds, with intervals that carry documents
    and seeds: inference, metric, of, width, value, low, high.

    of: "score"; "change", its change from the encoder's as a share (paired: the same documents and the same
    SAE); and of FVU_nonlinear "lead", its change less that of FVU.
    """
    frames = []
    for name, mine in scores.groupby("inference", sort=False):
        base, change = scores[scores["inference"] == ENCODER].set_index("id").loc[mine["id"]], {}
        for metric in ("fvu", "fvu_nonlinear"):
            value, encoder = (rows[metric].to_numpy() for rows in (mine, base))
            replicates, theirs = (
                np.stack([drawn[id, which, metric] for id in mine["id"]], axis=1) for which in (name, ENCODER)
            )
            made = {"score": over_widths(mine, value, replicates, metric)}
            change[metric] = value / encoder - 1, replicates / theirs - 1
            made["change"] = over_widths(mine, *change[metric], "change")
            if metric == "fvu_nonlinear":
                both = zip(change["fvu_nonlinear"], change["fvu"])
                made["lead"] = over_widths(mine, *(rest - total for rest, total in both), "change")
            about = {"inference": name, "metric": metric}
            frames += [suite.frame().assign(**about, of=of) for of, suite in made.items()]
    return pd.concat(frames, ignore_index=True)


def best_of(scores: pd.DataFrame, over: pd.DataFrame) -> pd.DataFrame:
    """The inference of lowest FVU_nonlinear that subtracts nothing, by width: width, inference."""
    signed = set(scores.loc[scores["signed"], "inference"]) | {ENCODER}
    rows = over[(over["metric"] == "fvu_nonlinear") & (over["of"] == "score")]
    rows = rows[~rows["inference"].isin(signed)]
    return rows.loc[rows.groupby("width")["value"].idxmin(), ["width", "inference"]].reset_index(drop=True)


def compared(over: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """FVU and FVU_nonlinear at each width: width, inference (the best), metric, what, value, low, high.

    what: "encoder", "best", or of the best one against the encoder "change" and "lead" (`widths_of`).
    """
    rows = over.merge(best, on="width", suffixes=("", "_best"))
    mine, score = rows["inference"] == rows["inference_best"], rows["of"] == "score"
    rows = rows.assign(what=np.where(~mine, "encoder", np.where(score, "best", rows["of"])))
    rows = rows[mine | (score & (rows["inference"] == ENCODER))]
    order = rows["what"].map({"best": 1, "change": 2, "lead": 3}).fillna(0)
    rows = rows.assign(inference=rows["inference_best"], order=order)
    rows = rows.sort_values(["width", "metric", "order"], kind="stable")
    return rows[["width", "inference", "metric", "what", "value", "low", "high"]].reset_index(drop=True)


def gaps(pairs: pd.DataFrame) -> pd.DataFrame:
    """At each width: width, part, share of the variance of x. The encoder gap is what the best inference
    saves; the rest, split by a linear map of x, is the dictionary gap."""
    rows = []
    for width, here in pairs.groupby("width"):
        value = here.set_index(["metric", "what"])["value"]
        rest, least = value["fvu_nonlinear", "best"], value["fvu", "best"]
        rows.append((width, "NonlinearError", rest))
        rows.append((width, "LinearError", least - rest))
        rows.append((width, "encoder gap", value["fvu", "encoder"] - least))
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
    taken = []
    for metric, what in (("fvu_nonlinear", "change"), ("fvu", "change"), ("fvu_nonlinear", "lead")):
        rows = found["compared"].query("metric == @metric and what == @what")
        taken.append(dict(zip(rows["width"], estimates(rows))))
    return Evidence(*taken, dict(found["best"].itertuples(index=False)))


def few(measurement, sae: str, *, contexts: int = 16) -> tuple[Tensor, Tensor, Codes] | Absent:
    """(x − bias, dictionary, the encoder's codes) of one SAE on scored tokens of a few contexts, float64."""
    source = Activations(measurement.study, contexts_a_batch=MICRO)
    loaded = next(one for one in load_saes(measurement.study, source) if one.id == sae)
    if (dictionary := dictionary_of(loaded)) is None:
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
    made = {ENCODER: own} | codes(x, dictionary, own)
    rows = [
        (name, fvu(x, one.decode(dictionary)), float(one.l0.double().mean())) for name, one in made.items()
    ]
    return pd.DataFrame(rows, columns=["inference", "FVU", "L0"])
