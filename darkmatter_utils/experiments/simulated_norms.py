"""Simulated studies for rules about the sizes of errors; see `simulated_documents`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq

from ..base.values import Estimate
from ..claims import c02_norm_linear, c03_same_tokens, c06_norm_lowest, c13_beyond_simple
from ..stats.documents import sum_by
from ..stats.fits import centre, cross_fit, moments_by_fold
from ..stats.intervals import apart, bootstrap, over_draws
from .baselines import rest
from .grams import Grams
from .nested import ALL, ALONE, BEST, SIMPLE, TEN, Nested, X
from .norm_test import fallen, owned
from .regress import of_each
from .same_tokens import shuffled_within
from .simulated_documents import (
    DOCUMENTS,
    LOUD,
    REPLICATES,
    SIZE,
    D,
    Text,
    Truths,
    one_width,
    only,
)

# Sizes of errors: a token's size z = document × token is lognormal and is a dimension of x; a squared norm
# z m, with m of mean 1 and variance v independent of everything, is predicted from x with R² = Var z / (Var z
# + v E z²).


def moment(k: int) -> float:
    """E z^k."""
    return float(np.exp(-k * (LOUD**2 + SIZE**2) + k**2 * (LOUD**2 + SIZE**2) / 2))


def spread_for(r2: float) -> float:
    """v."""
    return (moment(2) - moment(1) ** 2) * (1 / r2 - 1) / moment(2)


def sizes(text: Text) -> tuple[np.ndarray, np.ndarray]:
    """(x, z [token, 1])."""
    z = text.loud * np.exp(SIZE * text.normal(1) - SIZE**2)
    return np.hstack([z, text.loud * text.normal(D - 1)]), z


def factor(normal: np.ndarray, v: float) -> np.ndarray:
    """m [token, 1] from standard normal numbers: lognormal, mean 1, variance v."""
    s = np.sqrt(np.log1p(v))
    return np.exp(s * normal - s**2 / 2)


def directions(text: Text) -> np.ndarray:
    """Random unit vectors, one a token."""
    g = text.rng.standard_normal((len(text.document), D))
    return g / np.linalg.norm(g, axis=1, keepdims=True)


PAIR = "two widths"
VOCABULARY = 200


def same_tokens(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 3, by pairs of error norms: what ‖x‖ and the token say, a common and an own part."""
    text = Text.draw(rng)
    token = rng.integers(VOCABULARY, size=len(text.document))
    norm, common, own, other = text.loud.T * text.normal(4, alike=0.0).T
    of_document = text.loud[:, 0] * rng.standard_normal(DOCUMENTS)[text.document]
    level = 5 + norm
    position = np.concatenate([np.arange(n) for n in np.unique(text.document, return_counts=True)[1]])
    fold = np.array([text.fold[d] for d in text.document])
    tokens = pd.DataFrame({"norm2": level**2, "position": position, "token": token, "fold": fold})
    order = shuffled_within(text.document, seed=int(rng.integers(1 << 31)))
    found = {}

    def agreement(a, b) -> Estimate:
        r2 = Grams({"a": a, "b": b}, text.document, fold).r2("b", "a")
        return bootstrap(*r2, replicates=REPLICATES)[0]

    for statement, values in wanted.items():
        for truth, value in values.items():
            facts, r, alike = 1.0, np.sqrt(value), 0.0
            if statement == "predictable":
                r = 0.5
                facts = (np.sqrt(value) - r) / (1 - np.sqrt(value))
            elif statement == "not documents":
                r, a_pair = (
                    0.7,
                    DOCUMENTS / len(text.document),
                )  # of two tokens of one document drawn at random
                alike = max(0.0, (np.sqrt(value) / r - a_pair) / (1 - a_pair))
            said = 10 + np.sqrt(facts / 2) * (norm + np.where(token % 2, 1, -1))
            both = np.sqrt(r) * (np.sqrt(alike) * of_document + np.sqrt(1 - alike) * common)
            a, b = (said + both + np.sqrt(1 - r) * e for e in (own, other))
            if statement == "predictable":
                evidence = {"raw": {PAIR: agreement(a, b)}}
            else:
                a, b = rest(a, tokens), rest(b, tokens)
                where = {"same tokens": "partial", "not documents": "shuffled"}[statement]
                evidence = {where: {PAIR: agreement(a[order] if where == "shuffled" else a, b)}}
            found[statement, truth] = only(c03_same_tokens.Evidence, **evidence)
    return found


