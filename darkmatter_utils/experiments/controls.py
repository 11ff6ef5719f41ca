"""The controls of chapter 13: reconstructions that learned nothing, or otherwise, scored as the SAE's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.values import Estimate, estimates, in_columns
from ..claims.q13_controls import CLAIMS, Evidence, advantage, margin
from ..claims.statement import FAILS, UNKNOWN, word_at
from ..decomposition.decompose import Decomposition, score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..measurement.measure import files_of
from ..stats.fits import CrossFit, LinearMap
from ..stats.intervals import bootstrap_ratio, percentile
from ..stats.metrics import r2_per_dim
from ..stats.moments import Moments
from ..studies.saes import Collected, Sample, collect, collect_anew, sample
from ..studies.study import Study
from .baselines import rest, simple
from .cost_shares import Costs, relative
from .error_vectors import one_gain as rescaled
from .error_vectors import one_gain_a_latent
from .replacements import CONTEXTS, cost_tables, take
from .same_tokens import partial

TRAINED = "the trained SAE"
KINDS = {"kind-topk": "TopK SAE", "kind-l1": "L1 SAE", "kind-frozen": "frozen random decoder"}
"""The SAEs of the suite "kinds", in words."""
WANTED = (*KINDS.values(), "random-weights model")
"""Controls that a study has or has not."""
RESCALED, REGAINED = "trained, rescaled", "trained, one gain a latent"
IN_A_LIST = {RESCALED: "the rescaled SAE", REGAINED: "the SAE with one gain a latent"}
"""Names whose comma would part them."""
SCORES = {1: "r2_per_dim", 2: "norm_r2 SaeError", 6: "norm_r2 NonlinearError"}
"""Claim → the decomposition's score that it is about."""
NOTHING = 1e-9
"""A NonlinearError of a smaller share of the variance of x is rounding: there is nothing to test."""


class Trained(NamedTuple):
    """What a control may know of the trained SAE."""

    width: int
    l0: int
    """Active latents of a token, rounded; at least one, and fewer than d_model."""
    fvu: float

    @classmethod
    def of(cls, width: int, l0: float, fvu: float, d: int) -> Trained:
        """That of an SAE of so many latents on x of ``d`` dimensions."""
        return cls(width, max(1, min(round(l0), d - 1)), fvu)


Reconstructions = Callable[[Tensor, Tensor, Trained], dict[str, tuple[Tensor, Tensor | int]]]
"""(some x [token, d_model], the mean of all, facts) → by control: (reconstruction, L0 or one a token)."""


def every_reconstruction(
    held: Collected, id: str, given: Reconstructions, *, fvu: float
) -> Iterator[tuple[str, Tensor, float]]:
    """(name, reconstruction [token, d_model], L0) of trained SAEs, and of every control that is ``given``."""
    yield TRAINED, held.hats[id], held.l0[id]
    for other, name in KINDS.items():
        if other in held.hats and other != "kind-frozen":
            yield name, held.hats[other], held.l0[other]
    yield RESCALED, rescaled(held, id), held.l0[id]
    if (gained := one_gain_a_latent(held, id)) is not None:
        yield REGAINED, gained, held.l0[id]
    if "kind-frozen" in held.hats:
        yield KINDS["kind-frozen"], held.hats["kind-frozen"], held.l0["kind-frozen"]
    trained = Trained.of(held.saes[id].width, held.l0[id], fvu, held.x.shape[1])
    made = [given(part, held.mean.float(), trained) for part in held.x.split(4096)]
    for name in made[0]:
        hats, l0s = zip(*(part[name] for part in made))
        counts = [torch.as_tensor(l0).double().expand(len(hat)) for hat, l0 in zip(hats, l0s)]
        yield name, torch.cat(hats).float(), float(torch.cat(counts).mean())


class Few(NamedTuple):
    """A few contexts of a study, with what is known of its trained SAE."""

    tokens: Sample
    trained: Trained


def few(measurement, id: str) -> Few:
    """Those of one SAE. Cost: the model on 64 contexts."""
    tokens, row = sample(measurement.study, id), measurement.sae(id)
    return Few(tokens, Trained.of(int(row["width"]), row["l0"], row["fvu"], tokens.x.shape[1]))


def tried(few: Few, given: Reconstructions) -> pd.DataFrame:
    """R² per dimension of each error from x: fitted on every other document, scored on the rest."""
    x, hat = torch.from_numpy(few.tokens.x), torch.from_numpy(few.tokens.reconstruction)
    made = {name: found[0] for name, found in given(x, x.mean(dim=0), few.trained).items()} | {TRAINED: hat}
    train, rows = torch.from_numpy(few.tokens.document % 2 == 0), []
    for name, hat in made.items():
        error = x - hat
        b = LinearMap.fit(Moments(x.shape[1], x.shape[1]).update(x[train], error[train]))
        rows.append({"reconstruction": name, "R² of its error": r2_per_dim(error[~train], b(x[~train]))})
    return pd.DataFrame(rows)


