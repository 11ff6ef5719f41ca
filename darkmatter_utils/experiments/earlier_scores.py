"""The tables of chapter 12: which predictions of the error are compared, and what they come to."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..claims import c10_earlier
from ..decomposition.passes import ERRORS
from ..measurement.results import Tables, kept
from ..measurement.widths import reference_sae
from ..stats.fits import merged
from .earlier import METRICS, SHUFFLES, Model, Predictions, rank_of
from .earlier_sites import Inputs, earlier_sites

SWEEP = (4, 8, 16, 32, 64)
"""Numbers of directions tried, beside all of them."""
COLUMNS = ["kind", "site", "rank", "sae", "part", "tokens", "metric", "value", "low", "high"]
LEADS = ["kind", "over", "site", "sae", "part", "metric", "value", "low", "high"]


def targets_of(measurement) -> tuple[str, ...]:
    """The SAEs whose error is predicted: those of the suite nearest to a width of 8 d_model and of 2
    d_model."""
    return tuple(dict.fromkeys(reference_sae(measurement, factor=factor) for factor in (8, 2)))


def earlier_scores(measurement, *, contexts: int) -> Tables:
    """Every prediction of the error's parts from earlier sites (kept by content); empty tables where there is
    no site.

    ``r2``: `COLUMNS`; kind is "SAE output", "raw", "x", "Sae(x)", "x and Sae(x)", "x and SAE output", "x and
    raw", "x and all SAE outputs", "x and all raw"; tokens is "own" or one of `SHUFFLES`. ``leads``: `LEADS`,
    differences of R² with paired intervals. ``sites``: site, id of its SAE ("" where there is none), width,
    rank. ``about``: tokens, documents.
    """
    targets = targets_of(measurement)
    width = int(measurement.sae(targets[0])["width"])
    sites = tuple(earlier_sites(measurement.study, width))
    if not sites:
        empty = lambda names: pd.DataFrame({name: pd.Series(dtype=object) for name in names})
        return {
            "r2": empty(COLUMNS),
            "leads": empty(LEADS),
            "sites": empty(["site", "id", "width", "rank"]),
            "about": pd.DataFrame([{"tokens": 0, "documents": 0}]),
        }
    others = [entry.sae.id for entry in sites if entry.sae]
    return kept(
        "earlier",
        measurement.study,
        ["earlier_scores"],
        lambda: _compute(Inputs(measurement, targets, sites, contexts)),
        contexts=contexts,
        targets=list(targets),
        sites=[entry.site for entry in sites],
        others=others,
        files=_files(measurement.study, others),
    )


def _files(study, ids) -> dict[str, str]:
    """sha256 of the weights of SAEs that the study does not select."""
    from ..measurement.measure import manifest

    paths = tuple(f"{study.sae(id).path}/" for id in ids)
    return {
        name: about["sha256"]
        for name, about in manifest(study).get("files", {}).items()
        if paths and name.startswith(paths)
    }


def _compute(inputs: Inputs) -> Tables:
    ranks: dict[str, int] = {}

    def plan(made: Predictions) -> list[Model]:
        total = merged(made.folds)
        for earlier in inputs.sites:
            block = f"{'sae' if earlier.sae else 'raw'} {earlier.site}"
            ranks[earlier.site] = rank_of(total.select(made.inputs_of([block])))
        return models(made, ranks)

    made = Predictions(inputs, plan)
    rows = []
    for name in made.models:
        kind, site, rank = _named(name)
        for target in made.predicted(name):
            for metric in METRICS:
                e = made.r2(name, target, metric)
                rows.append(
                    [
                        kind,
                        site,
                        rank or ranks.get(site),
                        *target[:2],
                        (*target, "own")[2],
                        metric,
                        e.value,
                        e.low,
                        e.high,
                    ]
                )
    sites = [
        {
            "site": e.site,
            "id": e.sae.id if e.sae else "",
            "width": e.sae.width if e.sae else 0,
            "rank": ranks[e.site],
        }
        for e in inputs.sites
    ]
    r2 = pd.DataFrame(rows, columns=COLUMNS).astype({"rank": float})
    return {
        "r2": r2,
        "leads": _leads(made, inputs),
        "sites": pd.DataFrame(sites),
        "about": pd.DataFrame([{"tokens": made.tokens, "documents": len(made.sums.documents)}]),
    }


def models(made: Predictions, ranks: dict[str, int]) -> list[Model]:
    """What is fitted: poles, each site's SAE output and as many directions of its raw activation, the same
    joined to x, and the sweep over numbers of directions, of NonlinearError of the first SAE."""
    inputs = made.inputs
    first, everything = slice(0, len(ERRORS) * inputs.d_model), slice(0, len(made.targets) * inputs.d_model)
    own = slice(0, len(ERRORS) * inputs.d_model * len(inputs.targets))
    nonlinear = made.targets[inputs.targets[0], ERRORS[2]]
    found = [
        Model("x", ("x",), own),
        Model("Sae(x)", ("Sae(x)",), first),
        Model("x and Sae(x)", ("x", "Sae(x)"), first),
    ]
    for earlier in inputs.sites:
        site, rank = earlier.site, ranks[earlier.site]
        raw, sae = f"raw {site}", f"sae {site}"
        found += [
            Model(f"raw | {site}", (raw,), everything, rank),
            Model(f"x and raw | {site}", ("x", raw), own),
        ]
        if earlier.sae:
            found += [
                Model(f"SAE output | {site}", (sae,), everything, rank),
                Model(f"x and SAE output | {site}", ("x", sae), own),
            ]
        for r in (r for r in SWEEP if r < rank):
            found.append(Model(f"raw | {site} | {r}", (raw,), nonlinear, r))
            if earlier.sae:
                found.append(Model(f"SAE output | {site} | {r}", (sae,), nonlinear, r))
    saes = [f"sae {e.site}" for e in inputs.sites if e.sae]
    found.append(Model("x and all raw", ("x", *(f"raw {e.site}" for e in inputs.sites)), own))
    return found + ([Model("x and all SAE outputs", ("x", *saes), own)] if saes else [])


def _named(name: str) -> tuple[str, str, int | None]:
    kind, site, rank = [*name.split(" | "), "", ""][:3]
    return kind, site, int(rank) if rank else None


def _leads(made: Predictions, inputs: Inputs) -> pd.DataFrame:
    first = inputs.targets[0]
    pairs = []
    for e in inputs.sites:
        raw, sae = f"raw | {e.site}", f"SAE output | {e.site}"
        pairs += [(f"x and {raw}", "x")] + (
            [(sae, raw), (f"x and {sae}", "x"), (f"x and {sae}", f"x and {raw}")] if e.sae else []
        )
        pairs += [(name, f"{name} | {SHUFFLES[0]}") for name in ([raw, sae] if e.sae else [raw])]
    pairs += [(name, "x") for name in ("x and all raw", "x and all SAE outputs") if name in made.models]
    rows = []
    for name, over in pairs:
        shuffled = over.endswith(SHUFFLES[0])
        for target in made.predicted(name):
            if len(target) > 2 or (shuffled and target[0] != first):
                continue
            theirs = (name, (*target, SHUFFLES[0])) if shuffled else (over, target)
            for metric in METRICS:
                lead = made.lead(name, target, *theirs, metric)
                kind, site, _ = _named(name)
                label = "shuffled" if shuffled else _named(over)[0]
                rows.append([kind, label, site, *target, metric, lead.value, lead.low, lead.high])
    return pd.DataFrame(rows, columns=LEADS)


def estimates(table: pd.DataFrame, **where) -> dict[str, Estimate]:
    """The estimates of the rows with these values, by site, in the order of the table."""
    keep = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    return {row.site: Estimate(row.value, row.low, row.high) for row in table[keep].itertuples()}


def full_rank(tables: Tables) -> pd.DataFrame:
    """The rows of ``r2`` without the sweep."""
    ranks = dict(zip(tables["sites"]["site"], tables["sites"]["rank"]))
    table = tables["r2"]
    return table[
        [site not in ranks or rank == ranks[site] for site, rank in zip(table["site"], table["rank"])]
    ]


def evidence(tables: Tables, sae: str) -> c10_earlier.Evidence:
    """What the rule of claim 10 takes: the sites that have an SAE."""
    if tables["r2"].empty:
        return c10_earlier.Evidence({}, {}, {}, {})
    where = {"sae": sae, "part": "NonlinearError", "metric": "r2_per_dim"}
    whole, leads = full_rank(tables), tables["leads"]
    found = {
        "sae": estimates(whole, kind="SAE output", tokens="own", **where),
        "raw": estimates(whole, kind="raw", tokens="own", **where),
        "over_raw": estimates(leads, kind="SAE output", over="raw", **where),
        "over_shuffled": estimates(leads, kind="SAE output", over="shuffled", **where),
    }
    there = {n: {site: e for site, e in v.items() if site in found["sae"]} for n, v in found.items()}
    return c10_earlier.Evidence(**there)