SINGLE = ("loss", "L0")
"""Two simple predictors that say the same of a squared norm: the best of them is a matter of chance."""


def explained(text: Text, shares: dict) -> Nested:
    """Models of numbers of which each of `SINGLE` says a share, and a dimension of x that is not among its
    first ten components another: {key: (of each, of x)}."""
    facts, x = text.loud * text.normal(len(SINGLE)), text.loud * text.normal(D)
    x[:, :10] *= 3
    noise = text.loud * text.noisy * text.normal(1)
    weights = np.array(list(shares.values())).T
    y = np.sqrt(weights[0]) * facts.sum(axis=1, keepdims=True) + np.sqrt(weights[1]) * x[:, 20:21]
    y += np.sqrt(1 - len(SINGLE) * weights[0] - weights[1]) * noise
    z, of_x = torch.from_numpy(np.hstack([facts, x])), list(range(2, 2 + D))
    models = {name + ALONE: [n] for n, name in enumerate(SINGLE)} | {SIMPLE: [0, 1], X: of_x}
    models |= {TEN: [0, 1, *of_x[:10]], ALL: [0, 1, *of_x]}
    left, target = [], torch.from_numpy(y)
    for columns in models.values():
        some = z[:, columns].contiguous()
        fits = cross_fit(folds := moments_by_fold(some, target, text.folds))
        both = (fits.predict(some, text.folds), fits.overall(some))
        of = (sum_by(text.document, (target - predicted) ** 2) for predicted in both)
        left.append(centre(*of, len(folds)))
    sums = {"n": torch.ones_like(target), "y": target, "yy": target**2}
    moments = {name: sum_by(text.document, value) for name, value in sums.items()}
    fold, left = np.array([text.fold[i] for i in range(DOCUMENTS)]), np.stack(left, axis=2)
    return Nested(list(shares), [], list(models), left, moments, fold, 0, REPLICATES)


def gains(nested: Nested, model: str, over: str) -> dict:
    """The R² of a model less that of another, of each number."""
    values, drawn = nested.replicated(model, over)
    return {key: one_width(values[i], drawn[:, i]).estimate(D) for i, key in enumerate(nested.ids)}


