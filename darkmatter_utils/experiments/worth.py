"""What others than a study's SAEs give the rules of claims: a random-weights model's SAE and a dead one, each
as a study of one SAE; and the null, draw by draw.

A record keeps it under ``worth`` as {who: {claim: evidence}}, and the report judges it (`claims.worth`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base import cache
from ..base.values import Absent, Estimate
from ..claims import c01_half_linear as c01
from ..claims import c02_norm_linear as c02
from ..claims import c03_same_tokens as c03
from ..claims import c06_norm_lowest as c06
from ..claims import c13_beyond_simple as c13
from ..claims.claim import kept
from ..claims.worth import CONTROLS, NULL
from ..measurement.measure import measure
from ..measurement.widths import width_suite
from ..stats.intervals import apart, percentile, totals
from ..studies.study import SaeEntry, Study
from ..worlds.known import tokens_of
from ..worlds.saes import OracleSae
from . import norm_test
from .baselines import out_of_fold
from .controls import NOTHING
from .error_norms import beyond_simple, error_norms, norm_linear
from .error_vectors import error_vectors, half_linear
from .floors import floor
from .grams import Grams
from .matching import null_suite, null_worlds, one_more, r2_from_x, target_of
from .nulls import Simulated
from .same_tokens import shuffled_within
from .scaling import flat

NORM, LINEAR, NONLINEAR = "norm_error", "norm_linear", "norm_nonlinear"
METRICS = ("fvu", "fvu_nonlinear", NORM, LINEAR, NONLINEAR)
TEN = 10
"""Principal components of x that claim 13 counts as simple."""


def squared(x: Tensor, x_hat: Tensor) -> Tensor:
    """‖SaeError‖² [token]: what chapter 03 predicts."""
    return ((x - x_hat) ** 2).sum(dim=1)


def error(x: Tensor, x_hat: Tensor) -> Tensor:
    """SaeError [token, d_model]: what chapter 04 predicts."""
    return x - x_hat


def size(z: Tensor) -> Tensor:
    """‖z‖² [token]: the size of a part in chapter 08."""
    return (z**2).sum(dim=1)


def alone(study: Study, width: int) -> dict[str, Study]:
    """Each control as the study with that SAE only: the dead SAE, which answers with the mean, has the
    ``width`` it is compared at; a study without a random-weights twin lacks the other."""
    only = lambda study, entry: replace(study, suite="", saes=(replace(entry, suite="", main=True),))
    random, dead = CONTROLS
    found = {dead: only(study, SaeEntry("dead", kind="dead", width=width))}
    if study.site in study.sites("twin"):
        twin = study.at(suite="twin", random_weights=0)
        found[random] = only(twin, twin.selected()[0])
    return found


def controls(measurement, *, id: str) -> dict[str, dict] | Absent:
    """Evidence of each control for claims 1, 2, 6 and 13, as a record keeps it; absent in a simulated study.

    Claim 8 has nothing to test, and claim 6 of a dead SAE neither: its NonlinearError is nothing, and a model
    that predicts nothing has no loss to lose. Cost: for each a measurement of one SAE, and the fits of
    chapters 03 and 04.
    """
    if measurement.study.model is None:
        return Absent("A simulated study has no model to make controls of.")
    rows = _controls(measurement, id=id)["evidence"].itertuples()
    found: dict[str, dict] = {}
    for row in rows:
        found.setdefault(row.who, {})[row.claim] = json.loads(row.kept)
    return found


@cache.kept
def _controls(measurement, *, id: str) -> dict[str, pd.DataFrame]:
    """``evidence``: who, claim, kept (JSON). The tables of a study of one SAE that it follows from are not
    kept: most of what a suite has is absent there."""
    rows = []
    for who, study in alone(measurement.study, int(measurement.sae(id)["width"])).items():
        made = measure(study)
        norms = error_norms.anew(made, target=squared)
        vectors = error_vectors.anew(made, error=error)
        evidence = {1: half_linear(vectors), 2: norm_linear(norms), 13: beyond_simple(norms, made)}
        if made.saes["fvu_nonlinear"].iloc[0] > NOTHING:
            evidence[6] = norm_test.evidence(made, norm_test.norm_test.anew(made, size=size), None)
        rows += [(who, number, json.dumps(one)) for number, one in recorded(evidence).items()]
    return {"evidence": pd.DataFrame(rows, columns=["who", "claim", "kept"])}


def recorded(evidence: Mapping[int, object]) -> dict[str, dict]:
    """Evidence by claim as a record keeps it."""
    return {str(number): kept(one) for number, one in sorted(evidence.items())}


def _norm_lowest(null: Simulated) -> c06.Evidence:
    """Claim 6 of the null, from x, held against another draw of it."""
    fall = lambda part: width_suite(null, part, minus=NONLINEAR).estimates()
    over_error = fall(NORM)
    return c06.Evidence(
        over_linear=fall(LINEAR),
        over_error=over_error,
        over_null={width: apart(e, e) for width, e in over_error.items()},
        nonlinear=width_suite(null, NONLINEAR).estimates(),
        null=over_error,
        itself={},
        null_itself={},
        lowest_self=0,
        saes=0,
    )


def null(measurement) -> dict[str, dict] | Absent:
    """Evidence of the matched null for claims 1 to 6 and 13, as a record keeps it: its SAEs in the place of
    the study's, the null it is held against another draw of it. Absent where nothing is matched."""
    target = target_of(measurement)
    if not target:
        return target
    suites = {name: null_suite(measurement, name) for name in METRICS}
    rows = {"id": [f"w{width}" for width in target.widths], "width": target.widths}
    saes = pd.DataFrame(rows | {name: suite.values for name, suite in suites.items()})
    saes = saes.assign(kind="simulated", seed=0, main=True, l0_target=float(target.l0), l0=float(target.l0))
    _, _, world = next(null_worlds(measurement))
    made = Simulated(world, saes, {name: suite.replicates for name, suite in suites.items()})
    facts = null_facts(measurement)
    of = lambda name: _combined(facts["saes"], "width", name)
    lead, best = of("lead"), dict.fromkeys(map(str, target.widths), "‖x‖")
    pairs = {name: _combined(facts["pairs"], "pair", name) for name in ("raw", "partial", "shuffled")}
    r2, change = of("r2"), flat(made, None).change
    evidence = {
        1: c01.Evidence(r2=r2, saes={f"w{w}": e for w, e in r2.items()}, kept=of("kept"), split={}),
        2: c02.Evidence(r2=suites[NORM].estimates(), layers={}, gain=of("lead"), simple={}),
        3: c03.Evidence(**pairs, seeds=None),
        4: flat(made, next(iter(change.values()), None)),
        5: floor(made),
        6: _norm_lowest(made),
        13: c13.Evidence(lead=lead, gain=of("adds"), early={}, best=best),
    }
    return {NULL: recorded(evidence)}


