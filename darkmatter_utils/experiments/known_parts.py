"""True parts against estimated parts in simulated worlds: one case in full, a sweep over superposition and
width, the estimators against closed forms, and what the readings of the paper's App. B.2 get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..base.values import Estimate, estimates, in_columns
from ..decomposition.decompose import SCALARS, score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..stats.documents import assign_folds
from ..stats.intervals import over_draws
from ..stats.power_law import PowerLaw
from ..studies.study import Study
from ..worlds.known import DENSE, Landing, WorldBatch, land, tokens_of
from ..worlds.saes import OracleSae, null_sae
from ..worlds.world import World
from . import nulls

ERROR = {"absent": 1.0, **dict.fromkeys(DENSE, 1.0), "introduced": -1.0}
"""SaeError = absent + dense parts − introduced."""
TRUE = {"absent": {"absent": 1.0}, "dense": dict.fromkeys(DENSE, 1.0), "introduced": {"introduced": -1.0}}
"""The true parts of an error, with their signs, as sums of the parts that are kept apart."""
MADE_OF = {"manifold": "manifolds", "dense": "linear code", "curved": "curved code", "noise": "noise"}
NAMES = {name: f"dense: {words}" for name, words in MADE_OF.items()}
"""How tables name what the dense part is made of."""
CASE = "introduced-256"
"""The SAE of the study `world` that stands for an SAE with errors of its own."""
VARIANTS = {
    "apart": {"interference": 0.0},
    "together": {"interference": 0.3},
    "shrunk": {"gain": 0.8, "wrong": 0.0, "missed": 0.0, "false_fires": 0.0, "interference": 0.0},
}
"""What that SAE introduces: errors of its own, errors read off the other parts, or nothing but shrinkage."""
SEEDS = 4
"""Worlds drawn anew for each interval."""

SPARSE = {"features": 32, "context": 128, "l0": 6.0, "exponent": 1.0, "hierarchy": 0.3, "topics": 8}
MORE = {"manifolds": 4, "dense_rank": 4, "dense": 0.05, "curved": 0.03, "noise": 0.02, "heteroscedastic": 0.5}
UNEQUAL = {"document_share": 0.3, "scale_document": 0.15, "scale_token": 0.35}
SWEEP = World(d_model=32, **SPARSE, **MORE, **UNEQUAL)
"""The world of the sweep; `features` and `seed` vary."""
SUPERPOSITION = (1, 4, 16, 64)
"""n / d: features over dimensions."""
HELD = (1 / 16, 1 / 4, 3 / 4)
"""Shares of the features that the SAE holds."""
ERRORS = {"gain": 0.95, "wrong": 0.2, "missed": 0.02, "false_fires": 0.25}
"""Dials of the sweep's SAE: what it introduces is apart from the other parts."""
QUICK = {
    "case": {"seeds": 2, "documents": 10},
    "sweep": {"seeds": 2, "documents": 12, "superposition": (1, 4)},
    "estimators": {"seeds": 1, "documents": 10},
    "null": {"superposition": (2, 8), "laws": (1.0,)},
}
"""Settings for a study that needs no numbers: everything once, and small."""


@kept
def worlds(study: Study, *, quick: bool = False) -> dict[str, pd.DataFrame]:
    """goes (`case_table`), swept (`sweep`), estimators, and the curves of SAEs that introduce nothing,
    unfixed and fixed (`nulls`), all of the simulated study `world`.

    Cost: about 40 s on one thread; a tenth of it where ``quick``, for a study that needs no numbers.
    """
    case, sweeps, tests, null = QUICK.values() if quick else [{} for _ in QUICK]
    return {
        "goes": case_table(study, **case),
        "swept": sweep(**sweeps),
        "estimators": estimators(study, **tests),
        "unfixed": nulls.unfixed(**null),
        "fixed": nulls.fixed(**null),
    }