class Given(NamedTuple):
    """A reconstruction that is known already, where one is asked for."""

    x_hat: Tensor

    def reconstruct(self, x: Tensor) -> tuple[Tensor, None]:
        """The reconstruction, whatever x."""
        return self.x_hat.to(x), None


def compared(
    measurement, *, reconstructions: Reconstructions, id: str, wide: str | None, more=()
) -> dict[str, pd.DataFrame]:
    """`scored` with the SAEs of the suites "kinds" and "twin", where a study has them."""
    study = measurement.study
    suites = [suite for suite in ("kinds", "twin") if study.site in study.sites(suite)]
    files = {suite: files_of(study.at(suite=suite)) for suite in suites}
    settings = {"reconstructions": reconstructions, "id": id, "wide": wide, "more": list(more)}
    return scored(measurement, **settings, files=files)


@kept
def scored(
    measurement, *, reconstructions: Reconstructions, id: str, wide: str | None, more: list[str], files: dict
) -> dict[str, pd.DataFrame]:
    """Tables "scores" and "again" for the trained SAE and its controls.

    ``wide``: the SAE whose error norm claim 3 predicts, as chapter 06 does (`partial`); claim 8 is chapter
    10's (`cost_tables`); ``more``: SAEs that `collect` shall keep for later; ``files``: of SAEs that the
    measurement's key does not name. scores: one row a control and claim: name, l0, fvu, simple (R² of the
    error's norm from simple predictors), claim, value, low, high, difference with its ends (control −
    trained, on the same documents), and `drop`. again: see `again`. Cost: two passes of the model, a
    decomposition each.
    """
    study = measurement.study
    held = collect(study, list(dict.fromkeys([id, *more])))
    table = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True)
    target = np.sqrt(table[f"{wide}:error"].to_numpy(float)) if wide else None
    taken = take(measurement, CONTEXTS) if study.model is not None else None
    trained_fvu = float(held.squares(held.hats[id]).sum() / held.squares(held.mean.expand_as(held.x)).sum())
    by_name, others = {}, {}
    for name, hat, l0 in every_reconstruction(held, id, reconstructions, fvu=trained_fvu):
        found, scores = _scores(study, held, hat)
        error2 = table[f"{id}:error"].to_numpy(float) if name == TRAINED else held.squares(hat)
        if wide:
            scores[3] = partial(measurement, np.sqrt(error2), target, rest)
        if taken and 6 in scores and name != TRAINED:
            maps = CrossFit(found.maps, found.linear_map)
            others[name] = Given(hat[torch.from_numpy(taken.among(table))]), maps
        about = {"name": name, "l0": l0, "fvu": found.fvu.value, "simple": simple(error2, table)} | drop(
            found
        )
        by_name[name] = about, scores
    if taken:
        made = cost_tables.anew(measurement, ids=[id], contexts=CONTEXTS, extra=others)
        costs = Costs(**made, replicates=study.bootstrap, seed=study.seed)
        for name, sae in {TRAINED: id, **{name: name for name in others}}.items():
            by_name[name][1][8] = costs.score(sae, relative("ce", "NonlinearError"))
    if study.site in study.sites("twin"):
        by_name["random-weights model"] = twin(study)
    trained = by_name[TRAINED][1]
    rows = [
        about | {"claim": claim} | _row(claim, scores[claim], trained[claim])
        for about, scores in by_name.values()
        for claim in sorted(scores)
    ]
    ids = [id, *(k for k in KINDS if k in held.hats)]
    return {"scores": pd.DataFrame(rows), "again": again(held, ids)}


def twin(study: Study) -> tuple[dict, dict]:
    """What is said of the SAE of the random-weights model, and its scores, on the same documents."""
    other = study.at(suite="twin", random_weights=0)
    (entry,) = other.selected()
    held = collect_anew(other, [entry.id], kinds=False)
    found, scores = _scores(other, held, held.hats[entry.id])
    about = {"l0": held.l0[entry.id], "fvu": found.fvu.value, "simple": np.nan} | drop(found)
    return {"name": "random-weights model"} | about, scores


