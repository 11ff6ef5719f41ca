"""Simulated studies for rules over per-document records: the truth of every quantity is set exactly.

A study is 20,000 tokens of 64 dimensions in documents of unequal length and loudness, whose tokens are alike.
Its errors pass through the package's own passes, fits and intervals; what comes out is what a rule takes.
Each function takes what the truths are to be, {statement: {name of the truth: value}}, and returns the
evidence at each, {(statement, name): Evidence}; one study's x and noise serve all its truths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq

from ..base.values import Estimate
from ..claims import c01_half_linear, c09_inference, c10_earlier
from ..decomposition.decompose import Decomposition, score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..decomposition.scores import linear_shares, rescaled
from ..measurement.widths import Suite, over_widths
from ..stats.documents import assign_folds, sum_by
from ..stats.fits import centre, cross_fit, merged, moments_by_fold
from ..stats.intervals import bootstrap, over_groups
from ..stats.metrics import ratio_r2
from .regress import Regression

DOCUMENTS, TOKENS, D = 200, 100, 64
"""Documents of a study, tokens of a document on average, dimensions."""
UNEQUAL, LOUD, NOISY, ALIKE, SIZE = 0.5, 0.2, 0.1, 0.2, 0.2
"""Standard deviations over documents of the logs of length, of the scale of everything, and of the size of
the error against x; the share of the variance of a normal number that its document has; and the standard
deviation over tokens of the log of a token's size. Documents of tiny: 0.4, 0.03, 0.06. Fixed before any rate
was known."""
CURVED = 0.2
"""Of the part of an error that no linear map predicts, the share that is a square of x."""
REPLICATES = 400
Truths = Mapping[str, Mapping[str, float]]
"""By statement and name of the truth, its value."""


class Text(NamedTuple):
    """The documents of a simulated study."""

    rng: np.random.Generator
    document: Int[np.ndarray, "token"]
    loud: Float[np.ndarray, "token 1"]
    """Scale of the document; mean square 1."""
    noisy: Float[np.ndarray, "token 1"]
    """Size of its error against that; mean square 1."""
    fold: dict[int, int]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Text:
        """Documents of random length and loudness."""
        of_document = lambda sd: np.exp(sd * rng.standard_normal(DOCUMENTS) - sd**2)
        length = np.maximum(10, np.round(TOKENS * of_document(UNEQUAL) * np.exp(UNEQUAL**2 / 2))).astype(int)
        document = np.repeat(np.arange(DOCUMENTS), length)
        loud, noisy = (of_document(sd)[document, None] for sd in (LOUD, NOISY))
        return cls(rng, document, loud, noisy, assign_folds(np.arange(DOCUMENTS), length, 5))

    def normal(self, columns: int, *, alike: float = ALIKE) -> Float[np.ndarray, "token columns"]:
        """Standard normal numbers, a share ``alike`` of whose variance is the document's."""
        own = self.rng.standard_normal((len(self.document), columns))
        shared = self.rng.standard_normal((DOCUMENTS, columns))[self.document]
        return np.sqrt(alike) * shared + np.sqrt(1 - alike) * own

    @property
    def folds(self) -> Int[np.ndarray, "token"]:
        """The fold of each token."""
        return np.array([self.fold[i] for i in range(DOCUMENTS)])[self.document]

    def regressed(self, x, targets: Mapping[object, np.ndarray]) -> Regression:
        """Targets [token, k] regressed on x out of fold, as `regress` does those of a study's SAEs."""
        y, x = torch.from_numpy(np.hstack(list(targets.values()))), torch.from_numpy(x)
        moments = moments_by_fold(x, y, self.folds)
        fits = cross_fit(moments)
        t, left = y - fits.overall.y_mean, (y - fits.predict(x, self.folds)) ** 2
        sums = {"t": t, "tt": t**2, "held_out": left, "in_sample": (y - fits.overall(x)) ** 2}
        sums = {name: sum_by(self.document, value) for name, value in sums.items()}
        sums |= {"n": np.bincount(self.document).astype(float)}
        return Regression(list(targets), moments, sums, np.zeros(y.shape[1]), None, None, REPLICATES, 0)

    def scored(self, x, errors: Mapping[str, np.ndarray]) -> dict[str, Decomposition]:
        """The decomposition of each of several errors of x, paired."""
        hats = {name: x - error for name, error in errors.items()}
        first = FirstPass(x.shape[1], list(hats), self.fold, self_norms=False)
        second = SecondPass(first.update(x, hats, self.document)).update(x, hats, self.document)
        third = ThirdPass(second).update(x, hats, self.document)
        return {name: score(third, name, replicates=REPLICATES) for name in hats}


