"""How often a 95% interval contains the truth, where that is easy and where it is hard.

Data sets are simulated with a known truth and decomposed as any other. ``darkmatter calibrate`` makes the
table that ships in data/calibration; chapter 02 shows it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ..base import cache
from ..base.config import DATA
from ..decomposition.decompose import decompose
from ..stats.intervals import around, share

FOLDER = DATA / "calibration"
DRAWS = 400
"""Data sets of a row: the binomial interval of a coverage of 95% is then ± 2 points."""
GAIN, NOISE = 0.4, 0.3
"""The error is GAIN x and noise of NOISE times the scale of x, where documents are alike."""
QUANTITIES = {
    "fvu": "FVU",
    "fvu_nonlinear": "FVU_nonlinear",
    "r2_total": "R² total",
    "r2_per_dim": "R² per dimension",
}
NOMINAL = 0.95


class Setting(NamedTuple):
    """How a simulated text's documents differ, and how much of it there is."""

    documents: int = 100
    tokens: int = 8
    """Of a document, on average."""
    d: int = 4
    loud: float = 0.0
    """Standard deviation over documents of the log of the scale of x."""
    noisy: float = 0.0
    """The same of the noise's size against x: documents of different FVU."""
    together: float = 0.0
    """Correlation of the two: loud documents are reconstructed worse."""
    unequal: float = 0.0
    """Standard deviation of the log of a document's length."""
    tails: float = np.inf
    """Degrees of freedom of x's Student t; infinite: normal."""


SETTINGS = {
    "documents differ mildly": Setting(loud=0.3),
    "a few loud documents": Setting(loud=1.0),
    "FVU differs between documents": Setting(noisy=0.5),
    "274 documents, loud ones worse": Setting(documents=274, loud=0.5, noisy=0.3, together=0.7),
    "50 documents, loud ones worse": Setting(documents=50, loud=0.5, noisy=0.3, together=0.7),
    "25 documents": Setting(documents=25, tokens=40),
    "25 documents of unequal length and FVU": Setting(documents=25, tokens=40, noisy=0.5, unequal=0.8),
    "very loud documents, loud ones worse": Setting(loud=1.0, noisy=0.5, together=0.7),
    "10 documents": Setting(documents=10, tokens=40),
    "heavy tails of x": Setting(tails=3.1),
    "64 dimensions, 20 tokens a dimension": Setting(documents=160, d=64),
    "64 dimensions, 10 tokens a dimension": Setting(documents=80, d=64),
    "64 dimensions, 5 tokens a dimension": Setting(documents=40, d=64),
    "128 dimensions, 2.5 tokens a dimension": Setting(documents=40, d=128),
}
"""What the table's rows are, by name: easy ones first, then each thing that may spoil an interval."""


def simulate(
    setting: Setting, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "token d"], Float[np.ndarray, "token d"], Int[np.ndarray, "token"]]:
    """(x, SaeError, document): x = s z, error = GAIN x + NOISE s r g, s and r the document's scale and
    relative noise, z and g of unit variance."""
    first, second = rng.standard_normal((2, setting.documents))
    second = setting.together * first + np.sqrt(1 - setting.together**2) * second
    lengths = np.exp(setting.unequal * rng.standard_normal(setting.documents) - setting.unequal**2 / 2)
    lengths = np.maximum(1, np.round(setting.tokens * lengths)).astype(int)
    document = np.repeat(np.arange(setting.documents), lengths)
    scale, relative = (np.exp(a)[document, None] for a in (setting.loud * first, setting.noisy * second))
    shape = (len(document), setting.d)
    z = rng.standard_normal(shape)
    if np.isfinite(setting.tails):
        z = rng.standard_t(setting.tails, shape) / np.sqrt(setting.tails / (setting.tails - 2))
    x = scale * z
    return x, GAIN * x + NOISE * scale * relative * rng.standard_normal(shape), document


