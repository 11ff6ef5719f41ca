"""The computations of the chapter on models of activations, kept by content, and what the paper's readings
get wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..measurement.results import Tables, kept
from ..stats.power_law import PowerLaw
from ..studies.study import Study
from . import ablation, known_parts, null_curves

QUICK = {
    "case": {"seeds": 2, "documents": 10},
    "sweep": {"seeds": 2, "documents": 12, "superposition": [1, 4]},
    "estimators": {"seeds": 1, "documents": 10},
    "null": {"superposition": [2, 8], "laws": [1.0]},
}
"""Settings for the study of formats, which needs no numbers: everything once, and small."""


def worlds(study: Study) -> Tables:
    """goes, made, swept, estimators, unfixed, fixed: the same for every study (but small for nano), computed
    once.

    Cost: about 40 s on one thread; they depend on the study `world` alone, so they are kept for all studies
    together.
    """
    settings = QUICK if study.name == "nano" else {name: {} for name in QUICK}

    def compute():
        null = settings["null"]
        return known_parts.case_tables(**settings["case"]) | {
            "swept": known_parts.sweep(**settings["sweep"]),
            "estimators": known_parts.estimators(**settings["estimators"]),
            "unfixed": null_curves.unfixed(**null),
            "fixed": null_curves.fixed(**null),
        }

    return kept("worlds", Study.load("world"), ["known_parts", "null_curves"], compute, **settings)


def ablated(measurement, *, contexts: int = 64) -> Tables | None:
    """The noise-and-ablation check of a study with a model; None for a simulated one."""
    if measurement.study.model is None:
        return None
    return kept(
        "ablation",
        measurement.study,
        ["ablation"],
        lambda: ablation.ablation_tables(measurement, contexts=contexts),
        contexts=contexts,
    )


def cases(made: Tables, check: Tables | None) -> dict[str, dict[str, Estimate]]:
    """All cases that claim 11's rule judges."""
    found = known_parts.misplaced(made["goes"], made["swept"])
    return found if check is None else found | ablation.misplaced(check["shares"])


def readings(made: Tables) -> pd.DataFrame:
    """What the paper reads off a number, the number, the truth, and by how much it is off: in the world of
    the case.

    The case's SAE introduces errors apart from the rest; the floor is read off oracles of six widths, in
    closed form.
    """
    goes = made["goes"][made["goes"]["introduced"] == "apart"].set_index("part")["variance"]
    parts = made["made"][made["made"]["introduced"] == "apart"]
    world = known_parts.world_of(Study.load("world"), seed=0)
    truths = {width: world.truth(width) for width in (64, 128, 256, 512, 1024, 2048)}
    law = PowerLaw.fit(list(truths), [t.fvu for t in truths.values()])
    dense = sum(truths[256].shares[name] for name in ("manifold", "dense", "curved", "noise"))
    rows = [
        ("FVU_nonlinear is introduced error", parts["nonlinear"].sum(), goes["introduced"]),
        (
            "FVU_linear is absent features and the linear code of the dense part",
            parts["linear"].sum(),
            goes["absent"] + goes[known_parts.NAMES["dense"]],
        ),
        ("the floor c is what no width removes", law.c, dense),
        ("FVU − c is absent features, at 256 latents", truths[256].fvu - law.c, truths[256].shares["absent"]),
        (
            "FVU_nonlinear of an SAE that introduces nothing is the dense part",
            truths[256].fvu_nonlinear,
            dense,
        ),
    ]
    frame = pd.DataFrame(rows, columns=["reading", "estimated", "true"]).astype(
        {"estimated": float, "true": float}
    )
    return frame.assign(**{"off by": frame["estimated"] / frame["true"].replace(0, np.nan) - 1})