@cache.kept
def null_facts(measurement, *, draws: int = 2, documents: int = 30) -> dict[str, pd.DataFrame]:
    """What the null's draws give the rules beyond `matching.matched`.

    ``saes``: world, draw, width, r2 (of SaeError from x, mean over dimensions), kept (the share of it left
    once Sae(x) is rescaled by its best scalar), lead (R² of ‖SaeError‖² from x less that from ‖x‖ and ‖x‖²),
    adds (what x adds to these and ten of its components). ``pairs``: world, draw, pair, R² between the error
    norms of two widths: raw; partial, ‖x‖ and ‖x‖² taken out; shuffled, that within documents. Cost: 2 s a
    draw of 7,500 tokens, 128 dimensions and six widths.
    """
    target, saes, pairs = target_of(measurement), [], []
    for at, draw, world in null_worlds(measurement, draws=draws):
        batch, about = tokens_of(world, documents), {"world": at, "draw": draw}
        x, document = batch.x, batch.document.numpy()
        fold, size = document % 5, (x**2).sum(dim=1, keepdim=True)
        facts, norms = torch.cat([size.sqrt(), size], dim=1), {}
        components = torch.linalg.eigh(torch.cov(x.T)).eigenvectors[:, -TEN:]
        simple = torch.cat([facts, x @ components], dim=1)
        for width in target.widths:
            hat = OracleSae("", world, width, l0=target.cap).reconstruct(batch)[0]
            e = x - hat - (x - hat).mean(dim=0)  # the mean is its bias, as in `nulls.oracles`
            row = about | {"width": width} | _rescaled(x, e, fold)
            square = (e**2).sum(dim=1, keepdim=True)
            from_x = lambda *given: float(r2_from_x(torch.cat(given, dim=1), square, fold)[0])
            row |= {"lead": from_x(x) - from_x(facts), "adds": from_x(x, facts) - from_x(simple)}
            saes.append(row)
            norms[width] = square.sqrt().numpy()[:, 0]
        pairs += [about | row for row in _pairs(norms, facts.numpy(), document, fold)]
    return {"saes": pd.DataFrame(saes), "pairs": pd.DataFrame(pairs)}


def _rescaled(x: Tensor, e: Tensor, fold: np.ndarray) -> dict[str, float]:
    """r2 and kept of one error."""
    hat, centred = x - e, x - x.mean(dim=0)
    gain = float((centred * hat).sum() / ((hat - hat.mean(dim=0)) * hat).sum())
    r2, after = (float(r2_from_x(x, one, fold).mean()) for one in (e, x - gain * hat))
    return {"r2": r2, "kept": after / r2 if r2 > 0 else 0.0}


def _pairs(norms: Mapping[int, np.ndarray], facts: np.ndarray, document, fold) -> Iterator[dict]:
    order = shuffled_within(document, seed=0)
    left = {width: norm - out_of_fold(norm, fold, numbers=facts.T) for width, norm in norms.items()}

    def share(a, b):
        statistic, sums = Grams({"a": a, "b": b}, document, fold).r2("b", "a")
        return float(statistic(totals(sums)))

    for narrow, wide in combinations(norms, 2):
        a, b = left[narrow], left[wide]
        shared = {"raw": share(norms[narrow], norms[wide]), "partial": share(a, b)}
        yield {"pair": f"{narrow:,} and {wide:,}"} | shared | {"shuffled": share(a[order], b)}


def _combined(drawn: pd.DataFrame, place: str, value: str) -> dict[object, Estimate]:
    """By place, the mean over draws, with the interval of one more draw of one more world."""
    table = drawn.pivot(index=["world", "draw"], columns=place, values=value)
    y = table.to_numpy().reshape(drawn["world"].nunique(), -1, table.shape[1])
    more = one_more(y, 1000, seed=[0, 0x2011])
    ends = zip(y.mean(axis=(0, 1)), more.T)
    return {place: percentile(mean, column) for place, (mean, column) in zip(table.columns, ends)}
