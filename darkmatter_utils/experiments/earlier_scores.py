"""The tables of chapter 12: which predictions of the error are compared, and what they come to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.values import Absent, estimates, in_columns
from ..claims.c10_earlier import Evidence
from ..decomposition.passes import ERRORS
from ..measurement.measure import manifest
from ..measurement.widths import reference_sae
from ..stats.fits import LinearMap, merged
from ..stats.metrics import r2_per_dim
from ..stats.moments import Moments, rank_of
from .earlier import SHUFFLES, Earlier, Inputs, Model, Predictions, Predictors, earlier_sites

SWEEP = (4, 8, 16, 32, 64)
"""Numbers of directions tried, beside all of them."""
METRICS = ("r2_per_dim", "r2_total")
COLUMNS = ["kind", "site", "rank", "sae", "part", "tokens", "metric", "value", "low", "high"]
LEADS = ["kind", "over", "site", "sae", "part", "metric", "value", "low", "high"]
NONLINEAR = ERRORS[2]
NO_SITES = Absent(
    "This study has no site before the one that is decomposed: its activations are simulated, or its first "
    "block is read before anything was computed."
)


def targets_of(measurement) -> tuple[str, ...]:
    """The SAEs whose error is predicted: those of the suite nearest to widths of 8 d_model and 2 d_model."""
    return tuple(dict.fromkeys(reference_sae(measurement, factor=factor) for factor in (8, 2)))


def sites_of(measurement) -> list[Earlier]:
    """The sites that predict the first target's error."""
    return earlier_sites(measurement.study, int(measurement.sae(targets_of(measurement)[0])["width"]))


def earlier(measurement, *, predictors: Predictors, contexts: int) -> dict[str, pd.DataFrame] | Absent:
    """`scores` of the targets and sites of a study."""
    study, sites = measurement.study, sites_of(measurement)
    if not sites:
        return NO_SITES
    paths = tuple(f"{sae.path}/" for _, sae in sites if sae)
    held = manifest(study).get("files", {})
    return scores(
        measurement,
        predictors=predictors,
        contexts=contexts,
        targets=list(targets_of(measurement)),
        sites=[[site, sae.id if sae else ""] for site, sae in sites],
        files={name: about["sha256"] for name, about in held.items() if name.startswith(paths)},
    )


@kept
def scores(
    measurement, *, predictors: Predictors, contexts: int, targets: list[str], sites: list, files: dict
) -> dict[str, pd.DataFrame]:
    """Every prediction of the error's parts from earlier sites; ``sites``: [site, id of its SAE or ""];
    ``files``: sha256 of their weights, which the measurement's key does not name.

    ``r2``: `COLUMNS`; kind is one of `predictors`, "x", "Sae(x)", "x and Sae(x)", "x and <kind>", "x and all
    <kind>"; tokens is "own" or one of `SHUFFLES`. ``leads``: `LEADS`, differences of R² with paired
    intervals. ``whole``: r2 without the sweep over ranks. ``numbers``: `numbers`, ``gains``: `gains`.
    ``sites``: site, id of its SAE, width, rank. ``kinds``: kind. ``about``: tokens, documents.
    """
    study = measurement.study
    found = tuple(Earlier(site, study.sae(id) if id else None) for site, id in sites)
    inputs = Inputs(measurement, tuple(targets), found, contexts, predictors)
    ranks: dict[str, int] = {}

    def plan(made: Predictions) -> list[Model]:
        total = merged(made.folds)
        for site, kinds in inputs.sizes.items():
            ranks[site] = min(rank_of(total.select(made.inputs_of([f"{kind} {site}"]))) for kind in kinds)
        return models(made, ranks)

    made = Predictions(inputs, plan)
    rows = []
    for name in made.models:
        kind, site, rank = _named(name)
        for target in made.predicted(name):
            for metric in METRICS:
                about = [kind, site, rank or ranks.get(site), *target[:2], (*target, "own")[2], metric]
                rows.append([*about, *in_columns(made.r2(metric, name, target)).values()])
    r2 = pd.DataFrame(rows, columns=COLUMNS).astype({"rank": float})
    whole = [site not in ranks or rank == ranks[site] for site, rank in zip(r2["site"], r2["rank"])]
    leads, whole = _leads(made, inputs), r2[whole].reset_index(drop=True)
    about = [(e.site, e.sae.id if e.sae else "", e.sae.width if e.sae else 0, ranks[e.site]) for e in found]
    return {
        "r2": r2,
        "leads": leads,
        "whole": whole,
        "numbers": numbers(whole, leads, inputs.kinds),
        "gains": gains(leads, inputs.kinds),
        "sites": pd.DataFrame(about, columns=["site", "id", "width", "rank"]),
        "kinds": pd.DataFrame({"kind": inputs.kinds}),
        "about": pd.DataFrame([{"tokens": made.tokens, "documents": len(made.sums.documents)}]),
    }