def one_width(value: float, replicates: np.ndarray) -> Suite:
    """A number of the one SAE of a suite."""
    sae = pd.DataFrame({"width": [D], "seed": [0]})
    return over_widths(sae, np.array([value]), replicates[:, None], "r2")


# Errors as vectors: x has the identity's covariance in the population, a turn of it (O x)_2j = −x_2j+1 has no
# gain on x itself, and a unit of noise no linear map of x predicts.


def turned(x: np.ndarray) -> np.ndarray:
    """O x: every pair of dimensions turned by a right angle."""
    return np.stack([-x[:, 1::2], x[:, ::2]], axis=2).reshape(x.shape)


def unpredictable(text: Text, x: np.ndarray) -> np.ndarray:
    """Noise of variance 1 a dimension that is uncorrelated with x: a square of it, and noise of its own."""
    square = ((x / text.loud) ** 2 - 1) / np.sqrt(2)
    mixed = np.sqrt(CURVED) * square + np.sqrt(1 - CURVED) * text.normal(x.shape[1])
    return text.loud * text.noisy * mixed


def vectors(text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, O x and `unpredictable`."""
    x = text.loud * text.normal(D)
    return x, turned(x), unpredictable(text, x)


def shrunk(kept: float, fvu: float, r2: float) -> float:
    """The share c of x in the error c x + a O x + b noise of that FVU and R², such that ``kept`` of the R² is
    left once the reconstruction is rescaled by its best scalar."""
    linear, noise = r2 * fvu, (1 - r2) * fvu

    def left(c):
        scale = (1 - c) / ((1 - c) ** 2 + fvu - c**2)
        after = (1 - scale * (1 - c)) ** 2 + scale**2 * (linear - c**2)
        return after / (after + scale**2 * noise) / r2 - kept

    return brentq(left, 0.0, np.sqrt(linear))


def only(evidence: type, **numbers):
    """Evidence that holds these numbers alone."""
    return evidence(**(dict.fromkeys(evidence._fields, {}) | numbers))


def half_linear(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 1, at one SAE: FVU 0.3, or 0.1 where half is linear and a part of that is shrinkage.

    The sums of an error a O x + b noise follow from those of its two pieces: the first leaves no residual."""
    text = Text.draw(rng)
    x, linear, noise = vectors(text)
    guard, fvu = "not shrinkage", 0.3
    keys = [(s, truth) for s, values in wanted.items() if s != guard for truth in values]
    mix = np.array([[np.sqrt(r2 * fvu), np.sqrt((1 - r2) * fvu)] for r2 in (wanted[s][t] for s, t in keys)])
    one, of = text.regressed(x, {"noise": noise}), lambda z: sum_by(text.document, z)
    t, n = [z - z.mean(axis=0) for z in (linear, noise)], len(keys)
    sums = {"t": mix @ np.stack([of(z) for z in t], axis=1), "n": one.sums["n"]}
    squares = np.stack([of(t[0] ** 2), 2 * of(t[0] * t[1]), of(t[1] ** 2)], axis=1)
    sums["tt"] = np.stack([mix[:, 0] ** 2, mix[:, 0] * mix[:, 1], mix[:, 1] ** 2], axis=1) @ squares
    sums |= {name: mix[:, 1:] ** 2 * one.sums[name][:, None] for name in ("held_out", "in_sample")}
    sums = {name: z.reshape(len(z), -1) if name != "n" else z for name, z in sums.items()}
    fit = replace(one, ids=keys, sums=sums, floor=np.zeros(n * D))
    table, drawn = fit.r2("each")
    found = {}
    for at, key in enumerate(keys):
        row = table.iloc[at]
        numbers = {"r2": one_width(row["value"], drawn[:, at]).estimates()}
        numbers["saes"] = {"SAE": Estimate(row["value"], row["low"], row["high"])}
        found[key] = only(c01_half_linear.Evidence, **numbers)
    errors, fvu, r2 = {}, 0.1, 0.5
    for truth, value in wanted.get(guard, {}).items():
        c = shrunk(value, fvu, r2)
        along = np.sqrt(r2 * fvu - c**2)
        errors[guard, truth] = c * x + along * linear + np.sqrt((1 - r2) * fvu) * noise
    if errors:
        y = torch.from_numpy(np.hstack(list(errors.values())))
        folds = moments_by_fold(torch.from_numpy(x), y, text.folds)
        columns = {key: slice(D * i, D * (i + 1)) for i, key in enumerate(errors)}
        left = [_kept(columns, some) for some in (folds, *leave_one(folds))]
        for at, key in enumerate(errors):
            kept = {D: over_groups(left[0][at], [some[at] for some in left[1:]])}
            found[key] = only(c01_half_linear.Evidence, kept=kept)
    return found


def leave_one(folds: list) -> list[list]:
    """The folds without each of them."""
    return [[one for one in folds if one is not left] for left in folds]


def _kept(columns: Mapping[object, slice], folds: list) -> np.ndarray:
    """The share of R² that is left once each reconstruction is rescaled [SAE], as `error_vectors` has it."""
    shares, total = linear_shares(folds, columns), merged(folds)
    squares = total.yy + total.n * total.y_mean**2
    shares["fvu"] = [float(squares[one].sum() / total.xx.trace()) for one in columns.values()]
    return (rescaled(shares)["after"] / shares["full"]).to_numpy()


def inference(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 9, at one width: an encoder's error and a better inference's, whose noise is mostly the same.

    Of the encoder's FVU of 0.3 half is linear. FVU_nonlinear changes by the wanted share while FVU falls by a
    twentieth, or FVU by it while FVU_nonlinear stays. Sums of squares follow from those of the pieces."""
    text = Text.draw(rng)
    x, linear, noise = vectors(text)
    other = np.sqrt(0.9) * noise + np.sqrt(0.1) * text.loud * text.noisy * text.normal(D)
    fit, half = text.regressed(x, {"encoder": noise, "best": other}), 0.15
    total = lambda z: sum_by(text.document, z.sum(axis=1))
    left = centre(fit.sums["held_out"], fit.sums["in_sample"], len(fit.moments))
    left = {name: left[:, fit.columns(name)].sum(axis=1) for name in fit.ids}
    own, found = total(linear**2), {}
    squares = {
        "encoder": (total(noise**2), total(linear * noise)),
        "best": (total(other**2), total(linear * other)),
    }

    def sums(name, a2, b2):
        noisy, both = squares[name]
        return {"fvu": a2 * own + b2 * noisy + 2 * np.sqrt(a2 * b2) * both, "fvu_nonlinear": b2 * left[name]}

    encoder = sums("encoder", half, half)
    for statement, values in wanted.items():
        for truth, value in values.items():
            of_noise = statement == "almost unchanged"
            b2 = half * (1 + value) if of_noise else half
            best = sums("best", 2 * half * (0.95 if of_noise else 1 + value) - b2, b2)
            numbers = {}
            for field, name in (("change", "fvu_nonlinear"), ("total", "fvu")):
                pair = {"new": best[name], "old": encoder[name]}
                e, drawn = bootstrap(lambda s: s["new"] / s["old"] - 1, pair, replicates=REPLICATES)
                numbers[field] = one_width(e.value, drawn).estimates()
            found[statement, truth] = only(c09_inference.Evidence, **numbers)
    return found


def earlier(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 10, at one earlier site, whose output says a share of every dimension of NonlinearError; shuffled
    tokens are of another document of the same fold, as `earlier` of a study's has them."""
    text = Text.draw(rng)
    x, linear, noise = vectors(text)
    order, targets = other_document(text), {}
    for statement, values in wanted.items():
        for truth, value in values.items():
            target = np.sqrt(value) * linear + np.sqrt(1 - value) * noise
            targets |= {(statement, truth): target, (statement, truth, "shuffled"): target[order]}
    fit, found = text.regressed(x, targets), {}
    left = centre(fit.sums["held_out"], fit.sums["in_sample"], len(fit.moments))
    for key in (key for key in fit.ids if len(key) == 2):
        sums = {"n": fit.sums["n"]}
        for tag in ("", "shuffled"):
            mine = fit.columns((*key, tag) if tag else key)
            sums |= {f"{name}{tag}": fit.sums[name][:, mine] for name in ("t", "tt")}
            sums[f"left{tag}"] = left[:, mine]
        lead, _ = bootstrap(_lead, sums, replicates=REPLICATES)
        found[key] = only(c10_earlier.Evidence, over_shuffled={"site": lead})
    return found


def other_document(text: Text) -> np.ndarray:
    """For each token the row of a random one of another document of its fold [token]."""
    rows, order = np.split(np.arange(len(text.document)), np.flatnonzero(np.diff(text.document)) + 1), []
    for fold in range(5):
        mine = [i for i in range(DOCUMENTS) if text.fold[i] == fold]
        order += [(rows[i], text.rng.choice(rows[j], len(rows[i]))) for i, j in zip(mine, np.roll(mine, 1))]
    own, others = (np.concatenate(some) for some in zip(*order))
    return others[np.argsort(own)]


def _lead(s) -> np.ndarray:
    """R² per dimension of what is predicted less that of the same shuffled."""

    def r2(tag):
        spread = s[f"tt{tag}"] - s[f"t{tag}"] ** 2 / np.asarray(s["n"])[..., None]
        return ratio_r2(s[f"left{tag}"], spread).mean(axis=-1)

    return r2("") - r2("shuffled")