def land_sae(sae: OracleSae, batch: WorldBatch) -> Landing:
    """Where the known parts of one SAE's error land, over the tokens of a batch of its world."""
    parts = sae.parts(batch)
    z = {"absent": parts.absent} | {name: batch.parts[name] for name in DENSE}
    z["introduced"] = parts.introduced
    return land(batch.x, z, batch.document.numpy(), error=ERROR, learned=parts.learned)


def world_of(study: Study, *, seed: int) -> World:
    """The world of a simulated study, drawn from another seed."""
    return World.of({k: v for k, v in study.world.items() if k != "documents"} | {"seed": seed})


def case_table(study: Study, *, seeds: int = SEEDS, documents: int = 24) -> pd.DataFrame:
    """The full case, once for each of `VARIANTS`: a row a true part, as `row_of` has it, and introduced (the
    variant). "SaeError" is all parts together. Cost: about a second a seed and variant."""
    entry = study.sae(CASE)
    found: dict[str, list[Landing]] = {variant: [] for variant in VARIANTS}
    for seed in range(seeds):
        world = world_of(study, seed=seed)
        batch = tokens_of(world, documents)
        for variant, dials in VARIANTS.items():
            sae = null_sae(entry.kind, id=CASE, width=entry.width, world=world, **entry.dials | dials)
            found[variant].append(land_sae(sae, batch))
    parts = {"learned": None, "absent": TRUE["absent"], "dense": TRUE["dense"]}
    parts |= {NAMES[name]: {name: 1.0} for name in DENSE}
    parts |= {"introduced": TRUE["introduced"], "SaeError": ERROR}
    rows = [
        {"introduced": variant} | row_of(name, landings, signs)
        for variant, landings in found.items()
        for name, signs in parts.items()
    ]
    return pd.DataFrame(rows)


def row_of(name: str, landings: Sequence[Landing], signs: dict | None) -> dict:
    """One true part's row: ``part``, ``variance`` over that of x, and the four shares of `Landing.ratios`,
    each with ends over seeds. The learned part (``signs`` None) is no error: linear and nonlinear both hold
    what the error's map reads of it, with + in one and with − in the other."""
    if signs is None:
        shares = [dict.fromkeys(("linear", "nonlinear"), m.leaked()) for m in landings]
        sizes = [m.leak[:, 1].sum() / m.x.sum() for m in landings]
    else:
        shares = [m.shares(m.weights(**signs), m.weights(**ERROR)) for m in landings]
        sizes = [m.variance(m.weights(**signs)) for m in landings]
    row = {"part": name, "variance": over_draws(sizes).value}
    for share in shares[0]:
        row |= in_columns(over_draws([one[share] for one in shares]), share)
    return row


def sweep(*, seeds: int = SEEDS, documents: int = 48, superposition=SUPERPOSITION, held=HELD) -> pd.DataFrame:
    """The three true parts over n/d and over the share of the features that the SAE holds.

    One row a cell and part: superposition, held, width, and `row_of`. The SAE introduces errors apart from
    the other parts. Cost: a fifth of a second a cell and seed.
    """
    rows = []
    for ratio in superposition:
        found: dict[tuple, list] = {}
        for seed in range(seeds):
            world = replace(SWEEP, features=SWEEP.d_model * ratio, seed=seed)
            batch = tokens_of(world, documents)
            for share in held:
                sae = OracleSae("swept", world, max(1, round(share * world.features)), **ERRORS)
                found.setdefault((share, sae.width), []).append(land_sae(sae, batch))
        rows += [
            {"superposition": ratio, "held": share, "width": width} | row_of(part, landings, signs)
            for (share, width), landings in found.items()
            for part, signs in TRUE.items()
        ]
    return pd.DataFrame(rows)


JUDGED = {
    "linear": ("absent", "of_linear"),
    "nonlinear": ("introduced", "of_nonlinear"),
    "introduced": ("introduced", "nonlinear"),
    "absent": ("absent", "linear"),
}
"""The true part and the share of each number of claim 11."""