def norm_linear(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 2, at one width; of what x is to be better than, two simple facts say a fifth each."""
    text = Text.draw(rng)
    x, z = sizes(text)
    normal, guard = text.normal(1, alike=0.0), "beyond simple predictors"
    of_x = {(s, truth): v for s, values in wanted.items() if s != guard for truth, v in values.items()}
    fit = text.regressed(x, {key: z * factor(normal, spread_for(value)) for key, value in of_x.items()})
    table, drawn = fit.r2()
    numbers = {
        key: {"r2": one_width(table["value"][i], drawn[:, i]).estimates()} for i, key in enumerate(of_x)
    }
    shares = {(guard, truth): (0.2, 0.4 + value) for truth, value in wanted[guard].items()}
    found = gains(explained(text, shares), X, SIMPLE)
    numbers |= {key: {"gain": {D: estimate}} for key, estimate in found.items()}
    return {key: only(c02_norm_linear.Evidence, **one) for key, one in numbers.items()}


def beyond_simple(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 13, at one place: two best single predictors, which say a fifth each."""
    text = Text.draw(rng)
    lead, adds = "ahead of the best single", "adds"
    shares = {(lead, truth): (0.2, 0.2 + value) for truth, value in wanted[lead].items()}
    shares |= {(adds, truth): (0.2, value) for truth, value in wanted[adds].items()}
    nested, found = explained(text, shares), {}
    ahead, more = gains(nested, X, BEST), gains(nested, ALL, TEN)
    for key in shares:
        numbers = {"lead": {"place": ahead[key]}} if key[0] == lead else {"gain": {"place": more[key]}}
        found[key] = only(c13_beyond_simple.Evidence, **numbers)
    return found


NULL_DROP, NULL_SD, NULL_WORLDS = 0.02, 0.01, 4
"""By how much R² falls from SaeError to NonlinearError where nothing is introduced; its sd over worlds."""


def norm_lowest(rng: np.random.Generator, wanted: Truths) -> dict:
    """Claim 6, at one width: LinearError has the size z, NonlinearError's squared norm is z m; the variance
    of m sets how far its R² from x lies below the others'."""
    text = Text.draw(rng)
    x, z = sizes(text)
    normal, linear = text.normal(1, alike=0.0), z * np.eye(D)[1]
    noise, found = np.sqrt(z) * directions(text), {}
    fields = {"lower than LinearError": ("over_linear", "LinearError", 0.0)}
    fields |= {"lower than SaeError": ("over_error", "SaeError", 0.0)}
    fields |= {"beyond the null": ("over_null", "SaeError", NULL_DROP)}
    spreads = {
        (statement, truth): drop_for(value + fields[statement][2], fields[statement][1])
        for statement, values in wanted.items()
        for truth, value in values.items()
    }
    errors = {v: linear + np.sqrt(factor(normal, v)) * noise for v in dict.fromkeys(spreads.values())}
    fit = text.regressed(x, {v: squares(text, x, error) for v, error in errors.items()})
    falls = {part: fallen(fit, part) for part in ("LinearError", "SaeError")}
    for key, v in spreads.items():
        field, part, _ = fields[key[0]]
        value, drawn, moved = (one[..., fit.ids.index(v)] for one in falls[part])
        drop = owned(one_width(value, drawn).estimate(D), moved)
        if field == "over_null":
            drop = apart(drop, over_draws(NULL_DROP + NULL_SD * rng.standard_normal(NULL_WORLDS)))
        found[key] = only(c06_norm_lowest.Evidence, **{field: {D: drop}})
    return found


def squares(text: Text, x: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The squared norms of x and of every part, as `norm_test` has them regressed [token, 7]."""
    x, error = torch.from_numpy(x), torch.from_numpy(error)
    fits = cross_fit(moments_by_fold(x, error, text.folds))
    target = of_each({"": fits.maps}, lambda z: (z**2).sum(dim=1))
    rows = [np.flatnonzero(text.folds == k) for k in range(len(fits.maps))]
    made = [target("", k, x[mine], x[mine] - error[mine]) for k, mine in enumerate(rows)]
    return torch.cat(made).numpy()[np.argsort(np.concatenate(rows))]


def of_norms(v: float) -> dict[str, float]:
    """R² from x of the squared norm of each part of the errors of `norm_lowest`."""
    m = moment
    z, linear, cross = m(2) - m(1) ** 2, m(4) - m(2) ** 2, m(3) - m(2) * m(1)
    nonlinear = m(2) * (1 + v) - m(1) ** 2
    whole = linear + nonlinear + 2 * cross + 4 * m(3) / D
    found = {"LinearError": cross**2 / linear, "NonlinearError": z**2 / nonlinear}
    found |= {"SaeError": (cross + z) ** 2 / whole}
    return {part: covariance / z for part, covariance in found.items()}


def drop_for(value: float, part: str) -> float:
    """The v at which R² of a part less that of NonlinearError is this."""
    drop = lambda v: of_norms(v)[part] - of_norms(v)["NonlinearError"] - value
    return brentq(drop, 0.0, 10.0)