def models(made: Predictions, ranks: dict[str, int]) -> list[Model]:
    """What is fitted: poles, each kind of input of each site with as many directions, the same joined to x,
    and the sweep over numbers of directions, of NonlinearError of the first SAE."""
    inputs = made.inputs
    first, everything = slice(0, len(ERRORS) * inputs.d_model), slice(0, len(made.targets) * inputs.d_model)
    own = slice(0, len(ERRORS) * inputs.d_model * len(inputs.targets))
    nonlinear = made.targets[inputs.targets[0], NONLINEAR]
    found = [Model("x", ("x",), own), Model("Sae(x)", ("Sae(x)",), first)]
    found.append(Model("x and Sae(x)", ("x", "Sae(x)"), first))
    for site, kinds in inputs.sizes.items():
        blocks = {kind: f"{kind} {site}" for kind in kinds}
        for kind, block in blocks.items():
            found.append(Model(f"{kind} | {site}", (block,), everything, ranks[site]))
            found.append(Model(f"x and {kind} | {site}", ("x", block), own))
        for r in (r for r in SWEEP if r < ranks[site]):
            found += [
                Model(f"{kind} | {site} | {r}", (block,), nonlinear, r) for kind, block in blocks.items()
            ]
    for kind in inputs.kinds:
        blocks = [f"{kind} {site}" for site, kinds in inputs.sizes.items() if kind in kinds]
        found.append(Model(all_of(kind), ("x", *blocks), own))
    return found


def all_of(kind: str) -> str:
    """The name of the prediction from x and a kind of input of all sites."""
    return f"x and all {kind}s" if kind.endswith("output") else f"x and all {kind}"


def _named(name: str) -> tuple[str, str, int | None]:
    kind, site, rank = [*name.split(" | "), "", ""][:3]
    return kind, site, int(rank) if rank else None


def _leads(made: Predictions, inputs: Inputs) -> pd.DataFrame:
    pairs: list[tuple[str, str | None]] = []  # None: over itself, with the targets shuffled
    for site, kinds in inputs.sizes.items():
        least, *others = [f"{kind} | {site}" for kind in kinds]
        pairs.append((f"x and {least}", "x"))
        for name in others:
            pairs += [(name, least), (f"x and {name}", "x"), (f"x and {name}", f"x and {least}")]
        pairs += [(name, None) for name in (least, *others)]
    pairs += [(all_of(kind), "x") for kind in inputs.kinds]
    rows = []
    for name, over in pairs:
        kind, site, _ = _named(name)
        for target in made.predicted(name):
            if len(target) > 2 or (over is None and target[0] != inputs.targets[0]):
                continue
            label, theirs = (_named(over)[0], target) if over else ("shuffled", (*target, SHUFFLES[0]))
            for metric in METRICS:
                lead = in_columns(made.r2(metric, name, target, (over or name, theirs))).values()
                rows.append([kind, label, site, *target, metric, *lead])
    return pd.DataFrame(rows, columns=LEADS)


