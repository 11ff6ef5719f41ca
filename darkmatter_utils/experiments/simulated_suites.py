"""Simulated studies for rules about trained SAEs and about losses; see `simulated_documents`.

Trained SAEs are curves whose truth is set, with noise of documents and of training seeds as large as those of
tiny; the loss is per-document sums, drawn from the spread that those of tiny have.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd

from ..claims import (
    c04_flat,
    c05_floor,
    c06_norm_lowest,
    c07_fewer_features,
    c08_proportional,
    c12_everywhere,
)
from ..measurement.widths import Suite
from ..stats.intervals import apart, over_draws
from ..worlds.world import drawn_null
from . import components, floors, scaling
from .cost_shares import Costs, over_controls, relative, slopes
from .matching import DROP, drawn_suite, own_suite
from .nulls import oracles
from .replacements import CLEAN, SAE, control, with_part
from .scaling import per_doubling
from .simulated_documents import REPLICATES, Truths, only

WIDTHS, SEEDS, D_MODEL, L0 = (512, 1024, 2048, 4096, 8192), (3, 3, 3, 1, 1), 128, 8.0
"""Of a suite as tiny's: the two widest SAEs are trained once."""
SEED_SD = {"fvu": 0.0033, "fvu_nonlinear": 0.0048}
"""Standard deviations between seeds, relative, as tiny's (`Suite.seed_sd`)."""
DOCUMENT_SD, TOGETHER = 0.006, 0.95
"""Relative standard error of an FVU over documents, and its correlation between SAEs."""


def suite(rng, curves: dict[str, np.ndarray], *, replicates: int = REPLICATES) -> SimpleNamespace:
    """What a measurement of the suite would hold, from the true curves [width] of FVU and FVU_nonlinear."""
    width = np.repeat(WIDTHS, SEEDS)
    seed = np.concatenate([np.arange(n) for n in SEEDS])
    saes = pd.DataFrame(
        {"width": width, "seed": seed, "main": True, "kind": "sae", "l0": L0, "l0_target": L0}
    )
    saes["id"] = [f"w{w}-{s}" for w, s in zip(width, seed)]
    drawn = {}
    shared, shared_seed = rng.standard_normal(1 + replicates), rng.standard_normal(len(width))
    for name, curve in curves.items():
        own = rng.standard_normal((1 + replicates, len(width)))
        documents = np.sqrt(TOGETHER) * shared[:, None] + np.sqrt(1 - TOGETHER) * own
        trained = (shared_seed + rng.standard_normal(len(width))) / np.sqrt(2)
        level = np.log(np.repeat(curve, SEEDS)) + SEED_SD[name] * trained + DOCUMENT_SD * documents[0]
        saes[name] = np.exp(level)
        drawn[name] = np.exp(level + DOCUMENT_SD * documents[1:])
    unsaid = pd.DataFrame({"source": [], "tokens": []})
    return SimpleNamespace(saes=saes, replicates=drawn, card={"d_model": D_MODEL}, documents=unsaid)


NULL, NULL_SD, NULL_WORLDS = -0.05, 0.001, 4
"""The change per doubling of an SAE that introduces nothing, and its spread over worlds drawn anew."""