def cases(made, check) -> dict[str, dict[str, Estimate]]:
    """What claim 11's rule takes of `worlds` and of `ablation.ablated`: each of `JUDGED`, by case; a share of
    what does not vary in a case is left out there."""
    goes, swept, own = made["goes"], made["swept"], check["shares"]
    named = [
        goes.assign(case="world, introduced " + goes["introduced"]),
        swept.assign(case=[f"n/d {r.superposition:g}, {r.width:g} held" for r in swept.itertuples()]),
    ]
    if check:
        words = [f"own dictionary, {r.kind} noise, {r.ablated:.0%} ablated" for r in own.itertuples()]
        named.append(own.assign(case=words))
    rows = pd.concat(named)
    found = {}
    for number, (part, share) in JUDGED.items():
        mine = rows[(rows["part"] == part) & rows[share].notna()]
        found[number] = dict(zip(mine["case"], estimates(mine, share), strict=True))
    return found


def estimators(study: Study, *, seeds: int = 3, documents: int = 24) -> pd.DataFrame:
    """Each estimator of the decomposition against its population value in closed form, in the study's worlds.

    One row a seed, width and metric: truth, value, low, high. The SAEs are oracles without a cap, for which
    the truth is known (`World.truth`). Cost: about three seconds a seed.
    """
    rows = []
    for seed in range(seeds):
        world = world_of(study, seed=seed)
        batch = tokens_of(world, documents)
        document, counts = np.unique(batch.document.numpy(), return_counts=True)
        widths = (64, 256, 1024)
        hats = {str(w): OracleSae(str(w), world, w).reconstruct(batch)[0] for w in widths}
        tokens = (batch.x, hats, batch.document.numpy())
        fold = assign_folds(document, counts, study.folds)
        first = FirstPass(world.d_model, list(hats), fold, self_norms=False).update(*tokens)
        third = ThirdPass(SecondPass(first).update(*tokens)).update(*tokens)
        for width in widths:
            truth, found = world.truth(width), score(third, str(width), replicates=200)
            rows += [
                {"seed": seed, "width": width, "metric": name, "truth": getattr(truth, name)}
                | getattr(found, name).to_dict()
                for name in SCALARS
            ]
    return pd.DataFrame(rows)


def readings(made: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What the hypothesis of the paper's App. B.2 reads off a number, the number, the truth, and how far it
    is off, in the case's world.

    Its SAE introduces errors apart from the rest; the floor is read off oracles of six widths in closed form.
    """
    case = made["goes"][made["goes"]["introduced"] == "apart"].set_index("part")
    goes, error = case["variance"], case.loc["SaeError"]
    world = world_of(Study.load("world"), seed=0)
    truths = {width: world.truth(width) for width in (64, 128, 256, 512, 1024, 2048)}
    law = PowerLaw.fit(list(truths), [t.fvu for t in truths.values()])
    truth, dense = truths[256], sum(truths[256].shares[name] for name in NAMES)
    coded = goes["absent"] + goes[NAMES["dense"]]
    rows = [
        ("FVU_nonlinear is introduced error", error["variance"] * error["nonlinear"], goes["introduced"]),
        (
            "FVU_linear is absent features and the linear code of the dense part",
            error["variance"] * error["linear"],
            coded,
        ),
        ("the floor c is what no width removes", law.c, dense),
        ("FVU − c is absent features, at 256 latents", truth.fvu - law.c, truth.shares["absent"]),
        ("FVU_nonlinear of an SAE that introduces nothing is the dense part", truth.fvu_nonlinear, dense),
    ]
    frame = pd.DataFrame(rows, columns=["reading", "estimated", "true"])
    frame = frame.astype({"estimated": float, "true": float})
    return frame.assign(**{"off by": frame["estimated"] / frame["true"].replace(0, np.nan) - 1})