def numbers(whole: pd.DataFrame, leads: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """R² of NonlinearError by site, and the last kind's leads: sae, site, rank, what, value, low, high."""
    words = {"r2_per_dim": "per dimension", "r2_total": "total"}
    r2 = whole[(whole["part"] == NONLINEAR) & (whole["tokens"] == "own") & whole["kind"].isin(kinds)]
    r2 = r2.assign(what=r2["kind"] + ", " + r2["metric"].map(words))
    rows = leads[(leads["part"] == NONLINEAR) & (leads["metric"] == METRICS[0])]
    rows = rows[rows["kind"] == kinds[-1]].assign(what=lambda found: "lead over " + found["over"])
    rows = rows.merge(r2[["site", "rank"]].drop_duplicates())
    columns = ["sae", "site", "rank", "what", "value", "low", "high"]
    return pd.concat([r2, rows], ignore_index=True)[columns].astype({"rank": int})


def gains(leads: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """What each site adds to x: sae, part, site ("all of them"), what, value, low, high; what is "gain by
    <kind>", or "difference", of the last kind's and the first's."""
    names = {f"x and {kind}": kind for kind in kinds} | {all_of(kind): kind for kind in kinds}
    rows = leads[leads["kind"].isin(names) & (leads["metric"] == METRICS[0])]
    rows = rows.assign(what=("gain by " + rows["kind"].map(names)).where(rows["over"] == "x", "difference"))
    rows = rows.assign(site=rows["site"].replace("", "all of them"))
    rows = rows[(rows["over"] == "x") | (rows["kind"] == f"x and {kinds[-1]}")]
    return rows[["sae", "part", "site", "what", "value", "low", "high"]].reset_index(drop=True)


def evidence(found) -> Evidence:
    """What the rule of claim 10 takes, of the first SAE: the sites that have an SAE."""
    if isinstance(found, Absent):
        return Evidence({}, {}, {}, {})
    whole, leads, kinds = found["whole"], found["leads"], found["kinds"]["kind"]
    control, kind, first = kinds.iloc[0], kinds.iloc[-1], found["r2"]["sae"].iloc[0]

    def by_site(rows, **where):
        where |= {"sae": first, "part": NONLINEAR, "metric": METRICS[0]}
        rows = rows[np.logical_and.reduce([rows[name] == value for name, value in where.items()])]
        return dict(zip(rows["site"], estimates(rows)))

    over_shuffled, over_raw = (by_site(leads, kind=kind, over=over) for over in ("shuffled", control))
    own, raw = (by_site(whole, kind=one, tokens="own") for one in (kind, control))
    there = lambda found: {site: e for site, e in found.items() if site in over_raw}
    return Evidence(there(own), there(over_shuffled), there(raw), over_raw)


class Few(NamedTuple):
    """Tokens of a few contexts at one earlier site."""

    raw: Tensor
    """The site's activations [token, d]."""
    output: Tensor | None
    """What its SAE makes of them [token, d]; None where it has none."""
    nonlinear: Tensor
    """NonlinearError at the study's own site [token, d_model]."""
    document: np.ndarray


def few(measurement, *, contexts: int = 80) -> Few | Absent:
    """The latest residual stream before the site, or failing that the latest site."""
    sites, target = sites_of(measurement), targets_of(measurement)[0]
    if not sites:
        return NO_SITES
    one = ([e for e in sites if e.site.endswith("hook_resid_post")] or sites)[-1]
    both = lambda raw, output: {"raw": raw, "output": output}
    inputs = Inputs(measurement, (target,), (one,), contexts, both)
    tokens = list(inputs.stream())
    block = {name: torch.cat([t.inputs[:, at] for t in tokens]) for name, at in inputs.columns().items()}
    nonlinear = torch.cat([t.errors for t in tokens]) - measurement.maps(target).overall(block["x"])
    document = np.concatenate([np.full(len(t.errors), t.document) for t in tokens])
    return Few(block[f"raw {one.site}"], block.get(f"output {one.site}"), nonlinear, document)


def tried(sample: Few | Absent, predictors: Predictors) -> pd.DataFrame | Absent:
    """R² per dimension from each kind of input, and from the last with the tokens shuffled: fitted on half of
    the documents, scored on the others."""
    if isinstance(sample, Absent):
        return sample
    made = {k: z for k, z in predictors(sample.raw, sample.output).items() if z is not None}
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(sample.raw)))
    made["shuffled"] = list(made.values())[-1][order]
    train, y, rows = torch.from_numpy(sample.document % 2 == 0), sample.nonlinear, []
    for kind, z in made.items():
        fit = LinearMap.fit(Moments(z.shape[1], y.shape[1]).update(z[train], y[train]))
        rows.append({"inputs": kind, "R² per dimension": r2_per_dim(y[~train], fit(z[~train]))})
    return pd.DataFrame(rows)