def flat(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 4, at one L0: FVU_nonlinear follows a straight line in logarithms."""
    doublings, found = np.log2(np.array(WIDTHS) / WIDTHS[0]), {}
    for statement, values in wanted.items():
        for truth, value in values.items():
            slope = {"level": value, "over the range": (1 + value) ** (1 / doublings[-1]) - 1}
            change = slope.get(statement, NULL + value)
            curve = 0.12 * (1 + change) ** doublings
            null = over_draws(NULL + NULL_SD * rng.standard_normal(NULL_WORLDS))
            made = suite(rng, {"fvu": 2 * curve, "fvu_nonlinear": curve})
            found[statement, truth] = scaling.flat(made, null)
    return found


EXPONENT, FLOOR_REPLICATES = 0.7, 200
"""Of the true curves; replicates, each of which is fitted many times."""


def falling(floor: float, widest: float) -> np.ndarray:
    """A curve c + a W^−`EXPONENT` with that floor and value at the widest."""
    widths = np.array(WIDTHS, float)
    return floor + (widest - floor) * (widths / widths[-1]) ** -EXPONENT


def floor(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 5: the curve is the one that is fitted."""
    doublings, found = np.log2(np.array(WIDTHS) / WIDTHS[0]), {}
    for statement, values in wanted.items():
        for truth, value in values.items():
            total = falling(0.1, 0.114)
            rest = np.full(len(WIDTHS), 0.1 - value * 0.114)
            if statement == "falls":
                total, rest = 0.2 * (1 + value) ** doublings, np.full(len(WIDTHS), 0.1)
            if statement == "linear error stays":
                rest = np.full(len(WIDTHS), 0.1)
                total = rest + falling(0.03 * value, 0.03)
            made = suite(rng, {"fvu": total, "fvu_nonlinear": rest}, replicates=FLOOR_REPLICATES)
            if statement == "falls":
                fall = per_doubling(own_suite(made, "fvu"))
                found[statement, truth] = only(c05_floor.Evidence, fall=fall)
            else:
                found[statement, truth] = floors.floor(made)
    return found


COMPONENT_SEEDS = 3
COMPONENT_SD = {"fvu": (0.001, 0.001), "accuracy": (0.006, 0.006)}
"""Training seeds of a component SAE; of an FVU and of an accuracy the standard deviation between seeds, and
the standard error over documents (and latents), as tiny's."""


def fewer_features(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 7: numbers of two parts and of their matched noises, joined over seeds."""

    def gap(quantity: str, value: float, seed: int) -> components.Number:
        of_seeds, of_documents = COMPONENT_SD[quantity]
        shared, values, replicates = rng.standard_normal((1 + components.REPLICATES, 1)), {}, {}
        for target, level in (("high", 0.5 + value), ("low", 0.5)):
            own = rng.standard_normal((1 + components.REPLICATES, COMPONENT_SEEDS))
            documents = of_documents * np.sqrt(0.5) * (shared + own)
            values[target] = level + of_seeds * rng.standard_normal(COMPONENT_SEEDS) + documents[0]
            replicates[target] = values[target] + documents[1:]
        numbers = components.by_target(values, replicates, seed=seed)
        return numbers["high"] - numbers["low"]

    found = {}
    for statement, values in wanted.items():
        quantity = "fvu" if statement.startswith("fewer") else "accuracy"
        excess = statement.endswith("beyond the spectrum")
        for truth, value in values.items():
            number = gap(quantity, 0.1 if excess else value, 1)
            number = number - gap(quantity, 0.1 - value, 2) if excess else number
            numbers = {f"{quantity}_{'excess' if excess else 'gap'}": number.estimate}
            found[statement, truth] = only(c07_fewer_features.Evidence, **numbers)
    return found


LOSS_DOCUMENTS, LOSS_TOKENS, LOSS_SD, LOSS_TOGETHER, SIZE_SD = 720, 223, 0.45, 0.6, 0.2
"""Documents and tokens of each whose loss is measured; standard deviation over documents of what a
replacement costs, over its mean, and its correlation between replacements; that of a squared error."""
LOSS_SAES, COST, KIND = ("narrow", "wide"), 0.5, "isotropic"


def proportional(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 8, at two widths: half of FVU is nonlinear; added first it wins back a tenth more of the loss."""
    saes = pd.DataFrame({"id": LOSS_SAES, "width": [512, 1024], "seed": 0, "main": True})
    measurement, found, half = SimpleNamespace(saes=saes), {}, 0.5
    for statement, values in wanted.items():
        for truth, value in values.items():
            share = half * (1.0 if statement == "specific" else value)
            times = value if statement == "specific" else 1.5
            costs = _costs(rng, share, half, times)
            one = lambda of: of.estimate(LOSS_SAES[0], relative("ce", "NonlinearError"))
            numbers = {
                "proportional": lambda of: {"slope": slopes(measurement, of)[""]},
                "SAE by SAE": lambda of, one=one: {"saes": {"SAE": one(of)}},
                "specific": lambda of: {"over_control": over_controls(measurement, of)},
            }[statement](costs)
            found[statement, truth] = only(c08_proportional.Evidence, **numbers)
    return found


def _costs(rng: np.random.Generator, share: float, nonlinear: float, times: float) -> Costs:
    document, losses, sizes = np.arange(LOSS_DOCUMENTS), [], []
    normal = lambda: rng.standard_normal(LOSS_DOCUMENTS)

    def paid(sae, replacement, price):
        about = {"sae": sae, "replacement": replacement, "document": document, "tokens": LOSS_TOKENS}
        losses.append(pd.DataFrame(about | {"ce": LOSS_TOKENS * (2 + price), "kl": LOSS_TOKENS * price}))

    paid("", CLEAN, np.zeros(LOSS_DOCUMENTS))
    for sae in LOSS_SAES:
        shared, size = normal(), normal()
        means = {SAE: COST, with_part("NonlinearError"): COST * (1 - share - 0.05)}
        means[with_part("LinearError")] = COST * (share - 0.05)
        means |= {
            control(KIND, part): COST * (share - 0.05) / times for part in ("NonlinearError", "LinearError")
        }
        means[control(KIND, "SaeError")] = COST / times
        for replacement, mean in means.items():
            noise = np.sqrt(LOSS_TOGETHER) * shared + np.sqrt(1 - LOSS_TOGETHER) * normal()
            paid(sae, replacement, mean * (1 + LOSS_SD * noise))
        for part, mean in {
            "SaeError": 1.0,
            "NonlinearError": nonlinear,
            "LinearError": 1 - nonlinear,
        }.items():
            square = LOSS_TOKENS * mean * (1 + SIZE_SD * (np.sqrt(0.9) * size + np.sqrt(0.1) * normal()))
            about = {
                "sae": sae,
                "document": document,
                "part": part,
                "square": square,
                "norm": np.sqrt(square),
            }
            sizes.append(pd.DataFrame(about))
    return Costs(pd.concat(losses), pd.concat(sizes), replicates=REPLICATES)


FAMILIES, LAYERS, KINDS, EFFECTS = 3, 4, 2, 6
"""What claim 12 is asked of; its cells are drawn as if they were independent."""


def everywhere(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 12: cells whose sign differs from the paper's with the wanted chance."""
    found = {}
    for statement, values in wanted.items():
        for truth, value in values.items():
            places = product(range(FAMILIES), range(LAYERS), range(KINDS), range(EFFECTS))
            cells = [
                c12_everywhere.Cell(f"effect {effect}", f"family {family}", layer, f"kind {kind}", sign)
                for family, layer, kind, effect in places
                for sign in [-1 if rng.random() < value else 1]
            ]
            found[statement, truth] = c12_everywhere.Evidence([cell._asdict() for cell in cells])
    return found


DRAWS = 4
"""Worlds of one kind that are drawn: each in turn is the study, the others are its null."""


def null_evidence(number: int) -> tuple[Suite, Suite, dict]:
    """FVU_nonlinear over width, and the fall of R² of the squared norm from SaeError to NonlinearError, of a
    simulated study that introduces no error; and the tables of a null that is matched to it perfectly."""
    kind, at = divmod(number, DRAWS)
    own = _draws(kind)[at]
    others = [one.saes.assign(world=0, draw=i) for i, one in enumerate(_draws(kind)) if i != at]
    draws = pd.concat(others, ignore_index=True)
    draws[DROP] = draws["norm_error"] - draws["norm_nonlinear"]
    tables = {"worlds": pd.DataFrame({"null": [True]}), "draws": draws}
    return own_suite(own, "fvu_nonlinear"), own_suite(own, DROP), tables


NULL_WIDTHS, NULL_L0, NULL_DOCUMENTS = (128, 256, 512, 1024), 6, 40
"""Of the oracles of `drawn_null`, 32 dimensions; documents of 256 tokens."""


@cache
def _draws(kind: int) -> list[SimpleNamespace]:
    """Draws of one kind of world."""
    world, made = drawn_null(kind), []
    for seed in range(DRAWS):
        how = {"l0": NULL_L0, "documents": NULL_DOCUMENTS, "replicates": REPLICATES}
        one = oracles(replace(world, seed=DRAWS * kind + seed), NULL_WIDTHS, **how)
        made.append(SimpleNamespace(saes=one.saes, replicates=one.replicates, card=one.card))
    return made


def flat_null(number: int) -> c04_flat.Evidence:
    """Claim 4's comparison with the null where nothing is introduced."""
    own, _, tables = null_evidence(number)
    null = per_doubling(drawn_suite(tables, "fvu_nonlinear", like=own))
    return only(c04_flat.Evidence, over_null={"suite": apart(per_doubling(own), null)})


def norm_lowest_null(number: int) -> c06_norm_lowest.Evidence:
    """Claim 6's, at every width."""
    _, own, tables = null_evidence(number)
    null = drawn_suite(tables, DROP, like=own).estimates()
    return only(
        c06_norm_lowest.Evidence,
        over_null={width: apart(drop, null[width]) for width, drop in own.estimates().items()},
    )