def drop(found: Decomposition) -> dict[str, float]:
    """By how much the R² of LinearError's norm from x is above NonlinearError's, as a row's columns; NaN
    where NonlinearError is rounding."""
    if found.fvu_nonlinear.value < NOTHING:
        return in_columns(Estimate(np.nan), "drop")
    names, values = ("norm_r2 LinearError", "norm_r2 NonlinearError"), found.estimates()
    above, below = (found.replicates[name] for name in names)
    return in_columns(percentile(values[names[0]].value - values[names[1]].value, above - below), "drop")


def evidence(scores: pd.DataFrame) -> Evidence:
    """What the chapter's rule takes: by claim, by control, value and difference to the trained SAE; and of
    other kinds of SAE, claim 6's effect."""
    told: dict[int, dict] = {}
    rows = scores.assign(of=estimates(scores), apart=estimates(scores, "difference"))
    for row in rows[rows["name"] != TRAINED].itertuples(index=False):
        told.setdefault(int(row.claim), {})[row.name] = {"value": row.of, "difference": row.apart}
    drops = scores[scores["name"].isin(KINDS.values()) & (scores["claim"] == 6)]
    return Evidence(told, {6: dict(zip(drops["name"], estimates(drops, "drop")))})


def told(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores, ordered by claim, with the claim's names on a page (panel, column), the trained SAE's value
    (trained), and by the chapter's rule, whether a control's number is as good as that (good), or whether
    that cannot be told (open)."""
    rows = scores.sort_values("claim", kind="stable")
    trained = rows[rows["name"] == TRAINED].set_index("claim")["value"]
    pairs = zip(rows["claim"], estimates(rows, "difference"), strict=True)
    words = np.array([word_at(advantage(n, apart), margin(n)) for n, apart in pairs])
    control = rows["name"] != TRAINED
    return rows.assign(
        panel=[f"claim {n}: {CLAIMS[n].axis}" for n in rows["claim"]],
        column=[f"claim {n}" for n in rows["claim"]],
        trained=rows["claim"].map(trained),
        good=control & (words == FAILS),
        open=control & (words == UNKNOWN),
    )


def _scores(study: Study, held: Collected, hat: Tensor):
    first = _filled(FirstPass(held.x.shape[1], ["sae"], held.fold, self_norms=False), held, hat)
    third = _filled(ThirdPass(_filled(SecondPass(first, ridge=study.ridge), held, hat)), held, hat)
    found = score(third, "sae", replicates=study.bootstrap, seed=study.seed)
    scores = {claim: (found.estimates()[name], found.replicates[name]) for claim, name in SCORES.items()}
    if found.fvu_nonlinear.value < NOTHING:
        del scores[6]
    return found, scores


def _filled(one, held: Collected, hat: Tensor):
    """A pass over all tokens, in pieces: float64 copies stay small."""
    for start in range(0, len(held.x), 1 << 15):
        rows = slice(start, start + (1 << 15))
        one.update(held.x[rows], {"sae": hat[rows]}, held.document[rows])
    return one


def _row(claim: int, mine: tuple, trained: tuple) -> dict[str, float]:
    """One number and how it differs from the trained SAE's; at claim 8, in its distance from 1, on the side
    of 1 where it lies: one that could only be positive would not have its value amid its replicates."""

    def apart(number):
        value, replicates = number[0].value, np.asarray(number[1])
        side = (1.0 if value >= 1 else -1.0) if claim == 8 else 1.0
        return side * (value - (claim == 8)), side * (replicates - (claim == 8))

    (value, replicates), (other, theirs) = apart(mine), apart(trained)
    difference = percentile(value - other, replicates - theirs)
    return in_columns(mine[0]) | in_columns(difference, "difference")


def again(held: Collected, ids: list[str]) -> pd.DataFrame:
    """Size of Sae(Sae(x)) − Sae(x) on every third document: Σ‖·‖² over Σ‖SaeError‖² and over Σ‖x − x̄‖², with
    intervals over documents."""
    rows = []
    mine = torch.from_numpy(np.isin(held.document, np.unique(held.document)[::3]))
    some = replace(held, x=held.x[mine], document=held.document[mine.numpy()])
    for id in ids:
        hat = held.hats[id][mine]
        if not hasattr(held.saes[id], "codes"):  # an oracle reads a world's features, not an activation
            continue
        moved = some.per_document(((held.saes[id].reconstruct(hat)[0].to(hat) - hat) ** 2).sum(dim=1))
        row = {"id": id, "name": KINDS.get(id, TRAINED)}
        for name, other in (("error", hat), ("x", held.mean.expand_as(hat))):
            whole = some.per_document(some.squares(other))
            e = bootstrap_ratio(moved, whole, replicates=held.replicates, seed=held.seed)
            row |= in_columns(e, name)
        rows.append(row)
    columns = [f"{name}{end}" for name in ("error", "x") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["id", "name", *columns])