def truth(setting: Setting) -> dict[str, float]:
    """The population's numbers: with log s = a u and log r = b v of correlation c, E[s² r²] / E[s²] is
    exp(2 b² + 4 a b c); length is independent of both."""
    left = NOISE**2 * np.exp(2 * setting.noisy**2 + 4 * setting.loud * setting.noisy * setting.together)
    share = GAIN**2 / (GAIN**2 + left)
    return {"fvu": GAIN**2 + left, "fvu_nonlinear": left, "r2_total": share, "r2_per_dim": share}


def row(name: str, *, draws: int = DRAWS, seed: int = 0) -> list[dict]:
    """The rows of one setting: how many of ``draws`` data sets give an interval of each quantity, and how
    many of those contain the truth. Cost: ``draws`` decompositions of 400 replicates."""
    setting, hits = SETTINGS[name], {key: [] for key in QUANTITIES}
    expected = truth(setting)
    for draw in range(draws):
        rng = np.random.default_rng([seed, list(SETTINGS).index(name), draw])
        x, error, document = simulate(setting, rng)
        found = decompose(x, x - error, document=document, bootstrap=400, seed=draw)
        for key, inside in hits.items():
            estimate = getattr(found, key)
            if np.isfinite(estimate.low):
                inside.append(bool(estimate.low <= expected[key] <= estimate.high))
    size = {"documents": setting.documents, "tokens_per_dim": setting.documents * setting.tokens / setting.d}
    counts = lambda key: {"quantity": key, "draws": draws, "given": len(hits[key]), "hits": sum(hits[key])}
    return [{"setting": name} | size | counts(key) for key in QUANTITIES]


def table(*, draws: int = DRAWS, seed: int = 0, log=lambda line: None) -> pd.DataFrame:
    """All rows, some minutes on one core."""
    found = []
    for name in SETTINGS:
        log(f"coverage: {name}")
        found += row(name, draws=draws, seed=seed)
    return pd.DataFrame(found)


def calibrate(*, log=lambda line: None) -> None:
    """Write the table that ships, coverage.csv."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    table(log=log).to_csv(FOLDER / "coverage.csv", index=False)


def shipped() -> pd.DataFrame:
    """The table that ships, with the coverage of each row and its 95% binomial interval (Wilson): columns
    value, low, high, NaN where no interval is given, and short, whether all of it lies below 95%. Raises
    BadInput where the file is not the one of the manifest."""
    cache.verify(FOLDER, only=["coverage.csv"])
    found = pd.read_csv(FOLDER / "coverage.csv")
    ends = [share(k, n) if n else (np.nan, np.nan) for n, k in zip(found["given"], found["hits"])]
    ends = np.array(ends)
    found = found.assign(value=found["hits"] / found["given"].where(found["given"] > 0))
    return found.assign(low=ends[:, 0], high=ends[:, 1], short=ends[:, 1] < NOMINAL)


SUITES = "trained_suites.csv"
"""What `training.trained_suites` makes."""


def trained_suites() -> pd.DataFrame:
    """The table of trained suites that ships, of their changes per doubling of the width. Raises BadInput
    where the file is not the manifest's."""
    cache.verify(FOLDER, only=[SUITES])
    return pd.read_csv(FOLDER / SUITES)


def scatter(found: pd.DataFrame) -> dict[str, float]:
    """Of the changes of FVU_nonlinear per doubling: suites; inside, how many intervals hold the mean of the
    other suites' values; spread, the standard deviation of the values over the mean of what their intervals
    imply; seed_sd, the root mean square over suites."""
    rows = found[found["metric"] == "fvu_nonlinear"]
    value, low, high = (rows[name].to_numpy() for name in ("change", "change_low", "change_high"))
    others = (value.sum() - value) / (len(value) - 1)
    one = np.diff(around(0.0, 1.0)).item()  # the length of an interval whose standard error is 1
    return {
        "suites": len(rows),
        "inside": int(((low <= others) & (others <= high)).sum()),
        "spread": float(value.std(ddof=1) / ((high - low).mean() / one)),
        "seed_sd": float(np.sqrt((rows["seed_sd"] ** 2).mean())),
    }
