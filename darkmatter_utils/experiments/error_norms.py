"""How large is the error at a token? Its size, as the notebook defines it, from x and from simple facts."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..base.errors import BadInput
from ..base.values import Absent, Estimate, estimates
from ..claims import c02_norm_linear, c13_beyond_simple
from ..measurement.measure import Measurement
from ..measurement.widths import first_seeds, over_l0, suite_rows
from .nested import ALL, ALONE, BEST, SIMPLE, Target, X, nested
from .regress import of, over_suite, regress, suite_sources, told_sources

OVER, LEAD, ADDS = "x over all simple", "x over the best single", "x adds"
"""Gains: R² of `X` minus that of `SIMPLE`; minus that of `BEST`; R² of `ALL` minus that of the model before
it."""
DEPTH = "depth"
"""Name of the suite that has the same widths at every layer."""
ONE_SEED = Absent("No width of this study was trained from several seeds.")
NO_DEPTH = Absent("This study has no SAEs of the same widths at other layers.")


@kept
def error_norms(measurement: Measurement, *, target: Target) -> dict[str, pd.DataFrame | Absent]:
    """R² of the target of every SAE, from x and from every nested model.

    ``saes``: the measurement's table of SAEs with ``value``, ``low`` and ``high``, R² from x with its
    interval over documents, and ``held_out``; ``grid``: means by width and L0. ``suite``: R² by width, over
    seeds; ``widths``: model, width, value, low, high, seeds, the nested models; ``seeds``: sd, between seeds
    of one width. ``layers``: id, layer, width, own (of the suite's site), model, value, low, high, at every
    layer that has SAEs of the same widths, single SAEs. ``steps``: the steps that the study has, in order;
    ``single``: those that stand alone. ``sources``: source, width and value, R² from x of a source's
    documents alone.

    Cost: two passes of the model, one of the SAEs; memory of 8 bytes × tokens × (12 SAEs of a site + 3), sums
    of (d_model + 12 SAEs + 3)² a fold. Raises BadInput for a target that is not one number a token.
    """
    fit = regress(measurement, of(target))
    if len(fit.floor) != len(fit.ids):
        raise BadInput("the target must be one number a token, [token] or [token, 1]")
    r2, replicates = fit.r2()
    saes = measurement.saes.merge(r2, on="id")
    suite = over_suite(measurement, fit.ids, r2["value"], replicates)
    models = nested(measurement, fit, target, suite_rows(measurement)["id"].tolist(), suite=DEPTH)
    named = {model: (model, None) for model in models.models}
    named |= {OVER: (X, SIMPLE), LEAD: (X, BEST), ADDS: (ALL, models.steps[-2])}
    widths = [
        over_suite(measurement, models.ids, *models.replicated(*pair)).frame().assign(model=name)
        for name, pair in named.items()
    ]
    table, gains = layers(measurement), []
    for id in table["id"]:
        gains += [{"id": id, "model": name} | models.gain(id, *two).to_dict() for name, two in named.items()]
    return {
        "saes": saes,
        "grid": over_l0(saes),
        "suite": suite.frame(),
        "seeds": ONE_SEED if np.isnan(suite.seed_sd) else pd.DataFrame({"sd": [suite.seed_sd]}),
        "widths": pd.concat(widths, ignore_index=True),
        "layers": table.merge(pd.DataFrame(gains), on="id") if gains else NO_DEPTH,
        "steps": pd.DataFrame({"step": models.steps}),
        "single": pd.DataFrame({"step": models.single}),
        "sources": suite_sources(measurement, fit),
    }


def layers(measurement: Measurement) -> pd.DataFrame:
    """The depth suite's SAEs and, at their widths, the width suite's (first seed): id, layer, width, own."""
    study = measurement.study
    depth = [(site, entry) for site in study.sites(DEPTH) for entry in study.at(site, suite=DEPTH).selected()]
    rows = [(entry.id, layer_of(site), entry.width, False) for site, entry in depth]
    first = first_seeds(measurement)
    first = first[first["width"].isin([width for _, _, width, _ in rows])]
    rows += [(row.id, layer_of(study.site), int(row.width), True) for row in first.itertuples()]
    table = pd.DataFrame(rows, columns=["id", "layer", "width", "own"])
    return table.sort_values(["width", "layer"], ignore_index=True)


def layer_of(site: str) -> int:
    """The layer that a site's name has; of a simulated world 0."""
    return int((re.search(r"\d+", site) or ["0"])[0])


def places(found: Mapping[str, pd.DataFrame], model: str) -> dict[str, Estimate]:
    """R² of a model (or a gain) at each width of the suite, then at each other layer and width, by name."""
    here = found["widths"].query("model == @model")
    there = found["layers"].query("model == @model and not own")
    names = [f"{width:,} latents" for width in here["width"]]
    names += [f"layer {row.layer}, {row.width:,} latents" for row in there.itertuples()]
    return dict(zip(names, [*estimates(here), *estimates(there)], strict=True))


def norm_linear(found: Mapping[str, pd.DataFrame]) -> c02_norm_linear.Evidence:
    """Claim 2: R² from x and from the simple facts by width, and from x at other layers."""
    suite, simple = found["suite"], found["widths"].query(f"model == '{SIMPLE}'")
    return c02_norm_linear.Evidence(
        r2=dict(zip(suite["width"], estimates(suite))),
        layers={name: e for name, e in places(found, X).items() if name.startswith("layer")},
        gain=places(found, OVER),
        simple=dict(zip(simple["width"], simple["value"])),
        sources=told_sources(found["sources"]),
    )


def beyond_simple(found: Mapping[str, pd.DataFrame], measurement: Measurement) -> c13_beyond_simple.Evidence:
    """Claim 13: by place, R² from x minus that from the best single predictor (`nested.BEST`), and the gain
    of x over all; the first layers apart; which one is the best there on all documents."""
    layers, own = measurement.card.get("layers"), layer_of(measurement.study.site)
    first = {
        name: c13_beyond_simple.early(layer_of(name) if name.startswith("layer") else own, layers)
        for name in places(found, X)
    }
    alone = {step: places(found, step + ALONE) for step in found["single"]["step"]}
    best = {name: max(alone, key=lambda step: alone[step][name].value) for name in first}
    lead = places(found, LEAD)
    behind = lambda found: {name: e for name, e in found.items() if not first[name]}
    return c13_beyond_simple.Evidence(
        lead=behind(lead),
        gain=behind(places(found, ADDS)),
        early={name: e for name, e in lead.items() if first[name]},
        best=best,
    )
